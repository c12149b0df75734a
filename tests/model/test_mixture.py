"""The prior of a conditional nebula: values by hand, gradients, limits, and independent oracles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from nvc_jax.losses import anchor_kl
from scipy.stats import multivariate_normal

from nvc_jax import nvc_loss
from nvc_jax.core.errors import UserError
from nvc_jax.model import mixture, nebulae
from nvc_jax.model.bottleneck import Latent

B, K, D = 3, 4, 2


def prior_of(seed: int = 0, count: int = K) -> mixture.Prior:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(B, count))
    return mixture.Prior(
        log_weight=jnp.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)), jnp.float32),
        mean=jnp.asarray(rng.normal(size=(B, count, D)), jnp.float32),
        logvar=jnp.asarray(rng.normal(size=(B, count, D)), jnp.float32),
    )


def posterior_of(seed: int = 1) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    mean, logvar = rng.normal(size=(2, B, D)).astype(np.float32)
    return jnp.asarray(mean), jnp.asarray(logvar)


def in_float64(example: int, prior: mixture.Prior) -> nebulae.Nebulae:
    """The prior of an example as the mixture that the oracle takes."""
    scales = np.exp(0.5 * np.asarray(prior.logvar[example], np.float64))
    weights = np.exp(np.asarray(prior.log_weight[example], np.float64))
    return nebulae.Nebulae(np.asarray(prior.mean[example]), scales, weights)


def test_kl_by_hand():
    """From N(1, 1) to N(0, 4): ½·((1 + 1)/4 − 1 − 0 + log 4)."""
    prior = mixture.Prior(
        jnp.zeros((1, 1)), jnp.zeros((1, 1, 1)), jnp.full((1, 1, 1), np.log(4.0), jnp.float32)
    )
    found = mixture.prior_kl([[1.0]], [[0.0]], prior)
    assert float(found[0, 0]) == pytest.approx(0.5 * (0.5 - 1 + np.log(4)), rel=1e-6)


def test_mixture_by_hand():
    """Two anchors with KLs of 0 and log 3, both of probability ½: −log(½ + ½·⅓) = log 1.5."""
    kl, log_weight = jnp.asarray([[0.0, np.log(3.0)]]), jnp.log(jnp.asarray([[0.5, 0.5]]))
    assert float(mixture.mixture_kl(kl, log_weight)[0]) == pytest.approx(np.log(1.5), rel=1e-6)
    shares = mixture.responsibilities(kl, log_weight)
    np.testing.assert_allclose(shares, [[0.75, 0.25]], rtol=1e-6)


def test_bound_is_the_best_of_all_responsibilities_and_of_one_anchor():
    prior, (mean, logvar) = prior_of(), posterior_of()
    kl = mixture.prior_kl(mean, logvar, prior)
    bound = mixture.mixture_kl(kl, prior.log_weight)
    best = mixture.responsibilities(kl, prior.log_weight)

    def value(shares):
        return np.sum(shares * (kl - prior.log_weight + np.log(shares)), axis=1)

    np.testing.assert_allclose(value(best), bound, rtol=1e-5)
    others = np.random.default_rng(0).dirichlet(np.ones(K), (20, B))
    assert all((value(shares) >= bound - 1e-5).all() for shares in others)
    for k in range(K):
        one = mixture.assigned_kl(mean, logvar, prior, jnp.full(B, k))
        np.testing.assert_allclose(one, kl[:, k] - prior.log_weight[:, k], rtol=1e-5)
        assert (one >= bound - 1e-5).all()


def test_values_against_float64():
    prior, (mean, logvar) = prior_of(), posterior_of()
    bound = mixture.mixture_kl(mixture.prior_kl(mean, logvar, prior), prior.log_weight)
    z = np.random.default_rng(2).normal(size=(B, 5, D)).astype(np.float32)
    density = mixture.mixture_log_density(jnp.asarray(z), prior)
    for b in range(B):
        oracle = in_float64(b, prior)
        expected = nebulae.mixture_kl(mean[b : b + 1], logvar[b : b + 1], oracle)
        np.testing.assert_allclose(bound[b], expected[0], rtol=1e-5)
        parts = [
            share * multivariate_normal(center, np.diag(scale**2)).pdf(z[b])
            for center, scale, share in zip(*oracle, strict=True)
        ]
        np.testing.assert_allclose(density[b], np.log(np.sum(parts, axis=0)), rtol=1e-5)


def test_gradients():
    prior, (mean, logvar) = prior_of(), posterior_of()

    def bounds(mean, logvar, prior):
        kl = mixture.prior_kl(mean, logvar, prior)
        assigned = mixture.assigned_kl(mean, logvar, prior, jnp.asarray([0, 3, 1]))
        density = mixture.mixture_log_density(mean[:, None], prior)[:, 0]
        return mixture.mixture_kl(kl, prior.log_weight), assigned, density

    check_grads(jax.jit(bounds), (mean, logvar, prior), order=1, modes=["rev"], rtol=2e-2)


def latent_of(prior: mixture.Prior | None, anchors: jax.Array, index: jax.Array) -> Latent:
    mean, logvar = posterior_of()
    soft = jnp.ones((B, len(anchors))) / len(anchors)
    return Latent(mean, logvar, mean, mean, index, soft, anchors, prior)


@pytest.mark.parametrize("form", ["assigned", "mixture"])
def test_one_anchor_is_the_conditional_autoencoder(form):
    """`KL(q(z | x, y) ‖ p(z | x))`, whichever form."""
    prior = dataclasses.replace(prior_of(count=1), log_weight=jnp.zeros((B, 1)))
    latent = latent_of(prior, jnp.zeros((1, D)), jnp.zeros(B, jnp.int32))
    _, raw = nvc_loss([0.0] * B, latent, latent.anchors, {"kl": 1.0}, prior_kl_of=form)
    mean, logvar = np.asarray(posterior_of(), np.float64)
    center, spread = (np.asarray(x[:, 0], np.float64) for x in (prior.mean, prior.logvar))
    ratio = (np.exp(logvar) + (mean - center) ** 2) / np.exp(spread)
    expected = 0.5 * np.sum(ratio - 1 - logvar + spread, axis=1)
    assert float(raw["kl"]) == pytest.approx(expected.mean(), rel=1e-5)


def test_nothing_seen_is_the_plain_nebula():
    """Without a shift, of scale 1 and even weights: the KL from the assigned anchor, and log K."""
    anchors = jnp.asarray(np.random.default_rng(3).normal(size=(K, D)), jnp.float32)
    prior = mixture.Prior(
        jnp.full((B, K), -np.log(K), jnp.float32),
        jnp.broadcast_to(anchors, (B, K, D)),
        jnp.zeros((B, K, D)),
    )
    latent = latent_of(prior, anchors, jnp.asarray([2, 0, 1]))
    _, raw = nvc_loss([0.0] * B, latent, anchors, {"kl": 1.0})
    _, plain = nvc_loss([0.0] * B, dataclasses.replace(latent, prior=None), anchors, {"kl": 1.0})
    assert float(raw["kl"]) == pytest.approx(float(plain["kl"]) + np.log(K), rel=1e-5)
    direct = anchor_kl(latent.mean, latent.logvar, anchors[latent.assignment])
    assert float(plain["kl"]) == pytest.approx(float(direct.mean()), rel=1e-6)
    nearest = np.argmin(((latent.mean[:, None] - anchors[None]) ** 2).sum(-1), axis=1)
    found = mixture.nearest_anchor(latent.mean, latent.logvar, prior)
    np.testing.assert_array_equal(found, nearest)


def test_an_impossible_or_far_anchor_is_finite():
    prior, (mean, logvar) = prior_of(), posterior_of()
    gone = jnp.zeros((B, K)).at[:, 0].set(-1e9)
    log_weight, mean_of = jax.nn.log_softmax(gone), prior.mean.at[:, 1].set(1e4)
    prior = dataclasses.replace(prior, log_weight=log_weight, mean=mean_of)

    def loss(mean, prior):
        kl = mixture.prior_kl(mean, logvar, prior)
        return jnp.sum(mixture.mixture_kl(kl, prior.log_weight))

    value, gradients = jax.value_and_grad(loss, (0, 1))(mean, prior)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_shapes_that_do_not_fit():
    with pytest.raises(UserError, match="of the same examples"):
        mixture.prior_kl(jnp.zeros((2, D)), jnp.zeros((2, D)), prior_of())


def test_own_answers_need_a_conditional_nebula():
    latent = latent_of(None, jnp.zeros((1, D)), jnp.zeros(B, jnp.int32))
    with pytest.raises(UserError, match=r"model\.conditional=true"):
        nvc_loss([0.0] * B, latent, latent.anchors, {"own": 1.0})


def test_draws_have_the_mixture_s_moments():
    prior = prior_of()
    rng = np.random.default_rng(0)
    size = 20_000
    places = (rng.permutation(size) + 0.5) / size
    code, index = mixture.prior_draws(prior, rng.normal(size=(size, D)).astype(np.float32), places)
    weight = np.exp(prior.log_weight)
    for b in range(B):
        np.testing.assert_allclose(np.bincount(index[b], minlength=K) / size, weight[b], atol=1e-3)
    expected = np.einsum("bk,bkd->bd", weight, prior.mean)
    np.testing.assert_allclose(code.mean(axis=1), expected, atol=0.05)


def test_importance_sampling_finds_the_evidence():
    """y = z + noise of variance 1, z ~ N(0, 1): log p(y) is that of N(0, 2), whatever q is drawn from."""
    rng, y = np.random.default_rng(0), 0.7
    z = 0.3 + 0.9 * rng.standard_normal(20_000)
    normal = multivariate_normal(0.0, 1.0)
    weights = normal.logpdf(y - z) + normal.logpdf(z) - multivariate_normal(0.3, 0.81).logpdf(z)
    found = mixture.importance_log_likelihood(jnp.asarray(weights[None], jnp.float32))
    assert float(found[0]) == pytest.approx(multivariate_normal(0.0, 2.0).logpdf(y), abs=0.02)
    same = mixture.importance_log_likelihood(jnp.full((1, 7), -3.0))
    assert float(same[0]) == pytest.approx(-3.0)
