"""What the page of `NebulaClustering.report` shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from nvc_jax.core.errors import UserError
from nvc_jax.report import Report

NUM_SHOWN = 24
"""Examples beside their reconstruction."""
NUM_SAMPLES = 8
"""Samples, and nearest examples, of each anchor."""
TSNE_EXAMPLES = 2000
MAX_FEATURES = 6
"""Features of a row in its line of text."""


def estimator_page(model: Any, X: Any, y: Any, title: str) -> Report:
    """Puts together the latent space of examples, the anchors, and what the decoder makes of them.

    Args:
      model: a fitted `NebulaClustering`.
      X: examples, as for `fit`.
      y: labels of any kind that can be sorted, `[N]`, or None.
      title: of the page.

    Raises:
      UserError: if `y` is of another length.
    """
    encoded = model._encode(model._input(X))  # once for codes, clusters and scores
    mean, values = encoded["mean"], X.toarray() if issparse(X) else np.asarray(X)
    label, names = _labels(y, len(mean))
    content: dict[str, Any] = {}
    if len(model.input_shape_) > 1:
        content = _images(model, values, mean)
    else:
        columns = [str(name) for name in getattr(model, "feature_names_in_", ())]
        content["texts"] = lambda ids: [_line(values[i], columns) for i in ids]
    return Report(
        mean=mean,
        assignment=encoded["assignment"],
        anchors=model.cluster_centers_,
        label=label,
        class_names=names,
        metrics={"score": float(np.mean(model._scores(encoded)))},
        notes={"score": "Mean of score_samples; comparable between fits to the same data alone."},
        config={"parameters": model.get_params(deep=False)},
        facts={
            "examples": len(mean),
            "anchors": len(model.cluster_centers_),
            "steps": model.n_iter_,
        },
        title=title,
        num_nearest=NUM_SAMPLES,
        tsne_examples=TSNE_EXAMPLES,
        **content,
    )


def _labels(y: Any, count: int) -> tuple[np.ndarray | None, Sequence[str]]:
    """Labels as numbers, with their names."""
    if y is None:
        return None, ()
    y = np.asarray(y)
    if y.shape != (count,):
        raise UserError(f"y has shape {y.shape}: give one label for each of {count} examples.")
    names, label = np.unique(y, return_inverse=True)
    return label, [str(name) for name in names]


def _images(model: Any, values: np.ndarray, mean: np.ndarray) -> dict[str, Any]:
    """Pictures of examples, their reconstructions, anchors and samples, on one gray scale."""
    low, extent = values.min(), max(float(np.ptp(values)), np.finfo(np.float32).tiny)

    def shown(images: np.ndarray) -> np.ndarray:
        scaled = (np.asarray(images, np.float32) - low) / extent
        return scaled if len(model.input_shape_) == 3 else scaled[..., None]

    count = len(model.cluster_centers_)
    samples = [model.sample(NUM_SAMPLES, anchor=k, random_state=k) for k in range(count)]
    return {
        "pictures": lambda ids: shown(values[ids]),
        "decoded": shown(model.inverse_transform(model.cluster_centers_)),
        "samples": np.stack([shown(images) for images in samples]),
        "examples": {
            "input": shown(values[:NUM_SHOWN]),
            "reconstruction": shown(model.inverse_transform(mean[:NUM_SHOWN])),
        },
    }


def _line(row: np.ndarray, columns: Sequence[str]) -> str:
    """A row in words: its first features, by name where they have one."""
    parts = [f"{value:.4g}" for value in row[:MAX_FEATURES]]
    if columns:
        parts = [f"{name} {part}" for name, part in zip(columns, parts, strict=False)]
    return ", ".join(parts) + (", …" if len(row) > MAX_FEATURES else "")
