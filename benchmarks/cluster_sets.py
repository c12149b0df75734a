"""Data sets with clusters that are known: what comes with scikit-learn or is made here, and files of a folder."""

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.feature_extraction.text import CountVectorizer

Data = tuple[np.ndarray, np.ndarray]
"""Examples and their labels."""


class Set(NamedTuple):
    """A data set.

    Attributes:
      kind: `images`, `table`, `counts` or `words`.
      read: folder → examples and labels; what needs no file does not look at the folder.
    """

    kind: str
    read: Callable[[Path], Data]


def _images(folder: Path) -> Data:
    """Digits `[N, 8, 8]`."""
    x, y = datasets.load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8), y


def _uneven(folder: Path) -> Data:
    """Of every digit 0.65 times as many as of the one before, at least 12, at random: 178 zeros, 12 nines."""
    x, y = datasets.load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    some = [
        draw.permutation(np.flatnonzero(y == c))[: max(12, int(178 * 0.65**c))] for c in range(10)
    ]
    kept = np.concatenate(some)
    return x[kept], y[kept]


def _stretched(folder: Path) -> Data:
    """Three blobs, stretched askew, as in scikit-learn's comparison of methods."""
    x, y = datasets.make_blobs(500, centers=3, random_state=170)
    return x @ [[0.6, -0.6], [-0.4, 0.8]], y


def _mixed(folder: Path) -> Data:
    """900 rows of three clusters: four numbers, two of which tell something, a color, and yes or no.

    The color, one of four of which one is rare, is the cluster's in 85 % of the rows. Categories have a column for each
    value, as `OneHotEncoder` gives them.
    """
    draw = np.random.default_rng(0)
    y = draw.integers(3, size=900)
    numbers = draw.normal(size=(900, 4))
    numbers[:, 0] += np.array([0.0, 2.0, 4.0])[y]
    numbers[:, 1] += np.array([0.0, 2.0, 0.0])[y]
    color = np.where(draw.random(900) < 0.8, y, draw.integers(3, size=900))
    color = np.where(draw.random(900) < 0.02, 3, color)
    yes = (draw.random(900) < np.array([0.1, 0.5, 0.9])[y]).astype(int)
    return np.concatenate([numbers, np.eye(4)[color], np.eye(2)[yes]], axis=1), y


def _npz(folder: Path, name: str) -> Data:
    """`x` and `y` of an archive."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        return file["x"].astype(np.float32), file["y"]


def _texts(folder: Path, name: str) -> Data:
    """How often the 2,000 most frequent words are in each text, of those in 5 texts and a tenth at most."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    words = CountVectorizer(min_df=5, max_df=0.1, max_features=2000, stop_words="english")
    x = words.fit_transform([row["text"] for row in rows]).toarray()
    y = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    return x.astype(np.float32), y


SETS: dict[str, Set] = {
    "digits": Set("table", lambda _: datasets.load_digits(return_X_y=True)),
    "digits, as images": Set("images", _images),
    "digits, uneven": Set("table", _uneven),
    "usps": Set("images", partial(_npz, name="usps")),
    "blobs": Set("table", lambda _: datasets.make_blobs(500, centers=3, random_state=170)[:2]),
    "blobs, one of 60 %": Set(
        "table",
        lambda _: datasets.make_blobs([1200, *(200,) * 4], n_features=10, random_state=0)[:2],
    ),
    "blobs, stretched": Set("table", _stretched),
    "moons": Set("table", lambda _: datasets.make_moons(500, noise=0.05, random_state=0)),
    "circles": Set(
        "table", lambda _: datasets.make_circles(500, factor=0.5, noise=0.05, random_state=0)
    ),
    "numbers and categories": Set("table", _mixed),
    "iris": Set("table", lambda _: datasets.load_iris(return_X_y=True)),
    "wine": Set("table", lambda _: datasets.load_wine(return_X_y=True)),
    "breast cancer": Set("table", lambda _: datasets.load_breast_cancer(return_X_y=True)),
    **{
        f"table_{name}": Set("table", partial(_npz, name=f"table_{name}"))
        for name in ("satellite", "vowel", "shuttle", "letter")
    },
    **{
        f"cells_{name}": Set("counts", partial(_npz, name=f"cells_{name}"))
        for name in ("pbmc", "worm", "kidney")
    },
    "text_packages": Set("words", partial(_texts, name="text_packages")),
}
"""Every set by its name, in the order of the table."""
