"""Colours of classes and group elements, chosen to stay apart for most kinds of colour vision."""

__all__ = ["colour_of", "ink_on"]

# Okabe and Ito's set (jfly.uni-koeln.de/color), then the darker ones of Tol's muted set (personal.sron.nl/~pault).
_FEW = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#332288", "#44aa99", "#882255",
    "#ddcc77", "#117733",
)  # fmt: skip
# Viridis, for more classes than there are names for colours: its lightness rises evenly, so lightness alone tells.
_MANY = ("#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")
# Multiples of the golden ratio modulo 1 are spread evenly for any count, and neighbours in number lie far apart.
_GOLDEN = 0.6180339887498949
# Black and white text have equal contrast on a background of relative luminance 0.18 (WCAG 2: both about 4.6 to 1).
_EVEN_CONTRAST = 0.18
# The exponent of sRGB's transfer function, nearly; and the weights of red, green and blue in luminance (ITU-R BT.709).
_GAMMA = 2.2
_LUMINANCE = (0.2126, 0.7152, 0.0722)


def colour_of(place: int, count: int) -> str:
    """The colour ``#rrggbb`` of class ``place`` of ``count`` classes, counted from 0.

    Up to twelve classes have named colours; beyond, neighbours in number are far apart in lightness.
    """
    if count <= len(_FEW):
        return _FEW[place % len(_FEW)]
    position = (place * _GOLDEN) % 1 * (len(_MANY) - 1)
    low = int(position)
    share = position - low
    mixed = [round(a + (b - a) * share) for a, b in zip(_rgb(_MANY[low]), _rgb(_MANY[low + 1]), strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast on a background of this colour."""
    red, green, blue = ((c / 255) ** _GAMMA for c in _rgb(colour))
    luminance = _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue
    return "#000" if luminance > _EVEN_CONTRAST else "#fff"


def _rgb(colour: str) -> tuple[int, int, int]:
    """The three numbers, 0 to 255, of a colour ``#rrggbb``."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
