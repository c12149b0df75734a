"""Hands whose joints can be told apart in an image: each has a place, a depth and a color of its own."""

import pickle

import numpy as np
from scipy.io import savemat

from tests.sources import take

FINGERS = ("thumb", "index", "middle", "ring", "little")
PARTS = ("base", "middle", "last", "tip")
OURS = ("wrist", *(f"{finger} {part}" for finger in FINGERS for part in PARTS))
"""The project's order of joints, by names."""

_GRID = np.arange(21)
PLACES = dict(
    zip(
        OURS,
        np.stack([_GRID % 5 * 40.0 - 80, _GRID // 5 * 40.0 - 80, _GRID * 8.0 - 80], axis=-1),
        strict=True,
    )
)
"""Where each joint lies from the middle of the hand, mm; no two are at one depth."""

COLORS = {name: (10 + 11 * i, 250 - 11 * i, 37 * (i + 1) % 256) for i, name in enumerate(OURS)}


def joints(names, middle) -> np.ndarray:
    """The joints of these names around a middle, `[N, 3]`, mm."""
    return np.stack([PLACES[name] for name in names]) + np.asarray(middle, float)


def project(points, camera) -> tuple[list[float], list[float]]:
    """Columns and rows, in pixels, of points."""
    fx, fy, cx, cy = (float(value) for value in camera)
    return [fx * x / z + cx for x, _, z in points], [fy * y / z + cy for _, y, z in points]


def paint(image, points, camera, values, radius=3) -> np.ndarray:
    """Puts a square of each value where each point is seen."""
    for u, v, value in zip(*project(points, camera), values):
        row, column = round(v), round(u)
        image[
            max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1
        ] = value
    return image


def seen(example) -> np.ndarray:
    """What the crop shows at each joint of an example, `[21, C]`."""
    columns, rows = project(example["joints"], example["camera"])
    return np.stack([example["image"][round(v), round(u)] for u, v in zip(columns, rows)]).astype(
        int
    )


def assert_shown(example, middle, there, rtol=1e-5, atol=0.0) -> None:
    """The joints that are there are true and seen by their depth, the others at the center."""
    expected = joints(OURS, middle)
    np.testing.assert_array_equal(example["visible"], there)
    np.testing.assert_allclose(example["joints"][there], expected[there], rtol=rtol, atol=atol)
    np.testing.assert_array_equal(
        example["joints"][~there], np.tile(example["center"], ((~there).sum(), 1))
    )
    near = example["center"][2] + 150 - expected[there, 2]
    np.testing.assert_allclose(seen(example)[there, 0], 1 + near * 254 / 300, atol=0.51)
    assert example["image"][0, 0, 0] == 0  # there is nothing else


def first(source, number=0):
    """One example of a source, which is sent as reader processes get it."""
    sent = pickle.loads(pickle.dumps(source))
    return {name: values[0] for name, values in take(sent, number).items()}


def mat(**fields):
    """Writes a MATLAB file of these fields to a path."""
    return lambda path: savemat(path, fields)
