"""What the page of `NebulaClustering.report` shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from nvc_jax import metrics
from nvc_jax.core.errors import UserError
from nvc_jax.data import Source
from nvc_jax.report import Report, Table

NUM_SHOWN = 24
"""Examples beside their reconstruction."""
NUM_SAMPLES = 8
"""Samples, and nearest examples, of each anchor."""
TSNE_EXAMPLES = 2000
MOST_FITTED = 5000
"""Examples that k-means is fitted on, to compare with."""
NOTES = {
    "score": "mean of score_samples; comparable between fits to the same data alone",
    "silhouette": "of the codes by cluster",
    "cluster_accuracy_hungarian": "clusters to labels one to one",
    "cluster_accuracy_majority": "each cluster stands for its commonest label",
    "nmi": "clusters and labels, arithmetic mean in the denominator",
    "ari": "clusters and labels",
    "kmeans_accuracy_hungarian_inputs": "k-means on the scaled inputs, with as many clusters as labels",
}


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
    source = model._input(X)
    encoded = model._encode(source)  # once for codes, clusters and scores
    mean, values = encoded["mean"], X.toarray() if issparse(X) else np.asarray(X)
    label, names = _labels(y, len(mean))
    image = len(model.input_shape_) > 1
    content = _images(model, values, mean) if image else {"table": _table(model, X, values)}
    return Report(
        mean=mean,
        assignment=encoded["assignment"],
        anchors=model.cluster_centers_,
        label=label,
        class_names=names,
        metrics=_metrics(model, source, encoded, label),
        notes=NOTES,
        config={"parameters": model.get_params(deep=False)},
        facts={
            "examples": len(mean),
            "clusters": len(model.cluster_centers_),
            "steps": model.n_iter_,
        },
        title=title,
        num_nearest=NUM_SAMPLES,
        tsne_examples=TSNE_EXAMPLES,
        **content,
    )


def _metrics(
    model: Any, source: Source, encoded: dict[str, np.ndarray], label: np.ndarray | None
) -> dict[str, float | None]:
    """How well the clusters are apart and, with labels, how well they match them."""
    clusters = encoded["assignment"]
    found: dict[str, float | None] = {"score": float(np.mean(model._scores(encoded)))}
    if len(clusters):
        found["silhouette"] = metrics.silhouette(encoded["mean"], clusters).value
    if label is None or not len(label):
        return found
    found |= {
        "cluster_accuracy_hungarian": metrics.cluster_accuracy(label, clusters),
        "cluster_accuracy_majority": metrics.cluster_accuracy(label, clusters, "majority"),
        "nmi": metrics.nmi(label, clusters),
        "ari": metrics.ari(label, clusters),
    }
    features = model._compiled().features(source, np.arange(len(source)))
    some = np.random.default_rng(0).permutation(len(features))[:MOST_FITTED]
    classes = len(np.unique(label))
    if classes <= len(some):
        found["kmeans_accuracy_hungarian_inputs"] = metrics.kmeans_accuracy(
            features[some], features, label, classes
        )
    return found


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


def _table(model: Any, X: Any, values: np.ndarray) -> Table:
    """Rows, anchors and samples in the units of the data; names are those of a data frame."""
    columns = [str(name) for name in getattr(model, "feature_names_in_", ())]
    count = len(model.cluster_centers_)
    return Table(
        columns=columns or [f"feature {k}" for k in range(values.shape[1])],
        values=values,
        decoded=model.inverse_transform(model.cluster_centers_),
        samples=np.stack([model.sample(2, anchor=k, random_state=k) for k in range(count)]),
        row_names=[str(name) for name in X.index] if hasattr(X, "columns") else (),
    )
