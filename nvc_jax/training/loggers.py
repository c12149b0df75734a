"""Where a run's numbers go beside `metrics.jsonl` and TensorBoard: a registry of small loggers.

One of your own is a class in a module that `--import` names::

    from nvc_jax.training.loggers import LOGGERS, Logger

    class Printer(Logger):
        def scalars(self, step, values):
            print(step, values)

    LOGGERS["printer"] = Printer      # then --config.train.loggers=tensorboard,printer
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require

TENSORBOARD = "tensorboard"
"""Written by the run's own writer, without TensorFlow."""


class Logger:
    """Gets the numbers of a run; this one drops them. Only the first process of a run has one.

    Args:
      workdir: the run's directory.
      config: its config, as JSON can hold it.
    """

    def __init__(self, workdir: Path, config: Mapping[str, Any]):
        self.workdir, self.config = workdir, config

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of a step, those of the validation split as `validation/NAME`.

        A resumed run gives the steps after its checkpoint a second time.
        """

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        """Takes matplotlib figures by name."""

    def close(self) -> None:
        """Is called when the run ends, in whatever way."""


class WandbLogger(Logger):
    """Weights & Biases. `WANDB_MODE=offline` writes into `wandb/` of the work directory, and connects to nothing."""

    def __init__(self, workdir: Path, config: Mapping[str, Any]):
        super().__init__(workdir, config)
        wandb = require("wandb", extra="wandb", what="train.loggers=wandb")
        self._image = wandb.Image
        self._run = wandb.init(
            dir=workdir, id=workdir.name, name=workdir.name, config=dict(config), resume="allow"
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        self._run.log(dict(values), step=step)

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        """See `Logger`."""
        self._run.log({name: self._image(figure) for name, figure in figures.items()}, step=step)

    def close(self) -> None:
        """See `Logger`."""
        self._run.finish()


LOGGERS: dict[str, type[Logger]] = {TENSORBOARD: Logger, "wandb": WandbLogger}
"""By the name in `train.loggers`: the plug point."""


def make_loggers(names: tuple[str, ...], workdir: Path, config: Mapping[str, Any]) -> list[Logger]:
    """The loggers that a config names, but for TensorBoard's.

    Raises:
      UserError: for a name that is not known, or a package that is not installed.
    """
    check_loggers(names)
    return [LOGGERS[name](workdir, config) for name in names if name != TENSORBOARD]


def check_loggers(names: tuple[str, ...]) -> None:
    """Checks names before a run begins.

    Raises:
      UserError: for one that is not known.
    """
    for name in names:
        if name not in LOGGERS:
            raise UserError(
                f"train.loggers has {name!r}: use some of {', '.join(LOGGERS)}, or --import a module that "
                "registers yours."
            )
