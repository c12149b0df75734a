"""Planar reconstruction: one image → up to 20 planes, a mask for each, and depth."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.base.source import Source
from nvc_jax.data.planes.frames import PlaneExamples
from nvc_jax.geometry.cameras import rays_of
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.geometry.plane_segmentation import Planes, planes_of_map
from nvc_jax.geometry.planes import (
    MAX_PLANES,
    NON_PLANAR,
    assumed_camera,
    pixel_rays,
    segmented_depth,
)
from nvc_jax.geometry.upright import stand_upright
from nvc_jax.metrics import planes as plane_metrics
from nvc_jax.model.anchors import assign
from nvc_jax.model.autoencoder import SkipModel, content_keys, draw_positions, make_bottleneck
from nvc_jax.networks.layers import PATCH
from nvc_jax.networks.planes import PLANE_LATENTS, PLANE_NETWORKS, make_plane_autoencoder
from nvc_jax.tasks.augment import MIRROR
from nvc_jax.tasks.base import NUM_POSITIONS, SKIP_OPTIONS, Outputs, Task, unit_pixels

PLANE_WEIGHT = 3.0
"""Of the distance between n/d and its truth in the error of a pixel, where the terms of depth and planarity have 1."""

LEAST_INVERSE_DEPTH = 0.02
"""In 1/m: predicted depths end at 50 m."""

MOST_CHANGE = 2.0
"""The depth of a pixel is that of the plane that it was found on, where that is at most so many times as large or as small."""

FIELDS = {
    "image": ("[H, W, 3]", "uint8"),
    "planes": (f"[{MAX_PLANES}, 3]", "float32"),
    "segmentation": ("[H, W]", "uint8"),
    "depth": ("[H, W]", "float32"),
    "camera": ("[4]", "float32"),
}


@flax.struct.dataclass
class PlaneMaps:
    """What the decoder makes of every pixel.

    Attributes:
      plane: float32 `[B, H, W, 3]`, n/d in 1/m.
      planar: float32 `[B, H, W]`, logit of lying on a plane.
      anchor: int32 `[B, H / 4, W / 4]`: with a latent for every pixel its nearest anchor, otherwise 0.
      camera: float32 `[B, 4]`: that of the image, or the assumed one.
    """

    plane: jax.Array
    planar: jax.Array
    anchor: jax.Array
    camera: jax.Array


class PlaneModel(SkipModel):
    """A model whose output is `PlaneMaps`.

    Attributes:
      image_size: (H, W).
    """

    image_size: tuple[int, int] = (PATCH, PATCH)

    def output(
        self, code: jax.Array, context: Any, train: bool, example_index: jax.Array | None
    ) -> Any:
        """Decodes; a code `[B, D]` of a model with a latent for every pixel is that of all of them."""
        maps = super().output(code, context, train, example_index)
        sample = code[..., : self.bottleneck.latent_dim]
        low = [side // PATCH for side in self.image_size]
        anchor = jnp.zeros((code.shape[0], *low), jnp.int32)
        if code.ndim == 3:
            rows = sample.reshape(-1, sample.shape[-1])
            anchor = assign(rows, self.bottleneck.anchors).reshape(anchor.shape)
        camera = jnp.asarray(assumed_camera(*self.image_size))
        camera = jnp.broadcast_to(camera[None], (code.shape[0], 4))
        return PlaneMaps(maps[..., :3], maps[..., 3], anchor, camera)


def mirror(batch: Mapping[str, jax.Array], mirrored: jax.Array) -> dict[str, jax.Array]:
    """Exchanges left and right in some of the examples, in all their fields.

    Args:
      batch: `FIELDS`.
      mirrored: bool `[B]`.
    """
    fx, fy, cx, cy = jnp.unstack(batch["camera"], axis=1)
    other = {
        **{name: batch[name][:, :, ::-1] for name in ("image", "segmentation", "depth")},
        "planes": batch["planes"] * jnp.array([[[-1, 1, 1]]], jnp.float32),
        "camera": jnp.stack([fx, fy, batch["image"].shape[2] - 1 - cx, cy], axis=1),
    }
    chosen = {
        name: jnp.where(mirrored.reshape(-1, *(1,) * (values.ndim - 1)), values, batch[name])
        for name, values in other.items()
    }
    return {**batch, **chosen}


class PlanarReconstructionTask(Task):
    """A plane for every pixel by its distance from the true one, its depth and its planarity.

    Planes and masks of an image are then found among these, without labels, see
    nvc_jax/geometry/plane_segmentation.py.
    """

    options = (
        *SKIP_OPTIONS,
        Option(
            "model.latent",
            "image",
            "one latent for all of it; pixel: one for every square of a small map",
            PLANE_LATENTS,
        ),
        NUM_POSITIONS,
        MIRROR,
        Option(
            "augment.color",
            0.0,
            "gains of channels, between 1 / (1 + this) and 1 + this",
            at_least=0,
        ),
        Option(
            "eval.camera_height",
            0.0,
            "of the camera above the floor, m, where it is known: planes are made to fit it; 0: unknown",
            at_least=0,
        ),
    )
    networks = PLANE_NETWORKS
    examples = PlaneExamples
    fields = FIELDS

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        height, width, _ = spec["image"].shape
        self.size = height, width
        if any(spec[name].shape != self.size for name in ("segmentation", "depth")):
            got = {name: list(spec[name].shape) for name in FIELDS}
            raise UserError(f"image, segmentation and depth have one height and width, got {got}.")

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; segmentations, depths and cameras must be such as there can be."""
        number = batch["segmentation"]
        wrong = (number > NON_PLANAR) & (number != UNKNOWN)
        if wrong.any():
            raise UserError(
                f"segmentation holds {number[wrong].max()}: planes are 0 to {MAX_PLANES - 1}, "
                f"{NON_PLANAR} is non-planar and {UNKNOWN} unknown."
            )
        if not (np.isfinite(batch["depth"]) & (batch["depth"] >= 0)).all():
            raise UserError("depth holds values that are negative or not finite: 0 is unknown.")
        if not (batch["camera"][:, :2] > 0).all():
            raise UserError("camera holds a focal length that is not above 0.")

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        options = self.config.model
        encoder, decoder = make_plane_autoencoder(options, self.size, axis_name)
        return PlaneModel(
            encoder,
            make_bottleneck(self.config),
            decoder,
            field="view",
            skips=options.skips,
            skip_dropout=options.skip_dropout,
            image_size=self.size,
        )

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; the model's input `view` has the colors and where each pixel looks.

        With keys, half of the examples are mirrored and channels have random gains, as `augment` says.
        """
        prepared, augment = dict(batch), self.config.augment
        gain = jnp.ones((batch["image"].shape[0], 3), jnp.float32)
        if keys is not None and augment.mirror:
            mirrored = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 0)))(keys)
            prepared = mirror(batch, mirrored)
        if keys is not None and augment.color > 0:
            reach = float(np.log1p(augment.color))
            gain = jnp.exp(
                jax.vmap(
                    lambda key: jax.random.uniform(
                        jax.random.fold_in(key, 1), (3,), jnp.float32, -reach, reach
                    )
                )(keys)
            )
        rays = rays_of(prepared["camera"], *self.size)
        color = prepared["image"].astype(jnp.float32) / 255.0 * gain[:, None, None] - 0.5
        prepared["view"] = jnp.concatenate([color, rays[..., :2]], axis=-1)
        prepared["rays"] = rays
        if self.config.model.latent == "pixel":
            prepared["position"] = self._positions(batch, keys)
        return prepared

    def _positions(self, batch: Mapping[str, jax.Array], keys: jax.Array | None) -> jax.Array:
        """Squares whose latents the loss sees: random ones, or one that the image decides on."""
        count = self.config.loss.num_positions
        if keys is None:
            keys, count = content_keys(batch["image"][:, ::PATCH, ::PATCH]), 1
        squares = (self.size[0] // PATCH) * (self.size[1] // PATCH)
        return draw_positions(keys, jnp.full((keys.shape[0],), squares, jnp.int32), count)

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Sum over pixels of the errors of plane, depth and planarity, float32 `[B]`.

        With p the plane n/d of a pixel and q the predicted one, on planes `3·Σ|q − p|`, where the
        depth z along the ray r is known `|q·r·z − 1|`, which is the relative error of the inverse
        depth, and the cross-entropy of lying on a plane where that is known.

        Reference: Yu et al., "Single-Image Piece-wise Planar 3D Reconstruction via Associative
        Embedding", 2019, for an L1 loss on n/d and one on `q·r·z`.
        """
        maps, number = outputs.output, batch["segmentation"]
        planar, known = number < NON_PLANAR, number != UNKNOWN
        square = jnp.sum(jnp.square(batch["planes"]), axis=-1, keepdims=True)
        inverted = batch["planes"] / jnp.where(square > 0, square, 1.0)
        row = jnp.where(planar, number, 0).astype(jnp.int32)
        target = jax.vmap(lambda planes, index: planes[index])(inverted, row)
        product = jnp.sum(maps.plane * batch["rays"], axis=-1) * batch["depth"]
        on_plane = planar.astype(jnp.float32)
        terms = (
            (planar, PLANE_WEIGHT * jnp.sum(jnp.abs(maps.plane - target), axis=-1)),
            (batch["depth"] > 0, jnp.abs(product - 1.0)),
            (known, optax.sigmoid_binary_cross_entropy(maps.planar, on_plane)),
        )
        error = sum(jnp.where(counts, term, 0.0) for counts, term in terms)
        return jnp.sum(error, axis=(1, 2))

    def with_known(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> PlaneMaps:
        """The maps, with the image's camera."""
        return outputs.output.replace(camera=batch["camera"])

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The maps themselves: planes are found among them on the host, by `summary`."""
        maps = self.with_known(outputs, batch)
        return {"plane": maps.plane, "planar": maps.planar}

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """Recall of planes and pixels, agreement of segmentations, errors of depth.

        See nvc_jax/metrics/planes.py for the conventions. Recall pools planes over the data set;
        everything else is a mean over images, of those where it is defined.
        """
        return summarize(self.iterate(encoded, source))

    def iterate(self, encoded: Mapping[str, np.ndarray], source: Source) -> Any:
        """Iterates over (stored fields, found planes, depth of every pixel) of every example."""
        for index in range(len(source)):
            truth = {name: x[0] for name, x in source.gather(np.array([index])).items()}
            maps = encoded["plane"][index], encoded["planar"][index]
            yield truth, *self._find(*maps, truth["camera"])

    def _find(
        self, plane: np.ndarray, planar: np.ndarray, camera: np.ndarray
    ) -> tuple[Planes, np.ndarray]:
        """Planes of one image, and the depth of every pixel by its own plane, float32 `[H, W]`.

        Where the camera's height is known, both are made to fit it; see nvc_jax/geometry/upright.py.
        """
        rays = pixel_rays(camera, *self.size)
        found = planes_of_map(plane, planar > 0, rays)
        inverse_depth = np.einsum("hwc,hwc->hw", plane, rays)
        depth = 1 / np.maximum(inverse_depth, LEAST_INVERSE_DEPTH)
        if self.config.eval.camera_height:
            found = stand_upright(found, inverse_depth, rays, self.config.eval.camera_height)
            of_planes = segmented_depth(found.planes, found.segmentation, rays)
            near = np.abs(np.log(np.maximum(of_planes, 1e-6) / depth)) < np.log(MOST_CHANGE)
            depth = np.where(near, of_planes, depth)
        return found, depth.astype(np.float32)

    def postprocess(self, output: Any) -> np.ndarray:
        """Records `[N]` of `planes` `[20, 3]`, `segmentation` and `depth` `[H, W]`, `camera` `[4]`.

        Their conventions are those of the sources, see nvc_jax/geometry/planes.py. `anchor`, int32
        `[H / 4, W / 4]`, is the nearest anchor of every square of pixels; 0 with one latent an image.
        """
        maps = jax.tree.map(np.asarray, output)
        kind = [
            ("planes", np.float32, (MAX_PLANES, 3)),
            ("segmentation", np.uint8, self.size),
            ("depth", np.float32, self.size),
            ("camera", np.float32, (4,)),
            ("anchor", np.int32, maps.anchor.shape[1:]),
        ]
        records = np.zeros(len(maps.plane), kind)
        for index, record in enumerate(records):
            camera, record["anchor"] = maps.camera[index], maps.anchor[index]
            found, depth = self._find(maps.plane[index], maps.planar[index], camera)
            record["planes"], record["segmentation"] = found
            record["depth"], record["camera"] = depth, camera
        return records

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """The pixels, from 0 to 1."""
        return unit_pixels(batch)


def summarize(examples: Any) -> dict[str, float]:
    """Measures of (stored fields, found planes, predicted depth) of images, see `summary`."""
    overlaps, rows = [], []
    for truth, found, depth in examples:
        rays = pixel_rays(truth["camera"], *depth.shape)
        true = truth["planes"], truth["segmentation"]
        overlaps.append(plane_metrics.plane_overlaps(true, found, rays))
        errors = plane_metrics.depth_errors(truth["depth"], depth)
        rows.append(
            {
                **_agreement(truth["segmentation"], found.segmentation),
                **{f"depth_{name}": value for name, value in errors.items()},
            }
        )
    values: dict[str, float] = {name: _mean([row[name] for row in rows]) for name in rows[0]}
    for suffix, by in (("", "depth"), ("_normal", "normal")):
        recall = plane_metrics.recall(overlaps, by)
        for name, series in zip(("plane", "pixel"), recall, strict=True):
            values |= {
                f"{name}_recall{suffix}/{level:g}": float(value)
                for level, value in zip(plane_metrics.THRESHOLDS[by], series, strict=True)
            }
    return values


def _agreement(segmentation: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """RI, VOI and SC on pixels of true planes; with what is non-planar as a segment, `…_all`."""
    values: dict[str, float] = {}
    for suffix, with_non_planar in (("", False), ("_all", True)):
        table = plane_metrics.contingency(segmentation, predicted, with_non_planar=with_non_planar)
        values |= {
            f"rand_index{suffix}": plane_metrics.rand_index(table),
            f"voi_bits{suffix}": plane_metrics.variation_of_information(table, 2.0),
            f"voi_nats{suffix}": plane_metrics.variation_of_information(table, float(np.e)),
            f"covering{suffix}": plane_metrics.segmentation_covering(table),
        }
    return values


def _mean(values: list[float]) -> float:
    """Of those that are defined."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
