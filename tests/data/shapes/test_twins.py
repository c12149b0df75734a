"""Shapes that are nearly alike."""

import numpy as np

from nvc_jax.data.shapes import twins
from nvc_jax.data.shapes.twins import groups_of_twins, has_twin


def boxes(*sizes, side=8):
    """Boxes at the corner, `[N, side, side, side]`."""
    volumes = np.zeros((len(sizes), side, side, side), np.uint8)
    for volume, (x, y, z) in zip(volumes, sizes, strict=True):
        volume[:x, :y, :z] = 1
    return volumes


def test_groups_are_connected_by_pairs_above_the_threshold():
    # 8, 7 and 6 high: neighbors have an IoU of 7/8 and 6/7, the outer two 6/8 alone.
    chain = boxes((4, 8, 4), (4, 7, 4), (4, 6, 4), (2, 2, 2))
    chain[1] = np.roll(chain[1], 3, axis=0)  # where a shape stands does not count
    assert groups_of_twins(chain, 0.85).tolist() == [0, 0, 0, 1]
    assert groups_of_twins(chain, 0.86).tolist() == [0, 0, 1, 2]
    assert groups_of_twins(chain, 0.9).tolist() == [0, 1, 2, 3]


def test_turned_and_mirrored_shapes_are_twins_and_fallen_ones_are_not():
    shape = boxes((6, 2, 2))[0]
    shape[4:6, :4, :2] = 1
    shape[0, 0, 3] = 1
    turns = [np.rot90(shape, n, axes=(0, 2)) for n in range(4)]
    fallen = np.rot90(shape, 1, axes=(0, 1))
    alike = np.stack([*turns, *(turn[::-1] for turn in turns), fallen])
    assert groups_of_twins(alike, 0.99).tolist() == [*[0] * 8, 1]


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    own = rng.random((20, 6, 6, 6)) < rng.uniform(0.1, 0.9, (20, 1, 1, 1))
    shapes = np.concatenate([own, own[rng.permutation(20)[:9], ::-1]])
    whole, near = groups_of_twins(shapes), has_twin(shapes[:7], shapes[5:], 0.5)
    assert len(np.unique(whole)) == 20 and near.any() and not near.all()
    monkeypatch.setattr(twins, "BLOCK", 4)
    np.testing.assert_array_equal(groups_of_twins(shapes), whole)
    np.testing.assert_array_equal(has_twin(shapes[:7], shapes[5:], 0.5), near)


def test_known_shapes_as_they_stand():
    known = boxes((4, 8, 4), (2, 2, 2))
    asked = boxes((4, 7, 4), (3, 3, 3))
    assert has_twin(asked, known, 0.8).tolist() == [True, False]  # 7/8; 8/27
    assert has_twin(np.roll(asked, 4, axis=1), known, 0.8).tolist() == [False, False]
    assert has_twin(np.zeros_like(asked), known * 0, 0.9).tolist() == [True, True]
