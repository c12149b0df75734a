"""How sentences are shown."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.data.base.source import Source
from nvc_jax.displays.base import Display


class SentenceDisplay(Display):
    """Source sentences; with a latent for every token, the one that was looked at in brackets."""

    def describe(self, source: Source, ids: np.ndarray) -> list[str]:
        """See `Display`."""
        batch, decode = source.gather(ids), self.task.vocabulary.decode
        position = self.task.prepare(jax.tree.map(jnp.asarray, batch)).get("position")
        if position is None:
            return decode(batch["source"])
        parts = [
            (row[:at], row[at : at + 1], row[at + 1 :])
            for row, (at,) in zip(batch["source"], np.asarray(position), strict=True)
        ]
        decoded = [decode(part) for part in parts]
        return [f"{before} [{token}] {after}".strip() for before, token, after in decoded]

    def references(self, batch: Mapping[str, np.ndarray]) -> list[str]:
        """See `Display`; the translations of the data."""
        return self.task.vocabulary.decode(batch["target"])
