"""Which anchor an example of a conditional nebula trains: by codes, or by the errors of own answers."""

from typing import Any

import jax
import jax.numpy as jnp

from nvc_jax.model.mixture import prior_kl, take_anchor
from nvc_jax.model.shares import balanced_assign_by_cost
from nvc_jax.tasks.base import Outputs
from nvc_jax.training import parallel
from nvc_jax.training.accumulation import map_pieces
from nvc_jax.training.experiment import Choice, Experiment
from nvc_jax.training.state import TrainState


def choose_anchors(
    experiment: Experiment, choice: Choice, state: TrainState, inputs: Any
) -> jax.Array:
    """Anchors of the global batch, int32 `[global B]`, without a gradient.

    *By code* an example takes the anchor of the least `KL(q ‖ N_k)`, in the shares of `anchors.shares`. *By error* it
    takes, of the `candidates` of least KL, the one whose own answer, decoded from `A_k + f_k(x)`, has the
    least error. How probable an anchor is counts in neither: probable ones would win ever more.
    """
    late = (state.anchors_step >= 0) & (state.step - state.anchors_step >= choice.begin)

    def look(piece: Any) -> tuple[jax.Array, jax.Array]:
        latent = experiment.apply(state, piece, method="posterior")
        kl = prior_kl(latent.mean, latent.logvar, latent.prior)
        best = jnp.zeros(kl.shape[0], jnp.int32)
        if choice.by == "error" and choice.candidates > 1:

            def compare() -> jax.Array:
                index = jax.lax.top_k(-kl, choice.candidates)[1]
                code = take_anchor(latent.prior.mean, index)
                output = experiment.apply(state, piece, code, index, method="answers")

                def error(one: Any) -> jax.Array:
                    return experiment.task.reconstruction(Outputs(one, latent), piece)

                errors = jax.vmap(error, in_axes=1, out_axes=1)(output)
                return take_anchor(index, jnp.argmin(errors, axis=1)).astype(jnp.int32)

            best = jax.lax.cond(late, compare, lambda: best)
        return kl, best

    found = map_pieces(look, inputs, experiment.microbatches)
    kl, best = parallel.all_gather(jax.lax.stop_gradient(found), experiment.axis_name)

    def by_code() -> jax.Array:
        if experiment.shares.kind == "free":
            return jnp.argmin(kl, axis=1).astype(jnp.int32)
        return balanced_assign_by_cost(kl, experiment.shares.of(state))

    if choice.by == "code" or choice.candidates == 1:
        return by_code()
    return jax.lax.cond(late, lambda: best, by_code)
