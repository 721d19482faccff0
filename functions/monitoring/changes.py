"""When a series of measurements changed its level: for the note of an incident, long after the alarm.

PELT (Killick, Fearnhead and Eckley, JASA 107, 2012) with a squared error: of all ways to cut the series into pieces of
one level each, the one with the least error, where each cut costs a penalty. It looks at the whole series at once; for
some hundreds of points that takes milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log
from typing import Final

PENALTY: Final = 3.0
"""Times log(points), in variances of the series: what one more change has to explain."""
SHORTEST: Final = 2
"""Points of a piece: one alone is an outlier."""


@dataclass(frozen=True)
class Change:
    """The level of a series changed."""

    index: int
    """Of the first point of the new level."""
    before: float
    """The mean of the piece before."""
    after: float


def change_points(values: Sequence[float], *, penalty: float = PENALTY, shortest: int = SHORTEST) -> list[int]:
    """The indices at which a new level begins, ascending. None in fewer than two pieces' worth of points.

    The values have to be finite.
    """
    count = len(values)
    if count < 2 * shortest:
        return []
    # Moments of values near 0 lose no digits to a large mean.
    mean = sum(values) / count
    centred = [value - mean for value in values]
    variance = sum(value * value for value in centred) / count
    if variance == 0:
        return []
    sums = [0.0, *accumulate(centred)]
    squares = [0.0, *accumulate(value * value for value in centred)]
    price = penalty * log(count) * variance

    def error(start: int, end: int) -> float:
        total = sums[end] - sums[start]
        return squares[end] - squares[start] - total * total / (end - start)

    best = [-price] + [float("inf")] * count
    last = [0] * (count + 1)
    starts: list[int] = [0]
    beaten: dict[int, int] = {}
    for end in range(shortest, count + 1):
        # What was beaten by a cut at some point stays so once that cut may be made: it is never looked at again.
        starts = [start for start in starts if beaten.get(start, end) > end - shortest]
        errors = [(best[start] + error(start, end), start) for start in starts]
        total, last[end] = min(errors)
        best[end] = total + price
        for total, start in errors:
            if total > best[end]:
                beaten.setdefault(start, end)
        if end - shortest + 1 >= shortest:
            starts.append(end - shortest + 1)
    found = []
    end = count
    while last[end] > 0:
        found.append(last[end])
        end = last[end]
    return found[::-1]


def changes(values: Sequence[float], *, penalty: float = PENALTY, shortest: int = SHORTEST) -> list[Change]:
    """The changes of level, the oldest first, with the levels before and after."""
    cuts = [0, *change_points(values, penalty=penalty, shortest=shortest), len(values)]
    pieces = [values[start:end] for start, end in pairwise(cuts)]
    levels = [sum(piece) / len(piece) for piece in pieces if piece]
    return [Change(cut, *pair) for cut, pair in zip(cuts[1:-1], pairwise(levels), strict=False)]
