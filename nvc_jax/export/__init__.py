"""Trained models for other programs: ONNX, StableHLO, or weights with JSON."""

from nvc_jax.export.folder import FORMATS, Card, export_folder, read_arrays, state_of
from nvc_jax.export.programs import Deployable, Program, programs_of

__all__ = [
    "FORMATS",
    "Card",
    "Deployable",
    "Program",
    "export_folder",
    "programs_of",
    "read_arrays",
    "state_of",
]
