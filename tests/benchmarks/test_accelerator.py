"""Recipes of real size take their first step, and what times them on a GPU runs."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from benchmarks import real_size
from benchmarks.accelerator import PEAKS, peak_of
from nvc_jax.training.experiment import abstract_state, make_experiment
from nvc_jax.training.step import train_step
from tests.processes import PATIENCE, ROOT, environment


@pytest.mark.parametrize("name", real_size.RECIPES)
def test_a_recipe_of_real_size_takes_its_first_step(name):
    """With all its shapes but the batch's; to compile it takes a minute, python -m benchmarks.speed real-size does."""
    config = real_size.recipe(name, 2)
    assert config.model.dtype == "bfloat16"
    source, learned = real_size.made_up(config)
    experiment = make_experiment(config, source.spec, None, learned)
    state = abstract_state(experiment, config)
    fields = {k: jnp.zeros((2, *field.shape), field.dtype) for k, field in source.spec.items()}
    experiment.task.check_batch(source.gather(jnp.arange(2)))
    with jax.numpy_dtype_promotion("standard"):  # Optax's schedules need it
        after, metrics = jax.eval_shape(partial(train_step, experiment=experiment), state, fields)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert metrics["loss"].shape == () and metrics["loss"].dtype == jnp.float32


def test_the_recipes_are_of_the_size_that_they_tell():
    spec = {
        name: real_size.made_up(real_size.recipe(name, 1))[0].spec for name in real_size.RECIPES[:4]
    }
    assert spec["published:shapenet"]["complete"].shape == (64, 64, 64)
    assert spec["published:pcn"]["complete"].shape == (16_384, 3)
    assert spec["published:scannet"]["image"].shape == (192, 256, 3)
    assert spec["published:nyu"]["image"].shape == (128, 128, 1)


def test_peaks_are_found_by_the_name_of_a_device():
    assert peak_of("NVIDIA H100 80GB HBM3") == PEAKS["H100"]
    assert peak_of("NVIDIA L40S") == PEAKS["L40S"] and peak_of("NVIDIA L4") == PEAKS["L4"]
    assert peak_of("cpu") != peak_of("cpu")  # not known


def test_the_check_of_a_gpu_runs_on_a_cpu():
    script = [str(ROOT / "scripts" / "gpu_check.sh"), "--tiny"]
    told = environment(1, PYTHON=sys.executable, LIMIT=str(PATIENCE))
    done = subprocess.run(
        script, env=told, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    for part in (
        "product of 64 x 64, bfloat16",
        "VAE of configs/mnist.py",
        "NVC of configs/mnist.py",
        "published:nyu, 2 examples, bfloat16",
        "train.py --config=digits to its first step, empty cache",
        "MNIST: left out, as --mnist names no folder",
    ):
        assert part in done.stdout
