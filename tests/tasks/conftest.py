"""What runs of all tasks draw is tested elsewhere, and takes seconds."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def figures_of_the_task_alone() -> Iterator[None]:
    """Leaves curves, scatters and matrices of a run empty; the figures of its task are drawn."""
    from matplotlib.figure import Figure  # slow to import, and not every test draws

    with pytest.MonkeyPatch.context() as patch:
        for name in ("training_curves", "latent_covariance", "latent_scatter"):
            patch.setattr(f"nvc_jax.plots.{name}", lambda *_, **options: Figure())
        patch.setattr("nvc_jax.plots.latent_scatters", lambda *_, **options: {})
        yield
