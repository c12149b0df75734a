"""Synthetic scenes: models side by side on a floor, seen from one viewpoint.

Scene s is a function of the seed, s and the models alone; it is composed when it is asked for. Up to
`KEPT` scenes stay in memory: 2 bytes a voxel (32 KiB for one of 32 × 16 × 32), 13 a point (26 KiB for one of
2,048). More of them are composed anew each time, so that a run can see as many as it has examples.
"""

import abc
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import (
    DerivedSource,
    DrawnSource,
    FieldSpec,
    Source,
    select,
    stack_examples,
    subset,
)
from nvc_jax.data.shapes.clouds import resample
from nvc_jax.data.shapes.stretch import crop, resize, with_stretched_copies
from nvc_jax.data.shapes.views import (
    ELEVATION,
    camera,
    oblique_rotation,
    oblique_view,
    oblique_viewpoint,
    require_field,
    visible_points,
)
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.geometry.rotations import about_y

SCENE_OPTIONS = (
    shared.NUM_SCENES,
    shared.NUM_HELDOUT_SCENES,
    shared.VIEW_SEED,
    Option("data.models_per_scene", (2, 4), "fewest and most", at_least=1),
    Option(
        "data.class_balance",
        0.0,
        "of training scenes: a model is drawn by its class's frequency to the power of minus this; 1: "
        "classes alike",
        at_least=0,
        at_most=1,
    ),
)
"""Of `scene_parts`, beside those of stretched copies."""


VOLUME_SIDE = (10, 14)
"""Longest side of a model in a scene of voxels, in voxels."""

CLOUD_SCALE = (0.35, 0.6)
"""Scale of a model in a scene of points, whose floor is 2 wide; models are 1 long."""

KEPT = 10_000
"""Sources of more scenes keep none in memory."""

_TURN = np.pi / 4  # how far the camera of a scene of voxels stands from +z at most
_GRID = 100  # places on the floor of a scene of points, per unit
_LAYOUTS, _PLACES = 20, 50  # tries, of the whole scene and of one model


class _Scenes(DrawnSource, DerivedSource):
    """What scenes of voxels and of points share; see `Source`."""

    def __init__(
        self,
        source: Source,
        spec: dict[str, FieldSpec],
        num_scenes: int,
        models_per_scene: tuple[int, int],
        seed: int,
        shares: np.ndarray | None,
    ):
        fewest, most = models_per_scene
        if fewest > most:
            raise UserError(
                f"data.models_per_scene is {(fewest, most)}: give the fewest first, and then the most."
            )
        DrawnSource.__init__(self, num_scenes, {**spec, "label": source.spec["label"]})
        DerivedSource.__init__(self, source)
        self._models_per_scene, self._seed = (fewest, most), seed
        self._shares = shares

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        if len(self) <= KEPT:
            return super().gather(ids)
        return stack_examples([self._draw(number) for number in map(int, ids)], self.spec)

    def _draw(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((self._seed, number))
        count = int(rng.integers(*self._models_per_scene, endpoint=True))
        count = min(count, len(self._source))
        models = self._source.gather(self._choose(count, rng))
        if models["label"].max() >= UNKNOWN - 1:
            raise UserError(
                f"Scenes have {UNKNOWN - 1} classes at most, got label {models['label'].max()}."
            )
        return {**self._compose(number, models, rng), "label": -1}

    def _choose(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of the models of a scene, `[count]`."""
        if self._shares is None:
            return rng.choice(len(self._source), count, replace=False)
        number = len(self._shares)
        count = min(count, int(np.count_nonzero(self._shares)))
        models = rng.choice(number, count, replace=False, p=self._shares)
        return models + number * rng.integers(0, len(self._source) // number, count)

    @abc.abstractmethod
    def _compose(
        self, number: int, models: dict[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """The fields of one scene."""


class SceneVolumes(_Scenes):
    """Scenes of voxels, seen from above at the front.

    Models are turned by quarters and stand at least a voxel from each other. Fields: `partial`
    uint8 `[X, Y, Z]`, the surface seen; `complete` uint8 `[X, Y, Z]`, 0 empty, else 1 + the label of
    the model there, or 255 where it has none; and `label`, −1. The floor itself is left out.
    `point_class_names` are "empty" and the names of the models' classes.

    Args:
      source: models with `voxels`.
      num_scenes: number of scenes.
      size: X, Y, Z.
      models_per_scene: fewest and most; there are fewer where no place is left.
      seed: of all that is random.
      shares: how likely each model is drawn, `[n]` of sum 1, see `class_shares`; of n models and their
        copies, which follow one another, any copy is as likely. None: all alike.

    Raises:
      UserError: for a source without volumes, or fewest above most.
    """

    def __init__(
        self,
        source: Source,
        *,
        num_scenes: int,
        size: tuple[int, int, int] = (32, 16, 32),
        models_per_scene: tuple[int, int] = (2, 4),
        seed: int = 0,
        shares: np.ndarray | None = None,
    ):
        require_field(source, "voxels", "[X, Y, Z]", 3)
        volume = FieldSpec(tuple(size), np.dtype(np.uint8))
        spec = {"partial": volume, "complete": volume}
        super().__init__(source, spec, num_scenes, models_per_scene, seed, shares)
        self.point_class_names = ("empty", *self.class_names) if self.class_names else ()
        self._size = volume.shape

    def _compose(
        self, number: int, models: dict[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        solids = []
        for voxels in models["voxels"]:
            turned = np.rot90(crop(voxels != 0), int(rng.integers(4)), axes=(0, 2))
            scale = rng.integers(*VOLUME_SIDE, endpoint=True) / max(turned.shape)
            scale = min(scale, *(np.array(self._size) / turned.shape))
            size = np.maximum(1, np.round(np.array(turned.shape) * scale)).astype(int)
            solids.append(resize(turned, size))
        sizes = np.array([solid.shape for solid in solids])[:, [0, 2]]
        places = _place(sizes, np.array(self._size)[[0, 2]], rng)
        complete = np.zeros(self._size, np.uint8)
        for solid, place, label in zip(solids, places, models["label"], strict=True):
            if place is not None:
                width, height, depth = solid.shape
                x, z = place
                region = complete[x : x + width, :height, z : z + depth]
                region[solid] = UNKNOWN if label < 0 else label + 1
        azimuth = np.pi / 2 + rng.uniform(-_TURN, _TURN)
        rotation = camera(azimuth, np.deg2rad(rng.uniform(*ELEVATION)))
        return {"partial": oblique_view(complete, rotation), "complete": complete}


class SceneClouds(_Scenes):
    """Scenes of points that are seen from one viewpoint above.

    The floor, which has no points, is [−1, 1]² at y = 0; models are turned by any angle. Fields:
    `points` float32 `[P, 3]`; `point_label` uint8 `[P]`, the label of the model, 255 where it has
    none; and `label`, −1. `point_class_names` are the names of the models' classes.

    Args:
      source: models with `points` in [−0.5, 0.5].
      num_scenes: number of scenes.
      num_points: `P`.
      models_per_scene: fewest and most; there are fewer where no place is left.
      seed: of all that is random.
      shares: how likely each model is drawn, `[n]` of sum 1, see `class_shares`; of n models and their
        copies, which follow one another, any copy is as likely. None: all alike.

    Raises:
      UserError: for a source without points, or fewest above most; when a scene is composed, for a
        model that is larger than the floor.
    """

    def __init__(
        self,
        source: Source,
        *,
        num_scenes: int,
        num_points: int = 2048,
        models_per_scene: tuple[int, int] = (2, 5),
        seed: int = 0,
        shares: np.ndarray | None = None,
    ):
        require_field(source, "points", "[P, 3]", 2)
        spec = {
            "points": FieldSpec((num_points, 3), np.dtype(np.float32)),
            "point_label": FieldSpec((num_points,), np.dtype(np.uint8)),
        }
        super().__init__(source, spec, num_scenes, models_per_scene, seed, shares)
        self._num_points, self.point_class_names = num_points, self.class_names

    def _compose(
        self, number: int, models: dict[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        clouds = []
        for points in models["points"]:
            turned = points[:, :3] @ about_y(rng.uniform(0, 2 * np.pi)) * rng.uniform(*CLOUD_SCALE)
            clouds.append(turned - turned.min(axis=0))
        sizes = np.array([cloud.max(axis=0) for cloud in clouds])[:, [0, 2]]
        if sizes.max() > 2:
            raise UserError(
                f"A model of the scene is {sizes.max() / CLOUD_SCALE[1]:.3g} wide or more: scenes are "
                "made of models that are 1 long; divide the points by their extent."
            )
        places = _place(np.ceil(sizes * _GRID).astype(int), np.full(2, 2 * _GRID), rng)
        labels = np.where(models["label"] < 0, UNKNOWN, models["label"]).astype(np.uint8)
        points, point_label = [], []
        for cloud, place, label in zip(clouds, places, labels, strict=True):
            if place is not None:
                x, z = place / _GRID - 1
                points.append(cloud + np.array([x, 0, z]))
                point_label.append(np.full(len(cloud), label))
        scene, classes = np.concatenate(points), np.concatenate(point_label)
        rotation = oblique_rotation(number, 0, self._seed)
        seen = visible_points(scene, oblique_viewpoint(scene, rotation))
        drawn = seen[resample(scene[seen], self._num_points, rng)]
        return {"points": scene[drawn].astype(np.float32), "point_label": classes[drawn]}


def scene_parts(shapes: Source, options: Any, split: str) -> dict[str, Any]:
    """What scenes of every kind are made of, by `config.data`, as keywords of their sources.

    Args:
      shapes: stored ones.
      options: `config.data`.
      split: of the data.

    Raises:
      UserError: if no shape has a class, and one is asked for.
    """
    models = models_of_scenes(shapes, options)
    train = split == "train"
    balance = options.class_balance if train else 0.0
    return {
        "source": with_stretched_copies(models, options, split),
        "num_scenes": options.num_scenes if train else options.num_heldout_scenes,
        "models_per_scene": tuple(options.models_per_scene),
        "seed": options.view_seed,
        "shares": class_shares(_labels(models), balance) if balance else None,
    }


def models_of_scenes(source: Source, options: Any) -> Source:
    """The models that scenes are composed of: where `data.unlabeled_class` is set, those with a class.

    Raises:
      UserError: if there is none.
    """
    if not options.get("unlabeled_class", ""):
        return source
    chosen = np.flatnonzero(_labels(source) >= 0)
    if not chosen.size:
        raise UserError(
            "No model has a class that scenes could be composed of: set data.unlabeled_class to another "
            "class, or to nothing."
        )
    return subset(source, chosen)


def class_shares(label: np.ndarray, balance: float) -> np.ndarray:
    """How likely each model is drawn: by the frequency of its class to the power of −balance.

    Args:
      label: integers `[N]`; models without a class, −1, are one class.
      balance: 0: all models alike; 1: all classes alike.

    Returns:
      float64 `[N]`, of sum 1.

    Example:
      >>> class_shares(np.array([0, 1, 1]), 1.0).tolist()
      [0.5, 0.25, 0.25]
    """
    _, own, counts = np.unique(label, return_inverse=True, return_counts=True)
    weight = counts[own] ** -float(balance)
    return weight / weight.sum()


def _labels(source: Source) -> np.ndarray:
    """The label of every model, int32 `[N]`."""
    return select(source, ("label",)).gather(np.arange(len(source)))["label"]


def _place(
    sizes: np.ndarray, floor: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray | None]:
    """Places rectangles on a floor at random, at least 1 apart.

    Args:
      sizes: whole numbers `[n, 2]`, none above the floor's.
      floor: its size, whole numbers `[2]`.
      rng: source of the draw.

    Returns:
      Lower corner `[2]` of every rectangle, None where no place was found.
    """
    best: list[np.ndarray | None] = []
    for _ in range(_LAYOUTS):
        layout: list[np.ndarray | None] = []
        low, high = np.empty((0, 2)), np.empty((0, 2))
        for size in sizes:
            tries = rng.integers(0, floor - size, (_PLACES, 2), endpoint=True)
            apart = (tries[:, None] > high) | (tries[:, None] + size < low)
            free = tries[apart.any(axis=2).all(axis=1)]
            layout.append(free[0] if len(free) else None)
            if len(free):
                low, high = np.append(low, free[:1], 0), np.append(high, free[:1] + size, 0)
        if sum(p is not None for p in layout) > sum(p is not None for p in best):
            best = layout
        if len(low) == len(sizes):
            break
    return best
