"""Networks of hands: shapes and sizes."""

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.networks.pose import make_pose_network
from tests.settings import model_options


def options(**changes):
    settings = {"channels": (8, 16), "hidden": (12,), "decoder_hidden": (10,), **changes}
    return model_options("hand_pose", **settings)


def shapes(side, **changes):
    """Shapes of features and joints, and the numbers of parameters, without computing anything."""
    encoder, head = make_pose_network(options(**changes), side, None)

    def run(image):
        features, first = encoder.init_with_output(jax.random.key(0), image, True)
        joints, second = head.init_with_output(jax.random.key(0), features, True)
        return features, joints, first["params"], second["params"]

    features, joints, *parameters = jax.eval_shape(run, jnp.zeros((2, side, side, 3), jnp.float32))
    counts = [sum(x.size for x in jax.tree.leaves(part)) for part in parameters]
    return features.shape, joints, counts


def test_an_image_becomes_features_and_a_code_joints():
    features, joints, counts = shapes(24)
    assert features == (2, 12)
    assert (joints.shape, joints.dtype) == ((2, 21, 3), jnp.float32)
    # By hand: 12 → 10 → 63 numbers, with biases.
    assert counts[1] == 12 * 10 + 10 + 10 * 63 + 63


def test_it_can_be_as_large_as_a_resnet_18():
    _, _, counts = shapes(64, channels=(64, 128, 256, 512), blocks=2, batch_norm=True)
    assert 11e6 < counts[0] < 14e6  # that has 11.2 million without its classes


def test_bfloat16_gives_float32_joints():
    _, joints, _ = shapes(16, dtype="bfloat16")
    assert joints.dtype == jnp.float32


def test_every_pixel_counts():
    encoder, _ = make_pose_network(options(channels=(4,), hidden=(3,)), 8, None)
    image = jax.random.normal(jax.random.key(1), (1, 8, 8, 1), jnp.float32)

    def slope(image):
        variables = encoder.init(jax.random.key(0), image, True)
        return jax.grad(lambda x: jnp.sum(jnp.square(encoder.apply(variables, x, True))))(image)

    assert np.mean(jax.jit(slope)(image) != 0) > 0.9
