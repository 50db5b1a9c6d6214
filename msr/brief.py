"""Values that print in a few lines: what can be read at a glance, and of the rest how much there is."""

from dataclasses import fields

import numpy as np
from torch import Tensor

__all__ = ["Brief"]

_WIDTH, _LINES = 100, 20
_TEXT, _ITEMS = 70, 8


class Brief:
    """A dataclass (``repr=False``) whose ``repr`` has at most 20 lines.

    Numbers are rounded to three digits and long texts cut; of an array only the shape is shown, of a long tuple or of
    one that holds other values their number, and of another value its name. Fields that are None are left out.
    """

    def __repr__(self) -> str:
        shown = [
            f"{one.name}={_shown(getattr(self, one.name))}"
            for one in fields(self)  # type: ignore[arg-type]
            if getattr(self, one.name) is not None
        ]
        lines = [f"{type(self).__name__}("]
        for i, item in enumerate(shown):
            item += ")" if i == len(shown) - 1 else ","
            if i and len(lines[-1]) + len(item) + 1 > _WIDTH:
                lines.append("   ")
            lines[-1] += f" {item}" if i else item
        return "\n".join(lines if len(lines) <= _LINES else [*lines[: _LINES - 1], "    …)"])


def _shown(value: object) -> str:
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
        plain = all(isinstance(one, (int, float, np.integer, np.floating)) for one in value)
        if plain and len(value) <= _ITEMS:
            return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
        return f"<{len(value)}>"
    if isinstance(value, dict):
        return f"<{len(value)} entries>"
    name = getattr(value, "name", None)
    return f"{type(value).__name__}({name!r})" if isinstance(name, str) else f"<{type(value).__name__}>"
