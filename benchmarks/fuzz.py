"""What do the readers make of damaged files?

    python -m benchmarks.fuzz [--mutations=200] [--readers idx gltf] [--seed=0]

Writes small good files of every reader, changes one of them in a seeded way, and reads again: the content may
still be read, or it is told in one sentence. Anything else is counted: other exceptions, a read of more than
20 s, more than 1 GB of memory. Every reader runs in a process of its own, with limits. If anything is counted,
the exit code is 1. The good files are those of the tests. `--save` makes the table the published one.
"""

import argparse
import contextlib
import functools
import inspect
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.print import line_of, rows_file
from benchmarks.table import Rows, key_of
from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import SOURCES
from nvc_jax.data.base import options as shared
from nvc_jax.data.shapes.meshes import read_triangles
from nvc_jax.programs import cli

COLUMNS = ("mutations", "read", "told", "tracebacks", "hangs", "slowest", "memory")
SECONDS = 20
MOST_MEMORY = 1000.0
"""In MB, of a process from its beginning to its end."""
LIMIT = 4 * 2**30
"""Bytes that a process may ask for, its libraries' included."""


class Reader(NamedTuple):
    """A reader with good files.

    Attributes:
      write: makes the files in a folder.
      read: reads all of them.
    """

    write: Callable[[Path], Any]
    read: Callable[[Path], Any]


class Hang(BaseException):
    """A read that took too long."""


def source(kind: str, write: Callable[[Path], Any], split: str = "train", **changes: Any) -> Reader:
    """The reader of a source, every example of which is read."""

    def read(folder: Path) -> None:
        single = {"shapes": "shapes.npz"}.get(kind, "")
        dirs = {"dir": str(folder / single)} if shared.DIR in SOURCES[kind].options else {}
        options = make_config({"data": {"source": kind, **dirs, **changes}}).data
        found = SOURCES[kind].read(options, split)
        found.gather(np.arange(min(len(found), 2)))
        found.gather(np.arange(max(len(found) - 2, 0), len(found)))

    return Reader(write, read)


def fixture(function: Any, *others: Any) -> Callable[[Path], Any]:
    """The function under a fixture of the tests, whose first argument is the folder."""

    def write(folder: Path) -> None:
        made = inspect.unwrap(function)
        made = made if inspect.isfunction(made) else made._get_wrapped_function()
        result = made(folder, *others)
        if inspect.isgenerator(result):
            next(result)

    return write


def readers() -> dict[str, Callable[[], Reader]]:
    """The readers by name, made when they are asked for."""
    groups: dict[Callable[[str], Reader], tuple[str, ...]] = {
        _image_reader: ("idx", "npz", "npy", "folder", "tfds"),
        _shape_reader: _SHAPES,
        _text_reader: _TEXTS,
        _hand_or_plane_reader: _HANDS_AND_PLANES,
        _mesh_reader: ("obj", "off", "ply", "stl", "gltf", "glb"),
        _own_reader: _OWN,
    }
    return {name: functools.partial(make, name) for make, names in groups.items() for name in names}


_SHAPES = (
    "shapes", "pairs", "binvox", "recgan", "epn", "epn, HDF5", "pcn", "completion3d", "modelnet_hdf5",
    "shapenet_part", "shapenet_part, normals", "shapenet_part, HDF5", "s3dis",
)  # fmt: skip
_TEXTS = ("parallel_text", "iwslt14", "gettext", "tfds_text")
_HANDS_AND_PLANES = (
    "rhd", "stb", "msra15", "nyu_hands", "icvl", "planenet", "plane_rcnn", "nyu_depth",
)  # fmt: skip
_OWN = ("config.json", "spec.json", "metrics.jsonl", "estimator", "checkpoint")


def _image_reader(name: str) -> Reader:
    from tests.data.base import test_tfds
    from tests.data.images import test_arrays, test_folder

    images = np.random.default_rng(0).integers(0, 255, (6, 5, 4, 3), dtype=np.uint8)

    def write(folder: Path) -> None:
        if name == "idx":
            for prefix in ("train", "t10k"):
                test_arrays.write_idx(folder, prefix=prefix)
        elif name == "npz":
            np.savez_compressed(folder / "train.npz", image=images, label=np.arange(6))
        elif name == "npy":
            np.save(folder / "train_image.npy", images / 255)
            np.save(folder / "train_label.npy", np.arange(6))
        elif name == "tfds":
            test_tfds.prepare(folder, train=(test_tfds.IMAGES, test_tfds.LABELS))
        else:
            for i, suffix in enumerate(("png", "jpg", "bmp", "webp", "tif", "ppm", "gif")):
                test_folder.save(folder / "abc"[i % 3] / f"{i}.{suffix}", images[i % 6])

    return source(name, write, **({"name": "tiny"} if name == "tfds" else {}))


def _shape_reader(name: str) -> Reader:
    from tests.data.base import test_tree
    from tests.data.shapes import (
        test_completion,
        test_epn,
        test_pointnet_hdf5,
        test_shapenet_part,
        test_shapes,
    )

    def shapes(folder: Path) -> None:
        points = np.zeros((9, 5, 3))
        fields: dict[str, Any] = {
            "points": points,
            "normals": points,
            "label": np.arange(9),
            "voxels": np.ones((9, 4, 4, 4)),
        }
        np.savez_compressed(folder / "shapes.npz", **fields)

    def pairs(folder: Path) -> None:
        volumes = test_shapes.volumes(3)
        test_shapes.write_pairs(folder, partial=volumes, complete=volumes, label=[2, 0, 1])

    def modelnet(folder: Path) -> None:
        test_pointnet_hdf5.write(folder / "ply_data_train0.h5", 0, [39, 0])
        (folder / "shape_names.txt").write_text("name\n" * 40)

    def nothing(*_: Any, **__: Any) -> None:
        """In place of a fixture that makes options."""

    few: dict[str, Any] = {"num_points": 4}
    return {
        "shapes": lambda: source("shapes", shapes),
        "pairs": lambda: source("pairs", pairs),
        "binvox": lambda: source("binvox", test_tree.of_binvox),
        "recgan": lambda: source("recgan", _both_recgan),
        "epn": lambda: source("epn", fixture(test_epn.scans)),
        "epn, HDF5": lambda: source("epn", fixture(test_epn.rows)),
        "pcn": lambda: source("pcn", test_tree.of_pcn, **few),
        "completion3d": lambda: source("completion3d", fixture(test_completion.completion3d, nothing), **few),
        "modelnet_hdf5": lambda: source("modelnet_hdf5", modelnet, **few),
        "shapenet_part": lambda: source("shapenet_part", test_shapenet_part.write_v0, **few),
        "shapenet_part, normals": lambda: source(
            "shapenet_part", test_shapenet_part.write_v0_normal, **few
        ),
        "shapenet_part, HDF5": lambda: source("shapenet_part", test_shapenet_part.write_hdf5, **few),
        "s3dis": lambda: source("s3dis", fixture(test_pointnet_hdf5.rooms, nothing), **few),
    }[name]()  # fmt: skip


def _both_recgan(folder: Path) -> None:
    """Pairs of both versions."""
    from tests.data.shapes import test_recgan

    test_recgan.save_pair(folder / "P1_1_chair", "train", "a_0_0_0.npz", (4, 4, 4))
    for kind in ("25d", "3d"):
        path = folder / "P1_2_table" / f"train_{kind}" / "a_0_0_0_4_4_4.txt"
        path.parent.mkdir(parents=True)
        path.write_text("0 1 2\n3 3 3\n")


def _text_reader(name: str) -> Reader:
    from tests.data.text import test_iwslt14, test_parallel_text

    return {
        "parallel_text": lambda: source("parallel_text", fixture(test_parallel_text.files)),
        "iwslt14": lambda: source("iwslt14", fixture(test_iwslt14.folder), "test"),
        "gettext": lambda: source("gettext", _catalogs, source_language="en", target_language="de"),
        "tfds_text": lambda: source("tfds_text", fixture(test_parallel_text.folder), name="tiny/de-en"),
    }[name]()  # fmt: skip


def _catalogs(folder: Path) -> None:
    """Catalogs in both forms."""
    from tests.data.base import test_tree

    test_tree.of_gettext(folder)
    rows = "".join(
        f'#, c-format\nmsgctxt "a"\nmsgid "{n} %d it"\nmsgstr ""\n"{n} ß"\n\n' for n in "abcdef"
    )
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    (folder / "de" / "other.po").write_text(header + rows)


def _hand_or_plane_reader(name: str) -> Reader:
    from tests.data.hands import test_icvl, test_msra15, test_nyu_hands, test_rhd, test_stb
    from tests.data.planes import test_nyu_depth, test_plane_rcnn, test_planenet

    def planenet(folder: Path) -> None:
        content = test_planenet.record() + test_planenet.record()
        (folder / "planes_scannet_train.tfrecords").write_bytes(content)

    small: dict[str, Any] = {"image_size": (16, 16)}
    return {
        "rhd": lambda: source("rhd", fixture(test_rhd.root), **small),
        "stb": lambda: source("stb", fixture(test_stb.root), "test", **small),
        "msra15": lambda: source("msra15", fixture(test_msra15.root), "test", test_subject=4, **small),
        "nyu_hands": lambda: source("nyu_hands", fixture(test_nyu_hands.root), "test", **small),
        "icvl": lambda: source("icvl", fixture(test_icvl.root), "test", **small),
        "planenet": lambda: source("planenet", planenet),
        "plane_rcnn": lambda: source("plane_rcnn", fixture(test_plane_rcnn.root)),
        "nyu_depth": lambda: source("nyu_depth", lambda f: test_nyu_depth.prepare(f, train=[1, 2]), **small),
    }[name]()  # fmt: skip


def _mesh_reader(kind: str) -> Reader:
    """A mesh file of a format, or two."""
    from tests.data.shapes import test_meshes, test_polygons

    def write(folder: Path) -> None:
        if kind == "gltf":
            (folder / "a.gltf").write_bytes(test_meshes.gltf(folder))
            return
        for name, content in test_meshes.FILES.items():
            if name.split(".")[-1].lower() == kind:
                (folder / f"a-{name.removesuffix(kind)}.{kind}").write_bytes(content)
        if kind == "ply":
            strips = {"face": test_polygons.QUADS, "tristrips": [[0, 2, 1, 3, -1, 2, 4, 3, 5]]}
            for binary in (False, True):
                content = test_polygons.ply(test_polygons.GRID, strips, binary=binary)
                (folder / f"strips{binary}.ply").write_bytes(content)

    def read(folder: Path) -> None:
        for path in sorted(folder.glob(f"*.{kind}")):
            read_triangles(path)

    return Reader(write, read)


def _own_reader(name: str) -> Reader:
    """Files that the library wrote itself."""
    from nvc_jax import NebulaClustering
    from nvc_jax.data import FieldSpec
    from nvc_jax.training import workdir
    from nvc_jax.training.checkpoint import Checkpoints
    from nvc_jax.training.logging import read_metrics

    def write(folder: Path) -> None:
        if name == "config.json":
            workdir.write_config(folder, make_config())
        elif name == "spec.json":
            workdir.write_spec(folder, {"image": FieldSpec((2, 3), np.dtype(np.uint8))})
        elif name == "metrics.jsonl":
            rows = (
                {"step": step, "loss": 0.5 / step, "validation/nmi": None} for step in range(1, 30)
            )
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif name == "estimator":
            x = np.random.default_rng(0).normal(size=(40, 3))
            NebulaClustering(2, hidden=(4,), latent_dim=2, max_iter=4).fit(x).save(folder / "a.npz")
        else:
            checkpoints = Checkpoints(folder)
            checkpoints.save(1, state, {"value": 1.0})
            checkpoints.close()

    state = {"params": {"kernel": np.ones((3, 2), np.float32), "bias": np.zeros(2, np.float32)}}
    read: dict[str, Callable[[Path], Any]] = {
        "config.json": lambda folder: workdir.read_config(folder),
        "spec.json": lambda folder: workdir.read_spec(folder),
        "metrics.jsonl": lambda folder: _plotted(read_metrics(folder / "metrics.jsonl")),
        "estimator": lambda folder: NebulaClustering.load(folder / "a.npz").predict(
            np.zeros((2, 3))
        ),
        "checkpoint": lambda folder: Checkpoints(folder).restore(state),
    }
    return Reader(write, read[name])


def _plotted(records: list[dict[str, Any]]) -> None:
    from nvc_jax import plots

    with contextlib.suppress(UserError):
        plots.training_curves(records)


_NUMBERS = (
    b"0",
    b"-1",
    b"2147483648",
    b"99999999999999999999",
    b"1e300",
    b"nan",
    b"9" * 5000,
    b"0.5",
)
_PIECES = (
    b"\0",
    b"\xff",
    b"\n",
    b"{",
    b"[",
    b'"',
    b"<",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"../",
    b"\x1b[2J",
    b" ",
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A content with one change, or several."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        content = _changed(content, rng)
    return content


def _changed(content: bytes, rng: random.Random) -> bytes:
    """A content with one change."""
    size = len(content)
    a, b = sorted((rng.randrange(size + 1), rng.randrange(size + 1)))
    b = min(b, a + rng.choice((1, 4, 64, size + 1)))
    kind = rng.randrange(9)
    if kind == 0:
        return content[:a]
    if kind == 1:
        return content[:a] + content[b:]
    if kind == 2:
        return content[:b] + content[a:b] * rng.choice((1, 2, 100)) + content[b:]
    if kind == 3:
        return content[:a] + rng.choice((b"\0", b"\xff")) * (b - a) + content[b:]
    if kind == 4:
        return content[:a] + rng.randbytes(b - a) + content[b:]
    if kind == 5:
        return (
            content[:a] + rng.choice(_PIECES) * rng.choice((1, 1, 2, 1000, 100_000)) + content[a:]
        )
    if kind == 6:  # another number in the place of one in text
        places = [i for i in range(size) if content[i : i + 1].isdigit()]
        if places:
            start = end = rng.choice(places)
            while end < size and content[end : end + 1].isdigit():
                end += 1
            return content[:start] + rng.choice(_NUMBERS) + content[end:]
    if kind == 7:
        for width in rng.sample((2, 4, 8), 1):
            value = rng.choice((0, 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1))
            return (
                content[:a]
                + value.to_bytes(width, rng.choice(("little", "big")))
                + content[a + width :]
            )
    place = min(a, max(size - 1, 0))
    flipped = bytes([content[place] ^ (1 << rng.randrange(8))]) if size else b""
    return content[:place] + flipped + content[place + 1 :]


def fuzz(name: str, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Reads so many mutations of a reader's files, and counts what becomes of them.

    Returns:
      Values of `COLUMNS`, and `problems`.
    """
    reader = readers()[name]()
    reader.write(folder)
    reader.read(folder)  # good files are read
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1
    )
    rng = random.Random(f"{seed} {name}")
    found = dict.fromkeys(COLUMNS, 0.0) | {"mutations": float(count)}
    problems: list[str] = []
    signal.signal(signal.SIGALRM, _raise_hang)
    for number in range(count):
        path = rng.choice(files)
        good = path.read_bytes()
        path.write_bytes(mutated(good, rng))
        began = time.monotonic()
        signal.alarm(SECONDS)
        try:
            what = _read_once(reader, folder)
        finally:
            signal.alarm(0)
        found["slowest"] = max(found["slowest"], time.monotonic() - began)
        kind, _, detail = what.partition(" ")
        found[kind] += 1
        if detail:
            problems.append(f"{name}, mutation {number} of {path.relative_to(folder)}: {detail}")
        path.write_bytes(good)
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {**found, "problems": problems}


def _raise_hang(*_: Any) -> None:
    raise Hang


def _read_once(reader: Reader, folder: Path) -> str:
    """`read`, `told`, or what went wrong, by the name of its column and in words."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            reader.read(folder)
    except UserError as error:
        message = str(error)
        return (
            "told"
            if message.isprintable() and len(message) < 6000
            else f"tracebacks {message[:300]!r}"
        )
    except Hang:
        return f"hangs more than {SECONDS} s"
    except BaseException:
        lines = traceback.format_exc().splitlines()
        return f"tracebacks {lines[-1][:200]} ({' '.join(lines[-4:-1])[:300]})"
    return "read"


def _work(name: str, count: int, seed: int, pipe: Any) -> None:
    """What the process of a reader does."""
    import logging

    logging.getLogger("nvc_jax").setLevel(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    with tempfile.TemporaryDirectory() as folder:
        try:
            pipe.send(fuzz(name, count, seed, Path(folder)))
        except Exception:  # of the good files, or of this program
            problem = f"{name}: {traceback.format_exc(limit=-3)}"
            pipe.send({**dict.fromkeys(COLUMNS, 0.0), "tracebacks": 1.0, "problems": [problem]})


def results(names: list[str], count: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What becomes of the mutations of every reader, in processes of their own."""
    context = multiprocessing.get_context(
        "fork"
    )  # no device was touched: nothing is imported again
    for name in names:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(name, count, seed, theirs))
        process.start()
        theirs.close()
        try:
            found = ours.recv()
        except EOFError:
            process.join()
            problem = f"{name}: the process ended with code {process.exitcode}"
            found = {**dict.fromkeys(COLUMNS, 0.0), "tracebacks": 1.0, "problems": [problem]}
        process.join()
        yield name, found


def main(arguments: list[str]) -> int:
    """Prints the table; returns the exit code."""
    parser = cli.bare_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mutations", type=int, default=200, help="of the files of every reader")
    parser.add_argument(
        "--readers", nargs="+", choices=list(readers()), default=list(readers()), metavar="READER",
        help=f"some of {', '.join(readers())}",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="as the rows of the published table")
    options = parser.parse_args(arguments)
    problems: list[str] = []
    rows = Rows(rows_file("fuzz"), COLUMNS) if options.save else None
    print(f"{line_of(['reader', *COLUMNS])}\n{'|---' * (1 + len(COLUMNS))}|")
    for name, found in results(options.readers, options.mutations, options.seed):
        problems += found.pop("problems")
        if found["memory"] > MOST_MEMORY:
            problems.append(f"{name}: {found['memory']:.0f} MB")
        cells = {column: f"{found[column]:.{int(column == 'slowest')}f}" for column in COLUMNS}
        print(line_of([name, *cells.values()]), flush=True)
        if rows is not None:
            rows.add({"method": name, **key_of(), "source": "measured", **cells})
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
