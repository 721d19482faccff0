"""How far live data has moved from the training data. No AWS in here, and nothing beyond the standard library.

A baseline is a histogram of each feature, made once from the training data. A window of live data is compared with it
by the two-sample Kolmogorov-Smirnov test for quantities and by the two-sample chi-square test for codes. A feature has
drifted only where the test is significant at ALPHA over all features together (Bonferroni) *and* the distance is one
that matters: a p-value alone finds something in any large window, a distance alone in any small one.
"""

import base64
import csv
import io
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, zip_longest
from math import erfc, exp, inf, lgamma, log, nextafter, sqrt
from typing import Any, Final

ALPHA: Final = 0.01
"""How often a window without drift may be called drifted, over all its features. Nominal: in windows of fewer than 500
rows the chi-square approximation makes it up to twice as often."""
KS_FLOOR: Final = 0.05
"""The least distance between two distribution functions that matters."""
SHARE_FLOOR: Final = 0.03
"""The least change of one code's share that matters."""
MISSING_FLOOR: Final = 0.01
"""The least change of the share of missing values that matters."""
UNSEEN_FLOOR: Final = 0.005
"""The least share of values that training never saw that matters; more than UNSEEN_ROWS of them in any case."""
UNSEEN_ROWS: Final = 3
FEWEST_ROWS: Final = 50
"""A smaller window is insufficient: nothing is said of it."""
QUANTILES: Final = 128
"""A quantity's histogram is cut just below and at this many quantiles of the training data: all its values where it has
no more, so that it is exact for whole numbers such as ages."""
EXPECTED_AT_LEAST: Final = 5.0
"""Codes that are rarer than this are pooled, as the chi-square approximation needs (Cochran 1954)."""
PSI_BINS: Final = 10
PSI_PRIOR: Final = 0.5
"""Added to each bin, so that an empty one does not make the index infinite."""
MOST_CODES: Final = 1000
"""So many different values that are not in the baseline are told apart; the rest is OTHER. It bounds the memory."""
OTHER: Final = "(others)"
LONGEST_CODE: Final = 40
BLOCK_ROWS: Final = 5000
"""Rows are counted so many at a time."""

Cells = Sequence[tuple[int, int]]
"""Counts of the same bin or code, in the training data and in the window."""


@dataclass(frozen=True)
class Histogram:
    """One feature's values: counts by code, or by the intervals that `edges` ends, the last one open.

    `edges[i]` is the largest value of interval i. Training has nothing in the first interval and in the last: they are
    for values smaller than the smallest it saw, which is `edges[1]`, or larger than the largest, the last edge.
    """

    counts: Mapping[str, int]
    edges: Sequence[float] = ()
    missing: int = 0

    @property
    def is_categorical(self) -> bool:
        """Whether it counts codes."""
        return not self.edges

    @property
    def total(self) -> int:
        """The number of values that are not missing."""
        return sum(self.counts.values())

    def place(self, text: str) -> str | None:
        """Under which key of `counts` a value belongs, None for a missing one.

        A quantity that is no number is placed under its own text, in quotes.
        """
        text = text.strip()
        if text.lower() in ("", "null", "none", "nan"):
            return None
        if self.is_categorical:
            # `2.0` for `2` is how clients that keep codes in a table of floats send them.
            whole = text.removesuffix(".0")
            return (whole if whole in self.counts else text)[:LONGEST_CODE]
        try:
            value = float(text)
        except ValueError:
            return repr(text[:LONGEST_CODE])
        return None if value != value else str(bisect_left(self.edges, value))

    def cells(self, seen: Mapping[str, int]) -> Cells:
        """Its counts beside those of a window: every code, or every interval in order."""
        keys = sorted({*self.counts, *seen}) if self.is_categorical else map(str, range(len(self.edges) + 1))
        return [(self.counts.get(key, 0), seen.get(key, 0)) for key in keys]

    def unseen(self, seen: Mapping[str, int]) -> dict[str, int]:
        """What of a window training never saw, in words."""
        if self.is_categorical:
            return {repr(code): count for code, count in seen.items() if code not in self.counts}
        ends = {"0": f"one below {self.edges[1]:g}", str(len(self.edges)): f"one above {self.edges[-1]:g}"}
        return {ends.get(key, key): count for key, count in seen.items() if key in ends or not key.isdigit()}


Baseline = Mapping[str, Histogram]
"""The histogram of each feature, in the order in which a CSV row gives them."""


@dataclass
class Window:
    """What was seen of live data."""

    counts: dict[str, Counter[str]]
    missing: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    malformed: int = 0
    """Captured requests that cannot be read, and rows with too few or too many values."""


@dataclass(frozen=True)
class Finding:
    """One feature of a window compared with its baseline."""

    feature: str
    distance: float
    """Kolmogorov-Smirnov's for a quantity, the largest change of a share for codes; 0 to 1."""
    p_value: float
    psi: float
    """The population stability index, beyond what chance gives in a window of this size."""
    reasons: tuple[str, ...]
    """Why it has drifted; empty where it has not."""


def fit(names: Sequence[str], categorical: Sequence[bool], rows: Iterable[Sequence[str]]) -> dict[str, Histogram]:
    """The baseline of training rows, given as texts in the order of `names`. An empty text is a missing value.

    Raises ValueError where there are no rows, one has too few or too many values, or a quantity is no number.
    """
    values: list[Counter[str]] = [Counter() for _ in names]
    for row in rows:
        for seen, text in zip(values, row, strict=True):
            seen[text] += 1
    if not any(values):
        raise ValueError("a baseline needs rows; there are none")
    return {
        name: _codes(seen) if coded else _quantity(seen)
        for name, coded, seen in zip(names, categorical, values, strict=True)
    }


def _codes(seen: Mapping[str, int]) -> Histogram:
    return _filled(Histogram({}), seen)


def _quantity(seen: Mapping[str, int]) -> Histogram:
    anything = Histogram({}, _edges([(0.0, 1)]))
    numbers = sorted((float(text), count) for text, count in seen.items() if anything.place(text) is not None)
    return _filled(Histogram({}, _edges(numbers)) if numbers else anything, seen)


def _filled(empty: Histogram, seen: Mapping[str, int]) -> Histogram:
    counts: Counter[str] = Counter()
    missing = 0
    for text, count in seen.items():
        key = empty.place(text)
        if key is None:
            missing += count
        else:
            counts[key] += count
    return Histogram(dict(sorted(counts.items())), empty.edges, missing)


def _edges(numbers: Sequence[tuple[float, int]]) -> tuple[float, ...]:
    """Just below and at the smallest number, quantiles, and the largest number."""
    step = max(1.0, sum(count for _, count in numbers) / QUANTILES)
    cuts = {numbers[0][0], numbers[-1][0]}
    total, due = 0, step
    for value, count in numbers:
        total += count
        if total >= due:
            cuts.add(value)
            due = total + step
    return tuple(sorted(edge for cut in cuts for edge in (nextafter(cut, -inf), cut)))


def to_json(baseline: Baseline) -> str:
    """A baseline as text."""
    return json.dumps(
        {
            name: {"counts": dict(each.counts), "edges": list(each.edges), "missing": each.missing}
            for name, each in baseline.items()
        }
    )


def from_json(text: str | bytes) -> dict[str, Histogram]:
    """The baseline that `to_json` wrote. Raises ValueError for anything else."""
    try:
        baseline = {
            name: Histogram(dict(each["counts"]), tuple(each["edges"]), each["missing"])
            for name, each in json.loads(text).items()
        }
        if not baseline or not all(each.total + each.missing > 0 for each in baseline.values()):
            raise ValueError("this is no baseline: it has no features, or one without rows")
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"this is no baseline: {error!r}") from error
    return baseline


def observe(baseline: Baseline, captured: Iterable[str | bytes]) -> Window:
    """What lines of SageMaker data capture hold. A line or a row that cannot be read is counted, and left out.

    Lines are taken one by one and forgotten, so that any number of them fits in memory.
    """
    window = Window({name: Counter() for name in baseline})
    names = list(baseline)
    block: list[Sequence[str]] = []
    for line in captured:
        try:
            rows = list(payload_rows(line, names))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error):
            window.malformed += 1
            continue
        block += (row for row in rows if len(row) == len(names))
        window.malformed += sum(len(row) != len(names) for row in rows)
        if len(block) >= BLOCK_ROWS:
            _count(baseline, window, block)
            block = []
    _count(baseline, window, block)
    return window


def _count(baseline: Baseline, window: Window, rows: Sequence[Sequence[str]]) -> None:
    window.rows += len(rows)
    for (name, histogram), column in zip(baseline.items(), zip(*rows, strict=True), strict=False):
        counts = window.counts[name]
        for text, count in Counter(column).items():
            key = histogram.place(text)
            if key is None:
                window.missing[name] += count
            elif key in counts or key in histogram.counts or len(counts) < MOST_CODES:
                counts[key] += count
            else:
                counts[OTHER] += count


def payload_rows(line: str | bytes, names: Sequence[str]) -> Iterator[list[str]]:
    """The rows of texts in one captured request.

    Raises ValueError, KeyError, TypeError, AttributeError, RecursionError or csv.Error where they cannot be read. The
    record's form: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
    """
    captured = json.loads(line)["captureData"]["endpointInput"]
    data, encoding = captured["data"], captured["encoding"]
    if encoding == "BASE64":
        data = base64.b64decode(data).decode("utf-8")
        encoding = "JSON" if data.lstrip()[:1] in ("{", "[") else "CSV"
    if encoding == "JSON":
        yield from _json_rows(json.loads(data), names)
    elif encoding == "CSV":
        yield from (row for row in csv.reader(io.StringIO(data)) if row)
    else:
        raise ValueError(f"encoding {encoding}")


def _json_rows(payload: Any, names: Sequence[str]) -> Iterator[list[str]]:
    """`{"instances": [row, …]}`, a list of rows, one row, or `{"AGEP": [46, …], …}`; a row by name or in order."""
    rows = payload
    if isinstance(payload, dict):
        if any(isinstance(payload.get(name), list) for name in names):
            rows = list(zip_longest(*(payload.get(name, ()) for name in names)))
        else:
            rows = payload.get("instances", [payload])
    if not isinstance(rows, list):
        raise ValueError(f"{type(rows).__name__} is no list of rows")
    if rows and not any(isinstance(row, dict | list | tuple) for row in rows):
        rows = [rows]
    for row in rows:
        if not isinstance(row, dict | list | tuple):
            raise ValueError(f"{type(row).__name__} is no row")
        values = map(row.get, names) if isinstance(row, dict) else row
        yield ["" if value is None else str(value) for value in values]


def compare(baseline: Baseline, window: Window) -> list[Finding]:
    """What of each feature has drifted, the furthest first. Empty for a window of fewer than FEWEST_ROWS rows."""
    if window.rows < FEWEST_ROWS:
        return []
    level = ALPHA / len(baseline)
    findings = [
        _finding(name, histogram, window.counts[name], window.missing[name], level)
        for name, histogram in baseline.items()
    ]
    return sorted(findings, key=lambda finding: (not finding.reasons, -finding.distance))


def _finding(name: str, histogram: Histogram, seen: Counter[str], missing: int, level: float) -> Finding:
    cells, count = histogram.cells(seen), seen.total()
    known = histogram.total
    reasons = []
    distance, p_value, psi = 0.0, 1.0, 0.0
    if known and any(now for _, now in cells):
        psi = stability_index(cells if histogram.is_categorical else pooled(cells, PSI_BINS))
        if histogram.is_categorical:
            distance, p_value, floor = largest_change(cells), chi_square(cells), SHARE_FLOOR
        else:
            distance, floor = kolmogorov_distance(cells), KS_FLOOR
            p_value = kolmogorov_p(distance, known, sum(now for _, now in cells))
        if p_value < level and distance > floor:
            reasons.append(f"its distribution moved by {distance:.3f}")
    unseen = histogram.unseen(seen)
    strange = sum(unseen.values())
    if known and strange > max(UNSEEN_FLOOR * count, UNSEEN_ROWS) and shares_p(0, known, strange, count) < level:
        most = max(unseen, key=lambda value: unseen[value])
        reasons.append(f"training never saw {strange} of its {count} values, such as {most}")
    before, rows = known + histogram.missing, count + missing
    moved = abs(missing / rows - histogram.missing / before)
    if moved > MISSING_FLOOR and shares_p(histogram.missing, before, missing, rows) < level:
        reasons.append(f"{missing} of {rows} values are missing, {histogram.missing / before:.1%} were in training")
    return Finding(name, distance, p_value, psi, tuple(reasons))


def shares_p(before: int, of_before: int, now: int, of_now: int) -> float:
    """The p-value of two shares being the same: the two-proportion z test."""
    share = (before + now) / (of_before + of_now)
    if share in (0.0, 1.0):
        return 1.0
    error = sqrt(share * (1 - share) * (1 / of_before + 1 / of_now))
    return erfc(abs(now / of_now - before / of_before) / error / sqrt(2))


def _totals(cells: Cells) -> tuple[int, int]:
    return sum(before for before, _ in cells), sum(now for _, now in cells)


def kolmogorov_distance(cells: Cells) -> float:
    """The largest difference of two distribution functions, at the ends of ordered bins."""
    before, now = _totals(cells)
    sums = zip(accumulate(first for first, _ in cells), accumulate(second for _, second in cells), strict=True)
    return max(abs(first / before - second / now) for first, second in sums)


def kolmogorov_p(distance: float, first: int, second: int) -> float:
    """How likely a distance at least this large is without drift, for samples of these sizes.

    The asymptotic series with Stephens' correction for small samples (Numerical Recipes, 3rd edition, 14.3.3).
    """
    size = sqrt(first * second / (first + second))
    x = (size + 0.12 + 0.11 / size) * distance
    if x < 0.2:
        return 1.0
    total = sum((-1.0) ** (k - 1) * exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def largest_change(cells: Cells) -> float:
    """The largest change of one code's share."""
    before, now = _totals(cells)
    return max(abs(first / before - second / now) for first, second in cells)


def chi_square(cells: Cells) -> float:
    """The p-value of the two-sample chi-square test; rare codes are pooled. 1 where one cell is left."""
    before, now = _totals(cells)
    share = now / (before + now)
    common: list[tuple[int, int]] = []
    rare = (0, 0)
    for cell in cells:
        if sum(cell) * min(share, 1 - share) < EXPECTED_AT_LEAST:
            rare = rare[0] + cell[0], rare[1] + cell[1]
        else:
            common.append(cell)
    if sum(rare):
        common.append(rare)
    statistic = 0.0
    for first, second in common:
        awaited = (first + second) * share
        statistic += (second - awaited) ** 2 / (awaited * (1 - share))
    return chi_square_tail(statistic, len(common) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The probability of a chi-square value above `statistic`: the regularised upper incomplete gamma function.

    By its series and its continued fraction (Numerical Recipes, 3rd edition, 6.2).
    """
    if freedom < 1 or statistic <= 0:
        return 1.0
    a, x = freedom / 2, statistic / 2
    scale = exp(a * log(x) - x - lgamma(a))
    return max(0.0, 1 - scale * _series(a, x)) if x < a + 1 else scale * _continued_fraction(a, x)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    n = a
    while term > total * 1e-16:
        n += 1
        term *= x / n
        total += term
    return total


def _continued_fraction(a: float, x: float) -> float:
    """Lentz's method; a divisor of zero is replaced by something tiny."""
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for i in range(1, 500):
        factor = -i * (i - a)
        b += 2
        d = 1 / ((factor * d + b) or tiny)
        c = (b + factor / c) or tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return fraction


def pooled(cells: Cells, bins: int) -> Cells:
    """Ordered cells put together to `bins` of about the same share of the training data, fewer where ties forbid it."""
    step = _totals(cells)[0] / bins
    groups: list[tuple[int, int]] = []
    first = second = 0
    for before, now in cells:
        first, second = first + before, second + now
        if first >= step:
            groups.append((first, second))
            first = second = 0
    if first or second:
        last = groups.pop() if groups else (0, 0)
        groups.append((last[0] + first, last[1] + second))
    return groups


def stability_index(cells: Cells) -> float:
    """The population stability index: 0 for equal shares; above 0.2 the population is said to have moved.

    What sampling alone gives on average, (bins - 1) (1/n + 1/m), is taken off: small windows would look unstable.
    """
    before, now = _totals(cells)
    index = 0.0
    for first, second in cells:
        one = (first + PSI_PRIOR) / (before + PSI_PRIOR * len(cells))
        other = (second + PSI_PRIOR) / (now + PSI_PRIOR * len(cells))
        index += (other - one) * log(other / one)
    return max(0.0, index - (len(cells) - 1) * (1 / before + 1 / now))
