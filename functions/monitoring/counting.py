"""Counts columns of values into the tallies of a profile, block by block: with the standard library, or with numpy."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, islice
from math import nan
from typing import Any, Final, Protocol
from zlib import crc32

from functions.monitoring.sketch import (
    FAR,
    MOST_EVENTS,
    NEGATIVE_ZERO,
    Profile,
    Tally,
    keys_of,
    place,
    rank,
    text_of,
    trim,
)

Values = Sequence[Any]
"""A column of a block, as CSV (texts) or JSON gave it."""
MOST_WAITING: Final = 20_000
"""So many different texts wait to be placed."""


class Counting(Protocol):
    """Counts the number columns of a block."""

    def add(self, columns: Sequence[Values], are_texts: bool) -> None:
        """Count a block: the values of each column, all of the same number."""

    def finish(self) -> None:
        """Bring everything into the tallies."""


class Categories:
    """Counts category columns."""

    def __init__(self, tallies: Sequence[Tally]) -> None:
        self._waiting: list[tuple[Tally, Counter[str | None]]] = [(tally, Counter()) for tally in tallies]

    def add(self, columns: Iterable[Values], are_texts: bool) -> None:
        """Count a block."""
        for (tally, counter), values in zip(self._waiting, columns, strict=True):
            kinds = {str} if are_texts else {*map(type, values)}
            if kinds == {str}:
                counter.update(values)
            elif kinds in ({int}, {float}):
                for value, count in Counter(values).items():
                    counter[text_of(value)] += count
            else:  # as keys 1, 1.0 and True are one, as texts they are not
                counter.update(map(text_of, values))
            if len(counter) > MOST_WAITING:
                self._place(tally, counter)

    def finish(self) -> None:
        """Bring everything into the tallies."""
        for tally, counter in self._waiting:
            self._place(tally, counter)

    def _place(self, tally: Tally, counter: Counter[str | None]) -> None:
        tally.add_counts(counter)
        tally.settle()
        counter.clear()


Loads = Callable[[str], Any]
"""Reads JSON."""


class PlainNumbers:
    """Counts number columns with the standard library, and with a faster JSON parser where there is one."""

    def __init__(self, tallies: Sequence[Tally], loads: Loads | None = None) -> None:
        self._columns = [_PlainColumn(tally, loads) for tally in tallies]

    def add(self, columns: Sequence[Values], are_texts: bool) -> None:
        """Count a block."""
        for column, values in zip(self._columns, columns, strict=True):
            column.add(values, are_texts)

    def finish(self) -> None:
        """Bring everything into the tallies."""
        for column in self._columns:
            column.finish()


class _PlainColumn:
    """Counts one number column with the standard library."""

    def __init__(self, tally: Tally, loads: Loads | None) -> None:
        self._tally = tally
        self._loads = loads
        self._keys: Counter[int] = Counter()
        self._ends = (0, 0)
        """The keys of the least and the greatest number so far."""
        self._repeats = True
        """Whether the same texts come again and again, so that it pays to read each once."""

    def add(self, values: Values, are_texts: bool) -> None:
        """Count a block."""
        keys, before = self._keys, self._seen()
        try:
            if not are_texts:
                values, found = self._keys_of(values)
                keys.update(found)
            elif self._repeats:
                texts = Counter(values)
                self._repeats = 2 * len(texts) < len(values)
                values = self._read([*texts])
                for key, count in zip(keys_of(values, self._tally.column.centre), texts.values(), strict=True):
                    keys[key] += count
            else:
                values = self._read(values)
                keys.update(keys_of(values, self._tally.column.centre))
        except (ValueError, TypeError, OverflowError):
            self._tally.add(values)
            return
        if self._may_be_beyond(*before):
            self._add_extremes(values)

    def _keys_of(self, values: Values) -> tuple[Values, memoryview]:
        """Values of JSON with NaN for null, and the keys of their cells."""
        centre = self._tally.column.centre
        try:
            return values, keys_of(values, centre)
        except TypeError:
            values = [nan if value is None else value for value in values]
            return values, keys_of(values, centre)

    def _read(self, texts: Sequence[str]) -> Sequence[float]:
        """Texts as numbers, NaN for an empty one. Raises ValueError for what is no number."""
        if self._loads:
            with suppress(ValueError):
                values: list[float] = _joined([texts], self._loads)
                if len(values) == len(texts):  # a quoted text may hold a comma
                    return [nan if value is None else value for value in values] if None in values else values
        try:
            return [*map(float, texts)]
        except ValueError:
            return [float(text) if text else nan for text in texts]

    def _seen(self) -> tuple[int, int]:
        """How many cells there are, and how many numbers in those of the least and the greatest. Small negative numbers
        share a cell with -0.0, which is no less than 0.0."""
        keys = self._keys
        return len(keys), keys[self._ends[0]] + keys[self._ends[1]] + keys[NEGATIVE_ZERO]

    def _may_be_beyond(self, cells: int, at_ends: int) -> bool:
        """Whether a number can be less than the least or greater than the greatest before it: it is in their cells, or
        in a new one that is not between these."""
        now, at_ends_now = self._seen()
        if at_ends_now != at_ends:
            return True
        least, most = map(place, self._ends)
        return any(not least < place(key) < most for key in islice(reversed(self._keys), now - cells))

    def _add_extremes(self, values: Values) -> None:
        tally, centre = self._tally, self._tally.column.centre
        least, most = min(values), max(values)
        if not (least - centre > -FAR and most - centre < FAR):  # NaN is neither
            values = [value for value in values if -FAR < value - centre < FAR]
            least, most = min(values, default=nan), max(values, default=nan)
        if values:
            tally.add_extremes(float(least), float(most))
        if tally.minimum is not None and tally.maximum is not None:
            least, most = keys_of([tally.minimum, tally.maximum], centre)
            self._ends = least, most

    def finish(self) -> None:
        """Bring everything into the tally."""
        self._tally.add_keys(self._keys)
        self._keys.clear()


class Events:
    """Counts how often event ids come, of those with the least ranks."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._most = 1 << 32

    def add(self, ids: Sequence[str]) -> None:
        """Count a block."""
        profile, most = self._profile, self._most
        try:
            kept = [each for each in ids if crc32(each.encode()) <= most]
        except UnicodeEncodeError:  # a lone surrogate
            kept = [each for each in ids if rank(each)[0] <= most]
        profile.events_others += len(ids) - len(kept)
        profile.add_events(kept)
        if len(profile.events) > 2 * MOST_EVENTS:
            profile.events_others += trim(profile.events, MOST_EVENTS)
            self._most = max(rank(each)[0] for each in profile.events)


def numpy_numbers(loads: Callable[[str], Any]) -> Callable[[Sequence[Tally]], Counting]:
    """What counts number columns with numpy, and reads joined texts of numbers with a fast JSON parser.

    Raises ImportError where there is no numpy.
    """
    import numpy as np
    from numpy.typing import NDArray

    waiting_rows = 16_384
    part_rows = 8192

    class NumpyNumbers:
        def __init__(self, tallies: Sequence[Tally]) -> None:
            self._tallies = tallies
            self._centres = np.array([[tally.column.centre] for tally in tallies])
            self._extremes = np.full((2, len(tallies)), np.nan)
            self._keys = np.empty((len(tallies), waiting_rows), "u2")
            self._rows = 0
            self._plain = PlainNumbers(tallies)

        def add(self, columns: Sequence[Values], are_texts: bool) -> None:
            if not columns or not len(columns[0]):
                return
            if all(isinstance(values, np.ndarray) for values in columns):
                for start in range(0, len(columns[0]), part_rows):
                    part = [values[start : start + part_rows] for values in columns]
                    self._count(np.array(part, dtype=np.float64))
                return
            table = self._table(columns, are_texts)
            if table is None:
                self._plain.add(columns, are_texts)
                return
            for start in range(0, table.shape[1], part_rows):
                self._count(table[:, start : start + part_rows])

        def _table(self, columns: Sequence[Values], are_texts: bool) -> NDArray[np.float64] | None:
            try:
                values = _joined(columns, loads) if are_texts else [*chain.from_iterable(columns)]
                table = np.array(values, dtype=np.float64)
            except (ValueError, TypeError, OverflowError):
                return None
            shape = (len(columns), len(columns[0]))
            return table.reshape(shape) if table.shape == (shape[0] * shape[1],) else None

        def _count(self, table: NDArray[np.float64]) -> None:
            rows = table.shape[1]
            if self._rows + rows > waiting_rows:
                self._flush()
            with np.errstate(over="ignore", invalid="ignore"):
                shifted = (table - self._centres).astype("f4")
            finite = np.isfinite(shifted)
            if not finite.all():
                table = np.where(finite, table, np.nan)
            self._extremes[0] = np.fmin(self._extremes[0], np.fmin.reduce(table, axis=1))
            self._extremes[1] = np.fmax(self._extremes[1], np.fmax.reduce(table, axis=1))
            self._keys[:, self._rows : self._rows + rows] = shifted.view("u2")[:, 1::2]
            self._rows += rows

        def _flush(self) -> None:
            for tally, keys in zip(self._tallies, self._keys[:, : self._rows], strict=True):
                counts = np.bincount(keys)
                found = counts.nonzero()[0]
                tally.add_keys(dict(zip(found.tolist(), counts[found].tolist(), strict=True)))
            self._rows = 0

        def finish(self) -> None:
            self._flush()
            self._plain.finish()
            for tally, least, most in zip(self._tallies, *self._extremes.tolist(), strict=True):
                if least == least:
                    tally.add_extremes(least, most)
            self._extremes[:] = np.nan

    return NumpyNumbers


def _joined(columns: Iterable[Sequence[str]], loads: Callable[[str], Any]) -> Any:
    """Texts of numbers, column after column, as one list: read as one JSON array, which is many times as fast as one
    by one. Raises ValueError where that could differ from reading them one by one."""
    text = ",".join([",".join(values) for values in columns])
    if "r" in text or "s" in text or '"' in text or "[" in text or "{" in text:
        raise ValueError("true, false, quoted numbers, lists and objects are no numbers in CSV")
    if ",," in text:
        text = text.replace(",,", ",null,").replace(",,", ",null,")
    start, end = ("null" if text[:1] in ("", ",") else ""), ("null" if text[-1:] == "," else "")
    return loads(f"[{start}{text}{end}]")
