"""Writes a trained model for programs without this library: nvc-export runs/digits --format=onnx.

onnx and stablehlo make an encoder and a decoder for batches of any size, safetensors the weights; a README.md
beside them says how they are used.
"""

import functools
import sys
from pathlib import Path

from nvc_jax.core.errors import UserError
from nvc_jax.programs import cli

FORMATS = ("onnx", "stablehlo", "safetensors")


def main(arguments: list[str]) -> int:
    """Parses the flags and exports; returns the exit code."""
    parser = cli.make_parser(__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="directory of the run")
    parser.add_argument(
        "--format", choices=FORMATS, default="onnx", help="onnx (default), stablehlo or safetensors"
    )
    parser.add_argument("--out", type=Path, help="folder to write (default: RUN/export-FORMAT)")
    parser.add_argument("--checkpoint", default="latest", help="latest (default), best, or a step")
    flags, overrides = cli.parse_overrides(parser, arguments)
    cli.start(flags)
    out = flags.out or flags.run / f"export-{flags.format}"
    if out.resolve() == flags.run.resolve():
        raise UserError(
            f"--out={out} is the run itself, whose files would be replaced: give another folder."
        )

    from nvc_jax.evaluation.export import export_run  # after the flags: a mistake is told at once

    for path in export_run(flags.run, out, flags.format, flags.checkpoint, overrides=overrides):
        print(f"{path}  {path.stat().st_size:,} bytes")
    return 0


run = functools.partial(cli.run, main)

if __name__ == "__main__":
    sys.exit(run())
