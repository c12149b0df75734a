"""Data sources: arrays in, dict batches out."""

from nvc_jax.data.base.loader import HINT, NEIGHBOR, Hints, eval_batches, train_batches
from nvc_jax.data.base.source import (
    ArraySource,
    FieldSource,
    FieldSpec,
    IterableSource,
    Source,
    random_subset,
    subset,
)
from nvc_jax.data.registry import SOURCES, open_source

__all__ = [
    "SOURCES",
    "ArraySource",
    "FieldSource",
    "FieldSpec",
    "IterableSource",
    "Source",
    "eval_batches",
    "open_source",
    "random_subset",
    "subset",
    "HINT",
    "NEIGHBOR",
    "Hints",
    "train_batches",
]
