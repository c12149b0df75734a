"""Hand pose: a crop of depth or color → 21 joints, in mm."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.base.source import Source
from nvc_jax.data.hands.crops import HandExamples
from nvc_jax.geometry.cameras import rays_of
from nvc_jax.geometry.joints import NUM_JOINTS, WRIST
from nvc_jax.metrics import pose as pose_metrics
from nvc_jax.model.autoencoder import LatentModel, make_bottleneck
from nvc_jax.networks.pose import POSE_NETWORKS, Poses, make_pose_network
from nvc_jax.tasks.augment import ASSIGN_FROM, ROTATION, SCALE, affine
from nvc_jax.tasks.base import Outputs, Task, unit_pixels

UNIT = 100.0
"""Millimeters in the unit of the network's output."""

ERROR_UNIT = 5.0
"""Millimeters in the unit of the reconstruction error."""

SMOOTH = 1.0
"""Millimeters below which an error counts by its square."""

FIELDS = {
    "image": ("[S, S, C]", "uint8"),
    "joints": (f"[{NUM_JOINTS}, 3]", "float32"),
    "camera": ("[4]", "float32"),
    "center": ("[3]", "float32"),
    "visible": (f"[{NUM_JOINTS}]", "bool"),
}


def turn_hands(
    batch: Mapping[str, jax.Array], image: jax.Array, rotation: jax.Array, zoom: jax.Array
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Turns cameras about their axes, and makes hands larger about their `center`.

    A camera that is turned sees a turned image, of joints and a center that are turned about z: nothing
    is approximated. A hand that is z times as large about `center` has an image that is z times as large
    as far as its own depth is small beside its distance.

    Args:
      batch: `FIELDS`.
      image: float32 `[B, S, S, C]`, from 0 to 1.
      rotation: radians `[B]`, counter-clockwise.
      zoom: `[B]`, factor by which a hand grows.

    Returns:
      The batch and the image; the one that the batch itself holds is left as it is.
    """
    cos, sin, zero = jnp.cos(rotation), jnp.sin(rotation), jnp.zeros_like(rotation)
    turn = jnp.stack([cos, sin, zero, -sin, cos, zero, zero, zero, zero + 1], axis=1)
    turn = turn.reshape(-1, 3, 3)

    def turned(points: jax.Array) -> jax.Array:
        return jnp.einsum("bik,b...k->b...i", turn, points)

    middle = (image.shape[1] - 1) / 2
    principal = jnp.einsum("bik,bk->bi", turn[:, :2, :2], batch["camera"][:, 2:] - middle) + middle
    center = batch["center"]
    about = zoom[:, None, None] * (batch["joints"] - center[:, None])
    changed = {
        "joints": turned(about) + turned(center)[:, None],
        "center": turned(center),
        "camera": jnp.concatenate([batch["camera"][:, :2], principal], axis=1),
    }
    still = jnp.zeros_like(rotation)
    warped = affine(
        image, shift=jnp.zeros_like(principal), rotation=rotation, zoom=zoom, shear=still
    )
    if image.shape[-1] != 3:  # the last channel is depth, of which a half is that of the center
        depth = warped[..., -1:]
        grown = jnp.clip(0.5 + zoom[:, None, None, None] * (depth - 0.5), 0.0, 1.0)
        warped = jnp.concatenate([warped[..., :-1], jnp.where(depth > 0, grown, 0.0)], axis=-1)
    return {**batch, **changed}, warped


class PoseModel(LatentModel):
    """A model whose output is `Poses`, and whose decoder sees the features that the code is made of."""

    def features(self, batch: Mapping[str, jax.Array], train: bool) -> tuple[jax.Array, Any]:
        """See `LatentModel`."""
        features = self.encoder(batch[self.field], train)
        return features, features

    def output(
        self, code: jax.Array, context: Any, train: bool, example_index: jax.Array | None
    ) -> Any:
        """See `LatentModel`."""
        del example_index
        return self.decoder(code, train, context)


class HandPoseTask(Task):
    """Joints about the wrist, and the wrist about the crop's `center`: from the code, or from the features beside it."""

    options = (ROTATION, SCALE, ASSIGN_FROM)
    networks = POSE_NETWORKS
    examples = HandExamples
    fields = FIELDS

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        self.side, width, self.channels = spec["image"].shape
        if width != self.side or self.channels not in (1, 3, 4):
            raise UserError(
                "Images of hands are square, with 1 (depth), 3 (color) or 4 channels (both), got "
                f"{list(spec['image'].shape)}."
            )

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; joints are finite numbers, and centers lie in front of a camera."""
        for name in ("joints", "center", "camera"):
            if not np.isfinite(batch[name]).all():
                raise UserError(f"{name} holds values that are not finite: fetch the data again.")
        if not (batch["center"][:, 2] > 0).all() or not (batch["camera"][:, :2] > 0).all():
            raise UserError(
                "center[2] and the focal lengths in camera are above 0: check the data."
            )

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        encoder, head = make_pose_network(self.config.model, self.side, axis_name)
        return PoseModel(encoder, make_bottleneck(self.config), head, field="view")

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; the model's input `view` has the image and where each pixel looks.

        With keys, cameras are turned by up to `augment.rotation`, and hands are up to 1 +
        `augment.scale` times as large or as small, see `turn_hands`.
        """
        prepared: dict[str, Any] = dict(batch)
        image = batch["image"].astype(jnp.float32) / 255.0
        rotation, scale = self.config.augment.rotation, self.config.augment.scale
        if keys is not None and (rotation or scale):
            if self.config.augment.assign_from == "clean":
                prepared["clean"] = {"view": self._view(batch["camera"], image)}
            amount = jax.vmap(lambda key: jax.random.uniform(key, (2,), jnp.float32, -1.0, 1.0))(
                keys
            )
            zoom = jnp.exp(float(np.log1p(scale)) * amount[:, 1])
            turned, image = turn_hands(batch, image, rotation * amount[:, 0], zoom)
            prepared |= turned
        prepared["view"] = self._view(prepared["camera"], image)
        prepared["target"] = prepared["joints"]
        return prepared

    def _view(self, camera: jax.Array, image: jax.Array) -> jax.Array:
        """The image from −0.5 to 0.5, beside the slopes of the rays through its pixels."""
        rays = rays_of(camera, self.side, self.side)
        return jnp.concatenate([image - 0.5, rays[..., :2]], axis=-1)

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """`Σ_j √(‖p_j − t_j‖² + s²) − s` over the visible joints, float32 `[B]`, in units of 5 mm.

        The wrist counts about `center`, every other joint about its hand's wrist; where the true wrist is
        not known, the predicted one takes its place. s is 1 mm. Distances, which the measures are means
        of too, were 1 mm better than their squares on validation hands. Where joints are made of the
        features, the pose that the code alone gives has an error of its own, times `loss.code_pose`: so that
        an anchor stands for a pose.
        """
        poses = outputs.output
        error = self._error(poses.joints, batch)
        weight = self.config.loss.get("code_pose", 0.0)
        return error + weight * self._error(poses.of_code, batch) if weight else error

    def _error(self, joints: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """See `reconstruction`."""
        predicted, center = joints * (UNIT / ERROR_UNIT), batch["center"][:, None]
        truth = (batch["target"] - center) / ERROR_UNIT
        visible = batch["visible"]
        root = jnp.where(visible[:, WRIST, None], truth[:, WRIST], predicted[:, WRIST])
        truth = (truth - root[:, None]).at[:, WRIST].set(root)
        smooth = SMOOTH / ERROR_UNIT
        square = jnp.sum(jnp.square(predicted - truth), axis=-1)
        error = jnp.sqrt(square + smooth**2) - smooth
        return jnp.sum(jnp.where(visible, error, 0.0), axis=1)

    def with_known(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> Poses:
        """The output, with the wrist about the camera."""

        def about_camera(joints: jax.Array) -> jax.Array:
            return joints.at[:, WRIST].add(batch["center"] / UNIT)

        return jax.tree.map(about_camera, outputs.output)

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The joints themselves, which `summary` measures."""
        joints = self.finish(self.with_known(outputs, batch))
        return {"predicted": joints, "joints": batch["target"], "visible": batch["visible"]}

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """See `pose_measures` in nvc_jax/metrics/pose.py."""
        return pose_metrics.pose_measures(
            encoded["predicted"], encoded["joints"], encoded["visible"]
        )

    def finish(self, output: Any) -> jax.Array:
        """Joints float32 `[N, 21, 3]` in camera axes, mm; about `center` where no image is given."""
        root = output.joints[:, WRIST : WRIST + 1]
        is_wrist = np.arange(NUM_JOINTS)[None, :, None] == WRIST
        return UNIT * jnp.where(is_wrist, root, output.joints + root)

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """The pixels, from 0 to 1."""
        return unit_pixels(batch)
