"""What a shell proposes after Tab: flags, configs, and keys of configs.

nvc-train --print_completion=bash > ~/.local/share/bash-completion/completions/nvc-train
"""

import argparse
from typing import Any

from nvc_jax.config import bundled_configs, every_option

SHELLS = ("bash", "zsh", "tcsh")


def add_completion(parser: argparse.ArgumentParser, *, keys: bool) -> None:
    """Adds the flag that prints a shell's script and ends.

    Args:
      parser: of the program; flags may be added later.
      keys: whether `--config.KEY=VALUE` are flags of the program.
    """
    parser.add_argument(
        "--print_completion", choices=SHELLS, action=_Print, const=keys, type=str,
        help="print a script that makes the shell complete flags, configs and keys, and end",
    )  # fmt: skip


class _Print(argparse.Action):
    """Acts while flags are parsed, so that those which are required may be missing."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, flag: Any = None
    ) -> None:
        import shtab

        for action in parser._actions:
            if action.dest == "config":
                action.choices = bundled_configs()
            if action.dest == "workdir":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        for option in every_option() if self.const else ():
            parser.add_argument(f"--config.{option.name}", help=option.meaning.replace("%", "%%"))
        print(shtab.complete(parser, shell=values))
        parser.exit(0)
