"""How good several answers to one question are: the best of n, their weights, and whether these are right."""

from collections.abc import Mapping, Sequence

import numpy as np

from nvc_jax.metrics.calibration import calibration_gap

LEAST_SHARE = 0.2  # of 1/K, from which an anchor counts as in use


def best_of(errors: np.ndarray, number: int) -> float:
    """Mean error of the best of the first n answers.

    Args:
      errors: `[N, M]`, in the order in which answers are given.
      number: n; all M where there are fewer.

    Returns:
      `1/N Σ min_{m ≤ n} errors`.

    Example:
      >>> best_of(np.array([[3.0, 1.0], [2.0, 5.0]]), 2)
      1.5
    """
    return float(np.min(errors[:, :number], axis=1).mean(dtype=np.float64))


def prior_calibration(weight: np.ndarray, best: np.ndarray) -> float:
    """Whether the answer with probability p is the best one in a share p of the cases.

    All answers of all examples are put into ten bins by their probability:
    `Σ_bins |Σ p − number of best ones| / N`, from 0 to 2.

    Args:
      weight: `[N, K]`, rows of sum 1.
      best: int `[N]`, each example's best answer.

    Returns:
      The error; 0 for probabilities that are right.

    Reference: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015, the expected calibration error, of all answers in place of the first.

    Example:
      >>> prior_calibration(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
      1.0
    """
    hit = np.zeros(weight.shape, np.float64)
    hit[np.arange(len(best)), best] = 1.0
    return calibration_gap(weight, hit) / len(best)


def summarize_answers(
    measured: Mapping[str, np.ndarray], numbers: Sequence[int]
) -> dict[str, float]:
    """The measures of a conditional nebula on a data set.

    Args:
      measured: what `nvc_jax.training.answering.measure_answers_step` gave for every example.
      numbers: `eval.best_of`.

    Returns:
      `best_of/n` and `best_of_draws/n` (of the n most probable answers, and of n draws);
      `mean_answer`, of the answer decoded from the prior's mean; `best_of_reduced/n` and `best_of_reduced_draws/n` (of n that stand for all answers, or all draws); `answer_distance`;
      `log_likelihood` where it exists; `prior_entropy` in nats; `anchors_possible`, the share of anchors whose mean
      probability is 0.2/K at least; `prior_calibration`.
    """
    weight = measured["prior_weight"].astype(np.float64)
    used = weight.mean(axis=0) >= LEAST_SHARE / weight.shape[1]
    entropy = -np.sum(weight * np.log(np.maximum(weight, 1e-300)), axis=1)
    values = {
        "prior_entropy": float(entropy.mean()),
        "anchors_possible": float(used.mean()),
        "prior_calibration": prior_calibration(weight, measured["best_anchor"]),
        "answer_distance": float(measured["answer_distance"].mean(dtype=np.float64)),
        "mean_answer": float(measured["mean_error"].mean(dtype=np.float64)),
    }
    if "log_likelihood" in measured:
        values["log_likelihood"] = float(measured["log_likelihood"].mean(dtype=np.float64))
    for n in numbers:
        values[f"best_of/{n}"] = best_of(measured["answer_error"], n)
        values[f"best_of_draws/{n}"] = best_of(measured["draw_error"], n)
        for name in ("reduced", "reduced_draws"):
            if f"{name}_error/{n}" in measured:
                errors = measured[f"{name}_error/{n}"]
                values[f"best_of_{name}/{n}"] = float(errors.mean(dtype=np.float64))
    return values
