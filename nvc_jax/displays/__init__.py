"""Displays by the name of their task: the plug point for pictures, figures and files of outputs."""

from nvc_jax.displays.base import Display
from nvc_jax.displays.images import HandDisplay, ImageCompletionDisplay, ImageDisplay, PlaneDisplay
from nvc_jax.displays.shapes import (
    CloudDisplay,
    LabeledCloudDisplay,
    OccupancyDisplay,
    VolumeDisplay,
)
from nvc_jax.displays.text import SentenceDisplay
from nvc_jax.tasks.base import Task

__all__ = ["DISPLAYS", "Display", "make_display"]

DISPLAYS: dict[str, type[Display]] = {
    "image": ImageDisplay,
    "image_completion": ImageCompletionDisplay,
    "voxel_completion": OccupancyDisplay,
    "semantic_completion": VolumeDisplay,
    "point_completion": CloudDisplay,
    "point_segmentation": LabeledCloudDisplay,
    "translation": SentenceDisplay,
    "hand_pose": HandDisplay,
    "planar_reconstruction": PlaneDisplay,
}


def make_display(task: Task) -> Display:
    """The display of a task; one that has none gets that which shows nothing."""
    return DISPLAYS.get(task.config.task, Display)(task)
