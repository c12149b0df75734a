"""Results that do not depend on how many threads there are."""

import functools
from contextlib import AbstractContextManager
from typing import Any


@functools.cache
def _controller() -> Any:
    """Of the libraries that run threads; to look for them takes 20 ms."""
    import sklearn.cluster  # noqa: F401 (slow to import; whose library is to be among them)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Within it, scikit-learn's loops run on one thread: the order of their sums depends on how many there are."""
    return _controller().limit(limits=1, user_api="openmp")
