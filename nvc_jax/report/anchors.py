"""What every anchor stands for, in words: its share, where its examples come from, the nearest ones."""

from collections.abc import Callable, Sequence

import numpy as np


def nearest_members(
    mean: np.ndarray, assignment: np.ndarray, anchors: np.ndarray, count: int
) -> list[np.ndarray]:
    """Of every anchor those of its own examples that are nearest to it.

    Args:
      mean: float `[N, D]`.
      assignment: int `[N]`, from 0 to K − 1.
      anchors: float `[K, D]`.
      count: how many examples of an anchor, at most.

    Returns:
      K arrays of indices into the examples, nearest first; empty for an anchor without examples.
    """
    distance = np.linalg.norm(mean - anchors[assignment], axis=1)
    order = np.lexsort((distance, assignment))
    ends = np.cumsum(np.bincount(assignment, minlength=len(anchors)))
    return [ids[:count] for ids in np.split(order, ends[:-1])]


def anchor_texts(
    members: Sequence[np.ndarray],
    assignment: np.ndarray,
    label: np.ndarray,
    class_names: Sequence[str],
    describe: Callable[[np.ndarray], Sequence[str] | None],
) -> str | None:
    """Writes a paragraph for every anchor.

    Args:
      members: indices of its nearest examples, see `nearest_members`.
      assignment: int `[N]`.
      label: int `[N]`, −1 where it is not known.
      class_names: of the labels; a class without a name goes by its number.
      describe: indices → a line of text for each; None where examples are no text.

    Returns:
      The text; None where examples are no text, or there are none.
    """
    lines: list[str] = []
    counts = np.bincount(assignment, minlength=len(members))
    for anchor, ids in enumerate(members):
        share = counts[anchor] / max(len(assignment), 1)
        origins = _origins(label[assignment == anchor], class_names)
        lines += [f"Anchor {anchor}: {counts[anchor]:,} examples, {share:.1%}{origins}"]
        if len(ids):
            words = describe(ids)
            if words is None:
                return None
            lines += [f"  {text}" for text in words]
    return "\n".join([*lines, ""]) if len(assignment) else None


def _origins(label: np.ndarray, class_names: Sequence[str], shown: int = 3) -> str:
    """The commonest labels with their shares; nothing where none is known."""
    known, count = np.unique(label[label >= 0], return_counts=True)
    order = np.argsort(-count, kind="stable")[:shown]
    names = [class_names[k] if k < len(class_names) else str(k) for k in known[order]]
    shares = [f"{name} {c / count.sum():.0%}" for name, c in zip(names, count[order], strict=True)]
    return f"; {', '.join(shares)}" if shares else ""
