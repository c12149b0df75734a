"""The optimizer: one chain for all parameters, with the anchors as a group of their own."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from nvc_jax.core.errors import UserError

OPTIMIZERS = ("adam", "adamw", "sgd")


def is_anchor(path: tuple[Any, ...]) -> bool:
    """Whether the tree path of a parameter ends in the name `anchors`."""
    return bool(path) and getattr(path[-1], "key", None) == "anchors"


def _anchor_mask(params: Any) -> Any:
    """True for the anchors, False for the rest."""
    return jax.tree_util.tree_map_with_path(lambda path, _: is_anchor(path), params)


def _decay_mask(params: Any) -> Any:
    """True for weight matrices and kernels: never anchors, biases or normalization scales."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 and not is_anchor(path), params
    )


def make_optimizer(
    options: Mapping[str, Any], *, train_anchors: bool
) -> optax.GradientTransformation:
    """Makes the optax chain: optional clipping, direction, decay, relative rate of the anchors.

    The learning rate is not in the chain: the step multiplies by `−learning_rate(step)`, so that
    it follows the global step also where steps are skipped or moments are cleared. Weight decay
    touches only arrays with more than one axis that are not anchors. The anchors' learning rate
    follows the same schedule, scaled by `anchor_learning_rate / learning_rate`.

    Args:
      options: `name`, `learning_rate` (peak), `anchor_learning_rate` (0: as the rest), `weight_decay`,
        `clip_norm` (0: off), `momentum` (for sgd).
      learning_rate: schedule of the global step.
      train_anchors: False keeps the anchors bit-identical.

    Returns:
      The optax transformation.

    Raises:
      UserError: for an unknown optimizer.
    """
    name, decay = options["name"], float(options["weight_decay"])
    if name not in OPTIMIZERS:
        raise UserError(f"optimizer.name is {name!r}: use one of {', '.join(OPTIMIZERS)}.")
    chain: list[optax.GradientTransformation] = []
    if options["clip_norm"] > 0:
        chain.append(optax.clip_by_global_norm(options["clip_norm"]))
    if name == "sgd":
        momentum = float(options["momentum"])
        chain.append(optax.trace(momentum) if momentum > 0 else optax.identity())
    else:
        chain.append(optax.scale_by_adam())
    if decay > 0:
        if name == "adam":
            raise UserError(
                f"optimizer.weight_decay = {decay} needs optimizer.name = 'adamw' or 'sgd', "
                "got 'adam'."
            )
        chain.append(optax.add_decayed_weights(decay, mask=_decay_mask))
    ratio = float(options["anchor_learning_rate"]) / float(options["learning_rate"])
    if not train_anchors:
        chain.append(optax.masked(optax.set_to_zero(), _anchor_mask))
    elif ratio > 0:
        chain.append(optax.masked(optax.scale(ratio), _anchor_mask))
    return optax.chain(*chain)


def describe_groups(params: Any, options: Mapping[str, Any], *, train_anchors: bool) -> str:
    """Tells in one line each which parameters get weight decay and which learning rate."""
    rate = options["learning_rate"]
    anchor_rate = (options["anchor_learning_rate"] or rate) if train_anchors else 0.0
    groups: dict[str, list[int]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if is_anchor(path):
            name = f"anchors: learning rate {anchor_rate:g}, no decay"
        elif leaf.ndim > 1:
            name = f"weights: learning rate {rate:g}, decay {options['weight_decay']:g}"
        else:
            name = f"biases and scales: learning rate {rate:g}, no decay"
        groups.setdefault(name, []).append(leaf.size)
    return "; ".join(
        f"{name} ({len(sizes)} arrays, {sum(sizes):,} values)" for name, sizes in groups.items()
    )
