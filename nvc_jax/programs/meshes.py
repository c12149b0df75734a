"""Converts a folder of meshes into the npz file that `data.source=shapes` reads.

    nvc-meshes SRC OUT.npz [--resolution=32] [--num_points=2048]

Every OBJ, OFF, PLY, STL, GLB or GLTF file becomes one shape, centered, y up, its longest side 1: its
solid voxels and points on its surface with normals. The class is the first sub-folder of SRC. Files
that cannot be read are left out and listed at the end. Materials and textures are not read.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from nvc_jax.core.errors import UserError
from nvc_jax.data.shapes.meshes import convert_meshes
from nvc_jax.programs import cli


def main(arguments: list[str]) -> int:
    """Runs the conversion as a program.

    Args:
      arguments: those of the command line.

    Returns:
      The exit code, 0.

    Raises:
      UserError: see `convert_meshes`; or if the output exists already.
    """
    parser = cli.bare_parser(__doc__)
    parser.add_argument("src", metavar="SRC", type=Path, help="folder of meshes")
    parser.add_argument("out", metavar="OUT.npz", type=Path, help="file to write")
    parser.add_argument(
        "--resolution", type=_integer(1), default=32, help="voxels along a side (default 32)"
    )
    parser.add_argument(
        "--num_points", type=_integer(1), default=2048, help="points on a surface (default 2048)"
    )
    parser.add_argument("--seed", type=_integer(0), default=0, help="of the points (default 0)")
    parser.add_argument("--up", choices=("y", "z"), default="y", help="axis up (default y)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.npz if it exists")
    flags = parser.parse_args(arguments)
    _check_output(flags.out, flags.overwrite)
    failures = convert_meshes(
        flags.src,
        flags.out,
        resolution=flags.resolution,
        num_points=flags.num_points,
        seed=flags.seed,
        up=flags.up,
    )
    print(f"Wrote {flags.out}.")
    if failures:
        print(f"Left out {len(failures)}:")
    for name, reason in failures.items():
        print(f"  {name} {reason}")
    return 0


def _integer(least: int) -> Callable[[str], int]:
    """Makes a reader of a flag's value."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"use an integer from {least} on, got {text!r}")
        return int(text)

    return read


def _check_output(path: Path, overwrite: bool) -> None:
    """Tells before the work what would keep its result from being written."""
    if path.suffix != ".npz" or path.is_dir():
        raise UserError(f"The output is a file named *.npz, got {str(path)!r}.")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists: give another name, or --overwrite.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be made: {error.strerror}.") from None
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path.parent} cannot be written to.")


run = functools.partial(cli.run, main)

if __name__ == "__main__":
    sys.exit(run())
