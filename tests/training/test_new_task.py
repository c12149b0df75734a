"""A new kind of data takes a task and a line in `TASKS`; the loop brings everything else."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax import NebulaBottleneck
from nvc_jax.config import changed
from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.tasks import TASKS, Outputs, Task
from nvc_jax.training.checkpoint import BEST, Checkpoints
from nvc_jax.training.logging import read_metrics
from nvc_jax.training.loop import train
from nvc_jax.training.state import find_anchors


class VectorModel(nn.Module):
    size: int
    num_anchors: int

    def setup(self):
        self.encoder = nn.Dense(8)
        self.bottleneck = NebulaBottleneck(self.num_anchors, latent_dim=2)
        self.decoder = nn.Dense(self.size)

    def __call__(self, batch, *, train, **options):
        features = nn.relu(self.encoder(batch["vector"]))
        latent = self.bottleneck(features, deterministic=not train, **options)
        return Outputs(output=self.decoder(latent.code), latent=latent)

    def encode(self, batch):
        return self(batch, train=False).latent

    def decode(self, sample):
        return self.decoder(self.bottleneck.code(sample))


class VectorTask(Task):
    def make_model(self, axis_name):
        return VectorModel(self.batch_spec["vector"].shape[0], self.config.model.num_anchors)

    def prepare(self, batch, keys=None):
        return {**batch, "target": batch["vector"]}

    def reconstruction(self, outputs, batch):
        return jnp.sum(jnp.square(outputs.output - batch["target"]), axis=1)

    def metrics(self, outputs, batch):
        return {"largest_error": jnp.max(jnp.abs(outputs.output - batch["target"]), axis=1)}

    def postprocess(self, output):
        return np.asarray(output)


class Stored:
    """Anything with a length, a `spec` and `gather` is a source."""

    def __init__(self, batch):
        self.batch = batch
        self.spec = {k: FieldSpec(v.shape[1:], v.dtype) for k, v in batch.items()}

    def __len__(self):
        return len(self.batch["label"])

    def gather(self, ids):
        return {name: values[ids] for name, values in self.batch.items()}


def batches(count, seed=0):
    """Two blobs in three dimensions."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], size=(count, 16, 1))
    return [{"vector": v} for v in (sign + 0.1 * rng.normal(size=(count, 16, 3))).astype("f4")]


@pytest.fixture
def vectors(config, monkeypatch):
    monkeypatch.setitem(TASKS, "vectors", VectorTask)
    return changed(
        config, {"task": "vectors", "train.num_steps": 12, "optimizer.learning_rate": 0.02}
    )


def test_a_new_task_trains_evaluates_saves_and_resumes(vectors, tmp_path):
    (held_out,) = batches(1, seed=9)
    validation = Stored({**held_out, "label": np.full(16, -1, np.int32)})
    arguments = {"train_data": batches(5), "validation_data": validation}
    whole = train(vectors, tmp_path / "whole", **arguments)
    records = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    training = [record["reconstruction"] for record in records if "loss" in record]
    assert training[-1] < 0.8 * training[0]
    assert all(r["validation/largest_error"] > 0 for r in records if "loss" not in r)
    assert find_anchors(whole.state.params).shape == (4, 2)
    assert Checkpoints(tmp_path / "whole").steps(BEST)

    train(vectors, tmp_path / "parts", stop_after=7, **arguments)
    resumed = train(vectors, tmp_path / "parts", **arguments)
    chex.assert_trees_all_equal(resumed.state, whole.state)


def test_batches_of_another_size_than_the_devices_are_told(vectors, tmp_path):
    ragged = [jax.tree.map(lambda values: values[:10], batch) for batch in batches(3)]
    with pytest.raises(UserError, match=r"batch of 10 examples .* 8 devices"):
        train(vectors, tmp_path, train_data=ragged)


def test_an_unknown_task_lists_the_known_ones(vectors, tmp_path):
    vectors.task = "vector"
    with pytest.raises(UserError, match=r"task is 'vector': use one of counts, hand_pose.*vectors"):
        train(vectors, tmp_path / "run", train_data=batches(1))
    assert not (tmp_path / "run").exists()
