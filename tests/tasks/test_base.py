"""What tasks share: the fields of the data are compared with those that are needed."""

from __future__ import annotations

import re

import ml_collections
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.tasks.base import check_fields

EXPECTED = {"points": ("[P, 3]", "float32"), "point_label": ("[P]", "uint8")}


def fields(**changes):
    found = {"points": ((5, 3), "float32"), "point_label": ((5,), "uint8"), "label": ((), "int32")}
    found |= changes
    return {name: FieldSpec(shape, np.dtype(dtype)) for name, (shape, dtype) in found.items()}


def check(spec):
    check_fields(ml_collections.ConfigDict({"task": "clouds"}), spec, EXPECTED)


def test_fields_that_fit_pass_whatever_there_is_beside_them():
    check(fields())
    check(fields(points=((0, 3), "float32")))


@pytest.mark.parametrize(
    "changes",
    [
        {"points": ((5, 3), "float64")},
        {"points": ((5, 4), "float32")},  # a number is fixed
        {"points": ((5,), "float32")},
        {"points": ((2, 5, 3), "float32")},
        {"point_label": ((), "uint8")},
        {"point_label": ((5,), "int8")},
    ],
)
def test_what_was_got_and_what_was_expected_is_listed(changes):
    spec = fields(**changes)
    got = ", ".join(f"{name} {list(field.shape)} {field.dtype}" for name, field in spec.items())
    message = (
        f"The task clouds needs the fields points [P, 3] float32, point_label [P] uint8; got {got}."
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        check(spec)


def test_missing_fields_are_listed():
    spec = fields()
    del spec["points"]
    with pytest.raises(UserError, match=r"needs the fields points \[P, 3\].*got point_label \[5\]"):
        check(spec)
    with pytest.raises(UserError, match="got nothing"):
        check({})
