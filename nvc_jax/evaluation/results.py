"""From a work directory to numbers, embeddings and figures."""

import functools
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from nvc_jax import metrics
from nvc_jax.config import to_json
from nvc_jax.core.errors import UserError
from nvc_jax.core.files import refuse_links, replace_file
from nvc_jax.core.logs import logger
from nvc_jax.data import IterableSource, Source, random_subset, subset
from nvc_jax.data.base.source import class_names_of
from nvc_jax.evaluation.page import run_page
from nvc_jax.evaluation.trained import TrainedModel, load
from nvc_jax.report import write_report
from nvc_jax.report.gallery import anchor_texts, nearest_members
from nvc_jax.report.html import plotly_script
from nvc_jax.tasks import open_examples
from nvc_jax.tasks.base import Task
from nvc_jax.training import parallel, workdir
from nvc_jax.training.encoding import latent_health, means_of
from nvc_jax.training.logging import METRICS_FILE, read_metrics

MOST_INPUT_VALUES = 200_000_000
MOST_LABELS_DRAWN = 200
Data = Source | Iterable[dict[str, np.ndarray]] | None

NOTES = {
    "reconstruction": "error per example in the unit of loss.likelihood, mean over the test split",
    "cluster_accuracy_hungarian": "anchors to classes one to one, the matching fitted on the test "
    "labels, as is usual for clustering accuracy",
    "cluster_accuracy_majority": "each anchor stands for its commonest test label",
    "nmi": "anchors and test labels, arithmetic mean in the denominator",
    "ari": "anchors and test labels",
    "knn_accuracy": "test means, neighbors among the encoded training examples and their labels",
    "kmeans_accuracy_hungarian": "k-means with as many clusters as classes, fitted on training "
    "means without labels",
    "kmeans_accuracy_hungarian_inputs": "the same on the inputs themselves, such as pixels",
    "silhouette": "of test means by anchor",
    "best_of": "of a conditional nebula: the task's own error of the best of the n most probable answers; _draws: of n "
    "draws of the prior; _reduced: of n that stand for all answers, or for eval.draws draws, by k-means",
    "log_likelihood": "of what is not seen, in nats, by importance sampling from the posterior, eval.draws draws",
}
"""The convention behind every metric that has more than one."""


def evaluate(
    directory: str | Path,
    checkpoint: str | int = "latest",
    *,
    overrides: Iterable[tuple[str, str]] = (),
    test_data: Data = None,
    train_data: Data = None,
    figures: bool = True,
    report: bool = False,
) -> dict[str, Any]:
    """Restores a run on whatever devices there are and measures it on the test split.

    Writes `results.json`, `embeddings.npz` (`mean`, `assignment`, `label`, `split` of every encoded
    example, and `anchors`), `figures/` and, of 3D tasks, `shapes/`, of text `predictions.txt` and
    `anchors.txt` into the directory. Labels serve to score and to color; nothing is fitted on test
    examples but the names of clusters.

    Args:
      directory: work directory of a run.
      checkpoint: `latest`, `best`, or a step.
      overrides: (dotted key, text) pairs for keys under `data.` and `eval.`.
      test_data: a source, or a re-iterable of dict batches; None opens what the config names.
      train_data: the same for the training split, whose examples serve k-means and neighbors.
      figures: draw figures too, and export outputs where the task can.
      report: write `report.html` too, a page to look at that opens offline.

    Returns:
      What `results.json` holds: `metrics` (None where undefined, with the reason in `reasons`),
      `counts`, `config`, `step`, `seed`, `notes`.

    Raises:
      UserError: if there is no run or checkpoint, or it does not fit the data.
    """
    if report:
        plotly_script()  # what is missing is told before the work
    path = Path(directory).absolute()
    refuse_links(path, workdir.OWN_NAMES)
    model = load(path, checkpoint, overrides=overrides)
    config = model.config
    test = _open(test_data, model, "test")
    train = random_subset(
        _open(train_data, model, "train"), config.eval.max_train_examples, config.seed
    )
    sources = {"test": test, "train": train}
    encoded = {split: model.encode(source) for split, source in sources.items()}
    inputs = {split: partial(_inputs, model.task, source) for split, source in sources.items()}
    summary = model.task.summary(encoded["test"], test)
    if model.task.gives_answers:
        summary |= model.measure_answers(test)
    results = _measure(config, encoded, summary, inputs, model.anchors, model.scales, model.step)
    if parallel.process_index() == 0:
        replace_file(path / workdir.RESULTS_FILE, (json.dumps(results, indent=2) + "\n").encode())
        if model.task.measures_predictions:
            _write_predictions(path / workdir.PREDICTIONS_FILE, model.task, encoded["test"])
        _write_embeddings(path / workdir.EMBEDDINGS_FILE, encoded, model.anchors)
        _write_anchors(path / workdir.ANCHORS_FILE, model, test, encoded["test"])
        if figures:
            _draw(path, model, test, encoded["test"])
        if report:
            page = run_page(path, model, sources, encoded, results)
            write_report(path / workdir.REPORT_FILE, page)
    return results


def _open(data: Data, model: TrainedModel, split: str) -> Source:
    """The given data, or the config's; a plain iterable is read to its end."""
    if data is None:
        return open_examples(model.config, split, model.learned)
    return data if isinstance(data, Source) else IterableSource(data).collect()


def _inputs(task: Task, source: Source) -> np.ndarray:
    """The stored examples as vectors, `[N, F]`, for a baseline that knows no network."""
    size = len(source) * sum(math.prod(field.shape) for field in source.spec.values())
    if size > MOST_INPUT_VALUES:
        raise UserError(
            f"The baseline on the inputs is left out: {size:,} values are more than "
            f"{MOST_INPUT_VALUES:,}."
        )
    return task.features(source.gather(np.arange(len(source))))


def _measure(
    config: ml_collections.ConfigDict,
    encoded: Mapping[str, Mapping[str, np.ndarray]],
    summary: Mapping[str, float],
    inputs: Mapping[str, Callable[[], np.ndarray]],
    anchors: np.ndarray,
    scales: np.ndarray,
    step: int,
) -> dict[str, Any]:
    """All numbers, as `evaluate` returns them."""
    test = encoded["test"]
    silhouette = metrics.silhouette(test["mean"], test["assignment"], seed=config.seed)
    values: dict[str, float | None] = {
        **means_of(test),
        **summary,
        **latent_health(test, anchors, scales),
        "silhouette": silhouette.value,
    }
    reasons = {} if silhouette.reason is None else {"silhouette": silhouette.reason}
    labeled = {split: encoded[split]["label"] >= 0 for split in encoded}
    num_classes = config.eval.num_classes or len(np.unique(test["label"][labeled["test"]]))
    for name, compute in _label_metrics(config, encoded, inputs, labeled, num_classes).items():
        try:
            if not labeled["test"].any():
                raise UserError("the test examples have no labels")
            values[name] = compute()
        except UserError as error:
            values[name], reasons[name] = None, str(error)
    for name, value in values.items():
        if value is not None and not math.isfinite(value):  # JSON has no such number
            values[name], reasons[name] = None, f"its value is {value}"
    return {
        "metrics": {name: values[name] for name in sorted(values)},
        "reasons": reasons,
        "notes": {k: v for k, v in NOTES.items() if any(name.startswith(k) for name in values)},
        "counts": {
            "test_examples": len(test["label"]),
            "test_labeled": int(labeled["test"].sum()),
            "train_examples": len(encoded["train"]["label"]),
            "train_labeled": int(labeled["train"].sum()),
            "classes": num_classes,
            "anchors": len(anchors),
            "per_anchor": np.bincount(test["assignment"], minlength=len(anchors)).tolist(),
        },
        "config": json.loads(to_json(config)),
        "step": step,
        "seed": config.seed,
    }


def _label_metrics(
    config: ml_collections.ConfigDict,
    encoded: Mapping[str, Mapping[str, np.ndarray]],
    inputs: Mapping[str, Callable[[], np.ndarray]],
    labeled: Mapping[str, np.ndarray],
    num_classes: int,
) -> dict[str, Callable[[], float]]:
    """Metrics that need labels, by name; each raises `UserError` where it is undefined."""
    known, train_known = labeled["test"], labeled["train"]
    label = encoded["test"]["label"][known]
    cluster = encoded["test"]["assignment"][known]
    mean, train_mean = encoded["test"]["mean"], encoded["train"]["mean"]

    def of_kmeans(train_x: np.ndarray, test_x: np.ndarray) -> float:
        return metrics.kmeans_accuracy(train_x, test_x[known], label, num_classes, seed=config.seed)

    found: dict[str, Callable[[], float]] = {
        "cluster_accuracy_hungarian": lambda: metrics.cluster_accuracy(label, cluster),
        "cluster_accuracy_majority": lambda: metrics.cluster_accuracy(label, cluster, "majority"),
        "nmi": lambda: metrics.nmi(label, cluster),
        "ari": lambda: metrics.ari(label, cluster),
        "knn_accuracy": lambda: metrics.knn_accuracy(
            train_mean[train_known],
            encoded["train"]["label"][train_known],
            mean[known],
            label,
            config.eval.num_neighbors,
        ),
        "kmeans_accuracy_hungarian": lambda: of_kmeans(train_mean, mean),
    }
    if config.eval.kmeans_inputs:
        found["kmeans_accuracy_hungarian_inputs"] = lambda: of_kmeans(
            inputs["train"](), inputs["test"]()
        )
    return found


def _write_predictions(path: Path, task: Task, encoded: Mapping[str, np.ndarray]) -> None:
    """Writes what is predicted of every test example, such as its translation, one a line."""
    lines = [f"{text}\n" for text in task.postprocess(encoded["prediction"])]
    replace_file(path, "".join(lines).encode())


def _write_anchors(
    path: Path, model: TrainedModel, test: Source, encoded: Mapping[str, np.ndarray]
) -> None:
    """Tells in words what every anchor stands for, where examples are text."""
    mean, assignment, label = (encoded[name] for name in ("mean", "assignment", "label"))
    members = nearest_members(mean, assignment, model.anchors, model.config.eval.shown_samples)
    describe = partial(model.display.describe, test)
    text = anchor_texts(members, assignment, label, class_names_of(test), describe)
    if text is not None:
        replace_file(path, text.encode())


def _write_embeddings(
    path: Path, encoded: Mapping[str, Mapping[str, np.ndarray]], anchors: np.ndarray
) -> None:
    """Writes the encoded examples of both splits, test first; no pickled object in it."""
    order = ("test", "train")
    joined: dict[str, Any] = {
        name: np.concatenate([encoded[split][name] for split in order])
        for name in ("mean", "assignment", "label")
    }
    joined["split"] = np.repeat(order, [len(encoded[split]["label"]) for split in order])
    content = io.BytesIO()
    np.savez(content, anchors=anchors, **joined)
    replace_file(path, content.getvalue())


def _draw(path: Path, model: TrainedModel, test: Source, encoded: Mapping[str, np.ndarray]) -> None:
    """Draws every figure and exports shapes; what fails is named and left out."""
    from nvc_jax import plots  # matplotlib is slow to import

    config, anchors = model.config, model.anchors
    shown = np.arange(min(len(test), config.eval.shown_examples))
    predicted = functools.cache(lambda: model.predict(subset(test, shown)))
    decoded = functools.cache(lambda: model.decode(anchors) if model.task.decodes_codes else ())
    mean, assignment, label = (encoded[name] for name in ("mean", "assignment", "label"))
    totals = np.bincount(assignment, minlength=len(anchors))
    labels, column = np.unique(label, return_inverse=True)  # which may be any numbers
    by_label = (label >= 0).all() and 0 < len(labels) <= MOST_LABELS_DRAWN
    if by_label:
        counts = np.zeros((len(anchors), len(labels)), np.int64)
        np.add.at(counts, (assignment, column), 1)

    def scatters(method: Any) -> dict[str, Any]:
        figures = plots.latent_scatters(
            mean,
            {"anchor": assignment, "label": label},
            anchors=anchors,
            method=method,
            max_points=config.eval.tsne_examples if method == "tsne" else None,
        )
        return {f"latent_{method}_by_{by}": figure for by, figure in figures.items()}

    methods = ["pca", *(["tsne"] if config.eval.tsne_examples else [])]
    jobs: list[Callable[[], dict[str, Any]]] = [
        *(functools.partial(scatters, method) for method in methods),
        lambda: {"latent_covariance": plots.latent_covariance(mean)},
        lambda: {
            "anchor_usage": plots.anchor_usage(counts, labels.tolist())
            if by_label
            else plots.anchor_usage(totals)
        },
        lambda: {"training_curves": plots.training_curves(read_metrics(path / METRICS_FILE))},
        lambda: model.display.figures(test.gather(shown), predicted()) if len(shown) else {},
        lambda: _hypotheses(model, test, shown) if model.task.gives_answers and len(shown) else {},
        lambda: (
            _export(path / workdir.SHAPES_FOLDER, model, predicted(), decoded())
            if len(shown)
            else {}
        ),
        lambda: _decoded_anchors(model, decoded(), totals),
        lambda: _anchor_examples(model, test, mean, assignment),
    ]
    for job in jobs:
        try:
            for name, figure in job().items():
                plots.save(figure, path / workdir.FIGURES_FOLDER / f"{name}.png")
        except Exception as error:  # a figure is no reason to lose the numbers
            logger.warning("A figure or shape failed: %s", error)


def _hypotheses(model: TrainedModel, test: Source, shown: np.ndarray) -> dict[str, Any]:
    """`hypotheses`: what is seen, the truth, and answers that stand for all, with their probabilities.

    Of tasks whose answers have no mean, they are those of the most probable anchors.
    """
    by = "expected" if model.task.averages_answers else "probable"
    found = model.complete_source(subset(test, shown), model.config.eval.shown_answers, by)
    figure = model.display.hypotheses(test.gather(shown), found.answers, found.probabilities)
    return {} if figure is None else {"hypotheses": figure}


def _export(folder: Path, model: TrainedModel, predicted: Any, decoded: Any) -> dict[str, Any]:
    """Writes the first outputs and the decoded anchors as files for other programs; no figure."""
    for name, outputs in {"example": predicted, "anchor": decoded}.items():
        for number, values in enumerate(outputs):
            model.display.export(values, folder / f"{name}_{number:03d}")
    return {}


def _decoded_anchors(model: TrainedModel, decoded: Any, counts: np.ndarray) -> dict[str, Any]:
    """`anchors`: every anchor decoded, beside samples drawn around it; of tasks that decode codes."""
    from nvc_jax import plots  # matplotlib is slow to import

    if not model.task.decodes_codes:
        return {}
    pictures = [model.display.render(values) for values in (decoded, model.samples())]
    if pictures[0] is None or pictures[1] is None:
        return {}
    return {"anchors": plots.anchor_gallery(pictures[0], pictures[1], counts)}


def _anchor_examples(
    model: TrainedModel, test: Source, mean: np.ndarray, assignment: np.ndarray
) -> dict[str, Any]:
    """`anchor_examples`: beside every anchor those of its examples whose means are nearest to it."""
    from nvc_jax import plots  # matplotlib is slow to import

    counts = np.bincount(assignment, minlength=len(model.anchors))
    shown = nearest_members(mean, assignment, model.anchors, model.config.eval.shown_samples)
    pictures = model.display.pictures(test.gather(np.concatenate(shown)))
    if pictures is None or not len(pictures):
        return {}
    rows = np.ones((len(shown), max(map(len, shown)), *pictures.shape[1:]))  # blank where too few
    rows[np.arange(rows.shape[1]) < np.array([len(ids) for ids in shown])[:, None]] = pictures
    return {
        "anchor_examples": plots.anchor_gallery(
            None, rows, counts, title="Anchors, and the examples nearest to them"
        )
    }
