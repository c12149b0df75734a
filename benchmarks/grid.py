"""Runs a grid of methods or variants and seeds, and prints its table.

    python -m benchmarks.grid mnist --data=FOLDER_WITH_THE_FOUR_FILES
    python -m benchmarks.grid terms --data=FOLDER_WITH_THE_FOUR_FILES
    python -m benchmarks.grid voxels --data=FILE.npz
    python -m benchmarks.grid clusters --data=FOLDER --methods "iris: KMeans" "iris: GaussianMixture"

Methods differ in loss weights and anchors alone: network, data, warm-up, learning rate and number of steps are those of
the recipe. Studies change one thing at a time, in runs shorter than the recipe's, images on `--examples` of the training
images; scores are of all test examples. Where there are baselines without training, they come first.

Every finished row is a line of the CSV file in docs/tables/, or docs/studies/, and is not computed again: a program
that was interrupted goes on. With `--steps` or `--examples` rows are not those of the docs and stay in `--workdir`.
Rows of another config, version of the code or of JAX are told, and computed anew with `--again`. At the end, the page
of a study is written; `python -m benchmarks.print --write` puts the other tables into theirs.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import baselines, clusters, hypotheses, labels, measures
from benchmarks.print import STUDIES, TABLES, layouts, provenance, render, whole
from benchmarks.table import Changes, Grid, Measure, Rows, train_and_evaluate
from nvc_jax.config import changed, load_config
from nvc_jax.data import open_source, random_subset
from nvc_jax.programs import cli

# A VAE is the case of one anchor, which is the mean of its prior; an autoencoder has no KL either. Warm-up, k-means
# (of one center), the new begin of learning rate and optimizer are NVC's.
ONE_ANCHOR: Changes = {"model.num_anchors": 1, "loss.triplet.value": 0.0}
METHODS: dict[str, Changes] = {
    "nvc": {},
    "vae": ONE_ANCHOR,
    "ae": {**ONE_ANCHOR, "loss.kl.value": 0.0},
}
"""What a method changes in a recipe for NVC: network, data and number of steps stay the same."""

NO_TRIPLET = {"loss.triplet.value": 0.0}
NO_KL = {"loss.kl.value": 0.0}
UNBALANCED = {"anchors.shares": "free"}
WEAK = {"loss.triplet.value": 1.0, "loss.triplet_margin": 1.0}
"""The values of the defaults."""
UNCHANGED = {f"augment.{way}": 0.0 for way in ("shift", "rotation", "scale", "shear")}

TERMS: dict[str, Changes] = {
    "reconstruction": METHODS["ae"],
    "+ KL from one Gaussian (VAE)": METHODS["vae"],
    "+ anchors, without KL and triplet": {**NO_KL, **NO_TRIPLET},
    "+ KL from anchors": NO_TRIPLET,
    "+ triplet (anchor), without KL": NO_KL,
    "+ KL from anchors, triplet (anchor)": {},
    "+ KL from anchors, triplet (ratio)": {"loss.triplet_form": "ratio"},
    "+ KL from anchors, triplet (hinge, hard)": {"loss.triplet_form": "hinge"},
    "all, and bounded gravity": {"loss.gravity.value": 1.0, "loss.gravity_radius": 10.0},
    "all, and the paper's gravity": {"loss.gravity.value": 1e-3, "loss.gravity_form": "paper"},
    "all, and pull": {"loss.pull.value": 1.0},
    "KL from anchors, equal shares off": {**NO_TRIPLET, **UNBALANCED},
    "triplet without KL, equal shares off": {**NO_KL, **UNBALANCED},
    "KL from anchors, triplet, equal shares off": UNBALANCED,
}
TERMS_3D: dict[str, Changes] = {
    **{
        name: TERMS[name]
        for name in tuple(TERMS)[:6]
        if name != "+ anchors, without KL and triplet"
    },
    "KL from anchors, triplet, equal shares": {"anchors.shares": "equal"},
    "KL from anchors, triplet (ratio)": {"loss.triplet_form": "ratio"},
}
INITS = {
    "normal": {"anchors.init": "normal"},
    "spread": {"anchors.init": "spread"},
    "k-means++ on data": {"anchors.init": "kmeans++"},
    "k-means on data": {"anchors.init": "kmeans"},
}
INIT: dict[str, Changes] = {
    f"{name}{told}": {**changes, **more}
    for told, more in (
        (", equal shares off", UNBALANCED),
        (", equal shares off, revival", {**UNBALANCED, "anchors.revive_every": 100}),
        (", equal shares", {}),
    )
    for name, changes in INITS.items()
}
WEIGHTS: dict[str, Changes] = {
    "KL 1, triplet 20 with margin 10": {},
    "KL 0.1": {"loss.kl.value": 0.1},
    "KL 10": {"loss.kl.value": 10.0},
    "triplet 1 with margin 1": WEAK,
    "triplet 1 with margin 1, equal shares off": {**WEAK, **UNBALANCED},
    "triplet 100": {"loss.triplet.value": 100.0},
    "weights without ramps": {"loss.kl.duration": 0.0, "loss.triplet.duration": 0.0},
    "without warm-up": {"anchors.warmup": 0.0},
    "without augmentation": UNCHANGED,
    "without augmentation, triplet 1 with margin 1": {**UNCHANGED, **WEAK},
    "without augmentation, reconstruction": {**UNCHANGED, **METHODS["ae"]},
    "anchors chosen by the augmented view": {"augment.assign_from": "augmented"},
}
ANCHORS: dict[str, Changes] = {
    **{f"K = {k}, D = 10": {"model.num_anchors": k} for k in (5, 8, 10, 12, 20, 50, 200)},
    **{f"K = 10, D = {d}": {"model.latent_dim": d} for d in (2, 4, 32, 64)},
    "one anchor (VAE), D = 2": {**ONE_ANCHOR, "model.latent_dim": 2},
    "one anchor (VAE), D = 64": {**ONE_ANCHOR, "model.latent_dim": 64},
}
CONSTANT = {"optimizer.learning_rate": 1e-3, "optimizer.schedule": "constant"}
TRAINING: dict[str, Changes] = {
    "learning rate 2e-3, batches of 512": {},
    **{
        f"learning rate {r}": {"optimizer.learning_rate": float(r)}
        for r in ("5e-4", "1e-3", "5e-3")
    },
    "learning rate 1e-3, constant": CONSTANT,
    "learning rate 1e-3, batches of 256": {
        "optimizer.learning_rate": 1e-3,
        "train.batch_size": 256,
    },
    "MLP 256-128": {"model.hidden": (256, 128)},
    "MLP 1024-512-256": {"model.hidden": (1024, 512, 256)},
    "anchors stay where k-means put them": {"anchors.train": False},
    "anchor scale 0.3": {"loss.anchor_scale": 0.3},
    "anchor scale 3": {"loss.anchor_scale": 3.0},
    "triplet margin 1": {"loss.triplet_margin": 1.0},
    "triplet margin 100": {"loss.triplet_margin": 100.0},
    "the decoder draws the augmented view": {"augment.target": "augmented"},
}
MNIST: dict[str, Changes] = {
    **METHODS,
    "nvc-k30": {"model.num_anchors": 30},
    "nvc-unbalanced": UNBALANCED,
    "nvc-no-triplet": NO_TRIPLET,
    "nvc-augmented-view": WEIGHTS["anchors chosen by the augmented view"],
    "nvc-triplet-100": WEIGHTS["triplet 100"],
    "nvc-kl-10": WEIGHTS["KL 10"],
    "nvc-without-ramps": WEIGHTS["weights without ramps"],
    "nvc-random-anchors": INITS["normal"],
    "nvc-rate-5e-3": TRAINING["learning rate 5e-3"],
    "nvc-constant-rate": CONSTANT,
}
LATENTS: dict[str, Changes] = {
    "transformer": {**METHODS["ae"], "model.latent": "none"},
    "vae": {**METHODS["vae"], "model.latent": "sentence"},
    "nvc-sentence": {"model.latent": "sentence"},
    "nvc-token": {"model.latent": "token"},
}
THREE = {name: METHODS[name] for name in ("ae", "vae", "nvc")}
PEERS: dict[str, Changes] = {
    name: METHODS.get({"autoencoder + k-means": "ae", "VAE + k-means": "vae"}.get(name, ""), {})
    for name in measures.PEERS
}
HUNGARIAN, MAJORITY = "cluster_accuracy_hungarian", "cluster_accuracy_majority"
KMEANS = "kmeans_accuracy_hungarian"
CLUSTERING = (HUNGARIAN, MAJORITY, "nmi", KMEANS, "anchors_used", "reconstruction")
IMAGES, SHAPES, TEXT = "folder of images", "npz file of shapes", "folder of parallel text"
EXAMPLES = 10_000
"""Training images of studies."""


def _study(
    question: str, columns: tuple[str, ...], variants: dict[str, Changes], steps: int = 500
) -> Grid:
    """A study of MNIST's recipe."""
    return Grid(
        columns,
        variants,
        measures.of_study,
        "mnist",
        {**_short(steps), "data.source": "npz", "data.validation_fraction": 0.0},
        seeds=(21, 22, 23),
        question=question,
        data=IMAGES,
    )


def _short(steps: int) -> Changes:
    return {"train.num_steps": steps, "train.eval_every": 0, "train.checkpoint_every": 0}


def _of_shapes(
    recipe: str,
    columns: tuple[str, ...],
    without_training: Callable[[Any], baselines.Rows],
    measure: Measure = train_and_evaluate,
) -> Grid:
    """The three methods, and baselines, on a file of shapes."""
    return Grid(columns, THREE, measure, recipe, baselines=without_training, data=SHAPES)


GRIDS: dict[str, Grid] = {
    "mnist": Grid(
        (HUNGARIAN, MAJORITY, KMEANS, f"{KMEANS}_inputs", "nmi", "anchors_used", "squared_error"),
        MNIST,
        train_and_evaluate,
        "mnist",
        seeds=(11, 12, 13),
        methods=tuple(METHODS),
        data=IMAGES,
    ),
    "terms": _study("Which term of the loss does what?", CLUSTERING, TERMS, 700),
    "terms-3d": Grid(
        ("iou", *CLUSTERING),
        TERMS_3D,
        measures.of_study,
        "cad:voxels",
        {**_short(400), "model.channels": (16, 32), "model.blocks": 1},
        seeds=(21,),
        question="Which term of the loss does what, on voxels of furniture?",
        data=SHAPES,
    ),
    "init": _study(
        "How should anchors begin?",
        (MAJORITY, HUNGARIAN, "nmi", "anchors_used"),
        INIT,
    ),
    "weights": _study(
        "How strong should KL and triplet be, and what else does the recipe need?",
        (HUNGARIAN, "nmi", KMEANS, "anchors_used", "kl"),
        WEIGHTS,
    ),
    "training": _study(
        "How should one train, and where should anchors and margin lie?",
        (HUNGARIAN, "nmi", KMEANS, "anchors_used", "reconstruction"),
        TRAINING,
    ),
    "anchors": _study(
        "How many anchors, and how many latent dimensions?",
        (
            MAJORITY,
            "nmi",
            KMEANS,
            "anchors_used",
            "silhouette",
            "reconstruction",
            "train_reconstruction",
        ),
        ANCHORS,
    ),
    "peers": _study(
        "How does NVC compare with other ways to cluster?",
        (HUNGARIAN, "nmi", "ari"),
        PEERS,
        700,
    )._replace(measure=measures.PEERS),
    "hypotheses": Grid(
        hypotheses.COLUMNS,
        hypotheses.METHODS,
        hypotheses.measure,
        "quadrants:one",
        {
            **_short(1000),
            "data.source": "npz",
            "data.validation_fraction": 0.0,
            "model.hidden": (250, 250),
            "eval.draws": 50,
            "eval.max_train_examples": 2000,
            "anchors.max_examples": 5000,
        },
        seeds=(21,),
        question="How good are several answers to one input?",
        data=IMAGES,
    ),
    "hypotheses-voxels": Grid(
        hypotheses.VOXEL_COLUMNS,
        hypotheses.VOXEL_METHODS,
        hypotheses.measure,
        "furniture:voxels",
        {**_short(150), **hypotheses.ONE_VIEW},
        seeds=(0,),
    ),
    "voxels": _of_shapes(
        "cad:voxels",
        ("iou", "threshold", *CLUSTERING[:-1]),
        baselines.voxel_baselines,
        measures.of_voxels,
    ),
    "semantic": _of_shapes(
        "cad:semantic", ("miou", "iou_geometric", "anchors_used"), baselines.semantic_baselines
    ),
    "points": _of_shapes(
        "cad:points",
        ("chamfer_l1", "f_score", "anchors_used"),
        baselines.point_baselines,
        measures.of_points,
    ),
    "scenes": _of_shapes(
        "cad:scenes", ("miou", "accuracy", "anchors_used"), baselines.scene_baselines
    ),
    "hands": Grid(
        (
            "mpjpe_root",
            "mpjpe_abs",
            "mpjpe_pa",
            "auc_20_50",
            "auc_20_50_hand3d",
            "nmi",
            MAJORITY,
            "anchors_used",
        ),
        THREE,
        train_and_evaluate,
        "hands",
        baselines=baselines.hand_baselines,
    ),
    "planes": Grid(
        (
            *measures.PLANE_MEASURES,
            *(f"ransac_{name}" for name in measures.PLANE_MEASURES),
            "ransac_tolerance",
            "plane_recall_normal/10",
            "depth_rel",
            "anchors_used",
        ),
        THREE,
        measures.of_planes,
        "rooms",
        baselines=baselines.plane_baselines,
    ),
    "translation": Grid(
        ("bleu", "chrf", "perplexity", "anchors_used"),
        LATENTS,
        train_and_evaluate,
        "translation",
        {
            "data.vocab_size": 4000,
            "data.num_buckets": 4,
            "model.width": 192,
            "model.feedforward": 768,
            "train.eval_every": 0,  # translating takes time
        },
        baselines=baselines.translation_baselines,
        seeds=(0, 1),
        data=TEXT,
    ),
    "clusters": Grid(
        ("ari", "nmi", "accuracy", "found", "calibration"),
        clusters.VARIANTS,
        clusters.measure,
        seeds=(0, 1, 2, 3, 4),
    ),
    "labels": Grid(("accuracy",), labels.VARIANTS, labels.measure),
}


OF_FOLDER = {"clusters": clusters.measure, "labels": labels.measure}
"""What reads data by itself, from a folder that some of them need."""


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


def write_page(path: Path, name: str, data: str) -> None:
    """Writes the page of a study, and a figure of its first measure, from its rows.

    Args:
      path: of the page; rows are beside it.
      name: of the grid.
      data: what the runs were given, in words.
    """
    grid, rows = GRIDS[name], Rows(path.with_suffix(".csv"))
    seeds = f"mean ± sample standard deviation of seeds {', '.join(map(str, grid.seeds))}"
    if len(grid.seeds) == 1:
        seeds = f"of seed {grid.seeds[0]}"
    network = ("model.channels", "model.blocks")
    asked = "FOLDER" if grid.data == IMAGES else "FILE.npz --split_file=GROUPS.npz"
    smaller = "".join(f", {key}={grid.settings[key]}" for key in network if key in grid.settings)
    layout = whole(path.with_suffix(".csv"), path, "variant")
    lines = [
        f"# {grid.question}",
        "",
        f"`--config={grid.recipe}`{smaller}: {grid.settings['train.num_steps']:,} steps on {data}, without labels.",
        f"Scores are of all test examples, {seeds}; nothing stands",
        "where a seed diverged. Seconds: of the training, on a CPU processor time, else wall-clock time.",
        f"{'; '.join(provenance(layout, now=False))}.",
        "",
        f"    python -m benchmarks.grid {name} --data={asked}",
        "",
        *render(layout),
        "",
        f"[Every run]({path.stem}.csv).",
        "",
        f"![{grid.columns[0]} of every variant]({path.stem}.png)",
        "",
    ]
    path.write_text("\n".join(lines))
    draw(path.with_suffix(".png"), rows, grid.columns[0])


def draw(path: Path, rows: Rows, column: str) -> None:
    """A bar for the mean of every method, and a dot for every seed."""
    from matplotlib.figure import Figure  # slow to import

    values: dict[str, list[float]] = {}
    for row in rows.all():
        values.setdefault(row["method"], []).append(float(row[column] or "nan"))
    figure = Figure((7, 0.6 + 0.3 * len(values)), layout="constrained")
    axes = figure.subplots()
    for place, some in enumerate(values.values()):
        axes.barh(place, np.mean(some), color="#9ecae1")
        axes.plot(some, [place] * len(some), "k.", markersize=4)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set_xlabel(column)
    figure.savefig(path, dpi=120)


def main(arguments: list[str]) -> int:
    """Computes what is missing of a grid and prints its table."""
    parser = cli.bare_parser(__doc__)
    parser.add_argument("name", choices=GRIDS)
    parser.add_argument("--data", type=Path, help="folder or file, where the grid needs data")
    parser.add_argument("--split_file", type=Path, help="data.split_file of shapes")
    parser.add_argument("--source", default="idx", help="data.source of a folder of images")
    parser.add_argument("--workdir", type=Path, default=Path("runs/tables"), help="of the runs")
    parser.add_argument("--rows", type=Path, help="folder of the CSV file")
    parser.add_argument("--methods", nargs="+", default=[], metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    parser.add_argument("--steps", type=int, help="of every run, in place of the recipe's")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="training images of studies")
    parser.add_argument("--baselines", action="store_true", help="only what needs no training")
    parser.add_argument("--again", action="store_true", help="stale rows are computed anew")
    flags = parser.parse_args(arguments)
    grid, stem = GRIDS[flags.name], flags.name
    for method in set(flags.methods) - set(grid.variants):
        parser.error(f"{flags.name} has no method {method!r}: it has {', '.join(grid.variants)}")
    if grid.data and flags.data is None:
        parser.error(
            f"{flags.name} needs --data, a {grid.data}; what was measured before: "
            f"python -m benchmarks.print {flags.name}"
        )
    settings: dict[str, str] = {}
    if grid.data:
        settings["data.dir"] = str(flags.data.absolute())
    if flags.split_file:
        settings["data.split_file"] = str(flags.split_file.absolute())
    if grid.data == IMAGES and grid.question:
        data = smaller_data(flags.data, flags.source, flags.examples, flags.workdir)
        settings["data.dir"] = str(data.absolute())
        stem = stem if data.name.startswith("mnist") else f"{stem}-{flags.data.name}"
    elif grid.data == IMAGES:
        settings["data.source"] = flags.source
    of_docs = flags.steps is None and flags.examples == EXAMPLES
    beside = STUDIES if grid.question else TABLES
    path = (flags.rows or (beside if of_docs else flags.workdir)) / f"{stem}.csv"
    if flags.name in OF_FOLDER:  # a row does not depend on where the data lie
        measure = partial(OF_FOLDER[flags.name], folder=flags.data or Path())
        grid = grid._replace(measure=measure)
    rows = Rows(path, grid.columns)
    grid.run(
        rows,
        grid.configure(settings, flags.steps),
        flags.workdir / stem,
        methods=flags.methods,
        seeds=flags.seeds,
        again=flags.again,
        train=not flags.baselines,
    )
    if path.parent == STUDIES:
        used = (
            f"{flags.examples:,} training images" if grid.data == IMAGES else "the training shapes"
        )
        write_page(path.with_suffix(".md"), flags.name, f"{used} of {flags.data.stem}")
    published = [layout for layout in layouts() if layout.rows == path]
    for layout in published or [whole(path, path)]:
        print("\n".join(["", *render(layout), "", *provenance(layout)]))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
