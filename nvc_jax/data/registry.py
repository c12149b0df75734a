"""From a config to a source: which reader, which split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nvc_jax.data.arrays import read_npy, read_npz
from nvc_jax.data.digits import read_digits
from nvc_jax.data.folder import read_folder
from nvc_jax.data.idx import read_idx
from nvc_jax.data.source import Source, split_off
from nvc_jax.data.tfds import read_tfds
from nvc_jax.errors import UserError

SOURCES: dict[str, Callable[[Any, str], Source]] = {
    "digits": read_digits,
    "idx": read_idx,
    "npz": read_npz,
    "npy": read_npy,
    "folder": read_folder,
    "tfds": read_tfds,
}
"""Readers by name: (config.data, "train" or "test") → source."""

_WITHOUT_FOLDER = ("digits", "tfds")


def open_source(options: Any, split: str) -> Source:
    """Opens one split of the data that a config names.

    Args:
      options: `config.data`.
      split: `train`, `validation` (cut from the training split by `validation_fraction`) or
        `test`.

    Returns:
      The source.

    Raises:
      UserError: for an unknown source or split, and for files that are missing or damaged.
    """
    if options.source not in SOURCES:
        raise UserError(
            f"data.source is {options.source!r}: use one of {', '.join(sorted(SOURCES))}."
        )
    if split not in ("train", "validation", "test"):
        raise UserError(f"The split is {split!r}: use 'train', 'validation' or 'test'.")
    if not options.dir and options.source not in _WITHOUT_FOLDER:
        raise UserError(
            f"data.source = {options.source!r} needs data.dir, the folder of the files."
        )
    read = SOURCES[options.source]
    if split == "test":
        return read(options, "test")
    source = read(options, "train")
    fraction = options.validation_fraction
    held_out = split == "validation"
    if fraction == 0 and not held_out:
        return source
    return split_off(source, fraction, held_out=held_out, name="data.validation_fraction")
