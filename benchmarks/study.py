"""Studies of what matters in NVC: a grid of runs, as CSV, Markdown table and figure.

    python -m benchmarks.study terms --data=FOLDER_WITH_MNISTS_FOUR_FILES --workdir=runs/studies

`terms`, `weights`, `init`, `anchors` and `training` change one thing at a time in configs/mnist.py, `terms-3d` in
the variant voxels of configs/cad.py (--data=furniture.npz), see benchmarks/studies.py; `peers` compares with other ways to
cluster, see benchmarks/peers.py; `cost` measures time and memory of every term, see benchmarks/cost.py, and
needs no data. Runs are shorter than the recipe's: some hundred steps, images on `--examples` of the training
images; scores are of all test examples.

Every finished row is a line of DOCS/NAME.csv and is not computed again; to compute all of them on another
machine, choose another DOCS. At the end, DOCS/NAME.md and DOCS/NAME.png are written anew. Work
directories of the runs are in --workdir.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np

from benchmarks import cost, peers
from benchmarks.studies import STUDIES, Study, Variants
from benchmarks.table import Measure, Row, Rows, cell, evaluated, method_row, trained
from nvc_jax.config import changed, load_config
from nvc_jax.core.errors import DivergedError
from nvc_jax.data import open_source, random_subset
from nvc_jax.evaluation import load
from nvc_jax.programs import cli
from nvc_jax.tasks import open_examples

Table = Mapping[str, Sequence[Row]]
"""Rows of all seeds by variant."""


def smaller_data(data: Path, source: str, examples: int, folder: Path) -> Path:
    """Writes some training images and all test images as npz files, once; returns their folder."""
    settings = {"data.source": source, "data.dir": str(data), "data.validation_fraction": 0.0}
    config = changed(load_config("mnist"), settings)
    place = folder / f"{data.name}-{examples}"
    for split, limit in (("train", examples), ("test", sys.maxsize)):
        path = place / f"{split}.npz"
        if not path.is_file():
            stored = random_subset(open_source(config.data, split), limit, seed=0)
            place.mkdir(parents=True, exist_ok=True)
            fields = stored.gather(np.arange(len(stored)))
            np.savez(path, image=fields["image"], label=fields["label"])
    return place


def configure(study: Study, data: Path, steps: int) -> ml_collections.ConfigDict:
    """The recipe that variants change, for the data and length of a study."""
    config = load_config(study.recipe)
    of_images = {"data.source": "npz", "data.validation_fraction": 0.0}
    return changed(
        config,
        {
            **study.smaller,
            **(of_images if config.task == "image" else {}),
            "data.dir": str(data.absolute()),
            "train.num_steps": steps,
            "train.eval_every": 0,
            "train.checkpoint_every": 0,
        },
    )


def measure(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Trains and evaluates; also the reconstruction error of training images, to see over-fitting.

    A run that diverges has no measures.
    """
    try:
        row = trained(config, directory)
    except DivergedError as error:
        print(f"diverged: {error}", flush=True)
        return {"steps": config.train.num_steps}
    row |= evaluated(directory, [("eval.kmeans_inputs", "false")])
    model = load(directory)
    seen = random_subset(open_examples(config, "train"), config.eval.max_train_examples, 0)
    row["train_reconstruction"] = float(model.encode(seen)["reconstruction"].mean())
    return row


def run_variants(
    rows: Rows,
    config: ml_collections.ConfigDict,
    variants: Variants,
    seeds: Sequence[int],
    how: Measure | Mapping[str, Measure],
    directory: Path,
) -> Table:
    """Rows of every variant, those that are missing computed: all variants of a seed, then the next."""
    found: dict[str, list[Row]] = {name: [] for name in variants}
    for seed in seeds:
        for number, (name, changes) in enumerate(variants.items()):
            how_to = how[name] if isinstance(how, Mapping) else how
            place = directory / f"{number:02d}-{seed}"
            row = method_row(rows, config, name, changes, seed, how_to, place)
            found[name].append(row)
            shown = ", ".join(f"{c} {cell([row[c]])}" for c in rows.columns)
            print(f"{name}, seed {seed}: {shown}", flush=True)
    return found


def write_page(path: Path, title: str, lines: Sequence[str], table: Table, rows: Rows) -> None:
    """Writes the Markdown table and draws its first measure."""
    shown = (*rows.columns, "seconds")
    head = [f"| variant | {' | '.join(shown)} |", "|---" * (1 + len(shown)) + "|"]
    body = [
        f"| {name} | {' | '.join(cell([row[c] for row in some]) for c in shown)} |"
        for name, some in table.items()
    ]
    figure = f"![{rows.columns[0]} of every variant]({path.stem}.png)"
    path.parent.mkdir(parents=True, exist_ok=True)
    every = f"[Every run]({path.stem}.csv)."
    path.write_text(
        "\n".join([f"# {title}", "", *lines, "", *head, *body, "", every, "", figure, ""])
    )
    draw(path.with_suffix(".png"), table, rows.columns[0])


def draw(path: Path, table: Table, column: str) -> None:
    """A bar for the mean of every variant, and a dot for every seed."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure((7, 0.6 + 0.3 * len(table)), layout="constrained")
    axes = figure.subplots()
    for place, some in enumerate(table.values()):
        values = [row[column] for row in some]
        axes.barh(place, np.mean(values), color="#9ecae1")
        axes.plot(values, [place] * len(values), "k.", markersize=4)
    axes.set_yticks(range(len(table)), list(table))
    axes.invert_yaxis()
    axes.set_xlabel(column)
    figure.savefig(path, dpi=120)


def conditions(study: Study, flags: argparse.Namespace, of_images: bool) -> list[str]:
    """Lines on what was run: recipe, data, length, seeds, command."""
    used = f"{flags.examples:,} training images" if of_images else "the training shapes"
    given = f"FOLDER --examples={flags.examples}" if of_images else "FILE.npz"
    smaller = "".join(f", {name}={value}" for name, value in study.smaller.items())
    return [
        f"`--config={study.recipe}`{smaller}: {flags.steps:,} steps on {used} of {flags.data.stem}, without labels.",
        f"Scores are of all test examples, mean ± standard deviation of seeds {', '.join(map(str, flags.seeds))};",
        "nothing stands where a seed diverged. Seconds: of the training, on a CPU processor time, else wall-clock time.",
        "",
        f"    python -m benchmarks.study {flags.name} --data={given} --steps={flags.steps}",
    ]


def main(arguments: list[str]) -> int:
    """Runs what is missing of a study and writes its page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=(*STUDIES, "peers", "cost"))
    parser.add_argument(
        "--data", type=Path, help="folder of images, or file of shapes; not for cost"
    )
    parser.add_argument("--source", default="idx", help="data.source of the folder")
    parser.add_argument("--workdir", type=Path, default=Path("runs/studies"))
    parser.add_argument("--docs", type=Path, default=Path("docs/studies"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[21, 22, 23])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, help="of every run, in place of the study's")
    flags = parser.parse_args(arguments)
    if flags.name == "cost":
        return cost.main(flags.docs)
    if flags.data is None:
        parser.error(f"{flags.name} needs --data")
    if flags.name == "peers":
        chosen = peers.STUDY
        how: Measure | Mapping[str, Measure] = peers.MEASURES
    else:
        chosen, how = STUDIES[flags.name], measure
    flags.steps = flags.steps or chosen.steps
    of_images = load_config(chosen.recipe).task == "image"
    data, stem = flags.data, flags.name
    if of_images:
        data = smaller_data(data, flags.source, flags.examples, flags.workdir)
        stem = stem if data.name.startswith("mnist") else f"{stem}-{flags.data.name}"
    config = configure(chosen, data, flags.steps)
    rows = Rows(flags.docs / f"{stem}.csv", chosen.columns)
    table = run_variants(rows, config, chosen.variants, flags.seeds, how, flags.workdir / stem)
    lines = conditions(chosen, flags, of_images)
    write_page(flags.docs / f"{stem}.md", chosen.question, lines, table, rows)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
