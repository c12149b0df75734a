"""Converts a folder of meshes into the npz file that `data.source=shapes` reads; finds twins in such a file.

    nvc-meshes SRC OUT.npz [--resolution=32] [--num_points=2048]
    nvc-meshes --find_twins SHAPES.npz GROUPS.npz [--threshold=0.85]

Every OBJ, OFF, PLY, STL, GLB or GLTF file becomes one shape, centered, y up, its longest side 1: its
solid voxels and points on its surface with normals. The class is the first sub-folder of SRC. Files
that cannot be read are left out and listed at the end. Materials and textures are not read.

With --find_twins, shapes whose solid voxels have an IoU above the threshold in some quarter turn or mirror
image are one group; the file written is for `data.split_file`: it has `group`, and a `split` of whole groups.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from nvc_jax.core.errors import UserError
from nvc_jax.data.shapes.meshes import convert_meshes
from nvc_jax.data.shapes.shapes import write_groups
from nvc_jax.data.shapes.twins import THRESHOLD
from nvc_jax.programs import cli


def main(arguments: list[str]) -> int:
    """Runs the conversion as a program.

    Args:
      arguments: those of the command line.

    Returns:
      The exit code, 0.

    Raises:
      UserError: see `convert_meshes` and `write_groups`; or if the output exists already.
    """
    parser = cli.bare_parser(__doc__)
    parser.add_argument("src", metavar="SRC", type=Path, help="folder of meshes, or file of shapes")
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
    parser.add_argument("--find_twins", action="store_true", help="SRC is a file of shapes")
    parser.add_argument(
        "--threshold", type=_share, default=THRESHOLD, help="IoU of twins (default %(default)s)"
    )
    parser.add_argument(
        "--holdout_every", type=_integer(3), default=5, help="one of so many tests (default 5)"
    )
    flags = parser.parse_args(arguments)
    _check_output(flags.out, flags.overwrite)
    if flags.find_twins:
        print(write_groups(flags.src, flags.out, flags.threshold, flags.holdout_every))
        return 0
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


def _share(text: str) -> float:
    """Reads a number from 0 to below 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"use a number from 0 to below 1, got {text!r}")
    return value


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
