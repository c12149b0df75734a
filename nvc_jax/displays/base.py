"""What looking at a task's examples and outputs needs, beside what training needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nvc_jax.data.base.source import Source
from nvc_jax.tasks.base import Task

if TYPE_CHECKING:
    from nvc_jax.plots.solids import Solid


class Display:
    """How examples and outputs of a task are shown; this one shows nothing.

    Args:
      task: the task.
    """

    def __init__(self, task: Task):
        self.task: Any = task

    def describe(self, source: Source, ids: np.ndarray) -> list[str] | None:
        """Examples of a source as lines of text; None: the task's examples are no text.

        Args:
          source: of the task's examples.
          ids: int `[n]`.
        """
        return None

    def references(self, batch: Mapping[str, np.ndarray]) -> list[str] | None:
        """What outputs should be, as lines of text; None: the task's outputs are no text.

        Args:
          batch: stored examples `[n, ...]`.
        """
        return None

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Stored examples as pictures that show what they are.

        Args:
          batch: the stored fields, `[n, ...]`.

        Returns:
          `[n, H, W, C]` from 0 to 1; None: the task has none, and examples are not drawn.
        """
        return None

    def render(self, outputs: np.ndarray) -> np.ndarray | None:
        """What `Task.postprocess` gives as pictures.

        Args:
          outputs: `[..., *shape of an output]`, with any number of axes before.

        Returns:
          `[..., H, W, C]` from 0 to 1; None: the task has none, and decoded anchors are not drawn.
        """
        return None

    def solids(self, outputs: np.ndarray) -> list["Solid"]:
        """What `Task.postprocess` gives as things to turn by hand.

        Args:
          outputs: `[n, *shape of an output]`.

        Returns:
          n of them; none: the task has none, and decoded anchors cannot be turned.
        """
        return []

    def turned(
        self, batch: Mapping[str, np.ndarray], outputs: np.ndarray
    ) -> dict[str, list["Solid"]]:
        """A few examples with what the model makes of them, to be turned by hand side by side.

        Args:
          batch: stored examples `[n, ...]`.
          outputs: their decoded means, as `Task.postprocess` gives them, `[n, ...]`.

        Returns:
          By name, such as `input`, `completion` and `truth`: n solids in the same axes; empty: the task has none.
        """
        return {}

    def export(self, output: np.ndarray, stem: Path) -> Path | None:
        """Writes one output, as `Task.postprocess` gives it, to a file for other programs.

        Args:
          output: of one example.
          stem: path of the file without its suffix.

        Returns:
          The file; None: there is nothing to write.
        """
        return None

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """Figures of a few examples with what the model makes of them, by name.

        Args:
          batch: stored examples `[n, ...]`.
          outputs: their decoded means, as `Task.postprocess` gives them, `[n, ...]`.

        Returns:
          matplotlib figures.
        """
        return {}

    def hypotheses(
        self, batch: Mapping[str, np.ndarray], answers: np.ndarray, probabilities: np.ndarray
    ) -> Any:
        """Figure of several answers to a few examples.

        Args:
          batch: stored examples `[n, ...]`.
          answers: as `Task.answer` gives them, `[n, M, ...]`.
          probabilities: `[n, M]`.

        Returns:
          A matplotlib figure; None: there is none.
        """
        return None
