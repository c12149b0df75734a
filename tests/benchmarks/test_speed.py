"""What programs of speed count."""

from __future__ import annotations

import pytest

from benchmarks import cost
from benchmarks.translation_speed import transformer_products
from nvc_jax.config import load_config


def test_products_of_a_transformer_step_by_hand():
    model = load_config("translation").model
    model.update({"width": 4, "feedforward": 8, "encoder_layers": 1, "decoder_layers": 1})
    found = transformer_products(model, 50, 3, 5)
    # Source: 4 squares and both feed-forward layers, keys and values; target: 6 squares and the same.
    weights = 3 * (6 * 16 + 2 * 32) + 5 * (6 * 16 + 2 * 32) + 5 * 4 * 50
    assert sum(m * k * n for m, k, n in found) == 3 * weights
    assert found[:3] == [(3, 4, 4), (4, 3, 4), (3, 4, 4)]


def test_exponents_are_slopes():
    assert cost.exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2.0)
    assert cost.exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0.0)
