"""Contents of reports that tests write."""

from typing import Any

import numpy as np

from nvc_jax.plots.solids import Solid, solid_cloud, solid_volume
from nvc_jax.report import Report, Table

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;" onload="alert(3)'


def images(number: int, side: int = 6, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, channels), np.uint8)


def scenes() -> dict[str, dict[str, Solid]]:
    """An L of four voxels and its corner, and a cloud with a line that is nowhere."""
    volume = np.zeros((3, 3, 3), np.uint8)
    volume[0, :, 1], volume[2, 0, 1] = 1, 2
    points = np.array([[0, 0, 0], [1, 2, 4], [np.nan, 0, 0]])
    bones = Solid(kind="bones", points=points[:2], colors=np.zeros((2, 3)))
    return {
        "example 0": {"input": solid_volume(volume > 1), "truth": solid_volume(volume)},
        "a cloud": {
            "points": solid_cloud(points, [0, 1, 255]),
            "line": bones,
            "nothing": solid_cloud(points[2:]),
        },
    }


def small(**changes: Any) -> Report:
    """Nine examples of two splits and three anchors, the last of them unused."""
    anchors = np.array([[0, 0], [4, 0], [0, 9]], np.float32)
    mean = np.array(
        [[0, 1], [0, 0.5], [0, 2], [4, 1], [4, 3], [4, 2], [0, 0], [4, 0], [0, 0]], np.float32
    )
    fields = {
        "mean": mean,
        "assignment": np.array([0, 0, 0, 1, 1, 1, 0, 1, 0]),
        "anchors": anchors,
        "label": np.array([2, 2, 5, 5, -1, 5, 2, 5, 2]),
        "split": ["test"] * 6 + ["train"] * 3,
        "class_names": ("a", "b", "cat"),
        "num_nearest": 2,
    }
    return Report(**{**fields, **changes})


def full(**changes: Any) -> Report:
    """`small` with everything that there can be."""
    image = images(9)
    fields = {
        "pictures": image.__getitem__,
        "texts": lambda ids: [f"line {k}" for k in ids],
        "decoded": images(3, seed=1) / 255.0,
        "samples": images(6, seed=2).reshape(3, 2, 6, 6, 1),
        "examples": {"input": image[:2], "reconstruction": image[2:4]},
        "scenes": scenes(),
        "figures": {"a drawing": images(1, 40, 3)[0]},
        "metrics": {"nmi": 0.123456, "ari": None, "a_metric_with_a_long_name_hungarian": 1.0},
        "reasons": {"ari": "there are no labels"},
        "notes": {
            "nmi": "arithmetic mean",
            "a_metric_with_a_long_name_hungarian": "what stands behind this number. " * 4,
        },
        "records": [{"step": s, "loss": 10.0 / s, "validation/loss": 1.0 * s} for s in (1, 2, 3)],
        "config": {"model": {"latent_dim": 2}, "task": "image"},
        "events": {"anchors set": 2},
        "facts": {"step": 1234},
        "tsne_examples": 9,
    }
    return small(**{**fields, **changes})


def table(**changes: Any) -> Report:
    """Six rows of two clusters and three features, of which the second is the same everywhere."""
    values = np.array([[0, 5, 1], [1, 5, 2], [2, 5, 3], [10, 5, 1], [11, 5, 2], [12, 5, 3]], float)
    fields = {
        "mean": values[:, :2],
        "assignment": np.array([0, 0, 0, 1, 1, 1]),
        "anchors": np.array([[1.0, 5.0], [11.0, 5.0]]),
        "table": Table(
            columns=["length", EVIL, "width"], values=values, decoded=values[[1, 4]],
            samples=values[[[0], [3]]], row_names=["a", "b", "c", "d", "e", "f"],
        ),
        "num_nearest": 2,
    }  # fmt: skip
    return Report(**{**fields, **changes})


def evil() -> Report:
    return full(
        anchors=np.zeros((3, 2), np.float32), events={EVIL: 1},
        title=EVIL, class_names=(EVIL,) * 6, split=[EVIL] * 6 + ["train"] * 3,
        texts=lambda ids: [EVIL] * len(ids), metrics={EVIL: 1.0, "no": None},
        reasons={"no": EVIL}, notes={EVIL: EVIL}, config={EVIL: {"key": EVIL}}, facts={EVIL: EVIL},
        scenes={EVIL: {EVIL: solid_cloud(np.zeros((1, 3)))}}, figures={EVIL: images(1, 40, 3)[0]}, examples={EVIL: [EVIL, EVIL]},
        records=[{"step": s, EVIL: 1.0 * s, f"{EVIL}/{EVIL}": 2.0 * s} for s in (1, 2)],
    )  # fmt: skip
