"""Nearest neighbors, and batches with a neighbor beside every example."""

import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data import NEIGHBOR, ArraySource, train_batches
from nvc_jax.data.base.neighbors import leading_components, neighbor_ids
from tests.numeric import normal, numpy_distances


def test_neighbors_are_the_nearest_others():
    x = normal(0, 60, 4)
    distance = numpy_distances(x, x) + np.diag(np.full(60, np.inf))
    found = neighbor_ids(x, 7)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.argsort(distance, axis=1)[:, :7])


def test_a_copy_is_a_neighbor_and_an_example_is_not_its_own():
    x = np.repeat(normal(0, 5, 3), 4, axis=0)
    found = neighbor_ids(x, 3)
    assert (found // 4 == np.arange(20)[:, None] // 4).all()
    assert (found != np.arange(20)[:, None]).all()


def test_many_features_are_reduced_without_losing_what_varies():
    x = np.concatenate([5 * normal(0, 90, 4), 1e-3 * normal(1, 90, 300)], axis=1)
    np.testing.assert_array_equal(neighbor_ids(x, 5), neighbor_ids(x[:, :4], 5))


@pytest.mark.parametrize("count", [0, 3, 4])
def test_other_numbers_are_refused(count):
    with pytest.raises(UserError, match=f"{count} neighbors .* 3 examples.* from 1 to 2"):
        neighbor_ids(normal(0, 3, 2), count)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="not finite"):
        neighbor_ids(np.array([[0.0], [np.inf], [1.0]]), 1)


NEIGHBORS = (np.arange(10)[:, None] + [1, 2, 3]) % 10


def batches(count, start_step=0, **options):
    number = np.arange(10)
    source = ArraySource(number.astype(np.float32).reshape(10, 1, 1), number)
    stream = train_batches(source, 4, seed=5, start_step=start_step, neighbors=NEIGHBORS, **options)
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found


def test_a_batch_holds_one_of_the_neighbors_of_every_example():
    steps = []
    for batch in batches(50):
        assert batch.keys() == {"image", "label", NEIGHBOR + "image"}
        steps.append((batch[NEIGHBOR + "image"] - batch["image"])[:, 0, 0, 0] % 10)
    counts = np.bincount(np.concatenate(steps).astype(int), minlength=4)
    assert counts[0] == 0 and counts[1:].sum() == 200 and counts[1:].min() > 40


def test_draws_are_those_of_the_step_on_any_number_of_processes():
    whole = batches(6)
    for step, batch in enumerate(batches(3, start_step=3), start=3):
        np.testing.assert_array_equal(batch[NEIGHBOR + "image"], whole[step][NEIGHBOR + "image"])
    parts = [batches(6, process_index=rank, process_count=2) for rank in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([s[name] for s in shares]), batch[name])


def test_leading_components_keep_distances_and_few_features_stay_as_they_are():
    """60 features of rank 3."""
    x = (normal(0, 80, 3) @ normal(1, 3, 60)).astype(np.float32)
    reduced = leading_components(x)
    assert reduced.shape == (80, 50) and reduced.dtype == np.float32
    np.testing.assert_allclose(
        numpy_distances(reduced, reduced), numpy_distances(x, x), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(leading_components(x[:, :50]), x[:, :50])
