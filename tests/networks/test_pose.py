"""Networks of hands: shapes and sizes, and what joints are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.networks.pose import make_pose_network
from tests.settings import model_options


def options(**changes):
    settings = {"channels": (8, 16), "hidden": (12,), "decoder_hidden": (10,), **changes}
    return model_options("hand_pose", **settings)


def shapes(side, **changes):
    """Shapes of features and poses, and the numbers of parameters, without computing anything."""
    encoder, head = make_pose_network(options(**changes), side, None)

    def run(image):
        features, first = encoder.init_with_output(jax.random.key(0), image, True)
        poses, second = head.init_with_output(jax.random.key(0), features[:, :7], True, features)
        return features, poses, first["params"], second["params"]

    features, poses, *parameters = jax.eval_shape(run, jnp.zeros((2, side, side, 3), jnp.float32))
    counts = [sum(x.size for x in jax.tree.leaves(part)) for part in parameters]
    return features.shape, poses, counts


def test_an_image_becomes_features_and_a_code_joints():
    features, poses, counts = shapes(24)
    assert features == (2, 12)
    assert (poses.joints.shape, poses.joints.dtype) == ((2, 21, 3), jnp.float32)
    # By hand: a code of 7 → 10 → 63 numbers, with biases.
    assert counts[1] == 7 * 10 + 10 + 10 * 63 + 63


def test_joints_of_the_features_stand_beside_the_pose_of_the_code():
    _, poses, counts = shapes(24, network="direct2d")
    assert poses.joints.shape == poses.of_code.shape == (2, 21, 3)
    # By hand: the code's head, and 12 → 10 → 63 numbers of the features.
    assert counts[1] == (7 + 12) * 10 + 2 * (10 + 10 * 63 + 63)
    _, head = make_pose_network(options(network="direct2d"), 24, None)
    code, seen = jax.random.normal(jax.random.key(1), (2, 3, 12), jnp.float32)
    variables = head.init(jax.random.key(0), code, True, seen)
    whole, other, alone = (
        head.apply(variables, *inputs)
        for inputs in ((code, True, seen), (2 * code, True, seen), (code, True))
    )
    np.testing.assert_array_equal(whole.joints, other.joints)  # no noise of a code gets there
    assert np.abs(whole.of_code - other.of_code).max() > 1e-3
    np.testing.assert_array_equal(alone.joints, whole.of_code)


def test_it_can_be_as_large_as_a_resnet_18():
    _, _, counts = shapes(64, channels=(64, 128, 256, 512), blocks=2, batch_norm=True)
    assert 11e6 < counts[0] < 14e6  # that has 11.2 million without its classes


@pytest.mark.parametrize("network", ["patch2d", "direct2d"])
def test_bfloat16_gives_float32_joints(network):
    _, poses, _ = shapes(16, dtype="bfloat16", network=network)
    assert poses.joints.dtype == poses.of_code.dtype == jnp.float32


def test_every_pixel_counts():
    encoder, _ = make_pose_network(options(channels=(4,), hidden=(3,)), 8, None)
    image = jax.random.normal(jax.random.key(1), (1, 8, 8, 1), jnp.float32)

    def slope(image):
        variables = encoder.init(jax.random.key(0), image, True)
        return jax.grad(lambda x: jnp.sum(jnp.square(encoder.apply(variables, x, True))))(image)

    assert np.mean(jax.jit(slope)(image) != 0) > 0.9
