"""What TensorBoard shows of an evaluation in training; a failing figure never stops a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.logs import logger
from nvc_jax.tasks import Task
from nvc_jax.training.logging import MetricWriter


def show_latents(
    writer: MetricWriter, step: int, encoded: Mapping[str, np.ndarray], anchors: np.ndarray
) -> None:
    """Histograms of the means and assignments of `encode_source`, and a scatter with the anchors."""
    from nvc_jax.plots import latents as plots_latents  # matplotlib is slow to import

    for name in ("mean", "assignment"):
        writer.histogram(step, f"validation/{name}", encoded[name])

    def draw() -> dict[str, Any]:
        return {
            "latent": plots_latents.latent_scatter(
                encoded["mean"], encoded["assignment"], anchors=anchors, max_points=2000
            )
        }

    _write(writer, step, draw)


def show_examples(
    writer: MetricWriter,
    step: int,
    task: Task,
    batch: Mapping[str, np.ndarray],
    predicted: np.ndarray,
) -> None:
    """The task's figures of a few examples; see `Display.figures`."""
    from nvc_jax.displays import make_display  # matplotlib is slow to import

    _write(writer, step, lambda: make_display(task).figures(batch, predicted))


def _write(writer: MetricWriter, step: int, draw: Callable[[], dict[str, Any]]) -> None:
    """Draws figures and writes them under `validation/`."""
    try:
        figures = {f"validation/{name}": figure for name, figure in draw().items()}
        writer.figures(step, figures)
    except UserError:  # a full disk
        raise
    except Exception as error:
        logger.warning("A figure failed: %s", error)
