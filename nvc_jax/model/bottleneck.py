"""The bottleneck: features → Gaussian posterior, sample and nearest anchor. Owns the anchors."""

import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from nvc_jax.model import anchors as anchor_lib
from nvc_jax.model.mixture import Prior


@flax.struct.dataclass
class Latent:
    """What the bottleneck makes of a batch; float32 whatever the network's dtype.

    Attributes:
      mean: `[B, D]`, mean of the posterior.
      logvar: `[B, D]`, log variance, bounded.
      sample: `[B, D]`, a draw from the posterior, or the mean.
      code: input of the decoder: the sample, or the sample beside the soft assignment.
      assignment: int32 `[B]`, index of the anchor each example belongs to.
      soft_assignment: `[B, K]`.
      anchors: `[K, D]`.
      prior: of a conditional nebula: what the input says of the anchors.

    Latents of several positions of an example, such as its tokens, are `[B, T, …]`; see
    `at_positions`.
    """

    mean: jax.Array
    logvar: jax.Array
    sample: jax.Array
    code: jax.Array
    assignment: jax.Array
    soft_assignment: jax.Array
    anchors: jax.Array
    prior: Prior | None = None


def at_positions(
    latent: Latent, position: jax.Array, assignment: jax.Array | None = None
) -> Latent:
    """Latents of some positions of every example, one below the other.

    Args:
      latent: of T positions of B examples, `[B, T, …]`.
      position: int32 `[B, P]`, from 0 to T − 1.
      assignment: int32 `[B·P]`, in place of the nearest anchors.

    Returns:
      Latents `[B·P, …]`: the P of the first example, then those of the second.
    """

    def pick(values: jax.Array) -> jax.Array:
        index = position.reshape(*position.shape, *(1,) * (values.ndim - 2))
        return jax.lax.collapse(jnp.take_along_axis(values, index, axis=1), 0, 2)

    picked = jax.tree.map(pick, latent.replace(anchors=None)).replace(anchors=latent.anchors)  # type: ignore[attr-defined]
    return picked if assignment is None else picked.replace(assignment=assignment)


def bound_smoothly(x: jax.Array, low: float, high: float) -> jax.Array:
    """Bounds values to `[low, high]`; nearly the identity well inside, increasing everywhere."""
    x = high - jax.nn.softplus(high - x)
    # The first bound leaves at most `high`, which the second one would lift by a little.
    stretch = (high - low) / (high - low + math.log1p(math.exp(low - high)))
    return low + stretch * jax.nn.softplus(x - low)


def example_keys(rng: jax.Array, size: int, example_index: jax.Array | None) -> jax.Array:
    """A key for every example, JAX keys `[size]`, a function of the rng and the example's index.

    Args:
      rng: JAX key.
      size: number of examples.
      example_index: int32 `[size]`, positions in the global batch; None: 0 … size − 1.
    """
    if example_index is None:
        example_index = jnp.arange(size, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, example_index)


class NebulaBottleneck(nn.Module):
    """Latent space with trainable anchors, to put between an encoder and a decoder.

    Attributes:
      num_anchors: `K`.
      latent_dim: `D`.
      temperature: of the soft assignment.
      condition_on_assignment: put the soft assignment beside the sample in `code`.
      logvar_min: lower bound of the log variance.
      logvar_max: upper bound of the log variance.
      logvar_init: first bias of the log variance. After a warm-up without noise a small variance
        is what spares the decoder a jump.
      anchor_init: initializer of the anchors `[K, D]`.

    Example:
      >>> bottleneck = NebulaBottleneck(num_anchors=10, latent_dim=2)
      >>> features = jnp.ones((4, 16))
      >>> rngs = {"params": jax.random.key(0), "noise": jax.random.key(1)}
      >>> latent, variables = jax.jit(bottleneck.init_with_output)(rngs, features)
      >>> latent.code.shape, latent.assignment.shape, latent.anchors.shape
      ((4, 2), (4,), (10, 2))
    """

    num_anchors: int
    latent_dim: int
    temperature: float = 1.0
    condition_on_assignment: bool = False
    logvar_min: float = -10.0
    logvar_max: float = 10.0
    logvar_init: float = 0.0
    anchor_init: nn.initializers.Initializer = anchor_lib.normal(1.0)

    def setup(self) -> None:
        """Declares the anchors and the two heads."""
        self.anchors = self.param(
            "anchors", self.anchor_init, (self.num_anchors, self.latent_dim), jnp.float32
        )
        self.mean = nn.Dense(self.latent_dim, dtype=jnp.float32)
        self.logvar = nn.Dense(
            self.latent_dim,
            dtype=jnp.float32,
            bias_init=nn.initializers.constant(self.logvar_init),
        )

    def __call__(
        self,
        features: jax.Array,
        *,
        deterministic: bool = False,
        example_index: jax.Array | None = None,
        noise_scale: jax.Array | float = 1.0,
        assignment: jax.Array | None = None,
    ) -> Latent:
        """Encodes features.

        Args:
          features: `[B, F]`, or `[B, T, F]` for a latent of each of T positions.
          deterministic: the sample is the mean; otherwise the rng `noise` is needed.
          example_index: int32 `[B]`, positions in the global batch that the noise is keyed by, so
            that it does not depend on how a batch is split over devices; default 0 … B − 1.
          noise_scale: factor of the noise; 0 makes an autoencoder.
          assignment: int32 `[B]` or `[B, T]`, in place of the nearest anchor.

        Returns:
          The latent.
        """
        features = features.astype(jnp.float32)
        mean = self.mean(features)
        logvar = bound_smoothly(self.logvar(features), self.logvar_min, self.logvar_max)
        sample = mean
        if not deterministic:
            keys = example_keys(self.make_rng("noise"), mean.shape[0], example_index)
            shape = mean.shape[1:]
            noise = jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys)
            sample = mean + noise_scale * jnp.exp(0.5 * logvar) * noise
        if assignment is None:
            rows = mean.reshape(-1, self.latent_dim)
            assignment = anchor_lib.assign(rows, self.anchors).reshape(mean.shape[:-1])
        return Latent(
            mean=mean,
            logvar=logvar,
            sample=sample,
            code=self.code(sample),
            assignment=assignment,
            soft_assignment=self._soft_assignment(sample),
            anchors=self.anchors,
        )

    def code(self, sample: jax.Array) -> jax.Array:
        """Input of the decoder for given latent vectors `[..., D]`, such as the anchors."""
        if not self.condition_on_assignment:
            return sample
        return jnp.concatenate([sample, self._soft_assignment(sample)], axis=-1)

    def _soft_assignment(self, sample: jax.Array) -> jax.Array:
        """`[..., D]` → `[..., K]`."""
        rows = sample.reshape(-1, self.latent_dim)
        soft = anchor_lib.soft_assign(rows, self.anchors, self.temperature)
        return soft.reshape(*sample.shape[:-1], self.num_anchors)
