"""Texts as HTML."""

from html import escape


def breakable(name: str) -> str:
    """A name as HTML, with leave to begin a new line after its underscores and slashes.

    Example:
      >>> breakable("nearest_<b>")
      'nearest_<wbr>&lt;b&gt;'
    """
    return escape(name).replace("_", "_<wbr>").replace("/", "/<wbr>")
