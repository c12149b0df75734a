"""Translation: a run on a few pairs, its files, batches that do not matter, mistakes."""

import json

import jax
import numpy as np
import pytest

from nvc_jax.config import changed, make_config
from nvc_jax.core.errors import UserError
from nvc_jax.displays import make_display
from nvc_jax.evaluation import evaluate, load
from nvc_jax.metrics.translation import bleu
from nvc_jax.tasks import Outputs, make_task, open_examples, open_training
from nvc_jax.tasks.translation import masked_mean
from nvc_jax.training.loop import train
from tests.steps import step_of_one_and_eight

GERMAN = [f"{who} {verb} {what} ." for who in ("Der Hund", "Die Frau", "Ein Kind", "Anna")
          for verb in ("sieht", "kauft") for what in ("das Haus", "den Ball", "zwei Äpfel", "nichts")]  # fmt: skip
ENGLISH = [f"{who} {verb} {what}." for who in ("The dog", "The woman", "A child", "Anna")
           for verb in ("sees", "buys") for what in ("the house", "the ball", "two apples", "nothing")]  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The 32 pairs as parallel files, and a Transformer as small as they are."""
    folder = tmp_path_factory.mktemp("pairs")
    for split in ("train", "dev", "test"):
        (folder / f"{split}.de").write_text("\n".join(GERMAN) + "\n")
        (folder / f"{split}.en").write_text("\n".join(ENGLISH) + "\n")
    data = {"source": "parallel_text", "dir": str(folder), "vocab_size": 90, "num_buckets": 1}
    model = {"width": 32, "num_heads": 2, "feedforward": 64, "dropout": 0.0, "latent_dim": 4}
    train = {"num_steps": 120, "tokens_per_batch": 512, "eval_every": 0, "log_every": 60}
    return make_config(
        {
            "task": "translation",
            "data": {**data, "max_source_tokens": 16, "max_target_tokens": 16},
            "model": {**model, "encoder_layers": 1, "decoder_layers": 1, "num_anchors": 3},
            "loss": {"kl.value": 1e-3, "triplet.value": 1e-3},
            "anchors": {"warmup": 10, "restarts": 1},
            "optimizer.learning_rate": 5e-3,
            "train": {**train, "best_metric": "bleu", "best_mode": "max"},
            "eval": {"batch_size": 8, "num_neighbors": 1, "tsne_examples": 0},
        }
    )


@pytest.fixture(scope="module")
def opened(config):
    """What is trained on, the vocabulary, and the pairs of the test."""
    source, learned = open_training(config)
    return source, learned, open_examples(config, "test", learned)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A run and its results."""
    directory = tmp_path_factory.mktemp("run")
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        train(config, directory)
    return directory, evaluate(directory, figures=False)


def test_a_few_pairs_are_learned_by_heart(run):
    directory, results = run
    found = results["metrics"]
    assert found["bleu"] > 95 and found["chrf"] > 95
    assert 1.0 <= found["perplexity"] < 1.2 and found["token_accuracy"] > 0.95
    written = (directory / "predictions.txt").read_text().splitlines()
    assert found["bleu"] == pytest.approx(bleu(written, ENGLISH).value)
    assert json.loads((directory / "results.json").read_text()) == results
    assert (directory / "learned" / "vocabulary.model").is_file()
    report = (directory / "anchors.txt").read_text().splitlines()
    assert sum(line.startswith("Anchor ") for line in report) == 3
    assert {line.strip() for line in report if line.startswith("  ")} <= set(GERMAN)


@pytest.fixture(scope="module")
def model(run):
    return load(run[0])


def test_translations_depend_on_no_neighbor_and_no_batch_size(run, model):
    sentences = [GERMAN[0], GERMAN[13], "Anna", GERMAN[30], "Der Hund sieht Anna und den Ball ."]
    expected = model.reconstruct(sentences).tolist()
    assert len(set(expected)) == 5
    assert [model.reconstruct([text]).tolist()[0] for text in sentences] == expected
    other = load(run[0], overrides=[("eval.batch_size", "16")])
    assert other.reconstruct(sentences).tolist() == expected
    np.testing.assert_allclose(model.embed(sentences)[:2], model.embed(sentences[:2]), atol=1e-5)


def test_beams_find_the_same_in_a_model_that_is_sure(run, model):
    options = [("eval.beam_size", "3"), ("eval.length_penalty", "0.0")]
    beams = load(run[0], overrides=options).reconstruct(GERMAN[:8])
    assert beams.tolist() == model.reconstruct(GERMAN[:8]).tolist()


@pytest.fixture(scope="module")
def batch(opened):
    """The first of the run, half of it shortened, so that devices get different numbers of tokens."""
    batch = next(opened[0].batches())
    for name in ("source", "target"):
        batch[name][:12, 3:] = 0
    return batch


def test_the_loss_is_that_of_all_tokens_together_on_any_number_of_devices(
    run, config, opened, batch
):
    source, learned, _ = opened
    alone, start, warmup, _ = step_of_one_and_eight(config, source.spec, batch, learned)
    # Of single sentences, without the noise, which there is not in the warm-up.
    tokens = (batch["target"] != 0).sum(1)
    error = jax.jit(
        lambda: alone.task.reconstruction(alone.apply(start, batch, train=False), batch)
    )
    errors = np.asarray(error(), np.float64)
    mean = (errors * tokens).sum() / tokens.sum()
    np.testing.assert_allclose(warmup["reconstruction"], mean, rtol=1e-5)
    assert abs(mean - np.mean(errors)) > 1e-3 * mean


def test_latents_of_tokens_are_the_same_on_any_number_of_devices(config, opened, batch):
    _, learned, source = opened
    changes = {"model.latent": "token", "loss.num_positions": 2, "anchors.shares": "equal"}
    sgd = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1}
    config = changed(config, {**changes, **sgd})
    alone, _, _, metrics = step_of_one_and_eight(config, source.spec, batch, learned)
    assert metrics["num_triplets"] > 0 and metrics["kl"] > 0
    prepare = jax.jit(alone.task.prepare)
    position = prepare(batch, jax.random.split(jax.random.key(0), 24))["position"]
    length = (batch["source"] != 0).sum(1, keepdims=True)
    assert position.shape == (24, 2) and (position >= 0).all() and (position < length).all()
    assert len(np.unique(position)) > 2
    fixed = prepare(batch)["position"]
    wider = {name: np.pad(batch[name], ((0, 0), (0, 3))) for name in ("source", "target")}
    np.testing.assert_array_equal(prepare(wider)["position"], fixed)
    assert fixed.shape == (24, 1) and len(np.unique(fixed)) > 2
    display = make_display(alone.task)
    assert display.references(source.gather(np.arange(3))) == ENGLISH[:3]
    words = display.describe(source, np.arange(3))
    for text, sentence in zip(words, GERMAN, strict=False):
        assert text.replace("[", "").replace("]", "").replace(" ", "") == sentence.replace(" ", "")
        assert text.count("[") == 1


def test_training_error_by_hand(config, opened):
    task = make_task(config, opened[0].spec, opened[1])
    target = np.zeros((2, 16), np.int32)
    target[0, :2] = 5, 3
    found = jax.jit(
        lambda logits, batch: (
            task.reconstruction(Outputs(logits, None), batch),
            task.weight(batch),
        )
    )(np.zeros((2, 16, 90), np.float32), {"target": target})
    np.testing.assert_allclose(found[0], [np.log(90), 0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], [2, 0])


def test_masked_mean_leaves_padding_out():
    states = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    mask = np.array([[True, True, False], [False] * 3])
    np.testing.assert_array_equal(jax.jit(masked_mean)(states, mask), [[1, 2], [0, 0]])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.latent", "word", "model.latent is 'word'"),
        ("loss.label_smoothing", 1.0, "loss.label_smoothing is 1.0"),
        ("eval.beam_size", 0, "eval.beam_size is 0"),
    ],
)
def test_mistakes_are_told(config, name, value, message):
    with pytest.raises(UserError, match=message):
        changed(config, {name: value})


def test_other_batches_and_inputs_are_refused(config, model):
    task = model.task
    with pytest.raises(UserError, match="expected source"):
        task.check_batch({"source": np.zeros((2, 17), np.int32)})
    with pytest.raises(UserError, match="sequence of strings"):
        task.examples.from_arrays("one text", task.batch_spec)
    with pytest.raises(UserError, match="vocabulary"):
        make_task(config, task.batch_spec)
