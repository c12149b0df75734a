"""What the page of `eval.py --report` shows of a run."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.logs import logger
from nvc_jax.data import Source, subset
from nvc_jax.data.base.source import DerivedSource, class_names_of
from nvc_jax.evaluation.trained import TrainedModel
from nvc_jax.plots.solids import Solid
from nvc_jax.report import Report
from nvc_jax.training.logging import METRICS_FILE, read_metrics

NUM_TURNED, ANCHORS_A_SCENE = 4, 3
"""Examples, and decoded anchors side by side, that can be turned by hand where they have three dimensions."""

PAIRED_FIGURE = "reconstructions"
"""The figure that the pairs of inputs and outputs replace."""


def run_page(
    path: Path,
    model: TrainedModel,
    sources: Mapping[str, Source],
    encoded: Mapping[str, Mapping[str, np.ndarray]],
    results: Mapping[str, Any],
) -> Report:
    """Puts together what there is of a run to look at; what fails is named and left out.

    Args:
      path: the work directory.
      model: its model.
      sources: the encoded examples by split, `test` among them.
      encoded: what `TrainedModel.encode` gave for them.
      results: what `evaluate` returns.
    """
    splits = sorted(sources, key=lambda split: split != "test")
    joined: dict[str, Any] = {
        name: np.concatenate([encoded[split][name] for split in splits])
        for name in ("mean", "assignment", "label", "reconstruction")
    }
    source, test, config = (
        _Joined([sources[split] for split in splits]),
        sources["test"],
        model.config,
    )
    shown = np.arange(min(len(test), config.eval.shown_examples))
    decoded, samples = _tried(_around_anchors, (None, None), model)
    predicted = _tried(model.predict, None, subset(test, shown)) if len(shown) else None
    examples, figures, scenes = {}, {}, {}
    if predicted is not None:
        examples, figures = _tried(_outputs, ({}, {}), model, test, shown, predicted)
        scenes = _tried(_examples_to_turn, {}, model, test, shown[:NUM_TURNED], predicted)
    scenes |= _tried(_anchors_to_turn, {}, model)
    counts = results["counts"]
    return Report(
        error=joined.pop("reconstruction"),
        **joined,
        anchors=model.anchors,
        split=np.repeat(splits, [len(sources[split]) for split in splits]),
        class_names=class_names_of(test),
        pictures=_shown_by(lambda ids: model.display.pictures(source.gather(ids)), source),
        texts=_shown_by(partial(model.display.describe, source), source),
        decoded=decoded,
        samples=samples,
        examples=examples,
        scenes=scenes,
        figures=figures,
        metrics=results["metrics"],
        reasons=results["reasons"],
        notes=results["notes"],
        records=read_metrics(path / METRICS_FILE),
        events={"anchors set": model.anchors_step} if model.anchors_step > 0 else {},
        config=results["config"],
        facts={
            "task": config.task,
            "step": model.step,
            "seed": config.seed,
            "anchors": counts["anchors"],
            "test examples": counts["test_examples"],
            "training examples": counts["train_examples"],
        },
        title=f"Nebula Variational Coding: {path.name}",
        num_nearest=config.eval.shown_samples,
        tsne_examples=config.eval.tsne_examples,
        seed=config.seed,
    )


def _tried(function: Callable[..., Any], otherwise: Any, *arguments: Any) -> Any:
    """The function's value; where it fails another one: the page is not lost with a picture."""
    try:
        return function(*arguments)
    except Exception as error:
        logger.warning("A part of the report failed: %s", error)
        return otherwise


def _around_anchors(model: TrainedModel) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Pictures `[K, H, W, C]` of decoded anchors, and `[K, S, H, W, C]` of samples around them."""
    if not model.task.decodes_codes:
        return None, None
    decoded = model.decode(model.anchors)
    return model.display.render(decoded), model.display.render(model.samples())


def _examples_to_turn(
    model: TrainedModel, test: Source, shown: np.ndarray, predicted: np.ndarray
) -> dict[str, dict[str, Solid]]:
    """Scenes of a few examples beside what the model makes of them."""
    solids = model.display.turned(test.gather(shown), predicted[: len(shown)])
    return {
        f"example {k}": {name: row[place] for name, row in solids.items()}
        for place, k in enumerate(shown if solids else ())
    }


def _anchors_to_turn(model: TrainedModel) -> dict[str, dict[str, Solid]]:
    """Scenes of a few decoded anchors each."""
    decoded = model.display.solids(model.decode(model.anchors)) if model.task.decodes_codes else []
    scenes = {}
    for start in range(0, len(decoded), ANCHORS_A_SCENE):
        part = {f"anchor {start + k}": s for k, s in enumerate(decoded[start:][:ANCHORS_A_SCENE])}
        scenes[f"anchors {start} to {start + len(part) - 1}, decoded"] = part
    return scenes


def _outputs(
    model: TrainedModel, test: Source, shown: np.ndarray, predicted: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A few examples beside what the model makes of them, and the task's own figures of them."""
    batch = test.gather(shown)
    figures = model.display.figures(batch, predicted)
    lines = model.display.describe(test, shown)
    if lines is not None:
        pairs: dict[str, Any] = {"input": lines, "output": [str(text) for text in predicted]}
        references = model.display.references(batch)
        pairs |= {} if references is None else {"reference": references}
    elif PAIRED_FIGURE in figures:
        del figures[PAIRED_FIGURE]
        pairs = {
            "input": model.display.pictures(batch),
            "reconstruction": model.display.render(predicted),
        }
    else:
        pairs = {}
    return pairs, {name: _pixels(figure) for name, figure in figures.items()}


def _pixels(figure: Any) -> np.ndarray:
    """A matplotlib figure as uint8 `[H, W, 3]`."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


class _Joined(DerivedSource):
    """The examples of several sources of the same fields, one after the other."""

    def __init__(self, sources: Sequence[Source]):
        super().__init__(sources[0])
        self._sources, self.spec = sources, sources[0].spec
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        starts = self._ends - [len(source) for source in self._sources]
        of = np.searchsorted(self._ends, ids, side="right")
        parts, places = [], []
        for k in np.unique(of):
            places.append(np.flatnonzero(of == k))
            parts.append(self._sources[k].gather(ids[places[-1]] - starts[k]))
        order = np.argsort(np.concatenate(places))
        return {name: np.concatenate([part[name] for part in parts])[order] for name in self.spec}


def _shown_by(function: Callable[[np.ndarray], Any], source: Source) -> Callable[..., Any] | None:
    """A way to show examples of a source; None where it shows none."""
    if not len(source) or _tried(function, None, np.zeros(1, np.int64)) is None:
        return None
    return lambda ids: _tried(function, None, ids)
