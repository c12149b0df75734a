"""What Markdown pages hold."""

import re
from pathlib import Path


def python_blocks(page: Path) -> list[str]:
    """The code between ```python and ``` of a page, in order."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
