"""Loss weights and learning rates as functions of the global step."""

import math

import jax
import numpy as np
import pytest

from nvc_jax.config import bundled_configs, load_config, make_config, weight_schedule
from nvc_jax.core.errors import UserError
from nvc_jax.model.losses import TERMS
from nvc_jax.training.experiment import warmup_steps
from nvc_jax.training.schedules import make_learning_rate, make_weight_schedule


def weight(num_steps=1000, **options):
    defaults = make_config({"loss.kl": weight_schedule(2.0)}).loss.kl
    return make_weight_schedule({**defaults, **options}, num_steps)


def rate(num_steps, phase_start=0, **options):
    defaults = make_config().optimizer.to_dict()
    return make_learning_rate({**defaults, **options}, num_steps, phase_start)


def values(schedule, steps):
    """At all steps at once, compiled, as the training step would."""
    return np.asarray(jax.jit(jax.vmap(schedule))(np.asarray(steps, np.int32)))


@pytest.mark.parametrize(
    ("options", "steps", "expected"),
    [
        ({"schedule": "constant"}, [0, 1, 10**6], [2, 2, 2]),
        ({"schedule": "linear", "start": 1.0, "begin": 10, "duration": 4}, [0, 10, 11, 14, 99],
         [1, 1, 1.25, 2, 2]),
        ({"schedule": "linear", "begin": 10, "duration": 0}, [9, 10, 11], [0, 2, 2]),
        ({"schedule": "cosine", "duration": 100}, [0, 25, 50, 100, 101],
         [0, 1 - math.sqrt(0.5), 1, 2, 2]),
        # Shares of a run of 1,000 steps.
        ({"schedule": "linear", "begin": 0.01, "duration": 0.5}, [10, 260, 510], [0, 1, 2]),
        ({"schedule": "linear", "begin": 0.5, "duration": 1}, [500, 1000, 1500], [0, 1, 2]),
        ({"schedule": "cyclic", "begin": 4, "duration": 8}, [0, 4, 6, 8, 11, 12, 14, 16],
         [0, 0, 1, 2, 2, 0, 1, 2]),
    ],
)  # fmt: skip
def test_weight_schedules(options, steps, expected):
    np.testing.assert_allclose(values(weight(**options), steps), expected, atol=1e-6)


def test_linear_weight_against_interp():
    steps = np.arange(0, 60)
    schedule = weight(schedule="linear", start=3.0, value=-1.0, begin=7, duration=40)
    np.testing.assert_allclose(
        values(schedule, steps), np.interp(steps, [7, 47], [3, -1]), atol=1e-5
    )


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "quadratic"},
        {"schedule": "linear", "duration": -1},
        {"schedule": "linear", "begin": -1},
        {"schedule": "cyclic"},
    ],
)
def test_impossible_weight_schedules_name_their_key(options):
    with pytest.raises(UserError, match="loss\\.kl"):
        make_weight_schedule(make_config({"loss.kl": options}).loss.kl, 100, "loss.kl")


def test_rate_rises_then_decays():
    schedule = rate(20, learning_rate=0.4, schedule="linear", warmup=10, end_factor=0.5)
    steps = [0, 5, 10, 15, 20, 30]
    np.testing.assert_allclose(values(schedule, steps), [0, 0.2, 0.4, 0.3, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.55, 0.1]), ("cosine", [1, 0.55, 0.1])],
)
def test_decay_ends_at_the_last_step(kind, expected):
    schedule = rate(100, learning_rate=1.0, schedule=kind, end_factor=0.1)
    np.testing.assert_allclose(values(schedule, [0, 50, 100]), expected, rtol=1e-6)


def test_inverse_square_root_by_hand():
    schedule = rate(10**6, learning_rate=0.4, schedule="inverse_sqrt", warmup=100)
    steps = [0, 1, 50, 100, 400, 900, 10**6]
    expected = [0, 0.004, 0.2, 0.4, 0.2, 0.4 / 3, 0.004]
    np.testing.assert_allclose(values(schedule, steps), expected, rtol=1e-6)


def test_inverse_square_root_is_that_of_the_transformer():
    # width^-0.5 · min(step^-0.5, step · warmup^-1.5), whose peak is (width · warmup)^-0.5
    width, warmup, steps = 512, 40, np.arange(1, 500)
    expected = width**-0.5 * np.minimum(steps**-0.5, steps * warmup**-1.5)
    peak = (width * warmup) ** -0.5
    schedule = rate(7, learning_rate=peak, schedule="inverse_sqrt", warmup=warmup)
    np.testing.assert_allclose(values(schedule, steps), expected, rtol=1e-5)


def test_inverse_square_root_starts_anew_when_anchors_are_set():
    options = {"learning_rate": 1.0, "schedule": "inverse_sqrt", "warmup": 4}
    found = values(rate(60, 20, **options), [16, 20, 22, 24, 36])
    np.testing.assert_allclose(found, [0.5, 0, 0.5, 1, 0.5], rtol=1e-6)


def test_inverse_square_root_needs_a_warmup():
    with pytest.raises(UserError, match=r"optimizer\.warmup is 0.*inverse_sqrt"):
        rate(10, schedule="inverse_sqrt", warmup=0)


def test_rate_starts_anew_when_anchors_are_set():
    schedule = rate(30, 10, learning_rate=1.0, schedule="cosine", warmup=2)
    first = rate(10, learning_rate=1.0, schedule="cosine", warmup=2)
    second = rate(20, learning_rate=1.0, schedule="cosine", warmup=2)
    expected = np.concatenate([values(first, range(10)), values(second, range(20))])
    found = values(schedule, range(30))
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found[9] < 0.1 and found[10] == 0 and found[12] == 1


def test_every_recipe_of_sixty_steps_reaches_its_weights():
    for name in bundled_configs():
        config = load_config(name, [("train.num_steps", "60")])
        anchors_set = warmup_steps(config)
        assert anchors_set < 50, name
        for term in TERMS:
            schedule = make_weight_schedule(config.loss[term], 60)
            last = float(schedule(59 - anchors_set))
            assert last == pytest.approx(config.loss[term].value), f"{name}: {term}"
