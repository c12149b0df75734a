"""Colors and markers of a page's groups, on a light and on a dark ground.

Every color has a contrast of 3:1 or more with its ground, and two of a palette are apart for people who see two
of three primaries, too. Anchors are filled and labels open, so that neither is taken for the other; no two of
the first 70 groups are alike.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

GROUNDS = {"light": "#ffffff", "dark": "#15181d"}
PALETTES = {
    "light": {
        "anchor": (
            "#0069b4", "#d27800", "#0fa587", "#c32d00", "#690f78",
            "#b478e1", "#874b69", "#1e0fc3", "#870000", "#962dff",
        ),
        "label": (
            "#2d96f0", "#d21e5a", "#3c6900", "#a54ba5", "#969600",
            "#4b00b4", "#4b3c00", "#e169a5", "#004bff", "#870069",
        ),
        "none": ("#7d8590",),
    },
    "dark": {
        "anchor": (
            "#4b5aff", "#e1960f", "#87c3a5", "#f01e78", "#d2f0c3",
            "#a587d2", "#786900", "#1eff00", "#ffb4ff", "#b41eb4",
        ),
        "label": (
            "#6996ff", "#e1f02d", "#69ffe1", "#f0b487", "#ff2db4",
            "#a5c3f0", "#b44b00", "#960fff", "#2d8778", "#b49600",
        ),
        "none": ("#8b939e",),
    },
}  # fmt: skip
"""By ground: colors of anchors, of labels and other groups, and of what has no label."""

CONTRAST = 3.0
"""The least of what is drawn against its ground."""

MARKERS = (
    ("circle", "●", "○"),
    ("triangle-up", "▲", "△"),
    ("square", "■", "□"),
    ("diamond", "◆", "◇"),
    ("triangle-down", "▼", "▽"),
    ("star-diamond", "✦", "✧"),
    ("hexagon", "⬢", "⬡"),
)
"""Their names in Plotly, and signs like them for a legend, filled and open."""
UNLABELED = -1


class Look(NamedTuple):
    """How a group is drawn: its palette, the place of its color there, Plotly's name of its marker, and a sign."""

    palette: str
    color: int
    symbol: str
    sign: str


def look_of(index: int, palette: str) -> Look:
    """The look of a group.

    Args:
      index: of the group, −1 for what has no label.
      palette: `anchor` or `label`.

    Example:
      >>> look_of(11, "label")
      Look(palette='label', color=1, symbol='triangle-down-open', sign='▽')
    """
    if index == UNLABELED:
        return Look("none", 0, "circle-open", "○")
    name, filled, hollow = MARKERS[index % len(MARKERS)]
    color = index % len(PALETTES["light"][palette])
    if palette == "anchor":
        return Look(palette, color, name, filled)
    return Look(palette, color, f"{name}-open", hollow)


def readable(color: ArrayLike, ground: str) -> str:
    """The color, mixed with as little black or white as gives it `CONTRAST` with its ground.

    Args:
      color: red, green and blue, `[3]` from 0 to 1.
      ground: a name of `GROUNDS`.

    Returns:
      `#rrggbb`.

    Example:
      >>> readable([0, 0, 1], "light"), readable([1, 1, 0], "light"), readable([0, 0, 0], "dark")
      ('#0000ff', '#999900', '#666666')
    """
    behind = np.array([int(GROUNDS[ground][k : k + 2], 16) for k in (1, 3, 5)]) / 255
    far = 0.0 if ground == "light" else 1.0
    shares = np.linspace(0, 1, 101)[:, None]
    mixed = np.round(255 * (np.clip(color, 0, 1) * (1 - shares) + far * shares)) / 255
    own, other = _luminance(mixed), _luminance(behind)
    contrast = (np.maximum(own, other) + 0.05) / (np.minimum(own, other) + 0.05)
    red, green, blue = np.rint(255 * mixed[np.argmax(contrast >= CONTRAST)]).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _luminance(color: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB `[..., 3]` from 0 to 1, as WCAG 2 defines it."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])
