"""Baselines without training: the input itself, the commonest class, the nearest training example.

Most give what a decoder would give, and the task scores it as it scores a model.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax import metrics
from nvc_jax.config import changed
from nvc_jax.data import Source, open_source, random_subset
from nvc_jax.data.text.parallel_text import iterate_pairs
from nvc_jax.data.text.twins import without_twins
from nvc_jax.geometry.joints import WRIST
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.geometry.plane_segmentation import Planes
from nvc_jax.geometry.planes import MAX_PLANES
from nvc_jax.metrics.chamfer import chamfer_distance
from nvc_jax.networks.points import DecodedPoints
from nvc_jax.networks.pose import Poses
from nvc_jax.tasks import Outputs, Task, make_task, open_examples
from nvc_jax.tasks.base import histograms
from nvc_jax.tasks.hand_pose import UNIT
from nvc_jax.tasks.planar_reconstruction import summarize
from nvc_jax.tasks.point_segmentation import PointLogits
from nvc_jax.training.encoding import means_of

Rows = dict[str, dict[str, Any]]
"""Measures of every baseline, by its name."""

CERTAIN = 20.0
"""Logit of what a baseline says."""

SEARCH_POINTS = 128
"""Points of a cloud that are compared with those of all others."""

MEMORY = 1000
"""Scenes that a nearest one is looked for among; runs may see many more, each of them once."""

SHORTLIST = 8
"""Clouds that are compared in all their points, in the search for the nearest one."""

WINDOW = 16
"""Width and depth, in voxels, of the window that parts of a scene are compared in."""


@partial(jax.jit, static_argnums=0)
def _measure(task: Task, batch: dict[str, jax.Array], output: Any) -> dict[str, jax.Array]:
    no_latent: Any = None
    return task.metrics(Outputs(output, no_latent), task.prepare(batch))


def score(
    task: Task, source: Source, output: Callable[[np.ndarray], Any], batch_size: int = 32
) -> dict[str, float]:
    """Measures outputs for all examples of a source as the task measures those of a model.

    Args:
      task: the task.
      source: its examples.
      output: numbers of examples `[b]` → what the decoder would give for them.
      batch_size: examples measured at once.

    Returns:
      Means over examples of the task's measures, and its summary of them all.
    """
    parts = []
    for start in range(0, len(source), batch_size):
        ids = np.arange(start, min(start + batch_size, len(source)))
        batch = source.gather(ids)
        measured = jax.device_get(_measure(task, batch, output(ids)))
        parts.append({**measured, "label": batch["label"]})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {**means_of(joined), **task.summary(joined, source)}


def nearest_by_iou(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Number of the reference that has the largest IoU with each query; the first of equals.

    Args:
      queries: occupancy `[N, ...]`.
      references: occupancy `[M, ...]`.

    Returns:
      int64 `[N]`.
    """
    # Counts below 2²⁴ are exact in float32, and products of matrices are fast in it.
    a, b = ((x != 0).reshape(len(x), -1).astype(np.float32) for x in (queries, references))
    both = a @ b.T
    either = a.sum(axis=1)[:, None] + b.sum(axis=1) - both
    return np.divide(both, either, out=np.ones_like(both), where=either > 0).argmax(axis=1)


@jax.jit
def _distances(cloud: jax.Array, others: jax.Array) -> jax.Array:
    """Chamfer distance from one cloud `[P, 3]` to each of others, `[M]`."""
    alike = jnp.broadcast_to(cloud, (others.shape[0], *cloud.shape))
    return chamfer_distance(alike, others, variant="l1")


def nearest_clouds(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Number of the reference of smallest Chamfer distance (`l1`) to each query.

    All references are compared in 128 points at equal steps, the likeliest 8 in all points.

    Args:
      queries: `[N, P, 3]`.
      references: `[M, Q, 3]`.

    Returns:
      int64 `[N]`.
    """
    few = [x[:, :: max(x.shape[1] // SEARCH_POINTS, 1)] for x in (queries, references)]
    nearest = np.empty(len(queries), np.int64)
    for i, query in enumerate(queries):
        likely = np.argsort(_distances(few[0][i], few[1]))[:SHORTLIST]
        nearest[i] = likely[np.argmin(_distances(query, references[likely]))]
    return nearest


def _open(config: ml_collections.ConfigDict, split: str) -> Source:
    """Examples of a split, in training of the stored shapes alone, without stretched copies."""
    fewer = {"data.stretched_copies": 0}
    if "num_scenes" in config.data:
        fewer["data.num_scenes"] = min(config.data.num_scenes, MEMORY)
    return open_examples(changed(config, fewer), split)


def _all(source: Source) -> dict[str, np.ndarray]:
    """Every example of a source."""
    return source.gather(np.arange(len(source)))


def _views(examples: Source, config: ml_collections.ConfigDict, split: str) -> int:
    """How many examples are made of every stored one."""
    return len(examples) // len(open_source(config.data, split))


def _class_logits(classes: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
    """Classes `[N, ...]` as a decoder's logits `[b, ..., C]`."""
    one_hot = CERTAIN * np.eye(count, dtype=np.float32)
    return lambda ids: one_hot[classes[ids]]


def voxel_baselines(config: ml_collections.ConfigDict) -> Rows:
    """The input itself, and the shape whose view from the same side has the largest IoU with it."""
    train, test = (_open(config, split) for split in ("train", "test"))
    known, seen = _all(train), _all(test)["partial"]
    sides, own = _views(train, config, "train"), _views(test, config, "test")
    nearest = np.empty(len(test), np.int64)
    for side in range(own):
        found = nearest_by_iou(seen[side::own], known["partial"][side::sides])
        nearest[side::own] = found * sides + side
    completed = known["complete"][nearest]

    def measure(volumes: np.ndarray, keep_observed: bool) -> dict[str, float]:
        options = changed(config, {"eval.keep_observed": keep_observed})
        signs = 2.0 * (volumes != 0).astype(np.float32) - 1.0
        output = CERTAIN * signs[..., None]
        return score(make_task(options, test.spec), test, lambda ids: output[ids])

    return {
        "input alone": measure(seen, False),
        "nearest training shape": measure(completed, False),
        "nearest training shape and the input": measure(completed, True),
    }


def parts_of_scenes(partial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected parts of what is seen of scenes, voxels that touch at a corner among them.

    Args:
      partial: `[N, X, Y, Z]`.

    Returns:
      The number of every voxel's part, from 1, int `[N, X, Y, Z]`; and the parts as bool
      `[M, WINDOW, Y, WINDOW]`: cut to the window, at their height, in the middle of x and z.
    """
    from scipy import ndimage  # slow to import

    touching = np.zeros((3,) * 4, bool)
    touching[1] = True  # within a scene, not from scene to scene
    numbered, count = ndimage.label(partial, touching)
    windows = np.zeros((count, WINDOW, partial.shape[2], WINDOW), bool)
    for index, place in enumerate(ndimage.find_objects(numbered)):
        part = (numbered[place] == index + 1)[0, :WINDOW, :, :WINDOW]
        x, z = ((WINDOW - part.shape[axis]) // 2 for axis in (0, 2))
        windows[index, x : x + part.shape[0], place[2], z : z + part.shape[2]] = part
    return numbered, windows


def commonest_labels(numbered: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The commonest known label within every part, uint8 `[M]`; 255 where none is known.

    Args:
      numbered: the number of every voxel's part, from 1 to M; 0 for none.
      labels: uint8, of the same shape; 0 empty, 255 unknown.
    """
    inside = numbered > 0
    flat = numbered[inside].astype(np.int64) * (UNKNOWN + 1) + labels[inside]
    counts = np.bincount(flat, minlength=(numbered.max() + 1) * (UNKNOWN + 1))
    known = counts.reshape(-1, UNKNOWN + 1)[1:, 1:UNKNOWN]
    return np.where(known.any(axis=1), 1 + known.argmax(axis=1), UNKNOWN).astype(np.uint8)


def semantic_baselines(config: ml_collections.ConfigDict) -> Rows:
    """What is seen, of one class, or part by part of the class of the likest part in training.

    Parts are connected voxels that are seen, alike is a large IoU of their windows, and parts of
    training scenes have the commonest label of their voxels. What is not seen is taken as empty.
    """
    train, test = (_open(config, split) for split in ("train", "test"))
    known, seen = _all(train), _all(test)["partial"]
    task, count = make_task(config, test.spec), config.model.num_classes
    commonest = _commonest(known["complete"], range(1, count))
    numbered, windows = parts_of_scenes(known["partial"])
    label = commonest_labels(numbered, known["complete"])
    labeled = label != UNKNOWN
    numbered, queries = parts_of_scenes(seen)
    found = label[labeled][nearest_by_iou(queries, windows[labeled])]
    predicted = {
        "commonest class, of what is seen": np.where(seen != 0, commonest, 0),
        "nearest training part, of what is seen": np.concatenate([[0], found])[numbered],
    }
    return {
        name: score(task, test, _class_logits(classes, count))
        for name, classes in predicted.items()
    }


def _commonest(labels: np.ndarray, classes: Sequence[int]) -> int:
    """The commonest of some classes among labels."""
    counts = np.bincount(labels.ravel(), minlength=max(classes) + 1)[list(classes)]
    return list(classes)[int(counts.argmax())]


def point_baselines(config: ml_collections.ConfigDict) -> Rows:
    """The input itself, and the complete cloud of the nearest training shape, and both together.

    Nearest is what has the smallest Chamfer distance to the input, of complete clouds or of partial
    ones; which of both is decided on the validation split.
    """
    options = changed(config, {"data.oblique_views": 1, "eval.keep_observed": False})
    train, validation, test = (
        _open(config if split == "train" else options, split)
        for split in ("train", "validation", "test")
    )
    task, known, views = make_task(options, test.spec), _all(train), _views(train, config, "train")
    complete = known["complete"][::views]

    def completed(source: Source, by: str) -> Callable[[np.ndarray], DecodedPoints]:
        partial = _all(source)["partial"]
        if by == "complete":
            nearest = nearest_clouds(partial, complete)
        else:
            nearest = nearest_clouds(partial, known["partial"]) // views
        return lambda ids: DecodedPoints(complete[nearest[ids]], complete[nearest[ids]])

    errors = {
        by: score(task, validation, completed(validation, by))["chamfer_l1"]
        for by in ("complete", "partial")
    }
    best = min(errors, key=lambda by: errors[by])
    seen = _all(test)["partial"]
    keeping = make_task(changed(options, {"eval.keep_observed": True}), test.spec)
    note = {"note": f"nearest by {best} clouds"}
    return {
        "input alone": score(task, test, lambda ids: DecodedPoints(seen[ids], seen[ids])),
        "nearest training shape": score(task, test, completed(test, best)) | note,
        "nearest training shape, observed kept": score(keeping, test, completed(test, best)) | note,
    }


def scene_baselines(config: ml_collections.ConfigDict) -> Rows:
    """One class everywhere, and the classes of the nearest points of the likest training scene.

    The likest scene is the one whose histogram of points, in 8³ cells, is nearest.
    """
    from scipy.spatial import cKDTree  # slow to import

    train, test = (_open(config, split) for split in ("train", "test"))
    known, asked = _all(train), _all(test)
    task, count = make_task(config, test.spec), config.model.num_classes
    commonest = np.full_like(asked["point_label"], _commonest(known["point_label"], range(count)))
    cells = histograms(known["points"])
    scenes = cKDTree(cells).query(histograms(asked["points"]))[1]
    nearest = np.empty_like(commonest)
    for i, (points, scene) in enumerate(zip(asked["points"], scenes, strict=True)):
        labeled = known["point_label"][scene] != UNKNOWN
        rows = cKDTree(known["points"][scene][labeled]).query(points)[1]
        nearest[i] = known["point_label"][scene][labeled][rows]

    def measure(classes: np.ndarray) -> dict[str, float]:
        logits = _class_logits(classes, count)
        return score(
            task,
            test,
            lambda ids: PointLogits(jnp.asarray(logits(ids)), jnp.asarray(asked["label"][ids])),
        )

    return {"commonest class": measure(commonest), "nearest training scene": measure(nearest)}


CHUNK = 256
"""Images whose distances to all references are held at once."""


def nearest_images(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Number of the reference of smallest squared distance to each query; the first of equals.

    Args:
      queries: uint8 `[N, ...]`.
      references: uint8 `[M, ...]`.

    Returns:
      int64 `[N]`.
    """
    a, b = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (queries, references))
    square = np.square(b).sum(axis=1)
    parts = [a[i : i + CHUNK] for i in range(0, len(a), CHUNK)]
    return np.concatenate([(square - 2 * part @ b.T).argmin(axis=1) for part in parts])


def hand_baselines(config: ml_collections.ConfigDict) -> Rows:
    """The mean pose of training hands, and that of the nearest training image, about the `center` of the test image."""
    train, test = (open_examples(config, split) for split in ("train", "test"))
    known, asked = _all(train), _all(test)
    task = make_task(config, test.spec)
    poses = (known["joints"] - known["center"][:, None]) / UNIT
    poses[:, WRIST + 1 :] -= poses[:, WRIST : WRIST + 1]
    nearest = nearest_images(asked["image"], known["image"])
    mean = np.repeat(poses.mean(axis=0, keepdims=True), len(test), axis=0)
    return {
        "mean pose": score(task, test, lambda ids: Poses(mean[ids], mean[ids])),
        "nearest training image": score(
            task, test, lambda ids: Poses(poses[nearest[ids]], poses[nearest[ids]])
        ),
    }


def plane_baselines(config: ml_collections.ConfigDict) -> Rows:
    """A plane across the whole image, at the median depth of 500 training rooms."""
    distance = np.median(_all(random_subset(open_examples(config, "train"), 500, seed=0))["depth"])
    test = open_examples(config, "test")

    def examples() -> Iterator[Any]:
        wall = np.zeros((MAX_PLANES, 3), np.float32)
        wall[0, 2] = distance
        for index in range(len(test)):
            truth = {name: x[0] for name, x in test.gather(np.array([index])).items()}
            depth = np.full_like(truth["depth"], distance)
            yield truth, Planes(wall, np.zeros_like(truth["segmentation"])), depth

    return {"one wall": summarize(examples())}


BLOCK = 100
"""Sentences that are compared with the whole memory at a time."""


def nearest_sentences(queries: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Find the known sentence nearest to each query, int `[N]`; the first of equals, or of no word.

    By the cosine of TF-IDF vectors of words of two letters or more in their case, by scikit-learn's defaults.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

    vectorizer = TfidfVectorizer(lowercase=False)
    memory = vectorizer.fit_transform(known).T.tocsr()
    asked = vectorizer.transform(queries)
    found = [
        np.asarray((asked[start : start + BLOCK] @ memory).argmax(axis=1)).reshape(-1)
        for start in range(0, asked.shape[0], BLOCK)
    ]
    return np.concatenate(found)


def translation_baselines(config: ml_collections.ConfigDict) -> Rows:
    """The source itself, and the translation of the nearest training sentence, uncleaned ones among them.

    The latter twice: of all training pairs, and of those that are no twins of held-out ones.
    """
    options = changed(config, {"data.max_words": 0}).data
    open_split = partial(open_source, options)
    training = open_split("train")
    queries, references = zip(*iterate_pairs(open_split("test")), strict=True)
    answers: dict[str, Sequence[str]] = {"source itself": queries}
    for name, stored in (
        ("translation memory", training),
        ("translation memory, twins left out", without_twins(training, open_split)),
    ):
        known, translations = zip(*iterate_pairs(stored), strict=True)
        answers[name] = [translations[i] for i in nearest_sentences(queries, known)]
    scores = {"bleu": metrics.bleu, "chrf": metrics.chrf}
    return {
        name: {measure: score(said, references).value for measure, score in scores.items()}
        for name, said in answers.items()
    }
