"""What a user's mistake has to give."""

from collections.abc import Callable
from typing import Any

import pytest

from nvc_jax.core.errors import UserError


def refused(
    pattern: str | None, function: Callable[..., Any], *arguments: Any, **options: Any
) -> str:
    """The message of a call's `UserError`: one line, in which the pattern is found, if any."""
    with pytest.raises(UserError, match=pattern) as error:
        function(*arguments, **options)
    message = str(error.value)
    assert message and "\n" not in message
    return message
