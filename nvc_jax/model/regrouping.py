"""Merged clusters made better: small ones move, and one is split where two others join, while the code gets shorter.

Merging is greedy: what was merged early stays together. Here the map equation decides on every change. On the host, in
float64.
"""

import numpy as np

from nvc_jax.model.merging import code_length, code_lengths, links_between, merge_linked

MOST_ROUNDS = 30
"""Of moves, and of splits."""
SLIGHT = 1e-9
"""Bits by which a code has to get shorter, so that rounding moves nothing."""


def regroup(links: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Groups of small clusters with a shorter code, as many as before.

    In turn: every small cluster moves to the group that shortens `code_length` most, until none does; then the group is split
    in two, and the two groups joined, which together shorten it most, and moves begin again. It ends when neither helps.

    Args:
      links: `[M, M]`, of `cluster_links` of the small clusters.
      groups: int `[M]`, the group of each, from 0 to K − 1, none without one.

    Returns:
      int `[M]`, likewise; the code is never longer.

    Reference: the moves of Blondel et al., "Fast unfolding of communities in large networks", 2008, for a given number of
    groups; splits with joins as in Ueda, Nakano, Ghahramani and Hinton, "SMEM algorithm for mixture models", 2000.

    Example:
      >>> pairs = np.kron(np.eye(2), np.ones((2, 2))) / 8
      >>> regroup(pairs, np.array([0, 1, 1, 1])).tolist()
      [0, 0, 1, 1]
    """
    groups = _moved(links, np.asarray(groups))
    shortest = code_length(links_between(links, groups))
    for _ in range(MOST_ROUNDS):
        other = _split_and_joined(links, groups)
        if other is None:
            break
        other = _moved(links, other)
        length = code_length(links_between(links, other))
        if length > shortest - SLIGHT:
            break
        groups, shortest = other, length
    return groups


def _moved(links: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Moves small clusters one by one, each to the best group, in order and over and over; none leaves a group empty."""
    groups, volume = groups.copy(), links.sum(axis=1)
    size = np.bincount(groups)
    others = links - np.diag(np.diag(links))
    toward = others @ np.eye(len(size))[groups]  # [M, K]
    between = links_between(links, groups)
    visits = between.sum(axis=1)
    leaves = visits - np.diag(between)
    for _ in range(MOST_ROUNDS):
        still = True
        for unit, own in enumerate(groups):
            if size[own] == 1 or not (np.delete(toward[unit], own) > 0).any():
                continue
            outward = others[unit].sum()
            # Without the unit in its group, and with it in each of the others.
            v, q = visits.copy(), leaves.copy()
            v[own] -= volume[unit]
            q[own] -= outward - 2.0 * toward[unit, own]
            moved_v, moved_q = v + np.diag(np.full(len(v), volume[unit])), np.tile(q, (len(q), 1))
            moved_q += np.diag(outward - 2.0 * toward[unit])
            lengths = code_lengths(moved_q, moved_v)
            best = int(lengths.argmin())
            if lengths[best] > lengths[own] - SLIGHT:
                continue
            visits, leaves, still = moved_v[best], moved_q[best], False
            groups[unit] = best
            size[own], size[best] = size[own] - 1, size[best] + 1
            toward[:, own] -= others[unit]
            toward[:, best] += others[unit]
        if still:
            break
    return groups


def _split_and_joined(links: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
    """The best of all ways to split one group by its weakest links and to join two; None where no group can be split."""
    count, best, found = int(groups.max()) + 1, np.inf, None
    for group in range(count):
        members = np.flatnonzero(groups == group)
        if len(members) < 2:
            continue
        split = groups.copy()
        split[members[merge_linked(links[np.ix_(members, members)], 2) == 1]] = count
        length, (one, two) = _best_join(links_between(links, split))
        if length < best:
            joined = np.where(split == two, one, split)
            best, found = length, np.unique(joined, return_inverse=True)[1]
    return found


def _best_join(between: np.ndarray) -> tuple[float, tuple[int, int]]:
    """(Length of the code, the two groups) of the join that makes it shortest."""
    visits = between.sum(axis=1)
    leaves = visits - np.diag(between)
    one, two = np.triu_indices(len(between), 1)
    pair = np.arange(len(one))
    q, v = np.tile(leaves, (len(pair), 1)), np.tile(visits, (len(pair), 1))
    q[pair, one] += leaves[two] - 2.0 * between[one, two]
    v[pair, one] += visits[two]
    q[pair, two] = v[pair, two] = 0.0
    lengths = code_lengths(q, v)
    place = int(lengths.argmin())
    return float(lengths[place]), (int(one[place]), int(two[place]))
