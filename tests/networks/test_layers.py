"""What networks share: folded pixels and voxels, and options of all of them that do not fit."""

import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.networks.images import make_autoencoder
from nvc_jax.networks.layers import depth_to_space, space_to_depth
from nvc_jax.networks.planes import make_plane_autoencoder
from nvc_jax.networks.points import make_point_autoencoder, make_point_segmentation
from nvc_jax.networks.pose import make_pose_network
from nvc_jax.networks.transformer import make_transformer
from nvc_jax.networks.voxels import make_volume_autoencoder
from nvc_jax.tasks import TASKS
from tests.refusals import refused
from tests.settings import model_options

MAKERS = {
    "image": lambda options, size: make_autoencoder(options, (*size, 1), None),
    "voxel_completion": lambda options, size: make_volume_autoencoder(options, size, 1, None),
    "point_completion": lambda options, size: make_point_autoencoder(options, None),
    "point_segmentation": lambda options, size: make_point_segmentation(options, 4, 2, None),
    "translation": lambda options, size: make_transformer(options, 9),
    "hand_pose": lambda options, size: make_pose_network(options, size, None),
    "planar_reconstruction": lambda options, size: make_plane_autoencoder(options, size, None),
}
"""Makes a task's network for a size of its inputs."""


def test_every_voxel_folds_to_its_place_and_back():
    x = np.arange(2 * 4 * 2 * 6 * 3, dtype=np.float32).reshape(2, 4, 2, 6, 3)
    folded = np.asarray(space_to_depth(jnp.asarray(x), 2))
    assert folded.shape == (2, 2, 1, 3, 24)
    for index in np.ndindex(*x.shape):
        b, i, j, k, c = index
        channel = ((i % 2 * 2 + j % 2) * 2 + k % 2) * 3 + c
        assert folded[b, i // 2, j // 2, k // 2, channel] == x[index]
    np.testing.assert_array_equal(depth_to_space(jnp.asarray(folded), 2), x)


def test_squares_are_folded_and_unfolded():
    image = np.arange(2 * 4 * 8 * 3).reshape(2, 4, 8, 3)
    folded = space_to_depth(jnp.asarray(image), 4)
    assert folded.shape == (2, 1, 2, 48)
    np.testing.assert_array_equal(folded[1, 0, 1].reshape(4, 4, 3), image[1, :, 4:])
    np.testing.assert_array_equal(depth_to_space(folded, 4), image)


def test_every_network_goes_by_its_name_and_precision():
    alike = {"table", "counts", "semantic_completion", "image_completion"}
    of_benchmarks = {"image_heads"}  # registered once its module was imported
    assert MAKERS.keys() | alike == TASKS.keys() - of_benchmarks
    for task, kind in TASKS.items():
        networks = ", ".join(sorted(kind.networks))
        for changes, message in (
            ({"model.network": "resnet"}, f"'resnet': use one of {networks}"),
            ({"model.dtype": "float16"}, "'float16': use one of float32, bfloat16"),
        ):
            refused(message, make_config, {"task": task, **changes})


PCN, DGCNN, PLANAR = {"network": "pcn"}, {"network": "dgcnn"}, "planar_reconstruction"


@pytest.mark.parametrize(
    ("task", "size", "changes", "message"),
    [
        ("image", (4, 4), {"hidden": ()}, "model.hidden is empty: give at least one"),
        ("voxel_completion", (8, 8, 8), {"channels": ()}, "model.channels is empty"),
        ("voxel_completion", (16, 12, 16), {}, r"\[16, 12, 16\].* divide by 8.*patch3d"),
        ("voxel_completion", (16, 16, 18), {"network": "conv3d"}, r"18\].* divide by 4.*conv3d"),
        ("point_completion", None, {"hidden": ()}, "model.hidden is empty"),
        ("point_completion", None, {"fold_hidden": ()}, "model.fold_hidden is empty"),
        ("point_completion", None, {"num_coarse": 0}, "model.num_coarse is 0: it must be at least"),
        ("point_completion", None, {**PCN, "hidden": (4, 5, 6)}, "3 widths: pcn needs 4, 6"),
        ("point_completion", None, {**PCN, "hidden": (4, 5)}, "has 2 widths"),
        ("point_segmentation", None, {"hidden": (4, 5)}, "has 2 widths: pointnet needs 3"),
        ("point_segmentation", None, {"decoder_hidden": ()}, "model.decoder_hidden is empty"),
        ("point_segmentation", None, {**DGCNN, "hidden": (4,)}, "1 widths: dgcnn needs 2"),
        ("point_segmentation", None, {**DGCNN, "num_neighbors": 0}, "num_neighbors is 0"),
        ("point_segmentation", None, {**DGCNN, "dilations": (1,)}, "give 2 numbers, one for"),
        ("point_segmentation", None, {**DGCNN, "dilations": (1, 2.5)}, "expected int"),
        ("point_segmentation", None, {**DGCNN, "dilations": (1, 0)}, "at least 1"),
        ("translation", None, {"width": 8, "num_heads": 3}, "width is 8: .*even .*heads = 3"),
        ("translation", None, {"width": 9, "num_heads": 3}, "model.width is 9"),
        ("translation", None, {"decoder_layers": 0}, "decoder_layers is 0: it must be at least 1"),
        ("translation", None, {"dropout": 1.0}, "model.dropout is 1.0: it must be"),
        ("hand_pose", 24, {"channels": ()}, "model.channels is empty"),
        ("hand_pose", 24, {"channels": (4, 4, 4, 4)}, r"\[24, 24\] do not divide by 32.*4 model"),
        (PLANAR, (8, 16), {"latent": "sentence"}, "'sentence': use one of image, pixel"),
        (PLANAR, (8, 16), {"channels": ()}, "model.channels is empty"),
        (PLANAR, (8, 16), {"channels": (4, 4, 4)}, r"\[8, 16\] do not divide by 16"),
    ],
)
def test_options_that_make_no_network_are_named(task, size, changes, message):
    if "dilations" in changes:
        changes = {"hidden": (4, 5, 6), **changes}
    refused(message, lambda: MAKERS[task](model_options(task, **changes), size))
