"""What tests read from figures."""

from matplotlib.text import Text


def texts(figure):
    """Return everything written in a figure, one text a line."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def legend(figure):
    """Return the labels of the figure's legend."""
    return [text.get_text() for text in figure.legends[0].get_texts()]
