"""Figures of latent spaces, anchors and examples."""

from nvc_jax.plots.figures import (
    anchor_gallery,
    anchor_usage,
    example_grid,
    hypothesis_grid,
    latent_covariance,
    latent_scatter,
    latent_scatters,
    render,
    save,
    training_curves,
)

__all__ = [
    "anchor_gallery",
    "anchor_usage",
    "example_grid",
    "hypothesis_grid",
    "latent_covariance",
    "latent_scatter",
    "latent_scatters",
    "save",
    "render",
    "training_curves",
]
