"""Evaluation of a work directory, and the trained model that it is made of."""

import json
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics

from nvc_jax import plots
from nvc_jax.config import changed, load_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import ArraySource, open_source
from nvc_jax.evaluation import TrainedModel, evaluate, load
from nvc_jax.evaluation import results as evaluation
from nvc_jax.training.checkpoint import Checkpoints
from nvc_jax.training.experiment import abstract_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.state import replace_anchors
from nvc_jax.training.workdir import OWN_NAMES, read_spec
from tests.processes import PATIENCE, ROOT, environment

FIGURES = {
    "anchor_examples",
    "anchor_usage",
    "anchors",
    "latent_covariance",
    "latent_pca_by_anchor",
    "latent_pca_by_label",
    "latent_tsne_by_anchor",
    "latent_tsne_by_label",
    "reconstructions",
    "training_curves",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on the embedded digits, evaluated once."""
    settings = {
        "model.hidden": (32,),
        "model.latent_dim": 3,
        "model.num_anchors": 5,
        "train.num_steps": 60,
        "train.log_every": 30,
        "train.checkpoint_every": 30,
        "train.eval_every": 60,
        "anchors.warmup": 0.5,
        "anchors.restarts": 1,
        "optimizer.learning_rate": 1e-2,
        "eval.tsne_examples": 60,
        "eval.shown_samples": 2,
        "train.figures": False,
    }
    config = changed(load_config("digits"), settings)
    workdir = tmp_path_factory.mktemp("run")
    with jax.numpy_dtype_promotion("standard"):
        train(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def results(run):
    return evaluate(run)


@pytest.fixture(scope="module")
def model(run):
    return load(run)


@pytest.fixture(scope="module")
def embeddings(run, results):
    with np.load(run / "embeddings.npz", allow_pickle=False) as file:
        return dict(file)


def digits(run, split):
    return open_source(load(run).config.data, split)


def edited(run, tmp_path, edit):
    """A copy of the run with one more checkpoint, whose parameters are edited."""
    copy = tmp_path / "edited"
    shutil.copytree(run, copy)
    config = load(run).config
    target = abstract_state(make_experiment(config, read_spec(run), None), config)
    checkpoints = Checkpoints(copy)
    found = checkpoints.restore(target)
    assert found is not None
    state, record = found
    state = state.replace(step=state.step + 1, params=edit(state.params))
    checkpoints.save(int(state.step), state, record)
    checkpoints.close()
    return copy


def test_results_hold_what_was_measured(run, results):
    assert json.loads((run / "results.json").read_text()) == results
    assert results["step"] == 60
    assert results["seed"] == 0
    assert results["config"]["model"]["num_anchors"] == 5
    counts = results["counts"]
    assert sum(counts["per_anchor"]) == counts["test_examples"] == len(digits(run, "test"))
    assert counts["train_examples"] == len(digits(run, "train"))
    assert results["metrics"].keys() >= results["notes"].keys()
    assert results["reasons"] == {}


def test_metrics_equal_what_others_compute_from_the_embeddings(run, results, embeddings):
    test = embeddings["split"] == "test"
    source = digits(run, "test")
    label, cluster = embeddings["label"][test], embeddings["assignment"][test]
    np.testing.assert_array_equal(label, source.gather(np.arange(len(source)))["label"])
    found = results["metrics"]
    table = np.zeros((5, 10))
    np.add.at(table, (cluster, label), 1)
    rows, columns = scipy.optimize.linear_sum_assignment(-table)
    total = len(label)
    assert found["cluster_accuracy_hungarian"] == pytest.approx(table[rows, columns].sum() / total)
    assert found["cluster_accuracy_majority"] == pytest.approx(table.max(axis=1).sum() / total)
    nmi = sklearn.metrics.normalized_mutual_info_score(label, cluster)
    assert found["nmi"] == pytest.approx(nmi)
    assert found["ari"] == pytest.approx(sklearn.metrics.adjusted_rand_score(label, cluster))
    assert found["anchors_used"] == np.count_nonzero(table.sum(axis=1))
    share = table.sum(axis=1)[table.sum(axis=1) > 0] / total
    perplexity = np.exp(-(share * np.log(share)).sum())
    assert found["anchor_perplexity"] == pytest.approx(perplexity, rel=1e-5)
    distances = np.square(embeddings["mean"][:, None] - embeddings["anchors"][None]).sum(axis=2)
    np.testing.assert_array_equal(embeddings["assignment"], distances.argmin(axis=1))


def test_baseline_is_fitted_on_training_images(run, results):
    train_split, test = digits(run, "train"), digits(run, "test")
    pixels = [
        source.gather(np.arange(len(source)))["image"].reshape(len(source), -1)
        for source in (train_split, test)
    ]
    fitted = sklearn.cluster.KMeans(10, n_init=10, random_state=0).fit(pixels[0])
    table = np.zeros((10, 10))
    label = test.gather(np.arange(len(test)))["label"]
    np.add.at(table, (fitted.predict(pixels[1]), label), 1)
    rows, columns = scipy.optimize.linear_sum_assignment(-table)
    expected = table[rows, columns].sum() / len(label)
    assert results["metrics"]["kmeans_accuracy_hungarian_inputs"] == pytest.approx(expected)


@pytest.fixture
def undrawn(monkeypatch):
    """Files of figures are left empty: to draw them takes longer than the evaluation."""

    def touch(figure, path):
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr(plots, "save", touch)


def test_figures_are_drawn(run, results):
    assert {path.stem for path in (run / "figures").glob("*.png")} == FIGURES


def test_without_labels_there_are_figures_and_no_label_metrics(run, tmp_path, monkeypatch, undrawn):
    """Examples of an anchor: nearest first, blank where it has too few, and no other anchor's."""
    copy, drawn = tmp_path / "copy", []
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("figures"))
    gallery = plots.anchor_gallery

    def watched(anchors, pictures, counts, **options):
        drawn.append((anchors, pictures, counts))
        return gallery(anchors, pictures, counts, **options)

    monkeypatch.setattr(plots, "anchor_gallery", watched)
    image = digits(run, "test").gather(np.arange(7))["image"]
    options = [("eval.tsne_examples", "0"), ("eval.shown_samples", "4")]
    source = ArraySource(image)
    found = evaluate(copy, overrides=options, test_data=source, train_data=[{"image": image}])
    assert found["counts"]["test_labeled"] == 0
    for name in ("cluster_accuracy_hungarian", "nmi", "knn_accuracy", "kmeans_accuracy_hungarian"):
        assert found["metrics"][name] is None
        assert found["reasons"][name] == "the test examples have no labels"
    assert found["metrics"]["reconstruction"] > 0
    assert (copy / "figures" / "anchor_usage.png").is_file()
    ((_, pictures, counts),) = [call for call in drawn if call[0] is None]
    with np.load(copy / "embeddings.npz") as file:
        mean, assignment, anchors = file["mean"][:7], file["assignment"][:7], file["anchors"]
    np.testing.assert_array_equal(counts, np.bincount(assignment, minlength=5))
    distance = np.linalg.norm(mean[:, None] - anchors, axis=2)
    for k in range(5):
        order = np.argsort(distance[:, k])
        own = order[assignment[order] == k][:4]
        expected = np.ones_like(pictures[k])
        expected[: len(own)] = image[own]
        np.testing.assert_allclose(pictures[k], expected, atol=1e-6)


def test_nothing_to_show_is_no_failure(run, tmp_path, monkeypatch, undrawn):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("figures"))
    monkeypatch.setattr(evaluation.logger, "warning", pytest.fail)
    names = ("tsne_examples", "shown_examples", "shown_samples")
    evaluate(copy, overrides=[(f"eval.{name}", "0") for name in names])
    drawn = {path.stem for path in (copy / "figures").glob("*.png")}
    left_out = {name for name in FIGURES if "tsne" in name} | {"reconstructions", "anchor_examples"}
    assert drawn == FIGURES - left_out


def test_one_device_gives_the_numbers_of_eight(run, results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    command = [sys.executable, str(ROOT / "eval.py"), f"--workdir={copy}", "--nofigures"]
    done = subprocess.run(
        command,
        env=environment(devices=1),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "cluster_accuracy_hungarian" in done.stdout
    alone = json.loads((copy / "results.json").read_text())["metrics"]
    assert alone == pytest.approx(results["metrics"], rel=1e-5)


def test_evaluation_does_not_depend_on_the_batch_size(run, results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    overrides = [("eval.batch_size", "100"), ("eval.kmeans_inputs", "false")]
    again = evaluate(copy, overrides=overrides, figures=False)
    expected = dict(results["metrics"])
    del expected["kmeans_accuracy_hungarian_inputs"]
    assert again["metrics"] == pytest.approx(expected, rel=1e-5)


def test_any_checkpoint_can_be_chosen(run, tmp_path):
    assert load(run, 30).step == 30
    assert load(run, "best").step == 60
    with pytest.raises(UserError, match="31"):
        load(run, 31)
    with pytest.raises(UserError, match="newest"):
        load(run, "newest")
    with pytest.raises(UserError, match="holds no run"):
        load(tmp_path)


def test_report_is_a_page_of_its_own(run, results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("figures"))
    again = evaluate(copy, figures=False, report=True)
    assert again["metrics"] == results["metrics"]
    assert not (run / "report.html").exists() and not (copy / "figures").exists()
    page = (copy / "report.html").read_text("utf-8")
    shown = re.findall(r'<section id="(\w+)"', page)
    assert shown == ["latent", "confusion", "anchors", "examples", "curves", "metrics", "config"]
    assert page.count('alt="reconstruction of example') == 24
    assert page.count(">samples drawn around it<") == page.count(">decoded<") == 5
    assert f"{results['metrics']['nmi']:.5g}" in page
    assert "report.html" in OWN_NAMES  # a new run in its place removes it


def test_only_data_and_eval_keys_can_be_changed(run):
    with pytest.raises(UserError, match=r"model\.num_anchors was fixed"):
        evaluate(run, overrides=[("model.num_anchors", "7")])
    with pytest.raises(UserError, match="did you mean 'eval"):
        evaluate(run, overrides=[("eval.batchsize", "7")])


def test_numbers_that_are_not_finite_are_none_with_a_reason(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    image = digits(run, "test").gather(np.arange(40))["image"].copy()
    image[3, 2, 2] = np.nan
    found = evaluate(copy, test_data=ArraySource(image), figures=False)
    assert found["metrics"]["reconstruction"] is None
    assert "nan" in found["reasons"]["reconstruction"]
    json.loads((copy / "results.json").read_text(), parse_constant=pytest.fail)


def test_a_collapsed_latent_space_is_reported(run, tmp_path):
    def collapse(params):
        return replace_anchors(params, np.zeros((5, 3), np.float32))

    found = evaluate(edited(run, tmp_path, collapse), figures=False)
    assert found["step"] == 61
    assert found["metrics"]["anchors_used"] == found["metrics"]["anchor_perplexity"] == 1
    assert found["metrics"]["nmi"] == found["metrics"]["ari"] == 0
    assert found["metrics"]["silhouette"] is None
    assert "silhouette" in found["reasons"]


def test_examples_of_another_shape_are_refused(run):
    with pytest.raises(UserError, match=r"\(8, 8, 1\).*\(9, 9, 1\)"):
        evaluate(run, test_data=ArraySource(np.zeros((3, 9, 9), np.uint8)))


def test_values_out_of_range_are_refused(run, model):
    image = digits(run, "test").gather(np.arange(3))["image"]
    with pytest.raises(UserError, match="0 to 255"):
        model.embed(255 * image)


def test_embedding_is_deterministic_and_the_mean(run, model, embeddings):
    image = digits(run, "test").gather(np.arange(20))["image"]
    found = model.embed(image)
    np.testing.assert_array_equal(found, model.embed(image))
    np.testing.assert_array_equal(found, embeddings["mean"][:20])
    np.testing.assert_array_equal(model.assign(image), embeddings["assignment"][:20])


def test_samples_follow_the_key(run, model):
    image = digits(run, "test").gather(np.arange(5))["image"]
    first, second = jax.random.key(1), jax.random.key(2)
    np.testing.assert_array_equal(model.embed(image, first), model.embed(image, first))
    assert np.abs(model.embed(image, first) - model.embed(image, second)).max() > 1e-3
    np.testing.assert_array_equal(model.sample(2, 3, first), model.sample(2, 3, first))
    assert np.abs(model.sample(2, 3, first) - model.sample(2, 3, second)).max() > 1e-3
    with pytest.raises(UserError, match="no anchor 5"):
        model.sample(5, 1, first)


def test_reconstructions_are_pictures_near_their_inputs(run, model):
    image = digits(run, "test").gather(np.arange(100))["image"]
    decoded = model.reconstruct(image)
    assert decoded.shape == image.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    mean_picture = image.mean(axis=0, keepdims=True)
    assert np.square(decoded - image).mean() < np.square(mean_picture - image).mean()


def test_ties_go_to_the_first_anchor(run, tmp_path):
    def between_two_anchors(params):
        anchors = np.full((5, 3), 9.0, np.float32)
        anchors[0], anchors[1] = [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]
        head = {
            "kernel": np.zeros_like(params["bottleneck"]["mean"]["kernel"]),
            "bias": np.zeros_like(params["bottleneck"]["mean"]["bias"]),
        }
        params = {**params, "bottleneck": {**params["bottleneck"], "mean": head}}
        return replace_anchors(params, anchors)

    copy = edited(run, tmp_path, between_two_anchors)
    image = digits(run, "test").gather(np.arange(16))["image"]
    np.testing.assert_array_equal(load(copy).assign(image), np.zeros(16))


def test_decoding_does_not_depend_on_the_number_of_vectors(model):
    assert isinstance(model, TrainedModel)
    sample = np.asarray(jax.random.normal(jax.random.key(0), (7, 3), jnp.float32))
    np.testing.assert_allclose(model.decode(sample)[2:3], model.decode(sample[2:3]), atol=1e-6)
    assert model.decode(sample[:0]).shape == (0, 8, 8, 1)
