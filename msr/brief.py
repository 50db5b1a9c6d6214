"""Values that print in a few lines: short fields as they are, and of long ones their size."""

from dataclasses import fields

import numpy as np
from torch import Tensor

__all__ = ["Brief"]

# Sizes chosen by eye: a result should fit on a screen beside the call that made it.
_WIDTH = 100  # characters of a line
_LINES = 20
_TEXT = 70  # characters of a text
_ITEMS = 8  # numbers of a tuple


class Brief:
    """A base for dataclasses declared with ``repr=False``: gives them a ``repr`` of at most 20 lines.

    Floats are rounded to three digits; whole numbers are shown in full up to 18 digits. Texts are cut after 70
    characters. Of an array only the shape is shown; of a dictionary, of a tuple of more than 8 items, and of one that
    holds anything but numbers, the number of items; of any other value its type, with its ``name`` where it has one.
    Fields that are None are left out.
    """

    def __repr__(self) -> str:
        items = [
            f"{field.name}={_shown(getattr(self, field.name))}"
            for field in fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) is not None
        ]
        lines = [f"{type(self).__name__}("]
        for i, item in enumerate(items):
            item += ")" if i == len(items) - 1 else ","
            if i and len(lines[-1]) + len(item) + 1 > _WIDTH:
                lines.append("   ")
            lines[-1] += f" {item}" if i else item
        return "\n".join(lines if len(lines) <= _LINES else [*lines[: _LINES - 1], "    …)"])


def _shown(value: object) -> str:
    """A value in few characters, as :class:`Brief` says."""
    if isinstance(value, (bool, np.bool_)):
        return str(value)
    if isinstance(value, (int, np.integer)):
        digits = str(value)
        return digits if len(digits) <= 18 else f"{digits[0]}.{digits[1]}e{len(digits) - 1}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.3g}"
    if isinstance(value, str):
        return repr(value if len(value) <= _TEXT else value[: _TEXT - 1] + "…")
    if isinstance(value, (np.ndarray, Tensor)):
        return f"<{'×'.join(map(str, value.shape)) or 'one number'}>"
    if isinstance(value, (tuple, list)):
        plain = all(isinstance(item, (int, float, np.integer, np.floating)) for item in value)
        if plain and len(value) <= _ITEMS:
            return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
        return f"<{len(value)}>"
    if isinstance(value, dict):
        return f"<{len(value)} entries>"
    name = getattr(value, "name", None)
    return f"{type(value).__name__}({name!r})" if isinstance(name, str) else f"<{type(value).__name__}>"
