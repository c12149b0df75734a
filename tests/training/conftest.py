"""A tiny run: 6 × 6 images, 4 anchors in 2 dimensions, 16 examples a batch, two on each device."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import pytest

from nvc_jax.config import make_config as config_of
from nvc_jax.config import ramp
from nvc_jax.data import ArraySource
from nvc_jax.training.loop import TrainResult, train


@pytest.fixture(scope="module", autouse=True)
def standard_promotion() -> Iterator[None]:
    """optax's bias correction needs it."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def small_config() -> ml_collections.ConfigDict:
    """Five steps of warm-up, k-means, revival, evaluations and checkpoints within 20 steps."""
    return config_of({
        "data.source": "python",
        "data.num_threads": 0,
        "model.hidden": (8,),
        "model.latent_dim": 2,
        "model.num_anchors": 4,
        "loss.kl": ramp(1.0, over=10),
        "loss.gravity.value": 0.1,
        "loss.pull.value": 0.1,
        "anchors.warmup": 5,
        "anchors.restarts": 1,
        "anchors.patience": 3,
        "anchors.revive_every": 4,
        "optimizer.warmup": 4,
        "optimizer.max_skipped": 5,
        "train.num_steps": 20,
        "train.batch_size": 16,
        "train.log_every": 4,
        "train.eval_every": 6,
        "train.checkpoint_every": 4,
        "train.keep": 10,
        "eval.batch_size": 16,
        "train.figures": False,  # they take as long as everything else
    })  # fmt: skip


@pytest.fixture
def config() -> ml_collections.ConfigDict:
    return small_config()


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 6, 6, 1), np.float32)


@pytest.fixture(scope="session")
def data() -> dict[str, ArraySource]:
    """Arguments of `train`."""
    return {
        "train_data": ArraySource(images(50)),
        "validation_data": ArraySource(images(10, seed=1)),
    }


@pytest.fixture(scope="session")
def make_config() -> Callable[[], ml_collections.ConfigDict]:
    """`small_config`, for fixtures that live longer than a test."""
    return small_config


@pytest.fixture(scope="session")
def make_images() -> Callable[..., np.ndarray]:
    return images


class Run(NamedTuple):
    """A finished run; tests copy its directory before they change it."""

    directory: Path
    result: TrainResult


@pytest.fixture(scope="session")
def whole(tmp_path_factory, data: dict[str, Any]) -> Run:
    """Twenty steps in one go."""
    directory, config = tmp_path_factory.mktemp("whole") / "run", small_config()
    config.train.figures, config.eval.shown_examples = True, 4
    with jax.numpy_dtype_promotion("standard"):
        return Run(directory, train(config, directory, **data))


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What the library logs, as `LEVEL: text`, whatever other tests did to its logger."""
    logger, found = logging.getLogger("nvc_jax"), list[str]()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"{record.levelname}: {record.getMessage()}")

    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)
