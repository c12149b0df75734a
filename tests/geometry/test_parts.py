"""Connected parts of volumes against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from nvc_jax.geometry.parts import connected_parts, mean_over_parts


def test_parts_are_those_of_scipy_and_means_are_over_each():
    rng = np.random.default_rng(0)
    occupied = rng.random((4, 7, 5, 6)) < np.array([0.05, 0.1, 0.2, 0.0]).reshape(4, 1, 1, 1)
    occupied[2, 3] = False  # two halves at least
    values = rng.normal(size=(4, 7, 5, 6, 2)).astype(np.float32)

    @jax.jit
    def ask(occupied, values):
        parts = connected_parts(occupied)
        return parts, mean_over_parts(values, parts)

    parts, means = map(np.asarray, ask(jnp.asarray(occupied), jnp.asarray(values)))
    for own, found, mean, value in zip(occupied, parts, means, values, strict=True):
        expected, count = ndimage.label(own, np.ones((3, 3, 3)))
        assert (found[~own] == 0).all() and len(np.unique(found[own])) == count
        assert (mean[~own] == 0).all()
        for number in range(1, count + 1):
            inside = expected == number
            assert len(np.unique(found[inside])) == 1
            part = np.broadcast_to(value[inside].mean(0, dtype=np.float64), value[inside].shape)
            np.testing.assert_allclose(mean[inside], part, rtol=1e-4, atol=1e-6)
