"""What `NebulaClustering` does with an array before the library's core sees it: scaling, and a config."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from nvc_jax.config import make_config, ramp, weight_schedule
from nvc_jax.core.errors import UserError

SCALINGS = ("auto", "features", "global")
COUNTS = ("negative_binomial", "poisson")
LIKELIHOODS = ("auto", *COUNTS)
WARMUP = 0.4
"""Share of the steps that are those of a plain autoencoder, before anchors are set by k-means."""
TRIPLET, TRIPLET_COUNTS = 20.0, 1.0
"""Weights of the triplet term, found on digits, and on two sets of cells."""
FENCE = 3.0
FAR = 5.0
"""Standard deviations from which on values of a table are squashed."""
FARTHEST = 12.0
"""Of what comes back, beyond `FAR`."""
MOST_REDUNDANT = 1000
REDUNDANT = (0.6, 0.9)
"""From no to full augmentation of a table, by `redundancy`: features that others tell may be swapped."""
SWAPPED = 0.3
"""Share of features that are taken from other rows, or of counts that are left out, at `augment=1`."""
RAMP = 0.18
"""Share of the steps over which the weights of the latent terms rise after that."""
ALIKE = 4.0
"""Features are taken to be of one unit where no range is more than so many times the median range."""
EVAL_BATCH_SIZE = 512
POSITIVE = (
    "n_clusters",
    "latent_dim",
    "max_iter",
    "batch_size",
    "learning_rate",
    "reconstruction_weight",
    "hidden",
)


NOT_NEGATIVE = ("triplet_weight", "augment", "neighbors")
COUNTED = ("n_clusters", "latent_dim", "max_iter", "batch_size", "hidden", "neighbors")


class Scaling(NamedTuple):
    """`scaled = squash((X − offset) / scale)`.

    Attributes:
      offset: float64, of the shape of an example or `[]`.
      scale: likewise.
      far: float64 `[]`, where squashing begins; ∞: nowhere.
    """

    offset: np.ndarray
    scale: np.ndarray
    far: np.ndarray

    def apply(self, x: Any, xp: Any = np) -> Any:
        """Scaled examples, float32; images are clipped to the range of the training images.

        Args:
          x: arrays of NumPy, or of JAX with `xp=jax.numpy`.
          xp: whose functions compute.
        """
        scaled = (x - self.offset) / self.scale
        scaled = xp.clip(scaled, 0.0, 1.0) if x.ndim > 2 else squash(scaled, self.far, xp)
        return scaled.astype(np.float32)

    def undo(self, scaled: Any, xp: Any = np) -> Any:
        """Examples as they were, float64: far from zero float32 has no digits left for what differs."""
        return unsquash(xp.asarray(scaled, np.float64), self.far, xp) * self.scale + self.offset


def squash(x: Any, far: float | np.ndarray, xp: Any = np) -> Any:
    """Values as they are up to c = `far`, and below c + 1 beyond it: no row is so far out as to be a cluster.

    `sign(x)·(c + 1 − e^(c − |x|))` for `|x| > c`: with a slope of 1 at c.
    """
    beyond = xp.maximum(xp.abs(x) - far, 0.0)
    return xp.clip(x, -far, far) - xp.sign(x) * xp.expm1(-beyond)


def unsquash(x: Any, far: float | np.ndarray, xp: Any = np) -> Any:
    """What `squash` made these values of, c + 12 at most."""
    beyond = xp.clip(xp.abs(x) - far, 0.0, -np.expm1(-FARTHEST))
    return xp.clip(x, -far, far) - xp.sign(x) * xp.log1p(-beyond)


def within_fences(x: np.ndarray) -> np.ndarray:
    """Features `[N, F]` with values far out moved to Tukey's outer fences, three interquartile ranges off.

    Features that are constant in half of the rows have no fences.

    Reference: Tukey, "Exploratory Data Analysis", 1977.
    """
    low, high = np.quantile(x, [0.25, 0.75], axis=0)
    reach = np.where(high > low, FENCE * (high - low), np.inf)
    return np.clip(x, low - reach, high + reach)


def scaling_of(x: np.ndarray, kind: str) -> Scaling:
    """The scaling of an array.

    Images go from 0 to 1, by the smallest and largest value of all. Features of a table get mean 0; their
    standard deviations become 1 one by one (`features`), or in the root mean square over all that are
    not constant (`global`). `auto` takes the latter where no feature's range is more than `ALIKE` times
    the (lower) median range: then they share a unit, as pixels and lengths do, or were scaled already, and how
    much each varies tells something. One by one, a feature of two values, such as yes and no or one of several
    categories, is divided by √2 times the distance between them, so that rows of two categories, each a column, are 1
    apart: at standard deviation 1 a rare category would be farther off than any number. All of it is measured
    `within_fences`, so that a few rows far out change nothing for the others.

    Args:
      x: finite floats, `[N, F]` or images `[N, H, W, C]`.
      kind: of `SCALINGS`; images ignore it.

    Returns:
      The scaling.

    Raises:
      UserError: for another kind.
    """
    if kind not in SCALINGS:
        raise UserError(f"scaling is {kind!r}: use one of {', '.join(SCALINGS)}.")
    x = np.asarray(x, np.float64)
    if x.ndim > 2:
        extent = np.ptp(x)
        return Scaling(x.min(), extent if extent > 0 else np.ones(()), NOWHERE)
    x = within_fences(x)
    scale, extent = x.std(axis=0), np.ptp(x, axis=0)
    varying = extent > 0
    if varying.any():
        middle = np.quantile(extent[varying], 0.5, method="lower")  # of two features the smaller
        alike = extent.max() <= ALIKE * middle
        if kind == "global" or (kind == "auto" and alike):
            scale = np.full(scale.shape, np.sqrt(np.mean(np.square(scale[varying]))))
        else:
            scale = np.where(_has_two_values(x), np.sqrt(2.0) * extent, scale)
    return Scaling(x.mean(axis=0), np.where(varying & (scale > 0), scale, 1.0), np.asarray(FAR))


def _has_two_values(x: np.ndarray) -> np.ndarray:
    """Which features `[N, F]` have no value but their smallest and largest one, bool `[F]`."""
    return np.all((x == x.min(axis=0)) | (x == x.max(axis=0)), axis=0)


NOWHERE = np.asarray(np.inf)
NO_SCALING = Scaling(np.zeros(()), np.ones(()), NOWHERE)
"""Of counts, which the network scales itself."""


def redundancy(x: np.ndarray) -> float:
    """How much of a feature's variance the others tell, on the mean, from 0 to 1.

    The mean over features of `R² = 1 − 1 / (C⁻¹)_jj`, with C the correlation matrix and a ridge of F/N
    against what is fitted by chance.

    Args:
      x: `[N, F]`, scaled; of more than `MOST_REDUNDANT` features the first ones are looked at.
    """
    rows = x[:, :MOST_REDUNDANT].astype(np.float64)
    rows = rows[:, rows.std(axis=0) > 0]
    if rows.shape[1] < 2:
        return 0.0
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    ridge = rows.shape[1] / len(rows)
    matrix = rows.T @ rows / len(rows) + ridge * np.eye(rows.shape[1])
    return float(np.mean(1.0 - 1.0 / np.diag(np.linalg.inv(matrix))))


def median_total(counts: Any) -> float:
    """Median of the sums of rows of counts `[N, F]`, dense or sparse, which all are scaled to; 1 if it is 0.

    Raises:
      UserError: for counts below 0.
    """
    if counts.min() < 0:
        raise UserError(
            f"Counts are not negative, got {counts.min():g}: give them as they were counted, or use "
            "likelihood='auto'."
        )
    return float(np.median(np.asarray(counts.sum(axis=1)))) or 1.0


def config_of(
    options: dict[str, Any], shape: tuple[int, ...], *, total: float = 1.0, told: float = 1.0
) -> ml_collections.ConfigDict:
    """The library's config for an estimator's parameters.

    Args:
      options: the parameters of `NebulaClustering`.
      shape: of an example, `[F]` or `[H, W, C]`.
      total: sum that counts are scaled to.
      told: `redundancy` of a table.

    Returns:
      The config; its seed is 0.

    Raises:
      UserError: for a value that the config's keys do not allow.
    """
    counted = options["likelihood"] in COUNTS
    table = len(shape) == 1 and not counted
    strength = options["augment"]
    if strength == "auto":
        strength = float(np.interp(told, REDUNDANT, (0.0, 1.0)).round(2)) if table else 1.0
    settings: dict[str, Any] = {
        "data.source": "python",
        "model.num_anchors": int(options["n_clusters"]),
        "model.latent_dim": int(options["latent_dim"]),
        "model.hidden": tuple(int(width) for width in np.atleast_1d(options["hidden"])),
        "train.num_steps": int(options["max_iter"]),
        "train.batch_size": int(options["batch_size"]),
        "eval.batch_size": EVAL_BATCH_SIZE,
        "anchors.warmup": WARMUP,
        "anchors.neighbors": int(options["neighbors"]),
        "anchors.init": "merge" if options["neighbors"] > 0 and not counted else "kmeans",
        **_shares(options["shares"]),
        "loss.reconstruction": weight_schedule(float(options["reconstruction_weight"])),
        "loss.kl": ramp(1.0, over=RAMP),
        "loss.triplet": ramp(_triplet_weight(options), over=RAMP),
        "loss.triplet_margin": 10.0,
        "optimizer.learning_rate": float(options["learning_rate"]),
        "optimizer.schedule": "cosine",
        "optimizer.end_factor": 0.05,
    }
    if counted:
        if len(shape) > 1:
            raise UserError(
                f"likelihood={options['likelihood']!r} is for a table of counts, got examples of shape "
                f"{shape}: give rows, or use likelihood='auto'."
            )
        counts = {
            "loss.likelihood": options["likelihood"],
            "loss.total": total,
            "augment.drop": min(SWAPPED * strength, 1.0),
        }
        return make_config({**settings, "task": "counts", **counts})
    if table:
        rows = {"augment.swap": min(SWAPPED * strength, 1.0), "anchors.merge_inputs": True}
        return make_config({**settings, "task": "table", **rows})
    warps = {
        "augment.shift": 0.08 * strength * min(shape[:2]),
        "augment.rotation": 0.3 * strength,
        "augment.scale": 0.15 * strength,
        "augment.shear": 0.3 * strength,
    }
    return make_config({**settings, "loss.likelihood": "binary_cross_entropy", **warps})


def _triplet_weight(options: dict[str, Any]) -> float:
    """The weight that the estimator's parameters ask for."""
    weight = options["triplet_weight"]
    if weight == "auto":
        return TRIPLET_COUNTS if options["likelihood"] in COUNTS else TRIPLET
    return float(weight)


def _shares(shares: str | Iterable[float]) -> dict[str, Any]:
    """The config's keys for the estimator's parameter."""
    if isinstance(shares, str):
        return {"anchors.shares": shares}
    return {"anchors.shares": "given", "anchors.given_shares": tuple(map(float, shares))}


def check_numbers(options: dict[str, Any]) -> None:
    """Checks the numbers among an estimator's parameters.

    Raises:
      UserError: for one that is none, not finite, not whole where it counts something, or out of bounds.
    """
    if options["likelihood"] not in LIKELIHOODS:
        raise UserError(
            f"likelihood is {options['likelihood']!r}: use one of {', '.join(LIKELIHOODS)}."
        )
    for name in (*POSITIVE, *NOT_NEGATIVE):
        may_be_auto = name in ("n_clusters", "augment", "triplet_weight")
        if may_be_auto and isinstance(options[name], str) and options[name] == "auto":
            continue
        values = options[name] if name == "hidden" else (options[name],)
        for value in values if isinstance(values, (tuple, list, np.ndarray)) else (values,):
            if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
                other = " or 'auto'" if may_be_auto else ""
                raise UserError(f"{name} is {value!r}: it must be a finite number{other}.")
            if name in COUNTED and value != int(value):
                raise UserError(f"{name} is {value}: it must be a whole number.")
            if name in POSITIVE and not value > 0:
                raise UserError(f"{name} is {value}: it must be greater than 0.")
            if value < 0:
                raise UserError(f"{name} is {value}: it must not be negative.")
    if isinstance(options["n_clusters"], str) and not isinstance(options["shares"], str):
        raise UserError(
            "shares has numbers for clusters, and n_clusters is 'auto': give their number."
        )
    if not np.size(options["hidden"]):
        raise UserError("hidden is (): it must have at least one width.")
