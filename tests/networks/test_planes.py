"""Networks of planes: shapes of both kinds of latent, and what reaches an output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.networks.planes import make_plane_autoencoder
from tests.networks.test_images import fill
from tests.settings import model_options


@pytest.mark.parametrize("latent", ["image", "pixel"])
def test_shapes_and_what_reaches_an_output(latent):
    encoder, decoder = make_plane_autoencoder(
        model_options("planar_reconstruction", latent=latent, channels=(4, 6)), (8, 16), None
    )
    key, x = jax.random.key(0), jnp.zeros((2, 8, 16, 5))
    features, maps = jax.eval_shape(lambda: encoder.init_with_output(key, x, True)[0])
    assert features.shape == ((2, 1 * 2 * 6) if latent == "image" else (2, 2 * 4, 4))
    code = jnp.ones((*features.shape[:-1], 3), jnp.float32)
    # Maps of zeros are as good as none.
    zeros = [jnp.zeros(x.shape, x.dtype) for x in maps]
    init = jax.eval_shape(lambda: decoder.init_with_output(key, code, True, zeros))
    output, weights = init[0], fill(init[1])
    assert output.shape == (2, 8, 16, 4) and output.dtype == jnp.float32
    decode = jax.jit(lambda code, *maps: decoder.apply(weights, code, False, *maps))
    alone = np.asarray(decode(code))
    np.testing.assert_allclose(decode(code, zeros), alone, atol=1e-6)
    if latent == "pixel":
        # One code stands for all squares, and squares are decoded where they are.
        np.testing.assert_allclose(decode(code[:, 0]), alone, atol=1e-6)
        other = decode(code.at[0, 0].set(2.0)) - alone
        moved = np.abs(other).max(axis=-1) > 1e-6
        assert moved[0, :4, :4].any() and not moved[1].any() and not moved[0, :, 12:].any()
