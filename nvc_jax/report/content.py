"""What a page of a report shows."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nvc_jax.core.errors import UserError

if TYPE_CHECKING:  # matplotlib is slow to import
    from nvc_jax.plots.solids import Solid


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of features, for a page that tells what makes clusters different.

    Attributes:
      columns: names of the F features.
      values: float `[N, F]`, in the units of the data.
      decoded: float `[K, F]`, the anchors decoded, or None.
      samples: float `[K, S, F]`, samples drawn around each anchor, or None.
      row_names: of every row, `[N]`; the rows go by their numbers where there are none.
    """

    columns: Sequence[str]
    values: np.ndarray
    decoded: np.ndarray | None = None
    samples: np.ndarray | None = None
    row_names: Sequence[str] = ()

    @property
    def names_of_rows(self) -> Sequence[str]:
        """A name for every row."""
        return self.row_names or [str(k) for k in range(len(self.values))]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Arrays and names that the page is made of; what is None or empty is left out of it.

    Attributes:
      mean: float `[N, D]`, latent means; rows that are not finite are not drawn.
      assignment: int `[N]`, nearest anchor of each, from 0 to K − 1.
      anchors: float `[K, D]`.
      label: int `[N]`, −1 where it is not known.
      split: name of every example's split, `[N]`. Of several splits, sizes, purities and nearest
        examples of the anchors are those of the first example's split.
      class_names: of the labels; a class without a name goes by its number.
      pictures: indices `[n]` → `[n, H, W, C]` from 0 to 1 or integers over their dtype's range,
        such as `images.__getitem__`; or None.
      texts: indices `[n]` → a line of text for each; or None.
      table: the examples as rows of features, or None.
      decoded: pictures of the decoded anchors, `[K, H, W, C]`.
      samples: pictures of samples drawn around each anchor, `[K, S, H, W, C]`.
      examples: what is shown side by side of a few examples, by its name, such as `input` and
        `reconstruction`: pictures `[n, H, W, C]`, or n lines of text.
      scenes: what can be turned by hand, by the scene's name, such as `example 0`: solids that are seen side by side, by
        theirs, such as `input` and `truth`.
      figures: pictures `[H, W, C]` with the text that stands for each.
      metrics: name → value, None where it is undefined.
      reasons: why a metric is undefined, by name.
      notes: the convention behind a metric, by name.
      error: reconstruction error of every example, `[N]`, to tell whether held-out ones are worse; or None.
      records: of the training log: `step` and numbers.
      events: what happened in training → its step, marked in the curves.
      config: nested names → values.
      facts: short facts at the top of the page.
      title: of the page.
      num_nearest: nearest examples shown of each anchor.
      tsne_examples: most examples in a second view by t-SNE; 0: there is none.
      seed: of the examples drawn where there are too many to show, and of t-SNE.

    Raises:
      UserError: if arrays disagree about the number of examples or anchors.
    """

    mean: np.ndarray
    assignment: np.ndarray
    anchors: np.ndarray
    label: np.ndarray | None = None
    split: Sequence[str] | np.ndarray | None = None
    class_names: Sequence[str] = ()
    pictures: Callable[[np.ndarray], np.ndarray | None] | None = None
    texts: Callable[[np.ndarray], Sequence[str] | None] | None = None
    table: Table | None = None
    decoded: np.ndarray | None = None
    samples: np.ndarray | None = None
    examples: Mapping[str, np.ndarray | Sequence[str]] = dataclasses.field(default_factory=dict)
    scenes: Mapping[str, Mapping[str, "Solid"]] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: np.ndarray | None = None
    records: Iterable[Mapping[str, Any]] = ()
    events: Mapping[str, int] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    title: str = "Nebula Variational Coding"
    num_nearest: int = 8
    tsne_examples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        examples = {
            "mean": self.mean, "assignment": self.assignment, "label": self.label,
            "split": self.split, "error": self.error,
            "table": None if self.table is None else self.table.values,
        }  # fmt: skip
        anchors = {"anchors": self.anchors, "decoded": self.decoded, "samples": self.samples}
        shown = dict(self.examples)
        for kind, arrays in (("examples", examples), ("anchors", anchors), ("pairs", shown)):
            lengths = {name: len(array) for name, array in arrays.items() if array is not None}
            if len(set(lengths.values())) > 1:
                got = ", ".join(f"{number} {name}" for name, number in lengths.items())
                raise UserError(f"The arrays of a report disagree about the {kind}: got {got}.")

    @property
    def measured(self) -> np.ndarray:
        """bool `[N]`: the examples that sizes and purities of anchors are of."""
        if self.split is None or not len(self.split):
            return np.ones(len(self.mean), bool)
        names = np.asarray(self.split)
        return names == names[0]

    def name_of(self, label: int) -> str:
        """Name of a label."""
        if label < 0:
            return "unlabeled"
        return str(self.class_names[label]) if label < len(self.class_names) else str(label)
