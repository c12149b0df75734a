"""The one reader of JSON: whatever is in a file, there is a value of the right kind or a sentence."""

import json
from pathlib import Path
from typing import Any, TypeVar

from nvc_jax.core.errors import UserError

T = TypeVar("T")
_MOST_BYTES = 64 * 2**20
_MOST_LEVELS = 50


def parse_json(content: bytes | str, where: object, kind: type[T], what: str, remedy: str) -> T:
    """Reads a JSON text.

    Args:
      content: the text, in UTF-8, -16 or -32 where it is bytes.
      where: what it is called in messages.
      kind: `dict` or `list`, of the outermost value.
      what: what the value is, for the message.
      remedy: what to do where it is damaged, for the message.

    Returns:
      The value; its integers fit in 64 bits.

    Raises:
      UserError: for anything else than JSON, another kind, or larger integers.
    """
    if len(content) > _MOST_BYTES:
        raise UserError(
            f"{where} has {len(content)} bytes, more than such a file can have: {remedy}."
        )
    try:
        if isinstance(content, str):
            content = content.removeprefix("\ufeff")
        value = json.loads(content, parse_int=_integer)
    except (ValueError, RecursionError, OverflowError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{where} is not JSON ({reason}): {remedy}.") from None
    if _is_deep(value):
        raise UserError(f"{where} is not JSON (it is nested too deeply): {remedy}.")
    if not isinstance(value, kind):
        expected = "object" if kind is dict else "list"
        raise UserError(f"{where} does not hold {what}: expected a JSON {expected}; {remedy}.")
    return value


def read_json(path: Path, kind: type[T], what: str, remedy: str) -> T:
    """Reads a JSON file; see `parse_json`.

    Raises:
      UserError: also for a file that cannot be read.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}): {remedy}.") from None
    return parse_json(content, path, kind, what, remedy)


def _is_deep(value: Any) -> bool:
    """Whether something is nested more deeply than programs that go down into it should have to go."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _integer(digits: str) -> Any:
    """An integer that fits in 64 bits; no file of ours has another."""
    value = int(digits)
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"the integer {digits} does not fit in 64 bits")
    return value
