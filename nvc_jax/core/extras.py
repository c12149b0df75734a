"""Packages that only some runs need: those of the extras in pyproject.toml."""

import importlib
from typing import Any

from nvc_jax.core.errors import UserError


def require(module: str, *, extra: str, what: str) -> Any:
    """Imports a module of a package that may not be installed.

    Args:
      module: its dotted name.
      extra: the extra of nvc_jax that installs it.
      what: what needs it, as the begin of the message.

    Returns:
      The module.

    Raises:
      UserError: if the package, or one that it needs itself, is not installed.

    Example:
      >>> require("json.decoder", extra="data", what="data.source = 'tfds'").__name__
      'json.decoder'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        raise UserError(
            f"{what} needs the package {package}, which is not installed: pip install "
            f"'nvc_jax[{extra}]'."
        ) from None
