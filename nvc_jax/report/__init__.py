"""One HTML page about a trained model that opens offline: latent space, anchors, curves, numbers.

One call writes it, from arrays::

    report.write_report("report.html", report.Report(mean=mean, assignment=k, anchors=anchors))
"""

from pathlib import Path

from nvc_jax.core.files import replace_file
from nvc_jax.report.content import Report, Table
from nvc_jax.report.html import to_html

__all__ = ["Report", "Table", "to_html", "write_report"]


def write_report(path: str | Path, report: Report) -> Path:
    """Writes the page in one piece.

    Args:
      path: the file, `.html`; its folder exists.
      report: what the page shows.

    Returns:
      The path.

    Raises:
      UserError: if arrays disagree about the number of examples or anchors, or the system refuses.
    """
    path = Path(path)
    replace_file(path, to_html(report).encode())
    return path
