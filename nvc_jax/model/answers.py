"""Many answers to one question, and the few that stand for them."""

from typing import Any

import jax
import jax.numpy as jnp


def reduce_answers(
    answers: jax.Array, weight: jax.Array, number: int, rounds: int = 10
) -> tuple[jax.Array, jax.Array]:
    """Fewer answers that stand for many: those of the least expected squared error of the best.

    Weighted k-means, `min Σ_m w_m · min_j ‖answer_m − center_j‖²`. It begins with the heaviest answer, then
    takes that of the largest `w·d²` to those taken, and so is a function of its input alone. One center
    is the mean, the answer of the least expected squared error.

    Args:
      answers: `[M, F]`.
      weight: `[M]`, not negative.
      number: n, at most M.
      rounds: of Lloyd's algorithm.

    Returns:
      (centers `[n, F]`, their weights `[n]` of sum 1), heaviest first.

    Example:
      >>> center, weight = reduce_answers(jnp.array([[0.0], [1.0], [9.0]]), jnp.ones(3), 2)
      >>> center.tolist(), [round(w, 2) for w in weight.tolist()]
      ([[0.5], [9.0]], [0.67, 0.33])
    """
    squared_norm = jnp.sum(jnp.square(answers), axis=1)

    def distances(centers: jax.Array) -> jax.Array:
        products = jnp.matmul(answers, centers.T, precision="highest")
        norms = jnp.sum(jnp.square(centers), axis=1)
        return jnp.maximum(squared_norm[:, None] - 2 * products + norms[None], 0.0)

    def grow(nearest: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
        chosen = answers[jnp.argmax(weight * nearest)]
        return jnp.minimum(nearest, distances(chosen[None])[:, 0]), chosen

    _, centers = jax.lax.scan(grow, jnp.full_like(weight, 1e30), length=number)

    def assign(centers: jax.Array) -> jax.Array:
        chosen = jnp.argmin(distances(centers), axis=1)
        return jax.nn.one_hot(chosen, number, dtype=jnp.float32) * weight[:, None]

    def update(centers: jax.Array, _: Any) -> tuple[jax.Array, None]:
        share = assign(centers)
        total = jnp.sum(share, axis=0)[:, None]
        means = jnp.matmul(share.T, answers, precision="highest") / jnp.maximum(total, 1e-30)
        return jnp.where(total > 0, means, centers), None

    centers, _ = jax.lax.scan(update, centers, length=rounds)
    total = jnp.sum(assign(centers), axis=0)
    order = jnp.argsort(-total)
    return centers[order], total[order] / jnp.maximum(jnp.sum(total), 1e-30)
