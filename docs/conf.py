"""Sphinx: the guides, and a reference made of the docstrings. `make docs` builds both."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.ext.napoleon import GoogleDocstring

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nvc_jax

project = "nvc_jax"
version = release = nvc_jax.__version__
html_title = f"nvc_jax {release}"
html_theme = "furo"
html_show_copyright = False
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]

# The sources are those of the whole repository, so that links between its files work here too.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**"]
exclude_patterns = [".*", "build", "dist", "runs"]
html_extra_path = ["redirect"]  # index.html at the top, which leads to that of docs/
myst_heading_anchors = 4  # depth of the headings that links may name, as on a git host

default_role = "code_or_name"
add_module_names = False
maximum_signature_line_length = 88
strip_signature_backslash = True  # keeps the _ at the end of a name
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_custom_sections = [("Reference", "References")]
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Counts", "Schedule", "Step")}


def code_or_name(role: str, raw: str, text: str, *where: Any) -> Any:
    """Text between backticks in a docstring: code, and a link where it names something."""
    if re.fullmatch(r"[A-Za-z_][\w.]*", text):
        return PyXRefRole()("py:obj", raw, text, *where)
    return [nodes.literal(raw, text.replace("\x00", ""))], []


def returns_without_type(docstring: GoogleDocstring, preprocess_types: bool = False) -> Any:
    """The section `Returns:` as it stands: napoleon would take what is before a colon as a type."""
    lines = docstring._dedent(docstring._consume_to_next_section())
    return [("", "", lines)] if lines else []


def tidy_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, *signature: str | None
) -> tuple[str | None, ...]:
    """Names types as the source does, and leaves out addresses and what Flax adds to a module."""

    def tidy(text: str | None) -> str | None:
        if text is None:
            return None
        text = re.sub(r", parent: .*, name: str \| None = None", "", text)
        text = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)
        text = re.sub(
            r"~numpy.ndarray\[tuple\[[^\]]*\], ~numpy.dtype\[(.*?)\]\]", r"NDArray[\1]", text
        )
        text = text.removeprefix("(*args, **kwargs)")  # of a protocol, which nobody calls
        return re.sub(r"= <[^,]*>(?=[,)])", "= ...", text)

    return tuple(map(tidy, signature))


def skip_fields(app: Sphinx, what: str, name: str, obj: Any, *_: Any) -> bool | None:
    """Leaves out "Alias for field number 0", which Python writes into named tuples."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    """Connects the functions above."""
    parser: Any = GoogleDocstring  # which has no hook for this
    parser._consume_returns_section = returns_without_type
    app.add_role("code_or_name", code_or_name)
    app.connect("autodoc-process-signature", tidy_signature)
    app.connect("autodoc-skip-member", skip_fields)
