"""Tables: the reconstruction by hand, swapped features, and a few real steps."""

import jax
import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import FieldSpec
from nvc_jax.tasks import Outputs, make_task
from nvc_jax.tasks.table import swap_features


def make(shape=(3,), dtype="float32", **changes):
    config = make_config({"task": "table", "augment": changes})
    spec = {"features": FieldSpec(shape, np.dtype(dtype)), "label": FieldSpec((), np.dtype("i4"))}
    return make_task(config, spec)


def test_reconstruction_is_the_squared_error_of_a_row():
    batch = {"target": np.float32([[1, 2, 3], [0, 0, 0]])}
    outputs = Outputs(np.float32([[1, 4, 2], [0, 0, 0]]), None)
    np.testing.assert_allclose(make().reconstruction(outputs, batch), [5.0, 0.0])


def test_swapped_features_come_from_the_same_column():
    x = np.arange(400, dtype=np.float32).reshape(100, 4)
    keys = jax.random.split(jax.random.key(0), 100)
    swapped = np.asarray(swap_features(x, keys, 0.5))
    np.testing.assert_array_equal(swapped % 4, x % 4)
    # A swap with the row itself shows no difference: 0.5 · 99 / 100, ± 4 standard deviations.
    assert np.mean(swapped != x) == pytest.approx(0.495, abs=0.1)
    np.testing.assert_array_equal(swap_features(x, keys, 0.0), x)
    assert np.mean(np.asarray(swap_features(x, keys, 1.0)) != x) > 0.95


def test_training_sees_changed_rows_and_reconstructs_those_that_were():
    batch = {"features": np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)}
    keys = jax.random.split(jax.random.key(0), 32)
    prepared = make(swap=0.5).prepare(batch, keys)
    for clean in (prepared["target"], prepared["clean"]["features"]):
        np.testing.assert_array_equal(clean, batch["features"])
    assert np.any(prepared["features"] != batch["features"])
    for same in (make(swap=0.5).prepare(batch), make().prepare(batch, keys)):
        np.testing.assert_array_equal(same["features"], batch["features"])
        assert "clean" not in same
    augmented = make(swap=0.5, target="augmented", assign_from="augmented").prepare(batch, keys)
    np.testing.assert_array_equal(augmented["target"], augmented["features"])
    assert "clean" not in augmented


def test_rows_go_through_as_they_are():
    task, rows = make(), np.random.default_rng(0).normal(size=(5, 3))
    source = task.examples.from_arrays(rows, task.batch_spec)
    assert source.spec["features"] == FieldSpec((3,), np.dtype(np.float32))
    np.testing.assert_array_equal(task.features(source.gather(np.arange(5))), np.float32(rows))
    np.testing.assert_array_equal(task.postprocess(np.float32(rows)), np.float32(rows))


@pytest.mark.parametrize("field", [{"shape": (3, 4)}, {"dtype": "float64"}])
def test_other_fields_are_refused(field):
    with pytest.raises(UserError, match="features \\[F\\] float32"):
        make(**field)
