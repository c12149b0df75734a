"""What the studies of configs compare: changes in one recipe for NVC."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.methods import METHODS, ONE_ANCHOR, Changes

Variants = Mapping[str, Changes]
"""What every variant changes in the recipe, by its name."""


class Study(NamedTuple):
    """A question, and the variants of a recipe that answer it.

    Attributes:
      question: in a sentence.
      columns: measures; the first one is drawn.
      variants: by name.
      recipe: config that they change.
      smaller: what makes its network fit for many runs.
      steps: length of a run.
    """

    question: str
    columns: tuple[str, ...]
    variants: Variants
    recipe: str = "mnist"
    smaller: Changes = MappingProxyType({})
    steps: int = 500


CLUSTERING = (
    "cluster_accuracy_hungarian",
    "cluster_accuracy_majority",
    "nmi",
    "kmeans_accuracy_hungarian",
    "anchors_used",
    "reconstruction",
)
NO_TRIPLET = {"loss.triplet.value": 0.0}
NO_KL = {"loss.kl.value": 0.0}
UNBALANCED = {"anchors.balanced": False}

TERMS: Variants = {
    "reconstruction": METHODS["ae"],
    "+ KL from one Gaussian (VAE)": METHODS["vae"],
    "+ anchors, without KL and triplet": {**NO_KL, **NO_TRIPLET},
    "+ KL from anchors": NO_TRIPLET,
    "+ triplet (anchor), without KL": NO_KL,
    "+ KL from anchors, triplet (anchor)": {},
    "+ KL from anchors, triplet (ratio)": {"loss.triplet_form": "ratio"},
    "+ KL from anchors, triplet (hinge, hard)": {"loss.triplet_form": "hinge"},
    "all, and bounded gravity": {"loss.gravity.value": 1.0, "loss.gravity_radius": 10.0},
    "all, and the paper's gravity": {"loss.gravity.value": 1e-3, "loss.gravity_form": "paper"},
    "all, and pull": {"loss.pull.value": 1.0},
    "KL from anchors, equal shares off": {**NO_TRIPLET, **UNBALANCED},
    "triplet without KL, equal shares off": {**NO_KL, **UNBALANCED},
    "KL from anchors, triplet, equal shares off": UNBALANCED,
}

BALANCED = {"anchors.balanced": True}
TERMS_3D: Variants = {
    "reconstruction": METHODS["ae"],
    "+ KL from one Gaussian (VAE)": METHODS["vae"],
    "+ KL from anchors": NO_TRIPLET,
    "+ triplet (anchor), without KL": NO_KL,
    "+ KL from anchors, triplet (anchor)": {},
    "KL from anchors, triplet, equal shares": BALANCED,
    "KL from anchors, triplet (ratio)": {"loss.triplet_form": "ratio"},
}

INITS = {
    "normal": {"anchors.init": "normal"},
    "spread": {"anchors.init": "spread"},
    "k-means++ on data": {"anchors.init": "kmeans++"},
    "k-means on data": {"anchors.init": "kmeans"},
}
INIT: Variants = {
    f"{name}{told}": {**changes, **more}
    for told, more in (
        (", equal shares off", UNBALANCED),
        (", equal shares off, revival", {**UNBALANCED, "anchors.revive_every": 100}),
        (", equal shares", {}),
    )
    for name, changes in INITS.items()
}

WEAK = {"loss.triplet.value": 1.0, "loss.triplet_margin": 1.0}
"""The values of the defaults."""
UNCHANGED = {f"augment.{way}": 0.0 for way in ("shift", "rotation", "scale", "shear")}
WEIGHTS: Variants = {
    "KL 1, triplet 20 with margin 10": {},
    "KL 0.1": {"loss.kl.value": 0.1},
    "KL 10": {"loss.kl.value": 10.0},
    "triplet 1 with margin 1": WEAK,
    "triplet 1 with margin 1, equal shares off": {**WEAK, **UNBALANCED},
    "triplet 100": {"loss.triplet.value": 100.0},
    "weights without ramps": {"loss.kl.duration": 0.0, "loss.triplet.duration": 0.0},
    "without warm-up": {"anchors.warmup": 0.0},
    "without augmentation": UNCHANGED,
    "without augmentation, triplet 1 with margin 1": {**UNCHANGED, **WEAK},
    "without augmentation, reconstruction": {**UNCHANGED, **METHODS["ae"]},
    "anchors chosen by the augmented view": {"augment.assign_from": "augmented"},
}

ANCHORS: Variants = {
    **{f"K = {k}, D = 10": {"model.num_anchors": k} for k in (5, 8, 10, 12, 20, 50, 200)},
    **{f"K = 10, D = {d}": {"model.latent_dim": d} for d in (2, 4, 32, 64)},
    "one anchor (VAE), D = 2": {**ONE_ANCHOR, "model.latent_dim": 2},
    "one anchor (VAE), D = 64": {**ONE_ANCHOR, "model.latent_dim": 64},
}

TRAINING: Variants = {
    "learning rate 2e-3, batches of 512": {},
    "learning rate 5e-4": {"optimizer.learning_rate": 5e-4},
    "learning rate 1e-3": {"optimizer.learning_rate": 1e-3},
    "learning rate 5e-3": {"optimizer.learning_rate": 5e-3},
    "learning rate 1e-3, constant": {
        "optimizer.learning_rate": 1e-3,
        "optimizer.schedule": "constant",
    },
    "learning rate 1e-3, batches of 256": {
        "optimizer.learning_rate": 1e-3,
        "train.batch_size": 256,
    },
    "MLP 256-128": {"model.hidden": (256, 128)},
    "MLP 1024-512-256": {"model.hidden": (1024, 512, 256)},
    "anchors stay where k-means put them": {"anchors.train": False},
    "anchor scale 0.3": {"loss.anchor_scale": 0.3},
    "anchor scale 3": {"loss.anchor_scale": 3.0},
    "triplet margin 1": {"loss.triplet_margin": 1.0},
    "triplet margin 100": {"loss.triplet_margin": 100.0},
    "the decoder draws the augmented view": {"augment.target": "augmented"},
}

STUDIES = {
    "terms": Study("Which term of the loss does what?", CLUSTERING, TERMS, steps=700),
    "terms-3d": Study(
        "Which term of the loss does what, on voxels of furniture?",
        ("iou", *CLUSTERING),
        TERMS_3D,
        "cad:voxels",
        {"model.channels": (16, 32), "model.blocks": 1},
        steps=400,
    ),
    "init": Study(
        "How should anchors begin?",
        ("cluster_accuracy_majority", "cluster_accuracy_hungarian", "nmi", "anchors_used"),
        INIT,
    ),
    "weights": Study(
        "How strong should KL and triplet be, and what else does the recipe need?",
        ("cluster_accuracy_hungarian", "nmi", "kmeans_accuracy_hungarian", "anchors_used", "kl"),
        WEIGHTS,
    ),
    "training": Study(
        "How should one train, and where should anchors and margin lie?",
        (
            "cluster_accuracy_hungarian",
            "nmi",
            "kmeans_accuracy_hungarian",
            "anchors_used",
            "reconstruction",
        ),
        TRAINING,
    ),
    "anchors": Study(
        "How many anchors, and how many latent dimensions?",
        (
            "cluster_accuracy_majority",
            "nmi",
            "kmeans_accuracy_hungarian",
            "anchors_used",
            "silhouette",
            "reconstruction",
            "train_reconstruction",
        ),
        ANCHORS,
    ),
}
