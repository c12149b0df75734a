"""Examples made of stored shapes: what is seen of them, and scenes composed of them."""

from typing import Any, ClassVar

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec
from nvc_jax.data.base.options import NUM_POINTS
from nvc_jax.data.base.source import FieldSource, Source, select
from nvc_jax.data.shapes.clouds import resample
from nvc_jax.data.shapes.scenes import (
    SCENE_OPTIONS,
    SceneClouds,
    SceneVolumes,
    scene_parts,
)
from nvc_jax.data.shapes.stretch import STRETCH_OPTIONS, with_stretched_copies
from nvc_jax.data.shapes.views import (
    OBLIQUE_VIEWS,
    SIDES,
    VIEW_OPTIONS,
    PartialClouds,
    PartialVolumes,
)
from nvc_jax.geometry.labels import UNKNOWN


class _MadeOfShapes(Examples):
    """Examples made of stored shapes and their stretched copies; completion pairs are taken as they are.

    Attributes:
      stored: the field of shapes that they are made of.
    """

    stored: ClassVar = "voxels"

    @classmethod
    def make(cls, source: Source, config: Any, split: str, learned: Learned = NOTHING) -> Source:
        """See `Examples`."""
        if "partial" in source.spec:
            return source
        return cls._made(select(source, (cls.stored, "label")), config.data, split)

    @classmethod
    def _made(cls, shapes: Source, data: Any, split: str) -> Source:
        """The examples of stored shapes; `data` is `config.data`."""
        raise NotImplementedError


class _VolumeExamples(_MadeOfShapes):
    """Partial and complete volumes."""

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Partial volumes `[N, X, Y, Z]` as a source, with everything else unknown."""
        partial = np.asarray(inputs)
        complete = np.full(partial.shape, UNKNOWN, np.uint8)
        return FieldSource({"partial": (partial != 0).astype(np.uint8), "complete": complete})


class VoxelViews(_VolumeExamples):
    """Views of stored volumes."""

    options = (*VIEW_OPTIONS, *STRETCH_OPTIONS)

    @classmethod
    def _made(cls, shapes: Source, data: Any, split: str) -> Source:
        return PartialVolumes(
            with_stretched_copies(shapes, data, split),
            views=SIDES if data.side_views else (),
            num_oblique=data.oblique_views,
            seed=data.view_seed,
        )


class VoxelScenes(_VolumeExamples):
    """Scenes composed of stored volumes."""

    options = (
        *SCENE_OPTIONS,
        *STRETCH_OPTIONS,
        Option("data.scene_size", (32, 16, 32), "voxels", at_least=1),
    )

    @classmethod
    def _made(cls, shapes: Source, data: Any, split: str) -> Source:
        return SceneVolumes(size=tuple(data.scene_size), **scene_parts(shapes, data, split))


class PointViews(_MadeOfShapes):
    """Oblique views of stored clouds."""

    options = (OBLIQUE_VIEWS, NUM_POINTS, *STRETCH_OPTIONS)
    stored = "points"

    @classmethod
    def _made(cls, shapes: Source, data: Any, split: str) -> Source:
        return PartialClouds(
            with_stretched_copies(shapes, data, split),
            num_views=data.oblique_views,
            num_points=data.num_points,
            seed=data.view_seed,
        )

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Partial clouds `[n, P, 3]` of any number P of points as a source."""
        partial = as_clouds(inputs, spec["partial"].shape)
        complete = np.zeros((len(partial), *spec["complete"].shape), np.float32)
        return FieldSource({"partial": partial, "complete": complete})


class LabeledClouds(_MadeOfShapes):
    """Clouds as they are, or scenes composed of stored clouds with `data.compose_scenes`."""

    options = (
        Option("data.compose_scenes", False, "scenes of shapes, labeled by class, not shapes"),
        NUM_POINTS,
        *SCENE_OPTIONS,
        *STRETCH_OPTIONS,
    )
    stored = "points"

    @classmethod
    def make(cls, source: Source, config: Any, split: str, learned: Learned = NOTHING) -> Source:
        """See `Examples`."""
        if not config.data.compose_scenes:
            return select(source, ("points", "point_label", "label"))
        return super().make(source, config, split, learned)

    @classmethod
    def _made(cls, shapes: Source, data: Any, split: str) -> Source:
        return SceneClouds(num_points=data.num_points, **scene_parts(shapes, data, split))

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Clouds `[n, P, C]` of any number P of points as a source, their classes unknown."""
        points = as_clouds(inputs, spec["points"].shape)
        unknown = np.full(points.shape[:2], UNKNOWN, np.uint8)
        return FieldSource({"points": points, "point_label": unknown})


def as_clouds(inputs: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A user's clouds `[n, P, C]` with the number of points of the training, `[n, *shape]`.

    Clouds of another number of finite points are resampled, see `resample`: the draw depends on the
    cloud alone, and not on its place among others.

    Args:
      inputs: numbers `[n, P, C]`; rows with a value that is not finite are left out.
      shape: number of points and channels of the training.

    Returns:
      float32 `[n, *shape]`.

    Raises:
      UserError: for another rank or number of channels, or a cloud without a finite point.
    """
    try:
        clouds = np.asarray(inputs, np.float32)
    except ValueError:
        raise UserError(
            f"Clouds are one array of numbers [n, P, {shape[1]}], got none: encode clouds of "
            "different numbers of points one after the other."
        ) from None
    if clouds.ndim != 3 or clouds.shape[2] != shape[1]:
        raise UserError(f"Clouds are [n, P, {shape[1]}], got shape {clouds.shape}.")
    drawn = np.empty((len(clouds), *shape), np.float32)
    for i, cloud in enumerate(clouds):
        rng = np.random.default_rng(0)
        drawn[i] = cloud[resample(cloud, shape[0], rng, f"cloud {i}")]
    return drawn
