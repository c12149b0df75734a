"""How the rows of grids are computed, beyond training and evaluating."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from benchmarks.deep_clustering import Autoencoder, Clusters, train_dec, train_vade
from benchmarks.table import (
    Measure,
    Row,
    evaluated,
    run_clock,
    train_and_evaluate,
    train_to_the_end,
    trained,
)
from nvc_jax import metrics
from nvc_jax.config import changed
from nvc_jax.core.errors import DivergedError
from nvc_jax.core.options import steps_of
from nvc_jax.data import Source, random_subset
from nvc_jax.evaluation import TrainedModel, load
from nvc_jax.geometry.plane_segmentation import planes_of_depth
from nvc_jax.geometry.planes import pixel_rays
from nvc_jax.tasks import open_examples
from nvc_jax.tasks.planar_reconstruction import PlanarReconstructionTask, summarize
from nvc_jax.training.experiment import make_experiment

PLANE_MEASURES = (
    "plane_recall/0.05",
    "plane_recall/0.2",
    "pixel_recall/0.05",
    "rand_index",
    "voi_bits",
    "covering",
)
TOLERANCES = (0.02, 0.04, 0.08, 0.16)
"""Of RANSAC, as shares of the depth."""

TUNED_ON = 200
"""Validation rooms at most."""

LEARNING_RATE = {"vade": 1e-3, "dec": 1e-4}
NUM_CLUSTERS = 10
"""Of every peer: the digits, or the kinds of clothes, and the anchors of the recipe."""

COMPONENTS = 32
"""Principal components of the pixels."""

Fit = Callable[[ml_collections.ConfigDict, Path, Source], Clusters]
"""Config, work directory and training examples → what clusters."""


def of_study(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Also the reconstruction error of training examples, to see over-fitting; nothing of a run that diverges."""
    try:
        row = trained(config, directory)
    except DivergedError as error:
        print(f"diverged: {error}", flush=True)
        return {}
    row |= evaluated(directory, [("eval.kmeans_inputs", "false")])
    model = load(directory)
    seen = random_subset(open_examples(config, "train"), config.eval.max_train_examples, 0)
    row["train_reconstruction"] = float(model.encode(seen)["reconstruction"].mean())
    return row


def best_threshold(directory: Path) -> float:
    """Of `eval.thresholds` the one with the best IoU of a trained model on validation models."""
    model = load(directory)
    validation = open_examples(model.config, "validation")
    values = model.task.summary(model.encode(validation), validation)
    return max(model.config.eval.thresholds, key=lambda level: values[f"iou_at/{level:g}"])


def of_voxels(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """With the threshold of occupancy that is best on validation models."""
    row = trained(config, directory)
    row["threshold"] = best_threshold(directory)
    return row | evaluated(directory, [("eval.threshold", str(row["threshold"]))])


def of_points(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Of one oblique view of every test model."""
    return trained(config, directory) | evaluated(directory, [("data.oblique_views", "1")])


def ransac_measures(model: TrainedModel, source: Source, tolerance: float) -> Row:
    """Measures of planes that are fitted to the depth that a model predicts."""
    encoded, task = model.encode(source), model.task
    assert isinstance(task, PlanarReconstructionTask)

    def examples() -> Iterator[Any]:
        planar = encoded["planar"] > 0
        for (truth, _, depth), mask in zip(task.iterate(encoded, source), planar, strict=True):
            rays = pixel_rays(truth["camera"], *depth.shape)
            yield truth, planes_of_depth(depth, mask, rays, tolerance=tolerance), depth

    return summarize(examples())


def ransac_row(directory: Path) -> Row:
    """Measures of RANSAC on test rooms, with the tolerance that is best on validation rooms."""
    model = load(directory)
    validation, test = (open_examples(model.config, split) for split in ("validation", "test"))
    validation = random_subset(validation, TUNED_ON, seed=0)
    best = max(
        TOLERANCES,
        key=lambda tolerance: ransac_measures(model, validation, tolerance)["plane_recall/0.05"],
    )
    measured = ransac_measures(model, test, best)
    return {f"ransac_{name}": measured[name] for name in PLANE_MEASURES} | {
        "ransac_tolerance": best
    }


def of_planes(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Also with planes found another way: sequential RANSAC on the predicted depth, at pixels taken for planar."""
    return train_and_evaluate(config, directory) | ransac_row(directory)


def of_clusters(fit: Fit) -> Measure:
    """Measures the clusters of test images."""

    def measure(config: ml_collections.ConfigDict, directory: Path) -> Row:
        began = run_clock()
        clusters = fit(config, directory, open_examples(config, "train"))
        seconds = run_clock() - began
        test = open_examples(config, "test")
        label, found = test.gather(np.arange(len(test)))["label"], clusters(test)
        return {
            "seconds": seconds,
            "cluster_accuracy_hungarian": metrics.cluster_accuracy(label, found),
            "nmi": metrics.nmi(label, found),
            "ari": metrics.ari(label, found),
        }

    return measure


def _pixels(source: Source) -> np.ndarray:
    """Images as rows, from 0 to 1."""
    images = source.gather(np.arange(len(source)))["image"]
    return images.reshape(len(images), -1).astype(np.float32) / 255.0


def _classical(
    kind: str, config: ml_collections.ConfigDict, directory: Path, train_data: Source
) -> Clusters:
    """k-means or a mixture of Gaussians on pixels or on their principal components."""
    del directory
    from sklearn.cluster import KMeans  # slow to import
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import make_pipeline

    seed = config.seed
    parts = {
        "PCA": PCA(COMPONENTS, random_state=seed),
        "k-means": KMeans(NUM_CLUSTERS, n_init=10, random_state=seed),
        "mixture": GaussianMixture(NUM_CLUSTERS, random_state=seed, n_init=3),
    }
    model = make_pipeline(*(parts[name] for name in kind.split(" + ")))
    model.fit(_pixels(train_data))
    return lambda source: model.predict(_pixels(source))


def _kmeans_on_means(
    config: ml_collections.ConfigDict, directory: Path, train_data: Source
) -> Clusters:
    """Trains the whole recipe, then k-means on the means."""
    from sklearn.cluster import KMeans  # slow to import

    train_to_the_end(config, directory)
    model = load(directory)
    means = model.encode(train_data)["mean"]
    found = KMeans(NUM_CLUSTERS, n_init=10, random_state=config.seed).fit(means)
    return lambda source: found.predict(model.encode(source)["mean"])


def _nearest_anchors(
    config: ml_collections.ConfigDict, directory: Path, train_data: Source
) -> Clusters:
    """Trains the whole recipe; the nearest anchors are the clusters."""
    del train_data
    train_to_the_end(config, directory)
    model = load(directory)
    return lambda source: model.encode(source)["assignment"]


def _after_warmup(
    kind: str, config: ml_collections.ConfigDict, directory: Path, train_data: Source
) -> Clusters:
    """Trains the warm-up alone, then VaDE or DEC for the steps that are left."""
    steps = steps_of(config.anchors.warmup, config.train.num_steps)
    settings = {"train.num_steps": steps, "anchors.warmup": 1.0, "model.num_anchors": 1}
    short = changed(config, settings)
    state = train_to_the_end(short, directory)
    model = Autoencoder(make_experiment(short, train_data.spec, None), state, config.seed)
    method = {"vade": train_vade, "dec": train_dec}[kind]
    left = config.train.num_steps - steps
    return method(model, train_data, NUM_CLUSTERS, left, LEARNING_RATE[kind])


PEERS: dict[str, Measure] = {
    "k-means on pixels": of_clusters(partial(_classical, "k-means")),
    "PCA + k-means": of_clusters(partial(_classical, "PCA + k-means")),
    "PCA + mixture of Gaussians": of_clusters(partial(_classical, "PCA + mixture")),
    "autoencoder + k-means": of_clusters(_kmeans_on_means),
    "VAE + k-means": of_clusters(_kmeans_on_means),
    "VaDE": of_clusters(partial(_after_warmup, "vade")),
    "DEC": of_clusters(partial(_after_warmup, "dec")),
    "NVC": of_clusters(_nearest_anchors),
}
"""Ways to cluster images, on the same images and, where they have one, the same network.

All are fitted on training images without labels; the clusters of test images are scored.
"""
