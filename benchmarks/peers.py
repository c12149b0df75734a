"""Other ways to cluster images, on the same images and, where they have one, the same network.

k-means and mixtures of Gaussians work on pixels or their principal components; the others begin with the
recipe's warm-up as an autoencoder and then go on in their own way for the steps that are left, see
benchmarks/deep_clustering.py. All are fitted on training images without labels; the clusters of test
images are scored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import ml_collections
import numpy as np

from benchmarks.deep_clustering import Autoencoder, Clusters, train_dec, train_vade
from benchmarks.methods import METHODS
from benchmarks.studies import Study
from benchmarks.table import Measure, Row, train_to_the_end
from benchmarks.timing import run_clock
from nvc_jax import metrics
from nvc_jax.config import changed
from nvc_jax.core.options import steps_of
from nvc_jax.data import Source
from nvc_jax.evaluation import load
from nvc_jax.tasks import open_examples
from nvc_jax.training.experiment import make_experiment

LEARNING_RATE = {"vade": 1e-3, "dec": 1e-4}
NUM_CLUSTERS = 10
"""Of every method: the digits, or the kinds of clothes, and the anchors of the recipe."""

COMPONENTS = 32
"""Principal components of the pixels."""

Fit = Callable[[ml_collections.ConfigDict, Path, Source], Clusters]
"""Config, work directory and training examples → what clusters."""


def scored(fit: Fit) -> Measure:
    """Measures the clusters of test images."""

    def measure(config: ml_collections.ConfigDict, directory: Path) -> Row:
        began = run_clock()
        clusters = fit(config, directory, open_examples(config, "train"))
        seconds = run_clock() - began
        test = open_examples(config, "test")
        label, found = test.gather(np.arange(len(test)))["label"], clusters(test)
        return {
            "steps": config.train.num_steps,
            "seconds": seconds,
            "cluster_accuracy_hungarian": metrics.cluster_accuracy(label, found),
            "nmi": metrics.nmi(label, found),
            "ari": metrics.ari(label, found),
        }

    return measure


def pixels(source: Source) -> np.ndarray:
    """Images as rows, from 0 to 1."""
    images = source.gather(np.arange(len(source)))["image"]
    return images.reshape(len(images), -1).astype(np.float32) / 255.0


def classical(
    kind: str, config: ml_collections.ConfigDict, directory: Path, train_data: Source
) -> Clusters:
    """k-means or a mixture of Gaussians on pixels or on their principal components."""
    del directory
    from sklearn.cluster import KMeans  # slow to import
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import make_pipeline

    count, seed = NUM_CLUSTERS, config.seed
    model = {
        "k-means": lambda: make_pipeline(KMeans(count, n_init=10, random_state=seed)),
        "PCA + k-means": lambda: make_pipeline(
            PCA(COMPONENTS, random_state=seed), KMeans(count, n_init=10, random_state=seed)
        ),
        "PCA + GMM": lambda: make_pipeline(
            PCA(COMPONENTS, random_state=seed), GaussianMixture(count, random_state=seed, n_init=3)
        ),
    }[kind]()
    model.fit(pixels(train_data))
    return lambda source: model.predict(pixels(source))


def kmeans_on_means(
    config: ml_collections.ConfigDict, directory: Path, train_data: Source
) -> Clusters:
    """Trains the whole recipe, then k-means on the means."""
    from sklearn.cluster import KMeans  # slow to import

    train_to_the_end(config, directory)
    model = load(directory)
    means = model.encode(train_data)["mean"]
    found = KMeans(NUM_CLUSTERS, n_init=10, random_state=config.seed).fit(means)
    return lambda source: found.predict(model.encode(source)["mean"])


def nearest_anchors(
    config: ml_collections.ConfigDict, directory: Path, train_data: Source
) -> Clusters:
    """Trains the whole recipe; the nearest anchors are the clusters."""
    del train_data
    train_to_the_end(config, directory)
    model = load(directory)
    return lambda source: model.encode(source)["assignment"]


def after_warmup(
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


MEASURES: dict[str, Measure] = {
    "k-means on pixels": scored(partial(classical, "k-means")),
    "PCA + k-means": scored(partial(classical, "PCA + k-means")),
    "PCA + mixture of Gaussians": scored(partial(classical, "PCA + GMM")),
    "autoencoder + k-means": scored(kmeans_on_means),
    "VAE + k-means": scored(kmeans_on_means),
    "VaDE": scored(partial(after_warmup, "vade")),
    "DEC": scored(partial(after_warmup, "dec")),
    "NVC": scored(nearest_anchors),
}
STUDY = Study(
    "How does NVC compare with other ways to cluster?",
    ("cluster_accuracy_hungarian", "nmi", "ari"),
    {
        name: METHODS.get({"autoencoder + k-means": "ae", "VAE + k-means": "vae"}.get(name, ""), {})
        for name in MEASURES
    },
    steps=700,
)
