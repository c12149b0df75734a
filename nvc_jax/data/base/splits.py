"""Which examples of data that come as one file train, validate and test."""

import numpy as np

from nvc_jax.core.errors import UserError

SPLIT_NAMES = ("train", "validation", "test")
"""By the number that a field `split` has for them."""


def split_numbers(
    count: int, split: np.ndarray | None, group: np.ndarray | None, every: int, where: str
) -> np.ndarray:
    """The split of every example: as it is given, else by groups, else by places.

    Args:
      count: N, of examples.
      split: integers `[N]`, 0 for training, 1 for validation, 2 for the test, or None.
      group: integers `[N]`, or None; see `split_of_groups`.
      every: without a split and groups example i tests where i % every is 0 and validates at 1.
      where: what the fields are called in messages.

    Returns:
      uint8 `[N]`, numbers of `SPLIT_NAMES`.

    Raises:
      UserError: for a split or groups that do not fit.
    """
    for name, values in (("split", split), ("group", group)):
        if values is not None and (values.shape != (count,) or values.dtype.kind not in "iu"):
            raise UserError(
                f"{where}: {name} has one integer an example, [{count}], got {values.dtype} {values.shape}."
            )
    if split is not None:
        if count and not 0 <= split.min() <= split.max() <= 2:
            raise UserError(
                f"{where}: split is 0 (train), 1 (validation) or 2 (test), got {split.min()} to "
                f"{split.max()}."
            )
        return split.astype(np.uint8)
    if group is not None:
        return split_of_groups(group, every)
    place = np.arange(count) % every
    return np.where(place == 0, 2, place == 1).astype(np.uint8)


def split_of_groups(group: np.ndarray, every: int) -> np.ndarray:
    """Splits examples such that no group is divided, and tests and validates on 1/every each.

    Groups come in the order of their size, the largest first, and of their first example; each goes
    where most examples are missing: to the test, then validation, then training where equally many.

    Args:
      group: integers `[N]`, alike for examples of one group.
      every: 3 or more.

    Returns:
      uint8 `[N]`: 0 for training, 1 for validation, 2 for the test.

    Example:
      >>> split_of_groups(np.array([7, 7, 7, 1, 2, 3]), every=3).tolist()
      [2, 2, 2, 1, 0, 1]
    """
    _, first, own, sizes = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    wanted = np.array([every - 2, 1, 1]) * (len(group) / every)
    chosen = np.zeros(len(sizes), np.uint8)
    for number in np.lexsort((first, -sizes)):
        chosen[number] = 2 - np.argmax(wanted[::-1])
        wanted[chosen[number]] -= sizes[number]
    return chosen[own]
