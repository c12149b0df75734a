"""Checkpoints: what is refused, what is passed over, what is kept."""

import resource
import shutil
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.training.checkpoint import BEST, Checkpoints
from nvc_jax.training.state import TrainState, find_anchors, make_state

# orbax's threads, after a failed read or write
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

D = 3


def make(value=1.0, num_anchors=4, extra=(), width=2) -> TrainState:
    """A state whose parameters and moments are all one value, at a step of that number."""
    value = float(value)
    params = {
        "bottleneck": {"anchors": jnp.full((num_anchors, D), value)},
        "encoder": {"kernel": jnp.full((5, width), value, jnp.bfloat16)},
        **{name: {"bias": jnp.full(2, value)} for name in extra},
    }
    chain = optax.chain(optax.scale_by_adam(), optax.identity())
    opt_state = jax.tree.map(lambda leaf: jnp.full_like(leaf, value), chain.init(params))
    variables = {"params": params, "batch_stats": {"mean": jnp.full(2, value)}}
    state = make_state(variables, opt_state, seed=7, anchors_set=False)
    return jax.tree.map(np.array, state.replace(step=jnp.int32(value)))  # writable


def saved(path: Path, steps, keep=10) -> Checkpoints:
    checkpoints = Checkpoints(path, keep)
    for step in steps:
        checkpoints.save(step, make(step), {"best": step / 2})
    checkpoints.close()
    return checkpoints


def read(path: Path, **options):
    """(state, record) of the newest checkpoint."""
    found = Checkpoints(path).restore(make(0), **options)
    assert found is not None
    return found


def write(checkpoints: Checkpoints, state: TrainState) -> None:
    """Saves and waits: some errors come only then."""
    checkpoints.save(2, state, {})
    checkpoints.wait()


def contents(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def test_state_comes_back_typed_and_bit_for_bit(tmp_path):
    saved(tmp_path, [5])
    state, record = read(tmp_path)
    chex.assert_trees_all_equal(state, make(5))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, make(5))
    assert isinstance(state.opt_state[0], optax.ScaleByAdamState) and state.opt_state[0].count == 5
    assert find_anchors(state.params).shape == (4, D)
    assert record == {"best": 2.5}


def test_nothing_to_restore_and_nothing_written(tmp_path):
    assert Checkpoints(tmp_path / "run").restore(make()) is None
    assert contents(tmp_path) == []


def test_relative_directory_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints(Path("run"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    checkpoints.save(1, make(1), {})
    checkpoints.close()
    assert Checkpoints(tmp_path / "run").steps() == [1]


@pytest.mark.parametrize(
    ("target", "texts"),
    [
        ({"num_anchors": 5}, ["params/bottleneck/anchors", "(4, 3)", "(5, 3)"]),
        ({"width": 1}, ["params/encoder/kernel", "(5, 2)", "(5, 1)"]),
        ({"extra": ("new",)}, ["params/new/bias is missing"]),
    ],
)
@pytest.mark.parametrize("step", [3, None])
def test_another_architecture_is_refused_by_name(tmp_path, target, texts, step):
    saved(tmp_path, [3])
    with pytest.raises(UserError) as error:
        Checkpoints(tmp_path).restore(make(**target), step=step)
    assert all(text in str(error.value) for text in texts)


def test_a_leaf_that_the_model_lacks_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, make(extra=("old",)), {})
    checkpoints.close()
    with pytest.raises(UserError, match="params/old/bias is only in it"):
        checkpoints.restore(make())


def test_a_checkpoint_without_moments_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, make().replace(opt_state=()), {})
    checkpoints.close()
    with pytest.raises(UserError, match="opt_state/0/count is missing from it"):
        checkpoints.restore(make())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_never_saved(tmp_path, bad):
    checkpoints = saved(tmp_path, [1])
    state = make(2)
    find_anchors(state.params)[2, 1] = bad
    for kind in ("checkpoints", BEST):
        with pytest.raises(UserError, match=r"Step 2 is not saved: bottleneck/anchors hold"):
            checkpoints.save(2, state, {}, kind)
    assert checkpoints.steps() == [1] and checkpoints.steps(BEST) == []


def test_newest_are_kept_and_the_best_apart_from_them(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, make(1), {"best": 0.1}, BEST)
    for step in range(1, 6):
        checkpoints.save(step, make(step), {"best": 0.1})
    checkpoints.close()
    assert checkpoints.steps() == [4, 5] and checkpoints.steps(BEST) == [1]
    assert read(tmp_path, kind=BEST)[0].step == 1
    checkpoints.save(5, make(5), {"best": 0.05}, BEST)
    checkpoints.tidy()
    checkpoints.close()
    assert checkpoints.steps(BEST) == [5]


def test_the_best_one_of_before_the_latest_checkpoint_stays(tmp_path):
    """A killed run goes on from the latest checkpoint, and loses the best ones after it."""
    checkpoints = Checkpoints(tmp_path)
    for step, kind in [(1, BEST), (2, BEST), (2, "checkpoints"), (3, BEST), (4, BEST)]:
        checkpoints.save(step, make(step), {"value": step}, kind)
    checkpoints.tidy()
    assert checkpoints.steps(BEST) == [2, 4]
    assert checkpoints.records(BEST) == {2: {"value": 2}, 4: {"value": 4}}
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)  # of the next start
    checkpoints.discard_after(2)
    assert checkpoints.steps(BEST) == [2]
    checkpoints.save(4, make(4), {}, "checkpoints")
    checkpoints.save(4, make(4), {}, BEST)
    checkpoints.tidy()
    checkpoints.close()
    assert checkpoints.steps(BEST) == [4]


@pytest.mark.parametrize("damage", ["cut", "removed", "unfinished", "no record"])
def test_damaged_newest_is_passed_over_with_a_warning(tmp_path, messages, damage):
    saved(tmp_path, [1, 2])
    folder = tmp_path / "checkpoints" / "2"
    if damage == "cut":
        for file in [f for f in (folder / "state").rglob("*") if f.is_file()]:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "removed":
        for data in (folder / "state").rglob("d"):
            shutil.rmtree(data)
    elif damage == "unfinished":
        (folder / "_CHECKPOINT_METADATA").unlink()
    else:
        (folder / "record" / "metadata").unlink()
    state, record = read(tmp_path)
    chex.assert_trees_all_equal(state, make(1))
    assert record == {"best": 0.5}
    assert [m for m in messages if m.startswith("WARNING") and str(folder) in m]
    with pytest.raises(UserError, match=r"/2 (cannot be read|is incomplete)"):
        Checkpoints(tmp_path).restore(make(), step=2)


def test_missing_step_lists_those_there_are(tmp_path):
    saved(tmp_path, [1, 4])
    with pytest.raises(UserError, match=r"no checkpoint of step 3.*1, 4"):
        Checkpoints(tmp_path).restore(make(), step=3)


def test_the_same_step_is_replaced(tmp_path):
    checkpoints = saved(tmp_path, [2])
    checkpoints.save(2, make(9), {"best": 9})
    checkpoints.close()
    state, record = read(tmp_path)
    chex.assert_trees_all_equal(state, make(9))
    assert record == {"best": 9} and checkpoints.steps() == [2]


def test_later_ones_are_set_aside_even_damaged(tmp_path):
    checkpoints = saved(tmp_path, [1, 2, 3], keep=1000)
    checkpoints.save(3, make(3), {}, BEST)
    checkpoints.close()
    (tmp_path / "checkpoints" / "3" / "_CHECKPOINT_METADATA").unlink()
    checkpoints.discard_after(1)
    assert sorted(p.name for p in (tmp_path / "discarded").iterdir()) == [
        "best-3", "checkpoints-2", "checkpoints-3",
    ]  # fmt: skip
    assert checkpoints.steps() == [1] and checkpoints.steps(BEST) == []
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]


def test_verify_reads_back(tmp_path):
    checkpoints = saved(tmp_path, [1])
    checkpoints.verify(1, make(1))
    other = make(1)
    other.opt_state[0].mu["bottleneck"]["anchors"][0, 0] += 1e-6
    with pytest.raises(UserError, match=r"step 1 .* differs"):
        checkpoints.verify(1, other)


def test_full_disk_is_told_and_the_earlier_checkpoint_stays(tmp_path):
    checkpoints = saved(tmp_path, [1])
    big = make(2)
    noise = np.random.default_rng(0).standard_normal((100_000, 2)).astype(np.float32)
    big.params["encoder"]["kernel"] = noise
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(
            UserError, match=rf"could not be written to {tmp_path} \(File too large\)"
        ):
            write(checkpoints, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert Checkpoints(tmp_path).steps() == [1]
    assert read(tmp_path)[0].step == 1


def test_unusable_directory_is_told(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match="could not be written"):
        Checkpoints(tmp_path).save(1, make(1), {})
