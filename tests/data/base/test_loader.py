"""The order of examples over epochs, steps, processes and resumed runs."""

import itertools

import numpy as np
import pytest
from PIL import Image

from nvc_jax.core.errors import UserError
from nvc_jax.data import IterableSource, eval_batches, train_batches
from tests.processes import run_python
from tests.refusals import refused
from tests.sources import numbered

threads = pytest.mark.parametrize("num_threads", [0, 2])


def steps(source, batch_size, count, *, seed=0, **options):
    """Example numbers of the first batches, `[count, b]`."""
    batches = train_batches(source, batch_size, seed=seed, **options)
    labels = [next(batches)["label"] for _ in range(count)]
    batches.close()
    return np.stack(labels)


@threads
@pytest.mark.parametrize("batch_size", [1, 4, 10, 25])
def test_every_epoch_holds_every_example_once(num_threads, batch_size):
    ids = steps(numbered(10), batch_size, 60 // batch_size, num_threads=num_threads).ravel()
    for epoch in ids[: len(ids) // 10 * 10].reshape(-1, 10):
        assert sorted(epoch) == list(range(10))


@threads
def test_order_depends_on_seed_and_epoch_alone(num_threads):
    first, again, other = (
        steps(numbered(10), 5, 6, seed=seed, num_threads=num_threads).reshape(3, 10)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    orders = {tuple(epoch) for epoch in (*first, *other, range(10))}
    assert len(orders) == 7


@threads
@pytest.mark.parametrize("batch_size", [2, 4, 10, 30])
def test_processes_share_every_global_batch(num_threads, batch_size):
    whole = steps(numbered(10), batch_size, 30 // batch_size + 1)
    share = {"process_count": 2, "num_threads": num_threads}
    shares = [
        steps(numbered(10), batch_size, len(whole), process_index=rank, **share)
        for rank in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


@threads
@pytest.mark.parametrize("start_step", [1, 3, 7])
def test_resumed_stream_is_the_rest_of_the_first(num_threads, start_step):
    whole = steps(numbered(10), 4, 12)
    rest = steps(numbered(10), 4, 12 - start_step, start_step=start_step, num_threads=num_threads)
    np.testing.assert_array_equal(rest, whole[start_step:])


def test_fields_belong_together():
    batch = next(train_batches(numbered(10), 8, seed=0))
    assert batch["image"].shape == (8, 2, 3, 1)
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])


@pytest.mark.parametrize("batch_size", [2, 4, 6, 12, 40])
@pytest.mark.parametrize("process_count", [1, 2])
def test_evaluation_holds_every_example_once(batch_size, process_count):
    streams = [
        [*eval_batches(numbered(11), batch_size, process_index=i, process_count=process_count)]
        for i in range(process_count)
    ]
    assert len({len(stream) for stream in streams}) == 1  # no process waits for another
    batches = list(itertools.chain(*streams))
    for batch in batches:
        assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
            "image": ((batch_size // process_count, 2, 3, 1), np.uint8),
            **dict.fromkeys(("label", "id"), ((batch_size // process_count,), np.int32)),
            "mask": ((batch_size // process_count,), np.bool_),
        }
        np.testing.assert_array_equal(batch["label"], batch["id"])
    ids = np.concatenate([batch["id"][batch["mask"]] for batch in batches])
    assert sorted(ids) == list(range(11))


@pytest.mark.parametrize("batches", [train_batches, eval_batches])
@pytest.mark.parametrize(("batch_size", "process_count"), [(5, 2), (0, 1), (1, 2)])
def test_batch_that_cannot_be_shared_is_told(batches, batch_size, process_count):
    share = {"process_count": process_count, **({"seed": 0} if batches is train_batches else {})}
    refused("cannot be shared", lambda: next(iter(batches(numbered(9), batch_size, **share))))


def test_iterable_keeps_its_order():
    data = [{"image": np.full((2, 1, 1, 1), i, np.uint8)} for i in range(3)]
    batches = train_batches(IterableSource(data), 2, seed=0, start_step=2)
    assert [next(batches)["image"][0, 0, 0, 0] for _ in range(3)] == [2, 0, 1]


class Broken:
    """A source whose files are gone."""

    def __init__(self, source):
        self.spec = source.spec

    def __len__(self):
        return 10

    def gather(self, ids):
        raise UserError("The file is gone.")


@threads
def test_error_while_reading_ahead_reaches_the_caller(num_threads):
    batches = train_batches(Broken(numbered(10)), 4, seed=0, num_threads=num_threads)
    assert refused(None, next, batches) == "The file is gone."


PROGRAM = """
import os

import numpy as np
from jax._src import xla_bridge

from nvc_jax.data import ArraySource, train_batches


class Source(ArraySource):
    def gather(self, ids):
        process = np.full(len(ids), os.getpid())
        jax_in_use = np.full(len(ids), xla_bridge.backends_are_initialized())
        return {"label": ids, "process": process, "jax": jax_in_use}


def main():
    source = Source(np.zeros((10, 1, 1, 1), np.uint8))
    for num_workers in (0, 2):
        batches = train_batches(source, 4, seed=0, start_step=1, num_workers=num_workers)
        got = [next(batches) for _ in range(7)]
        batches.close()
        ids = np.concatenate([batch["label"] for batch in got])
        processes = {int(batch["process"][0]) for batch in got} - {os.getpid()}
        print(len(processes), any(batch["jax"].any() for batch in got), *ids)


if __name__ == "__main__":
    main()
"""


def test_reader_processes_give_the_same_order_and_never_start_jax(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    plain, parallel = (line.split() for line in run_python(path).stdout.splitlines())
    assert plain[:2] == ["0", "False"] and parallel[:2] == ["2", "False"]
    assert plain[2:] == parallel[2:] and len(plain) == 30


FORK = """
import os, sys, warnings
import jax
import numpy as np
from nvc_jax.config import make_config
from nvc_jax.data import open_source, train_batches
jax.numpy.zeros(3).block_until_ready()  # its threads are there now
options = make_config({"data": {"source": "folder", "dir": sys.argv[1]}}).data
warnings.simplefilter("ignore")  # JAX warns of forks
child = os.fork()
batch = next(train_batches(open_source(options, "train"), 4, seed=0))
np.save(f"{sys.argv[2]}-{'parent' if child else 'child'}.npy", batch["image"])
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_readers_work_in_a_process_that_was_forked_after_jax_has_started(tmp_path):
    folder = tmp_path / "images" / "a"
    folder.mkdir(parents=True)
    for i in range(8):
        Image.new("L", (4, 4), i).save(folder / f"{i}.png")
    run_python("-c", FORK, folder.parent, tmp_path / "out")
    parent, child = (np.load(tmp_path / f"out-{name}.npy") for name in ("parent", "child"))
    np.testing.assert_array_equal(parent, child)
