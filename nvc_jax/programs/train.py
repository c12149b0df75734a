"""Trains a model: nvc-train --config=digits --workdir=runs/digits.

Any key of the config can be set as --config.KEY=VALUE, such as --config.model.num_anchors=20;
--help_config lists them. In a checkout, `python train.py` is the same program.
"""

import functools
import sys

from nvc_jax.config import help_text
from nvc_jax.programs import cli


def main(arguments: list[str]) -> int:
    """Parses the flags and trains; returns the exit code."""
    parser = cli.make_parser(__doc__)
    parser.add_argument("--config", required=True, help="a file with get_config(), or its name")
    parser.add_argument(
        "--workdir",
        required="--help_config" not in arguments,
        help="directory for everything the run writes",
    )
    parser.add_argument(
        "--help_config", action="store_true", help="list every key that this run reads, and end"
    )
    parser.add_argument("--resume", default="auto", help="auto (default), never or must")
    parser.add_argument("--resume_step", type=int, help="go on from the checkpoint of this step")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier run first")
    parser.add_argument("--stop_after", type=int, help="stop at this step, as a preemption would")
    parser.add_argument("--init_from", help="begin with parameters of the run in this directory")
    parser.add_argument(
        "--init_include", default="", help="with --init_from: only names this pattern is found in"
    )
    flags, config = cli.parse(parser, arguments)
    if flags.help_config:
        print(help_text(config))
        return 0
    cli.start(flags, stop_at_sigterm=True)

    from nvc_jax.training.loop import train  # after the flags: a mistake in them is told at once

    train(
        config,
        flags.workdir,
        resume=flags.resume,
        resume_step=flags.resume_step,
        overwrite=flags.overwrite,
        stop_after=flags.stop_after,
        init_from=flags.init_from,
        init_include=flags.init_include,
        progress=True,
    )
    return 0


run = functools.partial(cli.run, main)

if __name__ == "__main__":
    sys.exit(run())
