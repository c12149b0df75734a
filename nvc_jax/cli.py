"""What `train.py` and `eval.py` share: flags, config overrides, errors as one sentence."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable

import ml_collections

from nvc_jax.config import load_config, override
from nvc_jax.errors import UserError

Overrides = list[tuple[str, str]]


class UsageError(UserError):
    """A mistake in flags or config keys: exit code 2."""


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Makes a parser that takes no abbreviated flags."""
    return argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse_overrides(
    parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[argparse.Namespace, Overrides]:
    """Splits `--config.KEY=VALUE` (or `--config.KEY VALUE`) from the other flags.

    Returns:
      (flags, list of (dotted key, text)).
    """
    rest: list[str] = []
    overrides: Overrides = []
    pending = iter(arguments)
    for argument in pending:
        match = re.fullmatch(r"--config\.([^=]+)(?:=(.*))?", argument, re.DOTALL)
        if match is None:
            rest.append(argument)
            continue
        text = match[2] if match[2] is not None else next(pending, None)
        if text is None:
            parser.error(f"--config.{match[1]} needs a value, as in --config.{match[1]}=VALUE.")
        overrides.append((match[1], text))
    return parser.parse_args(rest), overrides


def parse(
    parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[argparse.Namespace, ml_collections.ConfigDict]:
    """Parses flags with a `--config` file and applies the overrides to it.

    Raises:
      UsageError: for a missing file, an unknown key or a value of a wrong type.
    """
    flags, overrides = parse_overrides(parser, arguments)
    try:
        config = load_config(flags.config)
        for name, text in overrides:
            override(config, name, text)
    except UserError as error:
        raise UsageError(str(error)) from None
    return flags, config


def run(main: Callable[[list[str]], int]) -> int:
    """Runs a program; a user's mistake becomes one sentence and an exit code that is not 0."""
    from nvc_jax.training.logging import setup_logging

    setup_logging()
    try:
        return main(sys.argv[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
