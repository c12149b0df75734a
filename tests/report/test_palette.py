"""Colors are seen on their ground, and told apart, by people who see two of three primaries too."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from nvc_jax.report.palette import GROUNDS, MARKERS, PALETTES, look_of, readable

# What is seen without one of the three kinds of cones: Machado, Oliveira and Fernandes,
# "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, severity 1, linear RGB.
SEEN = {
    "all": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Linear RGB to Oklab (Ottosson 2020), in which distances are those that are seen.
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(color):
    return linear(color) @ [0.2126, 0.7152, 0.0722]


def seen(color, by):
    rgb = np.clip(np.array(SEEN[by]) @ linear(color), 0, 1)
    return np.array(LAB) @ np.cbrt(np.array(CONES) @ rgb)


def test_black_and_white_are_far_apart():
    assert np.linalg.norm(seen("white", "all") - seen("black", "all")) == pytest.approx(1, abs=0.01)


def contrast(color, ground):
    light, dark = sorted([luminance(color), luminance(GROUNDS[ground])], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("ground", GROUNDS)
def test_contrast(ground):
    for color in itertools.chain(*PALETTES[ground].values()):
        assert contrast(color, ground) >= 3, color
    for given in itertools.product((0, 0.5, 1), repeat=3):
        mixed, unchanged = readable(given, ground), to_hex(given)
        assert contrast(mixed, ground) >= 3, given
        assert mixed == unchanged or contrast(unchanged, ground) < 3.01


@pytest.mark.parametrize("by", SEEN)
@pytest.mark.parametrize("ground", GROUNDS)
def test_no_two_colors_are_alike(ground, by):
    for palette in PALETTES[ground].values():
        for one, other in itertools.combinations(palette, 2):
            assert np.linalg.norm(seen(one, by) - seen(other, by)) > 0.09, (one, other)


def test_no_two_groups_are_alike():
    looks = [look_of(k, palette)[:3] for palette in ("anchor", "label") for k in range(70)]
    assert len(set(looks)) == 140
    assert {symbol.endswith("-open") for _, _, symbol in looks[:70]} == {False}
    assert {symbol.endswith("-open") for _, _, symbol in looks[70:]} == {True}
    assert len({sign for _, *signs in MARKERS for sign in signs}) == 2 * len(MARKERS)
    for colors in PALETTES.values():
        assert not set(colors["anchor"]) & set(colors["label"])
