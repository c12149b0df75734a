"""Running the evaluation step over a whole source, on all devices, each example once."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from nvc_jax.core.forks import check_not_forked
from nvc_jax.data import Source, eval_batches
from nvc_jax.model import anchors as anchor_lib
from nvc_jax.model.nebulae import anchor_offsets
from nvc_jax.training.parallel import Devices

EvalStep = Callable[[Any, dict[str, jax.Array]], dict[str, jax.Array]]


def encode_source(
    eval_step: EvalStep,
    state: Any,
    source: Source,
    batch_size: int,
    check: Callable[[Mapping[str, np.ndarray]], None] | None = None,
    devices: Devices = Devices(),  # noqa: B008 - holds nothing
) -> dict[str, np.ndarray]:
    """Collects the evaluation step's per-example outputs over a source.

    Args:
      eval_step: the mapped step: (replicated state, sharded batch) → arrays `[devices, b, ...]`.
      state: the replicated state.
      source: the examples.
      batch_size: global batch size, rounded up to a multiple of the devices; the last batch is
        padded, and padding is left out of the result.
      check: called with every batch on the host; raises `UserError` for what cannot be encoded.
      devices: where the step runs.

    Returns:
      Arrays `[len(source), ...]` in the source's order: the step's outputs, and `label` (int32,
      −1 for none).
    """
    check_not_forked()
    parts: list[dict[str, np.ndarray]] = []
    batches = eval_batches(
        source,
        devices.round_up(batch_size),
        process_index=devices.process_index(),
        process_count=devices.process_count(),
    )
    for batch in batches:
        if check is not None:
            check(batch)
        sharded = devices.shard(batch)
        outputs = dict(eval_step(state, sharded))
        outputs.update({name: sharded[name] for name in ("id", "mask", "label")})
        parts.append(devices.gather_to_host(outputs))
    joined = jax.tree.map(lambda *values: np.concatenate(values), *parts)
    real = joined.pop("mask").astype(bool)
    order = np.argsort(joined.pop("id")[real], kind="stable")
    return jax.tree.map(lambda values: values[real][order], joined)


def decode_in_blocks(
    decode: Callable[[np.ndarray], Any], sample: ArrayLike, size: int
) -> np.ndarray:
    """Decodes latent vectors `[N, D]` in blocks of one size: one compilation, and bounded memory.

    Args:
      decode: `[size, D]` → array `[size, ...]`.
      sample: `[N, D]`.
      size: of a block; the last one is padded, and padding is left out of the result.

    Returns:
      Array `[N, ...]`.
    """
    rows = np.asarray(sample, np.float32)
    padding = max(-(-len(rows) // size), 1) * size - len(rows)
    padded = np.concatenate([rows, np.zeros((padding, *rows.shape[1:]), np.float32)])
    blocks = padded.reshape(-1, size, *rows.shape[1:])
    outputs = [jax.device_get(decode(block)) for block in blocks]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(rows)], *outputs)


def latent_health(
    encoded: Mapping[str, np.ndarray], anchors: np.ndarray, scales: np.ndarray
) -> dict[str, float]:
    """How the examples of `encode_source` spread over the anchors and the latent dimensions.

    Args:
      encoded: of the examples.
      anchors: `[K, D]`.
      scales: standard deviations around them, `[K, D]`, greater than 0.
    """
    from nvc_jax.metrics import active_units  # scikit-learn is slow to import

    usage = jax.device_get(anchor_lib.usage(encoded["assignment"], len(anchors)))
    offsets = anchor_offsets(encoded["mean"], encoded["assignment"], anchors, scales)
    return {
        "anchors_used": float(usage.num_used),
        "anchor_perplexity": float(usage.perplexity),
        "anchor_max_share": float(usage.max_share),
        "anchor_min_distance": float(anchor_lib.min_anchor_distance(anchors)),
        "anchor_offset": float(np.nanmean(offsets)),
        "anchor_offset_max": float(np.nanmax(offsets)),
        "active_units": float(active_units(encoded["mean"])),
    }


def means_of(encoded: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Averages every per-example scalar of `encode_source` over the examples, in float64.

    The reconstruction error is weighted, where the task weighs examples; see `Task.weight`.
    """
    means = {
        name: float(values.mean(dtype=np.float64))
        for name, values in encoded.items()
        if values.ndim == 1 and values.dtype.kind == "f"
    }
    weight = means.pop("weight", 0.0)
    if weight > 0:
        total = np.sum(encoded["weight"] * encoded["reconstruction"], dtype=np.float64)
        means["reconstruction"] = float(total) / (weight * len(encoded["weight"]))
    return means
