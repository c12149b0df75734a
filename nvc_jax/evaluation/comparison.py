"""Work directories as runs that are compared."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvc_jax.config import to_json
from nvc_jax.core.files import replace_file
from nvc_jax.evaluation.export import results_of
from nvc_jax.report.comparison import Run, comparison_html
from nvc_jax.training import workdir
from nvc_jax.training.logging import METRICS_FILE, read_metrics


def compare_runs(directories: Sequence[str | Path], path: str | Path) -> Path:
    """Writes a page about several runs: metrics, curves over each other, differences of their configs.

    Args:
      directories: work directories; those that are not evaluated have no metrics.
      path: the page, `.html`, which is replaced.

    Returns:
      The path.

    Raises:
      UserError: if one of them holds no run, or there are fewer than two.
    """
    folders = [Path(directory).absolute() for directory in directories]
    shared = Path(os.path.commonpath(folders)) if folders else Path()
    runs = []
    for folder in folders:
        results = results_of(folder / workdir.RESULTS_FILE)
        facts: dict[str, Any] = {k: results[k] for k in ("step", "seed") if k in results}
        runs.append(
            Run(
                name=str(folder.relative_to(shared)) if folder != shared else folder.name,
                metrics=results.get("metrics", {}),
                records=read_metrics(folder / METRICS_FILE),
                config=json.loads(to_json(workdir.read_config(folder))),
                facts=facts,
            )
        )
    replace_file(Path(path), comparison_html(runs).encode())
    return Path(path)
