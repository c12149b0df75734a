"""Where anchors are set once the warm-up is over."""

import numpy as np

from nvc_jax.config import make_config
from nvc_jax.model.guidance import Guidance
from nvc_jax.training.placing import place_anchors

CODES = np.array([[0.0], [1.0], [6.0], [7.0], [10.0], [11.0]], np.float32)
CHAINS = np.array([[1], [2], [3], [2], [5], [4]])  # 0-1-2-3 and 4-5


def place(labels, neighbors):
    config = make_config({"task": "table", "model.num_anchors": 2, "data.source": "python"})
    guidance = Guidance(np.array(labels, np.int32))
    return place_anchors(CODES, np.arange(6), 6, config, neighbors=neighbors, guidance=guidance)


def test_labels_of_all_anchors_spread_along_the_neighbors():
    placed = place([0, -1, -1, -1, 1, -1], CHAINS)
    assert placed.held.tolist() == [0, 0, 0, 0, 1, 1]
    assert placed.known.tolist() == [0, -1, -1, -1, 1, -1]
    np.testing.assert_allclose(placed.centers, [[3.5], [10.5]])
    np.testing.assert_allclose(placed.shares, [4 / 6, 2 / 6])


def test_without_neighbors_or_a_label_of_every_anchor_centers_alone_decide():
    for labels, neighbors in (([0, -1, -1, -1, 1, -1], None), ([0, -1, -1, -1, -1, -1], CHAINS)):
        placed = place(labels, neighbors)
        assert placed.held.tolist() == [-1] * 6
        np.testing.assert_allclose(placed.centers, [[0.5], [8.5]])
