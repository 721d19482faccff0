"""Two sketches of one column side by side: what numbers are compared by."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, repeat

from functions.monitoring.sketch import Tally, in_order, values_of
from functions.monitoring.statistics import Pair, Paired


@dataclass
class Cells:
    """The cells that either sketch has, in ascending order. Those of before and of now are found in `counts`."""

    values: Sequence[float]
    """Each cell's value nearest to the centre."""
    counts: tuple[Sequence[int], Sequence[int]]
    """How many numbers each cell had before, and how many it has now."""

    @classmethod
    def of(cls, before: Tally, now: Tally) -> "Cells":
        """Of two tallies of the same column."""
        keys = in_order({*before.cells, *now.cells})
        counts = [*map(before.cells.get, keys, repeat(0))], [*map(now.cells.get, keys, repeat(0))]
        return cls(values_of(keys, before.column.centre), counts)

    @cached_property
    def pairs(self) -> list[Pair]:
        """The counts of each cell."""
        return [*zip(*self.counts, strict=True)]

    @cached_property
    def paired(self) -> list[Paired]:
        """The value and the counts of each cell."""
        return [*zip(self.values, *self.counts, strict=True)]

    @cached_property
    def before(self) -> list[tuple[float, int]]:
        """The cells that had numbers before, and how many."""
        return [(value, count) for value, count in zip(self.values, self.counts[0], strict=True) if count]

    @cached_property
    def now(self) -> list[tuple[float, int]]:
        """The cells that have numbers now, and how many."""
        return [(value, count) for value, count in zip(self.values, self.counts[1], strict=True) if count]

    def within(self, least: float, most: float) -> int:
        """How many numbers there are now from the cell of one value to that of another."""
        return self._sums[bisect_right(self.values, most)] - self._sums[bisect_left(self.values, least)]

    def below(self, most: float) -> int:
        """How many numbers there are now in cells below a value."""
        return self._sums[bisect_left(self.values, most)]

    @cached_property
    def _sums(self) -> list[int]:
        return [*accumulate(self.counts[1], initial=0)]

    @property
    def fullest(self) -> tuple[float, Pair]:
        """The cell that has most numbers now: its value, and its counts. The greatest of several."""
        now = self.counts[1]
        at = len(now) - 1 - now[::-1].index(max(now))
        return self.values[at], self.pairs[at]
