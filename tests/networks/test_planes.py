"""Networks of planes: what is folded, shapes of both kinds of latent, what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.networks.planes import depth_to_space, make_plane_autoencoder, space_to_depth


def options(**changes):
    plain = {
        "network": "patch2d",
        "latent": "image",
        "channels": (4, 6),
        "blocks": 1,
        "batch_norm": False,
        "dtype": "float32",
        "remat": False,
    }
    return SimpleNamespace(**plain | changes)


def test_squares_are_folded_and_unfolded():
    image = np.arange(2 * 4 * 8 * 3).reshape(2, 4, 8, 3)
    folded = space_to_depth(jnp.asarray(image), 4)
    assert folded.shape == (2, 1, 2, 48)
    np.testing.assert_array_equal(folded[1, 0, 1].reshape(4, 4, 3), image[1, :, 4:])
    np.testing.assert_array_equal(depth_to_space(folded, 4), image)


@pytest.mark.parametrize("latent", ["image", "pixel"])
def test_shapes_and_what_reaches_an_output(latent):
    encoder, decoder = make_plane_autoencoder(options(latent=latent), (8, 16), None)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 16, 5)), jnp.float32)
    (features, maps), _ = encoder.init_with_output(jax.random.key(0), x, True)
    assert features.shape == ((2, 1 * 2 * 6) if latent == "image" else (2, 2 * 4, 4))
    code = jnp.ones((*features.shape[:-1], 3), jnp.float32)
    output, weights = decoder.init_with_output(jax.random.key(1), code, True, maps)
    assert output.shape == (2, 8, 16, 4) and output.dtype == jnp.float32
    # Maps of zeros are as good as none.
    zeros = [jnp.zeros_like(x) for x in maps]
    alone = np.asarray(decoder.apply(weights, code, False))
    np.testing.assert_allclose(decoder.apply(weights, code, False, zeros), alone, atol=1e-6)
    if latent == "pixel":
        # One code stands for all squares, and squares are decoded where they are.
        same = decoder.apply(weights, code[:, 0], False)
        np.testing.assert_allclose(same, alone, atol=1e-6)
        other = np.asarray(decoder.apply(weights, code.at[0, 0].set(2.0), False)) - alone
        moved = np.abs(other).max(axis=-1) > 1e-6
        assert moved[0, :4, :4].any() and not moved[1].any() and not moved[0, :, 12:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "mlp"}, "model.network is 'mlp'"),
        ({"latent": "sentence"}, "model.latent is 'sentence'"),
        ({"channels": ()}, "model.channels is empty"),
        ({"channels": (4, 4, 4)}, r"\[8, 16\] pixels does not divide by 16"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make_plane_autoencoder(options(**changes), (8, 16), None)
