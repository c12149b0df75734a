"""What the programs share: flags, config overrides, errors as one sentence."""

import argparse
import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import ml_collections

from nvc_jax import __version__
from nvc_jax.config import load_config
from nvc_jax.core.errors import UserError
from nvc_jax.programs.completion import add_completion
from nvc_jax.training import parallel

Overrides = list[tuple[str, str]]


class UsageError(UserError):
    """A mistake in flags or config keys: exit code 2."""


def bare_parser(description: str | None, *, keys: bool = False) -> argparse.ArgumentParser:
    """A parser that takes no abbreviated flags, and knows `--version` and how a shell completes it.

    Args:
      description: what stands first in `--help`.
      keys: whether the program takes `--config.KEY=VALUE`.
    """
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nvc_jax {__version__}")
    add_completion(parser, keys=keys)
    return parser


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """`bare_parser` with the flags that programs with a model share."""
    parser = bare_parser(description, keys=True)
    parser.add_argument(
        "--compilation_cache", help="directory of compiled functions, or off (default: in ~/.cache)"
    )
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="module to import first, which registers something of yours, such as a task; may be repeated",
    )  # fmt: skip
    group = parser.add_argument_group("several processes, usually one a machine")
    group.add_argument(
        "--distributed", action="store_true", help="this process is one of several of one run"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    group.add_argument("--num_processes", type=int, help="number of processes of the run")
    group.add_argument("--process_id", type=int, help="rank of this one, from 0")
    group.add_argument(
        "--failure_timeout", type=int, default=60,
        help="seconds without a sign of one process that end the others (default 60)",
    )  # fmt: skip
    return parser


def start(flags: argparse.Namespace, *, stop_at_sigterm: bool = False) -> None:
    """Does what comes before anything touches a device: joins the processes, opens the cache.

    Args:
      flags: parsed by a parser of `make_parser`.
      stop_at_sigterm: the program asks `parallel.preempted` at every step; otherwise SIGTERM ends
        it at once.

    Raises:
      UserError: if the processes do not find each other.
      UsageError: for a flag of several processes without `--distributed`.
    """
    from nvc_jax.core.compilation import use_compilation_cache
    from nvc_jax.core.logs import logger, setup_logging

    use_compilation_cache(flags.compilation_cache)
    if not flags.distributed:
        for name in ("coordinator", "num_processes", "process_id"):
            if getattr(flags, name) is not None:
                raise UsageError(f"--{name} needs --distributed beside it.")
        return
    logger.info("Waiting for the other processes of the run, at most 5 minutes.")
    parallel.initialize(
        flags.coordinator,
        flags.num_processes,
        flags.process_id,
        failure_timeout=flags.failure_timeout,
        heed_preemption=stop_at_sigterm,
    )
    setup_logging(parallel.process_index())


def _import(names: list[str]) -> None:
    """Imports modules from the present folder, or from wherever Python finds them."""
    if names:  # else the present folder stays out of Python's path, whatever files it holds
        sys.path.insert(0, str(Path.cwd()))
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # what it imports is missing
            raise UsageError(
                f"--import={name}: there is no such module in {Path.cwd()} or on Python's path; give "
                "its name without .py."
            ) from None


def parse_overrides(
    parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[argparse.Namespace, Overrides]:
    """Splits `--config.KEY=VALUE` (or `--config.KEY VALUE`) from the other flags, and imports modules.

    Returns:
      (flags, list of (dotted key, text)).

    Raises:
      UsageError: for a module to import that is not there.
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
    flags = parser.parse_args(rest)
    _import(flags.imports)  # before the config: what it registers has options, too
    return flags, overrides


def parse(
    parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[argparse.Namespace, ml_collections.ConfigDict]:
    """Parses flags with a `--config` file and applies the overrides to it.

    Raises:
      UsageError: for a missing file, an unknown key or a value of a wrong type.
    """
    flags, overrides = parse_overrides(parser, arguments)
    try:
        config = load_config(flags.config, overrides)
    except UserError as error:
        raise UsageError(str(error)) from None
    return flags, config


def run(main: Callable[[list[str]], int]) -> int:
    """Runs a program; a user's mistake becomes one sentence and an exit code that is not 0.

    A process of several that fails ends without waiting for the others.
    """
    from nvc_jax.core.logs import setup_logging

    setup_logging()
    together = False
    try:
        code, together = main(sys.argv[1:]), True
    except parallel.SharedError as error:
        code, together = 1, True
        if parallel.process_index() == 0:
            _tell(error)
    except UserError as error:
        _tell(error)
        code = 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # of the standard output, as of `| head`
        code = 1
    except KeyboardInterrupt:
        _say("Interrupted.")
        code = 130
    except Exception as error:
        if not parallel.is_distributed():
            raise
        code = 1
        if parallel.is_lost_connection(error):
            _tell(UserError(
                f"The connection to another process was lost ({str(error).splitlines()[0]}): look "
                "for the message of the process that ended first."
            ))  # fmt: skip
        else:
            _say(traceback.format_exc())
    _let_go_of_output()
    parallel.leave(code, together=together)
    return code


def _let_go_of_output() -> None:
    """Flushes, and lets what is still to be written go nowhere if nobody reads it: Python would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _tell(error: UserError) -> None:
    """Prints a mistake, with the process it happened in where there are several."""
    prefix = f"process {parallel.process_index()}: " if parallel.is_distributed() else ""
    _say(f"{prefix}error: {error}")


def _say(text: str) -> None:
    """Prints to the standard error. Telling the user keeps no process from leaving: nobody may listen any more."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
