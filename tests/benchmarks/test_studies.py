"""Studies: their pages, and the peers' formulas by hand and by brute force."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import cost, peers, study
from benchmarks.deep_clustering import Mixture, sharpened, soft_clusters, vade_divergence
from benchmarks.studies import STUDIES
from benchmarks.table import Rows
from nvc_jax.config import changed, load_config, to_json
from nvc_jax.model.losses import anchor_kl
from tests.numeric import normal


def test_divergence_from_one_component_is_the_kl_from_it():
    mean, logvar, sample = normal(0, 4, 3), normal(1, 4, 3), normal(2, 4, 3)
    one = Mixture(jnp.zeros(1), jnp.full((1, 3), 0.5), jnp.full((1, 3), 2 * np.log(0.7)))
    found = vade_divergence(mean, logvar, sample, one)
    expected = anchor_kl(mean, logvar, np.full((4, 3), 0.5, np.float32), 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_divergence_by_brute_force():
    mean, logvar, sample = normal(0, 2, 3), normal(1, 2, 3), normal(2, 2, 3)
    logits, centers, spread = normal(3, 4), normal(4, 4, 3), normal(5, 4, 3)
    found = vade_divergence(
        mean, logvar, sample, Mixture(*map(jnp.asarray, (logits, centers, spread)))
    )
    prior = np.exp(logits) / np.exp(logits).sum()
    for row in range(2):
        density = norm.pdf(sample[row], centers, np.exp(spread / 2)).prod(axis=1) * prior
        gamma = density / density.sum()
        expected = -0.5 * np.sum(1 + logvar[row]) + np.sum(gamma * np.log(gamma / prior))
        for c in range(4):
            moved = np.exp(logvar[row]) + (mean[row] - centers[c]) ** 2
            expected += gamma[c] * 0.5 * np.sum(spread[c] + moved / np.exp(spread[c]))
        np.testing.assert_allclose(found[row], expected, rtol=1e-4)


def test_soft_clusters_and_their_targets_by_hand():
    q = soft_clusters(jnp.array([[0.0], [1.0]]), jnp.array([[0.0], [2.0]]))
    np.testing.assert_allclose(q, [[5 / 6, 1 / 6], [0.5, 0.5]], rtol=1e-6)
    found = sharpened(np.array([[0.8, 0.2], [0.5, 0.5]]))
    first = np.array([0.64 / 1.3, 0.04 / 0.7])
    second = np.array([0.25 / 1.3, 0.25 / 0.7])
    np.testing.assert_allclose(found, [first / first.sum(), second / second.sum()])


def test_exponents_are_slopes():
    assert cost.exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2.0)
    assert cost.exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0.0)


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_is_another_recipe(name, tmp_path):
    recipe = study.configure(STUDIES[name], tmp_path, 100)
    made = set()
    for changes in STUDIES[name].variants.values():
        made.add(to_json(changed(recipe, changes)))
    assert len(made) == len(STUDIES[name].variants)


def test_a_study_makes_its_page_and_goes_on(tmp_path, capsys):
    calls = []

    def measure(config, directory):
        calls.append((config.loss.kl.value, config.seed, directory.name))
        return {"steps": 1, "seconds": 2.0, "nmi": config.loss.kl.value + config.seed}

    def run():
        rows = Rows(tmp_path / "s.csv", ("nmi",))
        variants = {"none": {"loss.kl.value": 0.0}, "some": {"loss.kl.value": 0.5}}
        config = load_config("mnist")
        table = study.run_variants(rows, config, variants, (1, 2), measure, tmp_path / "runs")
        study.write_page(tmp_path / "docs" / "s.md", "Why?", ["Because."], table, rows)

    run()
    run()
    assert calls == [(0.0, 1, "00-1"), (0.5, 1, "01-1"), (0.0, 2, "00-2"), (0.5, 2, "01-2")]
    page = (tmp_path / "docs" / "s.md").read_text()
    assert "| none | 1.5 ± 0.71 | 2 ± 0 |" in page and "# Why?" in page
    assert (tmp_path / "docs" / "s.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("some, seed 1: nmi 1.5") == 2


def test_peers_that_share_a_recipe_keep_rows_of_their_own(tmp_path):
    rows = Rows(tmp_path / "p.csv", ("nmi",))
    made = {
        name: (lambda value: lambda config, directory: {"steps": 1, "seconds": 1.0, "nmi": value})(
            i
        )
        for i, name in enumerate(peers.MEASURES)
    }
    table = study.run_variants(
        rows, load_config("mnist"), peers.STUDY.variants, (0,), made, tmp_path / "runs"
    )
    assert [row["nmi"] for (row,) in table.values()] == list(range(len(made)))
