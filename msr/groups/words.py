"""Words: elements written as products of powers of generators."""

from collections.abc import Iterable

from msr.groups.group import Letter
from msr.permutations import Indices

__all__ = ["adjacent_swaps", "joined"]


def joined(letters: Iterable[tuple[int, int]]) -> tuple[Letter, ...]:
    """The word with neighbouring powers of one generator merged into one letter, and powers of zero left out.

    ``letters``: pairs ``(k, n)``, the n-th power of generator ``k``. Letters that become neighbours when a power of
    zero between them is left out are merged too.
    """
    word: list[tuple[int, int]] = []
    for k, power in letters:
        if word and word[-1][0] == k:
            power += word.pop()[1]
        if power:
            word.append((k, power))
    return tuple(word)


def adjacent_swaps(image: Indices, swap: int = 0, cycle: int = 1) -> tuple[Letter, ...]:
    """A permutation as a word in the swap ``s = (0 1)`` and the cycle ``c: i ↦ i + 1``, the last letter acting first.

    ``image``, ``(n,)``: where each point goes. ``swap`` and ``cycle`` are the numbers of the two generators.

    The swap of the neighbours ``i`` and ``i + 1`` is ``c^i s c^−i``, and sorting by such swaps takes the permutation
    apart: ``p t_1 … t_k = e``, so ``p = t_k … t_1``.
    """
    values = [int(v) for v in image]
    swaps = []
    # A bubble sort: every step is a swap of neighbours, and their list is the word.
    for end in range(len(values) - 1, 0, -1):
        # Carry the largest value that is not yet in its place there, by swaps of neighbours.
        for i in range(values.index(end), end):
            values[i], values[i + 1] = values[i + 1], values[i]
            swaps.append(i)
    letters: list[tuple[int, int]] = []
    for i in reversed(swaps):
        # Conjugation by the cycle c^i carries the swap (0 1) to the places i and i + 1.
        letters += [(cycle, i), (swap, 1), (cycle, -i)]
    return joined(letters)
