"""Two published ways to cluster with an autoencoder, to compare with: VaDE and DEC.

Both begin with a trained autoencoder and go on in a loop of their own, on the same network and batches.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nvc_jax.data import Source
from nvc_jax.model.anchors import kmeans
from nvc_jax.model.distances import squared_distances
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.state import TrainState

BATCH_SIZE = 512
TARGET_EVERY = 140
"""Steps between new targets of DEC, as in its authors' code."""

Clusters = Callable[[Source], np.ndarray]
"""Source → cluster of every example, int `[N]`."""


class Autoencoder(NamedTuple):
    """A trained autoencoder: what its config made, its state, and the seed of what follows."""

    experiment: Experiment
    state: TrainState
    seed: int

    def encode(self, params: Any, batch: Any) -> jax.Array:
        """Means of a stored batch, `[B, D]`, with evaluation statistics."""
        inputs = self.experiment.task.prepare(batch)
        return self.experiment.apply(self.state, inputs, params=params, method="encode").mean

    def encode_all(self, params: Any, source: Source) -> np.ndarray:
        """Means of all examples, float32 `[N, D]`."""
        encode = jax.jit(self.encode)
        ids = np.array_split(np.arange(len(source)), -(-len(source) // BATCH_SIZE))
        return np.concatenate([np.asarray(encode(params, source.gather(some))) for some in ids])


class Mixture(NamedTuple):
    """Mixture of Gaussians with diagonal covariances: `logits` `[K]`, `mean` and `logvar` `[K, D]`."""

    logits: jax.Array
    mean: jax.Array
    logvar: jax.Array

    def log_joint(self, z: jax.Array) -> jax.Array:
        """`log π_c + log N(z; μ_c, σ_c²)`, `[B, D]` → `[B, K]`, but for a constant."""
        distance = jnp.square(z[:, None] - self.mean[None]) * jnp.exp(-self.logvar)[None]
        log_density = -0.5 * jnp.sum(distance + self.logvar[None], axis=-1)
        return jax.nn.log_softmax(self.logits)[None] + log_density


def vade_divergence(
    mean: jax.Array, logvar: jax.Array, sample: jax.Array, mixture: Mixture
) -> jax.Array:
    """What VaDE's bound has in place of the KL term, `[B]`.

    `½ Σ_c γ_c Σ_d (log σ_c² + σ²/σ_c² + (μ − μ_c)²/σ_c²) − ½ Σ_d (1 + log σ²) + Σ_c γ_c·log(γ_c / π_c)`
    with `γ = p(c | sample)`. With one component it is the KL from that Gaussian.

    Args:
      mean: `[B, D]`.
      logvar: `[B, D]`.
      sample: `[B, D]`.
      mixture: of K components.

    Reference: Jiang et al., "Variational Deep Embedding", IJCAI 2017, equation 12.
    """
    log_gamma = jax.nn.log_softmax(mixture.log_joint(sample))
    gamma = jnp.exp(log_gamma)
    moved = jnp.exp(logvar)[:, None] + jnp.square(mean[:, None] - mixture.mean[None])
    per_cluster = jnp.sum(mixture.logvar[None] + moved * jnp.exp(-mixture.logvar)[None], axis=-1)
    prior = log_gamma - jax.nn.log_softmax(mixture.logits)[None]
    entropy = jnp.sum(1.0 + logvar, axis=-1)
    return jnp.sum(gamma * (0.5 * per_cluster + prior), axis=-1) - 0.5 * entropy


def soft_clusters(z: jax.Array, centers: jax.Array) -> jax.Array:
    """Student's t similarity to centers, `q_ij ∝ 1 / (1 + ‖z_i − μ_j‖²)`, `[B, K]`."""
    weight = 1.0 / (1.0 + squared_distances(z, centers))
    return weight / jnp.sum(weight, axis=1, keepdims=True)


def sharpened(q: np.ndarray) -> np.ndarray:
    """DEC's target of soft clusters, `p_ij ∝ q_ij² / Σ_i q_ij`.

    Reference: Xie et al., "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016, equation 3.
    """
    weight = q**2 / q.sum(axis=0, keepdims=True)
    return weight / weight.sum(axis=1, keepdims=True)


def train_vade(
    model: Autoencoder, source: Source, num_clusters: int, steps: int, learning_rate: float
) -> Clusters:
    """VaDE from an autoencoder: a mixture of Gaussians is fitted to its codes, then all are trained.

    Augmentation is that of the config. The most probable component of the mean is the cluster.
    """
    from sklearn.mixture import GaussianMixture  # slow to import

    experiment = model.experiment
    start = GaussianMixture(num_clusters, covariance_type="diag", random_state=model.seed, n_init=3)
    start.fit(model.encode_all(model.state.params, source))
    as_float32 = partial(jnp.asarray, dtype=jnp.float32)
    mixture = Mixture(
        as_float32(np.log(start.weights_)),
        as_float32(start.means_),
        as_float32(np.log(start.covariances_)),
    )

    def loss(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        network, mixture = params
        noise, augment = jax.random.split(key)
        inputs = experiment.task.prepare(batch, jax.random.split(augment, BATCH_SIZE))
        inputs.pop("clean", None)
        options = {"params": network, "train": True, "rngs": {"noise": noise}}
        outputs = experiment.apply(model.state, inputs, **options)
        latent = outputs.latent
        divergence = vade_divergence(latent.mean, latent.logvar, latent.sample, mixture)
        return jnp.mean(experiment.task.reconstruction(outputs, inputs) + divergence)

    params = (model.state.params, mixture)
    network, mixture = _optimize(loss, params, _batches(source, steps, model.seed), learning_rate)

    def clusters(source: Source) -> np.ndarray:
        joint = mixture.log_joint(jnp.asarray(model.encode_all(network, source)))
        return np.asarray(jnp.argmax(joint, axis=1))

    return clusters


def train_dec(
    model: Autoencoder, source: Source, num_clusters: int, steps: int, learning_rate: float
) -> Clusters:
    """DEC from an autoencoder: centers by k-means, then encoder and centers by self-training.

    The targets are made of all training examples every `TARGET_EVERY` steps; there is no augmentation
    and no decoder any more. The nearest center is the cluster.
    """
    network = model.state.params
    centers = jnp.asarray(kmeans(model.encode_all(network, source), num_clusters, model.seed))

    def loss(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        del key
        network, centers = params
        sharp = batch["sharp"]
        stored = {name: values for name, values in batch.items() if name != "sharp"}
        q = soft_clusters(model.encode(network, stored), centers)
        return jnp.mean(jnp.sum(jax.scipy.special.rel_entr(sharp, q), axis=1))

    params = (network, centers)
    for first in range(0, steps, TARGET_EVERY):
        mean = jnp.asarray(model.encode_all(params[0], source))
        sharp = sharpened(np.asarray(soft_clusters(mean, params[1]), np.float64))
        count, seed = min(TARGET_EVERY, steps - first), model.seed + first
        batches = _batches(source, count, seed, sharp.astype(np.float32))
        params = _optimize(loss, params, batches, learning_rate)
    network, centers = params

    def clusters(source: Source) -> np.ndarray:
        distance = squared_distances(jnp.asarray(model.encode_all(network, source)), centers)
        return np.asarray(jnp.argmin(distance, axis=1))

    return clusters


def _batches(
    source: Source, steps: int, seed: int, sharp: np.ndarray | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Random batches of a source, with the rows of `sharp` that belong to them."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        ids = rng.choice(len(source), BATCH_SIZE, replace=False)
        yield source.gather(ids) | ({} if sharp is None else {"sharp": sharp[ids]})


def _optimize(
    loss: Callable[..., jax.Array],
    params: Any,
    batches: Iterator[dict[str, np.ndarray]],
    learning_rate: float,
) -> Any:
    """Adam over the batches; returns the parameters."""
    optimizer = optax.adam(learning_rate)

    @jax.jit
    def step(params: Any, moments: Any, batch: Any, key: jax.Array) -> Any:
        gradient = jax.grad(loss)(params, batch, key)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(params, updates), moments

    moments = optimizer.init(params)
    for number, batch in enumerate(batches):
        params, moments = step(params, moments, batch, jax.random.key(number))
    return params
