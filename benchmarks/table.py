"""Rows of tables, in CSV files, and grids of runs, whose finished runs are rows that are not computed again.

A row is that of a method, a seed and a number of steps. Its key says what it was computed by: the whole config, the
library's code, JAX. A row with another key than the present one is *stale*: it is shown until it is computed anew.
"""

import csv
import functools
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import ml_collections

import nvc_jax
from nvc_jax.config import changed, load_config, to_json
from nvc_jax.core.errors import UserError
from nvc_jax.core.files import replace_file
from nvc_jax.evaluation import evaluate
from nvc_jax.training.loop import train
from nvc_jax.training.state import TrainState

IDENTITY = ("method", "seed", "steps")
KEY = ("config", "code", "jax")
NAMES = (*IDENTITY, *KEY, "source", "note", "seconds")
"""Columns that every file has, before the measures."""

LOOKING = {"displays", "plots", "programs", "report"}
"""Rooms of the library that no row depends on."""

COMPUTING = (
    "baselines.py",
    "cluster_sets.py",
    "clusters.py",
    "deep_clustering.py",
    "hypotheses.py",
    "labels.py",
    "measures.py",
)
"""Files beside this one that rows depend on, too."""

Changes = Mapping[str, Any]
"""What a method or a variant changes in a recipe: values by dotted name."""

Row = dict[str, Any]
"""Cells by column: `NAMES` and measures."""

Config = Any
"""The `ConfigDict` of a run; or a dict of all that a row without a run of the library depends on."""


@functools.cache
def code_version() -> str:
    """The library's version, and a hash of the source that computes rows."""
    root, here = Path(nvc_jax.__file__).parent, Path(__file__).parent
    paths = [p for p in root.rglob("*.py") if p.relative_to(root).parts[0] not in LOOKING]
    digest = hashlib.sha256()
    for path in (*sorted(paths), *(here / name for name in COMPUTING)):
        digest.update(path.name.encode() + path.read_bytes())
    return f"{nvc_jax.__version__}+{digest.hexdigest()[:10]}"


def key_of(config: Config | None = None) -> Row:
    """`KEY` of a row that is computed now: its config, wherever the data lie, the code, and JAX."""
    said = "" if config is None else _hash(config)
    return {"config": said, "code": code_version(), "jax": jax.__version__}


def _hash(config: Config) -> str:
    """A short name for all that a config says."""
    whole = isinstance(config, ml_collections.ConfigDict)
    said = json.loads(to_json(config)) if whole else config
    for name in ("dir", "split_file"):  # rows move to another machine
        if whole and said.get("data", {}).get(name):
            said["data"][name] = Path(said["data"][name]).name
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


class Rows:
    """Rows in a CSV file of which each is one line.

    Args:
      path: the file.
      columns: the measures; none: those of the file.

    Raises:
      UserError: if the file has other columns, or there is none and no measures are given.
    """

    def __init__(self, path: Path, columns: Sequence[str] = ()):
        self._path = path
        if not path.is_file() and not columns:
            raise UserError(f"There are no rows in {path}: run the program that computes them.")
        self.columns = tuple(columns) or tuple(self._read()[0][len(NAMES) :])
        found = self._read()[0] if path.is_file() else self._names
        if tuple(found) != self._names:
            raise UserError(
                f"{path} has the columns {', '.join(found)}, expected {', '.join(self._names)}: "
                "move it away, or choose another folder with --rows."
            )

    @property
    def _names(self) -> tuple[str, ...]:
        return (*NAMES, *self.columns)

    def _read(self) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self._path.read_text())))

    def all(self) -> list[Row]:
        """Every row, cells as text."""
        lines = self._read()[1:] if self._path.is_file() else []
        return [dict(zip(self._names, line, strict=True)) for line in lines]

    def find(self, method: str, seed: object = "", steps: object = "") -> Row | None:
        """The row of a method, seed and number of steps."""
        asked = [method, str(seed), str(steps)]
        return next((r for r in self.all() if [r[name] for name in IDENTITY] == asked), None)

    def add(self, row: Row) -> None:
        """Puts a row in, in place of an older one of its method, seed and number of steps."""
        line = {name: str(row.get(name, "")) for name in self._names}
        rows = self.all()  # others may have written since
        same = [i for i, old in enumerate(rows) if all(old[n] == line[n] for n in IDENTITY)]
        for place in same or [len(rows)]:
            rows[place : place + 1] = [line]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, text.getvalue().encode())


def run_clock() -> float:
    """Seconds to compare runs by.

    On a CPU those of all cores together, which other work on the machine does not lengthen; where an
    accelerator computes, wall-clock time.
    """
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def train_to_the_end(config: ml_collections.ConfigDict, directory: Path) -> TrainState:
    """Trains afresh; returns the last state."""
    result = train(config, directory, overwrite=True)
    if result.stopped:
        raise KeyboardInterrupt  # half a run is no result
    return result.state


def trained(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Trains afresh; returns the seconds that it took."""
    began = run_clock()
    train_to_the_end(config, directory)
    return {"seconds": run_clock() - began}


def evaluated(directory: Path, settings: Iterable[tuple[str, str]] = ()) -> Row:
    """The measures of a trained model on test examples, where they are defined."""
    measured = evaluate(directory, overrides=settings, figures=False)["metrics"]
    return {name: value for name, value in measured.items() if value is not None}


Measure = Callable[[Any, Path], Row]
"""Computes the row of a config in a directory."""


def train_and_evaluate(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """A `Measure` without settings of its own."""
    return trained(config, directory) | evaluated(directory)


class Grid(NamedTuple):
    """Runs of a recipe: methods or variants, times seeds.

    Attributes:
      columns: measures; of a study the first one is drawn.
      variants: what each changes in the recipe, by its name.
      measure: computes a row; or one for each variant.
      recipe: `--config` of a run; "": variants are no runs of the library, and all that a row depends on.
      settings: what differs from the recipe in all of them.
      baselines: config → rows without training, by their name.
      seeds: those of the published table.
      methods: variants that are computed unless others are asked for; (): all.
      question: of a study, whose runs are short, on some of the data, and which has a page of its own.
      data: what `--data` is to name; "": the recipe needs none.
    """

    columns: tuple[str, ...]
    variants: Mapping[str, Changes]
    measure: Measure | Mapping[str, Measure]
    recipe: str = ""
    settings: Changes = MappingProxyType({})
    baselines: Callable[[Any], Mapping[str, Row]] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = ()
    question: str = ""
    data: str = ""

    def configure(self, settings: Changes, steps: int | None = None) -> Config:
        """The recipe for some data, perhaps with another number of steps; {} without a recipe."""
        if not self.recipe:
            return {}
        length = {} if steps is None else {"train.num_steps": steps}
        return changed(load_config(self.recipe), {**self.settings, **settings, **length})

    def run(
        self,
        rows: Rows,
        config: Config,
        directory: Path,
        *,
        methods: Sequence[str] = (),
        seeds: Sequence[int] = (),
        again: bool = False,
        train: bool = True,
    ) -> None:
        """Computes the rows that are missing: baselines, then all methods of a seed, then the next seed.

        Args:
          rows: what is finished; gets what is not.
          config: what `configure` gave.
          directory: work directories of the runs are in it.
          methods: (): those of the grid.
          seeds: (): those of the grid.
          again: stale rows are computed, too.
          train: otherwise only baselines.
        """
        if self.baselines is not None:
            known = [row for row in rows.all() if row["seed"] == ""]
            if not known or (again and any(_is_stale(row, key_of(config)) for row in known)):
                for name, measured in self.baselines(config).items():
                    rows.add({"method": name, **key_of(config), "source": "measured", **measured})
        for seed in (seeds or self.seeds) if train else ():
            for method in methods or self.methods or self.variants:
                self._run_one(rows, config, directory, method, seed, again)

    def _run_one(
        self, rows: Rows, config: Config, directory: Path, method: str, seed: int, again: bool
    ) -> None:
        """Computes one row where it is missing, and tells what it is."""
        changes, steps = {**self.variants[method], "seed": seed}, ""
        if isinstance(config, ml_collections.ConfigDict):
            config = changed(config, changes)
            steps = str(config.train.num_steps)
        else:
            config = {**config, **changes}
        row, key = rows.find(method, seed, steps), key_of(config)
        if row is None or (again and _is_stale(row, key)):
            measure = self.measure if callable(self.measure) else self.measure[method]
            number = list(self.variants).index(method)
            measured = measure(config, directory / f"{number:02d}-{seed}")
            told = {"method": method, "seed": seed, "steps": steps, "source": "measured"}
            rows.add({**told, **key, **measured})
            row = rows.find(method, seed, steps) or {}
        shown = ", ".join(f"{name} {row[name][:7]}" for name in self.columns)
        note = " (stale: --again computes it anew)" if _is_stale(row, key) else ""
        print(f"{method}, seed {seed}: {shown}{note}", flush=True)


def _is_stale(row: Row, key: Row) -> bool:
    """Whether something else computed the row than what would now."""
    return any(row[name] != key[name] for name in KEY)
