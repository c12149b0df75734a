"""Tasks by name: the plug point for kinds of data."""

from functools import partial

import ml_collections

from nvc_jax.core.errors import UserError
from nvc_jax.data import Source, open_source
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.twins import warn_of_twins
from nvc_jax.tasks.base import Outputs, Task
from nvc_jax.tasks.counts import CountTask
from nvc_jax.tasks.hand_pose import HandPoseTask
from nvc_jax.tasks.image import ImageTask
from nvc_jax.tasks.image_completion import ImageCompletionTask
from nvc_jax.tasks.planar_reconstruction import PlanarReconstructionTask
from nvc_jax.tasks.point_completion import PointCompletionTask
from nvc_jax.tasks.point_segmentation import PointSegmentationTask
from nvc_jax.tasks.semantic_completion import SemanticCompletionTask
from nvc_jax.tasks.table import TableTask
from nvc_jax.tasks.translation import TranslationTask
from nvc_jax.tasks.voxel_completion import VoxelCompletionTask

__all__ = ["TASKS", "Learned", "Outputs", "Task", "make_task", "open_examples", "open_training"]

TASKS: dict[str, type[Task]] = {
    "image": ImageTask,
    "image_completion": ImageCompletionTask,
    "table": TableTask,
    "counts": CountTask,
    "voxel_completion": VoxelCompletionTask,
    "semantic_completion": SemanticCompletionTask,
    "point_completion": PointCompletionTask,
    "point_segmentation": PointSegmentationTask,
    "translation": TranslationTask,
    "hand_pose": HandPoseTask,
    "planar_reconstruction": PlanarReconstructionTask,
}


def open_training(
    config: ml_collections.ConfigDict, learned: Learned | None = None, *, warns: bool = True
) -> tuple[Source, Learned]:
    """Opens the training split once: to learn from it, see `Examples.learn`, and as examples.

    Args:
      config: the whole config.
      learned: what an earlier start of the run learned; None or nothing: to be learned now.
      warns: whether it looks for twins of test examples, see `warn_of_twins`: one process of a run does.

    Returns:
      (examples of the task, what was learned).

    Raises:
      UserError: as `open_examples`, and for what the task cannot learn from.
    """
    examples, stored = _task_class(config).examples, _open_stored(config, "train")
    if warns:
        warn_of_twins(stored, config.data)
    learned = learned or examples.learn(stored, config)
    return examples.make(stored, config, "train", learned), learned


def make_task(
    config: ml_collections.ConfigDict, spec: Spec, learned: Learned | None = None
) -> Task:
    """Makes the task that `config.task` names, for data with the given fields.

    Raises:
      UserError: for an unknown name, listing the known ones, or data that does not fit.
    """
    return _task_class(config)(config, spec, learned or NOTHING)


def open_examples(
    config: ml_collections.ConfigDict, split: str, learned: Learned | None = None
) -> Source:
    """Opens one split of the data that a config names, as examples of its task.

    Raises:
      UserError: for an unknown task, source or split, and for files that are missing or damaged.
    """
    examples = _task_class(config).examples
    return examples.make(_open_stored(config, split), config, split, learned or NOTHING)


def _open_stored(config: ml_collections.ConfigDict, split: str) -> Source:
    """One split as it is stored; of the training split what may be learned from."""
    open_split = partial(open_source, config.data)
    stored = open_split(split)
    if split != "train":
        return stored
    return _task_class(config).examples.trained_on(stored, config, open_split)


def _task_class(config: ml_collections.ConfigDict) -> type[Task]:
    """The class that `config.task` names."""
    if config.task not in TASKS:
        raise UserError(f"task is {config.task!r}: use one of {', '.join(sorted(TASKS))}.")
    return TASKS[config.task]
