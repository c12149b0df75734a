"""`NebulaClustering`: scikit-learn's own checks, and what its users rely on."""

import json
import pickle
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_circles
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nvc_jax import NebulaClustering, metrics
from nvc_jax.core.errors import UserError
from nvc_jax.core.options import steps_of
from nvc_jax.estimator.page import estimator_page
from nvc_jax.estimator.recipe import config_of, redundancy, scaling_of, squash, unsquash
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("optax_may_promote")

# One small config nearly everywhere: every other one, and every other shape, is compiled anew.
SMALL = {
    "latent_dim": 2,
    "hidden": (32,),
    "batch_size": 32,
    "max_iter": 80,
    "learning_rate": 2e-2,
    "augment": 0.0,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def optax_may_promote() -> Iterator[None]:
    """optax's bias correction needs it."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def small(n_clusters: int = 3, **options) -> NebulaClustering:
    return NebulaClustering(n_clusters, **{**SMALL, **options})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([small()])
def test_check_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    centers = np.array([[0.0, 100.0, 3.0], [100.0, -100.0, 3.0], [-100.0, -100.0, 3.0]])
    x, y = make_blobs(90, centers=centers, cluster_std=2.0, random_state=0)
    x[:, 2] = 3.0  # a constant feature
    return x, y


@pytest.fixture(scope="module")
def fitted(blobs) -> NebulaClustering:
    return small().fit(blobs[0])


def test_finds_well_separated_clusters(fitted, blobs):
    x, y = blobs
    assert metrics.ari(y, fitted.labels_) == 1.0
    np.testing.assert_array_equal(fitted.predict(x), fitted.labels_)
    assert fitted.cluster_centers_.shape == (3, 2) and fitted.n_iter_ == 80
    names = ["nebulaclustering0", "nebulaclustering1"]
    assert list(fitted.get_feature_names_out()) == names
    distance = np.linalg.norm(fitted.transform(x)[:, None] - fitted.cluster_centers_, axis=2)
    np.testing.assert_array_equal(distance.argmin(axis=1), fitted.labels_)


def test_decodes_into_the_units_of_the_input(fitted, blobs):
    x, _ = blobs
    output = fitted.reconstruct(x)
    assert output.shape == x.shape and output.dtype == x.dtype == np.float64
    np.testing.assert_allclose(output[:, 2], 3.0, atol=1.0)
    assert np.mean((output - x) ** 2) < 0.5 * np.mean(x.var(axis=0))
    np.testing.assert_array_equal(output, fitted.inverse_transform(fitted.transform(x)))


def test_score_samples_finds_outliers_and_score_is_its_mean(fitted, blobs):
    x, _ = blobs
    normal = fitted.score_samples(x)
    outlier = fitted.score_samples(np.array([[400.0, 400.0, 3.0]]))
    assert outlier.shape == (1,) and outlier[0] < normal.min()
    assert fitted.score(x) == pytest.approx(normal.mean())


def test_score_samples_is_the_stated_formula(fitted, blobs):
    x = blobs[0][:5]
    scaling = scaling_of(blobs[0], "auto")
    error = np.square(scaling.apply(fitted.reconstruct(x)) - scaling.apply(x)).sum(axis=1)
    encoded = fitted._encode(fitted._input(x))
    mean, logvar = encoded["mean"], encoded["logvar"]
    evidence = np.full(len(x), -np.inf)
    for center, scale, share in zip(
        fitted.cluster_centers_, fitted.cluster_scales_, fitted.cluster_shares_, strict=True
    ):
        ratio = (np.exp(logvar) + (mean - center) ** 2) / scale**2
        kl = 0.5 * np.sum(ratio - 1 - logvar + 2 * np.log(scale), axis=1)
        evidence = np.logaddexp(evidence, np.log(share) - kl)
    np.testing.assert_allclose(fitted.score_samples(x), evidence - error, rtol=1e-3, atol=1e-3)


def test_samples_are_decoded_draws_around_an_anchor(fitted):
    drawn = fitted.sample(20, anchor=1, random_state=0)
    noise = np.random.RandomState(0).standard_normal((20, 2))
    expected = fitted.inverse_transform(
        fitted.cluster_centers_[1] + fitted.cluster_scales_[1] * noise
    )
    np.testing.assert_array_equal(drawn, expected)
    assert fitted.sample(7).shape == (7, 3)
    np.testing.assert_array_equal(fitted.sample(7), fitted.sample(7))
    refused("no anchor 3", fitted.sample, 1, anchor=3)
    refused("2 dimensions", fitted.inverse_transform, np.zeros((1, 3)))


def test_anchors_are_amid_their_codes_and_shares_are_those_of_the_labels(fitted, blobs):
    codes = fitted.transform(blobs[0])
    for k in range(3):
        own = codes[fitted.labels_ == k]
        np.testing.assert_allclose(fitted.cluster_centers_[k], own.mean(axis=0), atol=1e-3)
        np.testing.assert_allclose(fitted.cluster_scales_[k], own.std(axis=0), rtol=1e-2)
    np.testing.assert_allclose(fitted.cluster_shares_, np.bincount(fitted.labels_) / 90)


def test_the_likeliest_cluster_is_the_predicted_one(fitted, blobs):
    found = fitted.predict_proba(blobs[0])
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_array_equal(found.argmax(axis=1), fitted.predict(blobs[0]))


def test_fewer_clusters_than_asked_for_are_told():
    x = np.repeat(np.array([[0.0, 0.0], [50.0, 50.0]]), 20, axis=0)
    with pytest.warns(ConvergenceWarning, match="2 clusters were found of n_clusters=3"):
        small(max_iter=30).fit(x)


@pytest.mark.parametrize("likelihood", ["negative_binomial", "poisson"])
def test_counts_are_clustered_by_what_they_are_made_of(likelihood):
    rng = np.random.default_rng(0)
    kinds = np.array([[8, 1, 1, 1], [1, 8, 1, 1], [1, 1, 8, 8]]) / np.array([[11], [11], [18]])
    y, depth = rng.integers(0, 3, 150), rng.uniform(50, 400, (150, 1))
    x = rng.poisson(kinds[y] * depth)
    model = small(likelihood=likelihood, learning_rate=5e-3, max_iter=200).fit(x)
    assert metrics.ari(y, model.labels_) > 0.9
    decoded = model.inverse_transform(model.cluster_centers_)
    np.testing.assert_array_equal(model._source(x[:2]).gather(np.arange(2))["counts"], x[:2])
    np.testing.assert_allclose(decoded.sum(axis=1), np.median(x.sum(axis=1)), rtol=1e-4)
    sparse = small(likelihood=likelihood, learning_rate=5e-3, max_iter=200).fit(csr_array(x))
    np.testing.assert_array_equal(sparse.labels_, model.labels_)
    np.testing.assert_allclose(
        sparse.transform(csr_array(x[:9])), model.transform(x[:9]), rtol=1e-5
    )
    page = estimator_page(sparse, csr_array(x), None, "counts")
    assert page.table is not None
    np.testing.assert_array_equal(page.table.values, x)
    refused("not negative", model.fit, x - 1000)
    refused("likelihood is 'gamma'", small(likelihood="gamma").fit, x)
    refused("table", small(likelihood=likelihood).fit, np.ones((5, 2, 2)))


def test_a_seed_gives_the_same_result_and_another_does_not(blobs):
    x, _ = blobs
    first, second, third = (small(random_state=seed).fit(x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.transform(x), second.transform(x))
    assert np.abs(first.transform(x) - third.transform(x)).max() > 1e-3
    state = np.random.RandomState(1)
    given = small(random_state=state).fit(x)
    np.testing.assert_array_equal(given.transform(x), first.transform(x))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng, shape = np.random.default_rng(0), (20, 4, 5)
    return np.concatenate([rng.integers(0, 60, shape), rng.integers(190, 255, shape)]).astype("u1")


@pytest.mark.parametrize("kind", ["table", "images"])
def test_a_saved_estimator_is_the_same(kind, blobs, images, tmp_path):
    x = blobs[0] if kind == "table" else images
    model = (small() if kind == "table" else small(2, augment=1.0)).fit(x)
    path = model.save(tmp_path / "model.npz")
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(archive["facts"].tobytes())["params"]["n_clusters"] == model.n_clusters
    loaded = NebulaClustering.load(path)
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.labels_, model.labels_)
    np.testing.assert_array_equal(loaded.score_samples(x), model.score_samples(x))
    np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))
    for other in (loaded, pickle.loads(pickle.dumps(model)), model):
        other.partial_fit(x)
    np.testing.assert_array_equal(loaded.cluster_centers_, model.cluster_centers_)


def test_feature_names_survive_saving(tmp_path):
    pandas = pytest.importorskip("pandas")
    x = pandas.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["a", "b", "c"])
    model = small().set_output(transform="pandas").fit(x)
    assert list(model.transform(x).columns) == ["nebulaclustering0", "nebulaclustering1"]
    loaded = NebulaClustering.load(model.save(tmp_path / "model.npz"))
    assert list(loaded.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(x[["b", "a", "c"]])


def test_files_that_are_no_estimator_are_refused(fitted, tmp_path):
    missing, text, other = (tmp_path / name for name in ("missing", "text.npz", "other.npz"))
    text.write_text("no archive")
    np.savez(other, image=np.zeros(3))
    for path in (missing, text, other):
        refused(path.name, NebulaClustering.load, path)
    refused("give a file that NebulaClustering.save wrote", NebulaClustering.load, missing)
    path = fitted.save(tmp_path / "model.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    anchors = next(name for name in arrays if name.startswith(".params") and "anchors" in name)
    np.savez(path, **{**arrays, anchors: arrays[anchors][:2]})
    refused("damaged", NebulaClustering.load, path)
    np.savez(path, **{**arrays, "facts": np.frombuffer(b"{}", np.uint8)})
    refused("damaged", NebulaClustering.load, path)


def test_partial_fit_goes_on_with_other_examples(fitted, blobs):
    x, _ = blobs
    model = small().partial_fit(x)
    assert model.n_iter_ == 80
    np.testing.assert_array_equal(model.transform(x), fitted.transform(x))
    before = model.transform(x)
    model.partial_fit(x[:40])
    assert model.n_iter_ == 82 and len(model.labels_) == 40
    assert np.abs(model.transform(x) - before).max() > 0


def test_images_keep_their_shape_and_are_shown(images, tmp_path):
    x, shape = images, images.shape[1:]
    model = small(2, augment=1.0).fit(x)
    assert metrics.ari(np.repeat([0, 1], 20), model.labels_) == 1.0
    assert model.n_features_in_ == np.prod(shape) and model.input_shape_ == shape
    output = model.reconstruct(x)
    assert output.shape == x.shape and output.min() >= x.min() and output.max() <= x.max()
    assert output[:20].mean() < 100 < 150 < output[20:].mean()
    assert model.sample(2, anchor=0).shape == (2, *shape)
    page = model.report(tmp_path / "page.html", x, ["dark"] * 20 + ["light"] * 20).read_text()
    assert page.count("<article") == 2 and "dark" in page and "NebulaClustering: page" in page
    refused("got shape", model.fit, x[..., None, None, None])
    refused("shape", model.predict, x[:, :3])
    refused("shape", model.predict, x.reshape(40, -1))


def test_a_report_tells_rows_in_their_units(fitted, blobs, tmp_path):
    x, y = blobs
    report = estimator_page(fitted, x, y, "blobs")
    assert report.table is not None
    np.testing.assert_array_equal(report.table.values, x)
    assert report.table.columns == ["feature 0", "feature 1", "feature 2"]
    decoded = fitted.inverse_transform(fitted.cluster_centers_)
    np.testing.assert_array_equal(report.table.decoded, decoded)
    assert report.table.samples.shape == (3, 2, 3)
    np.testing.assert_array_equal(report.assignment, fitted.predict(x))
    np.testing.assert_array_equal(report.label, y)
    scores = {"nmi", "ari", "cluster_accuracy_hungarian", "cluster_accuracy_majority"}
    assert all(report.metrics[name] == 1 for name in scores)
    assert report.metrics["kmeans_accuracy_hungarian_inputs"] == 1
    assert not scores & set(estimator_page(fitted, x, None, "blobs").metrics)
    assert estimator_page(fitted, x, None, "blobs").label is None
    page = fitted.report(tmp_path / "blobs.html", x).read_text()
    assert page.count("<article") == 3 and "unlabeled" not in page
    message = r"y has shape \(2,\): give one label for each"
    refused(message, fitted.report, tmp_path / "blobs.html", x, y[:2])


def test_works_in_a_pipeline_and_a_grid_search(blobs):
    x, y = blobs
    pipeline = make_pipeline(StandardScaler(), small())
    assert metrics.ari(y, pipeline.fit_predict(x)) == 1.0
    search = GridSearchCV(small(), {"random_state": [0, 1]}, cv=2).fit(x)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_index_ == np.argmax(scores) and scores[0] != scores[1]
    np.testing.assert_allclose(search.score(x), search.best_estimator_.score_samples(x).mean())


def test_a_grid_search_in_two_processes_comes_to_its_end(blobs):
    grid = {"n_clusters": [2, 3]}
    alone, two = (
        GridSearchCV(small(max_iter=20), grid, cv=2, n_jobs=n).fit(blobs[0]) for n in (1, 2)
    )
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_allclose(two.cv_results_[name], alone.cv_results_[name], rtol=1e-5)


def test_progress_bar_shows_only_if_asked_for(blobs, capsys):
    small().fit(blobs[0])
    assert capsys.readouterr().err == ""
    small(verbose=True).fit(blobs[0])
    assert "80/80" in capsys.readouterr().err


def test_mistakes_are_told(blobs):
    for options, message in [
        ({"n_clusters": 0}, "n_clusters"),
        ({"max_iter": 0}, "max_iter"),
        ({"hidden": ()}, "hidden"),
        ({"hidden": (8, 0)}, "hidden"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "auto"}, "learning_rate is 'auto': it must be a finite number"),
        ({"n_clusters": "many"}, "n_clusters is 'many': it must be a finite number or 'auto'"),
        ({"n_clusters": "auto", "shares": [0.5, 0.5]}, "shares has numbers for clusters"),
        ({"n_clusters": None}, "n_clusters is None"),
        ({"latent_dim": 2.5}, "latent_dim is 2.5: it must be a whole number"),
        ({"max_iter": float("inf")}, "max_iter is inf"),
        ({"augment": "some"}, "augment is 'some': it must be a finite number or 'auto'"),
        ({"triplet_weight": -1}, "triplet_weight"),
        ({"augment": -1.0}, "augment"),
        ({"scaling": "none"}, "scaling"),
        ({"n_clusters": 91}, "n_samples=90"),
    ]:
        refused(message, small(**options).fit, blobs[0])


@pytest.mark.parametrize("value", [1e300, -1e39])
def test_values_that_float32_cannot_hold_are_refused_by_row_and_column(fitted, blobs, value):
    x = blobs[0].copy()
    x[3, 2] = value
    message = rf"X has {value:.3g} in row 3, column 2, which float32 cannot hold".replace(
        "+", r"\+"
    )
    for method in (
        "predict",
        "predict_proba",
        "transform",
        "reconstruct",
        "score_samples",
        "score",
    ):
        refused(message, getattr(fitted, method), x)
    for method in ("fit", "partial_fit"):
        refused(message, getattr(clone(fitted), method), x)
    refused("row 0, column 1", fitted.inverse_transform, [[0.0, value]])
    images = np.zeros((3, 4, 4, 1))
    images[1, 2, 3] = value
    refused(r"row 1, at \[2, 3, 0\]", small(2).fit, images)
    counts = np.zeros((4, 5))
    counts[2, 1] = abs(value)
    for given in (counts, csr_array(counts)):
        refused("row 2, column 1", small(2, likelihood="poisson").fit, given)
    fitted.transform(x.clip(-3e38, 3e38))  # what float32 can hold is taken


def test_far_from_zero_examples_are_decoded_as_near_it(blobs, tmp_path):
    near, far = 4.0 * blobs[0], 1.5e9 + 4.0 * blobs[0]  # such as times in seconds
    model, spread = small().fit(far), near.std()
    expected = small().fit(near).reconstruct(near)
    loaded = NebulaClustering.load(model.save(tmp_path / "model.npz"))
    for found in (model.reconstruct(far), loaded.reconstruct(far)):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found - 1.5e9, expected, atol=0.01 * spread, rtol=0)
    assert (model.sample(9).std(axis=0)[:2] > 0.1 * spread).all()
    assert model.fit(near.astype(np.float32)).reconstruct(near).dtype == np.float32


def test_unfitted_estimators_say_so():
    model = clone(small())
    for call in (model.sample, lambda: model.save("model.npz"), lambda: model.reconstruct([[1.0]])):
        with pytest.raises(NotFittedError):
            call()


def test_scaling_is_what_it_says():
    x = np.array([[0.0, 10.0, 5.0], [2.0, 10.0, 8.0], [1.0, 10.0, 6.5]])
    own = scaling_of(x, "features")
    one, two = np.sqrt(2 / 3), np.sqrt(1.5)
    np.testing.assert_allclose(own.scale, [one, 1.0, two])
    np.testing.assert_allclose(own.apply(x), [[-two, 0, -two], [two, 0, two], [0, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(own.undo(own.apply(x)), x, atol=1e-6)
    together = np.sqrt((2 / 3 + 1.5) / 2)
    np.testing.assert_allclose(scaling_of(x, "auto").scale, [together, 1.0, together])
    np.testing.assert_allclose(scaling_of(x * [1, 1, 100], "auto").scale, [one, 1.0, 100 * two])
    images = scaling_of(np.array([[[[2.0]]], [[[6.0]]]]), "auto")
    assert images == (2.0, 4.0, np.inf)
    assert images.apply(np.full((1, 1, 1, 1), 8.0)).item() == 1.0  # clipped


def test_rows_of_two_categories_are_1_apart():
    """At standard deviation 1 a category of one row in a hundred would lie ten from the others."""
    category, price = np.arange(200) % 100 // 99, 1000 * np.random.default_rng(0).normal(size=200)
    x = np.concatenate([price[:, None], 7.0 * np.eye(2)[category]], axis=1)
    for kind in ("features", "auto"):
        found = scaling_of(x, kind)
        one, other = found.apply(x)[[0, 99], 1:]
        assert np.linalg.norm(one - other) == pytest.approx(1.0)
        assert found.scale[0] == pytest.approx(price.std(), rel=0.02)


def test_rows_far_out_change_no_scale_and_come_back_as_they_were():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) * [1, 10, 100]
    odd = np.concatenate([x, [[1e6, -1e7, 1e9]]])
    for kind in ("features", "global", "auto"):
        found, plain = scaling_of(odd, kind), scaling_of(x, kind)
        np.testing.assert_allclose(found.scale, plain.scale, rtol=0.1)
        scaled = found.apply(odd)
        assert np.abs(scaled).max() <= 6
        np.testing.assert_allclose(found.undo(scaled[:-1]), x, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(np.sign(found.undo(scaled[-1:])), [[1, -1, 1]])
    assert (np.diff(squash(np.linspace(-20, 20, 1001), 5)) > 0).all()
    values = np.linspace(-15, 15, 99)
    np.testing.assert_allclose(unsquash(squash(values, 5.0), 5.0), values)


def test_an_outlier_takes_no_cluster():
    x, y = make_blobs(300, centers=3, cluster_std=0.5, random_state=3)
    x = np.concatenate([x, [[1e4, 1e4]]])
    model = NebulaClustering(3, random_state=0, max_iter=300).fit(x)
    assert metrics.ari(y, model.labels_[:-1]) > 0.97


def test_redundancy_is_what_the_other_features_tell():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2000, 2))
    assert redundancy(base) < 0.05
    assert redundancy(np.concatenate([base, base], axis=1)) > 0.95
    noisy = np.concatenate([base[:, :1] + rng.normal(size=(2000, 1)) * s for s in (1, 1)], axis=1)
    np.testing.assert_allclose(redundancy(noisy), np.corrcoef(noisy.T)[0, 1] ** 2, atol=0.01)
    assert redundancy(rng.normal(size=(20, 200))) < 0.5  # wide data are no proof
    assert redundancy(np.ones((5, 3))) == 0.0


def test_the_recipe_sets_anchors_before_the_last_step():
    for steps in (1, 2, 5, 1000):
        config = config_of({**NebulaClustering().get_params(), "max_iter": steps}, (3,))
        assert config.train.num_steps == steps and config.task == "table"
        assert steps_of(config.anchors.warmup, steps) < steps
    assert config_of(NebulaClustering().get_params(), (4, 4, 1)).task == "image"


def test_shares_may_be_given(blobs):
    model = small(shares=[0.5, 0.3, 0.2], max_iter=60).fit(blobs[0])
    assert model.get_params()["shares"] == [0.5, 0.3, 0.2]
    with pytest.raises(UserError, match="given_shares"):
        small(shares=[0.5, 0.5]).fit(blobs[0])
    with pytest.raises(UserError, match=r"anchors\.shares"):
        small(shares="even").fit(blobs[0])


def test_a_large_cluster_stays_whole():
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(5), [360, 60, 60, 60, 60])
    x = rng.normal(size=(600, 10)) + 12 * rng.normal(size=(5, 10))[label]
    found = NebulaClustering(5, random_state=0, max_iter=400, hidden=(32,)).fit_predict(x)
    assert metrics.ari(label, found) > 0.99


def test_a_ring_around_a_disc_is_a_cluster():
    """Neither is k-means' nor the codes': the graph of neighbors tells them."""
    x, label = make_circles(300, noise=0.05, factor=0.3, random_state=0)
    x = np.column_stack([x, np.zeros(300)])  # of the shape of the blobs: nothing is compiled anew
    found = small(2, max_iter=300).fit_predict(x)
    assert metrics.ari(label, found) > 0.95


def test_labels_of_one_example_each_give_clusters_their_numbers(blobs):
    x, y = blobs
    labels = np.full(len(x), -1)
    for c in range(3):
        labels[np.flatnonzero(y == c)[0]] = (c + 1) % 3
    found = small().fit(x, labels=labels)
    np.testing.assert_array_equal(found.labels_, (y + 1) % 3)
    again = found.partial_fit(x, labels=(y + 1) % 3)
    np.testing.assert_array_equal(again.labels_, (y + 1) % 3)


def test_y_has_no_part_in_a_fit(fitted, blobs):
    x, y = blobs
    np.testing.assert_array_equal(small().fit(x, y[::-1]).labels_, fitted.labels_)


def test_linked_examples_are_together_and_apart(blobs):
    """Two clusters for three blobs: which two are one is what the pairs say."""
    x, y = blobs
    members = [np.flatnonzero(y == c)[:10] for c in range(3)]
    for one, two, other in ((0, 1, 2), (1, 2, 0)):
        pairs = {
            "must_link": np.stack([members[one], members[two]], axis=1),
            "cannot_link": np.stack([members[one], members[other]], axis=1),
        }
        found = small(2).fit(x, **pairs)
        assert metrics.ari(y == other, found.labels_) == 1.0
        assert metrics.ari(y == other, found.predict(x)) == 1.0


def test_the_number_of_clusters_is_found(blobs):
    x, y = blobs
    found = small("auto").fit(x)
    assert found.n_clusters_ == found.number_.found == 3
    assert metrics.ari(y, found.labels_) == 1.0
    assert found.n_iter_ == 80 and found.cluster_centers_.shape == (3, 2)


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ({"labels": [0, 1]}, r"labels has a whole number for each of the 90 examples"),
        ({"labels": np.full(90, 0.5)}, r"labels has a whole number"),
        ({"labels": np.full(90, 3)}, r"labels go from -1, not known, to n_clusters - 1 = 2"),
        ({"must_link": [(0, 1, 2)]}, r"must_link is a list of pairs"),
        (
            {"cannot_link": [(0, 90)]},
            r"cannot_link has examples from 0 to 90: they go from 0 to 89",
        ),
        ({"must_link": [(0, 1)], "cannot_link": [(1, 0)]}, r"cannot_link has examples 1 and 0"),
    ],
)
def test_hints_that_do_not_fit_are_refused(blobs, hints, words):
    refused(words, small().fit, blobs[0], **hints)
