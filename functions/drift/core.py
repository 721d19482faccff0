"""How far live data has moved from the training data. No AWS in here, and nothing beyond the standard library.

A baseline is a histogram of each feature, made once from the training data. A window of live data is compared with it by
the two-sample Kolmogorov–Smirnov test for quantities and by the two-sample chi-square test for codes. A feature has
drifted only where the test is significant at ALPHA over all features together (Bonferroni) *and* the distance is one that
matters: a p-value alone finds something in any large window, a distance alone in any small one.
"""

import base64
import csv
import io
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import erfc, exp, inf, isfinite, lgamma, log, sqrt
from typing import Any, Final

ALPHA: Final = 0.01
"""How often a window without drift may be called drifted, over all its features."""
KS_FLOOR: Final = 0.05
"""The least distance between two distribution functions that matters."""
SHARE_FLOOR: Final = 0.03
"""The least change of one code's share that matters."""
MISSING_FLOOR: Final = 0.01
"""The least change of the share of missing values that matters."""
NEW_CODE_FLOOR: Final = 0.005
"""The least share of codes never seen in training that matters; three rows of them at least."""
FEWEST_ROWS: Final = 50
"""A smaller window is insufficient: nothing is said of it."""
EDGES: Final = 128
"""A quantity's histogram has at most this many edges: quantiles of the training data."""
EXPECTED_AT_LEAST: Final = 5.0
"""Codes that are rarer than this are pooled, as the chi-square approximation needs (Cochran 1954)."""
PSI_PRIOR: Final = 0.5
"""Added to each bin, so that an empty one does not make the index infinite."""


@dataclass(frozen=True)
class Histogram:
    """One feature's values: counts by code, or by the intervals that `edges` ends, the last one open.

    `edges[i]` is the largest value of interval i.
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


Baseline = Mapping[str, Histogram]
"""The histogram of each feature, in the order in which a CSV row gives them."""


@dataclass
class Window:
    """What was seen of live data. Windows of the same baseline can be added up in any order."""

    counts: dict[str, Counter[str]]
    missing: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    malformed: int = 0


@dataclass(frozen=True)
class Finding:
    """One feature of a window compared with its baseline."""

    feature: str
    distance: float
    """Kolmogorov–Smirnov's for a quantity, the largest change of a share for codes; 0 to 1."""
    p_value: float
    psi: float
    """The population stability index."""
    reasons: tuple[str, ...]
    """Why it has drifted; empty where it has not."""


def fit(names: Sequence[str], categorical: Sequence[bool], rows: Iterable[Sequence[str]]) -> dict[str, Histogram]:
    """The baseline of training rows, given as texts in the order of `names`. An empty text is a missing value."""
    values: list[Counter[str]] = [Counter() for _ in names]
    for row in rows:
        for seen, text in zip(values, row, strict=True):
            seen[text] += 1
    baseline = {}
    for name, coded, seen in zip(names, categorical, values, strict=True):
        missing = seen.pop("", 0)
        if coded:
            baseline[name] = Histogram(dict(sorted(seen.items())), (), missing)
        else:
            edges = _quantiles(seen)
            binned: Counter[str] = Counter()
            for text, count in seen.items():
                binned[str(bisect_left(edges, float(text)))] += count
            baseline[name] = Histogram(dict(binned), edges, missing)
    return baseline


def _quantiles(seen: Mapping[str, int]) -> tuple[float, ...]:
    numbers = sorted((float(text), count) for text, count in seen.items())
    if not numbers:
        return (0.0,)
    step = max(1.0, sum(seen.values()) / EDGES)
    edges, total, due = [], 0, step
    for value, count in numbers:
        total += count
        if total >= due:
            edges.append(value)
            due = total + step
    return tuple(edges or [numbers[-1][0]])


def to_json(baseline: Baseline) -> str:
    """A baseline as text."""
    return json.dumps(
        {
            name: {"counts": dict(each.counts), "edges": list(each.edges), "missing": each.missing}
            for name, each in baseline.items()
        }
    )


def from_json(text: str) -> dict[str, Histogram]:
    """The baseline that `to_json` wrote. Raises ValueError for anything else."""
    try:
        return {
            name: Histogram(dict(each["counts"]), tuple(each["edges"]), each["missing"])
            for name, each in json.loads(text).items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"this is no baseline: {error!r}") from error


def observe(baseline: Baseline, captured: Iterable[str]) -> Window:
    """What lines of SageMaker data capture hold. A line or a row that cannot be read is counted, and left out."""
    window = Window({name: Counter() for name in baseline})
    names = list(baseline)
    for line in captured:
        try:
            rows = list(payload_rows(line, names))
        except (ValueError, KeyError, TypeError):
            window.malformed += 1
            continue
        for row in rows:
            _count(baseline, window, names, row)
    return window


def _count(baseline: Baseline, window: Window, names: Sequence[str], row: Sequence[str]) -> None:
    if len(row) != len(names):
        window.malformed += 1
        return
    window.rows += 1
    for name, text in zip(names, row, strict=True):
        histogram = baseline[name]
        if text == "" or text.lower() in ("nan", "null", "none"):
            window.missing[name] += 1
        elif histogram.is_categorical:
            window.counts[name][_code(histogram, text)] += 1
        else:
            try:
                value = float(text)
            except ValueError:
                window.counts[name][f"text:{text[:40]}"] += 1
                continue
            window.counts[name][str(bisect_left(histogram.edges, value))] += 1


def _code(histogram: Histogram, text: str) -> str:
    """A code as the baseline writes it: `2.0` for `2` is how some clients send it."""
    if text in histogram.counts:
        return text
    whole = text.removesuffix(".0")
    return whole if whole in histogram.counts else text[:40]


def payload_rows(line: str, names: Sequence[str]) -> Iterator[list[str]]:
    """The rows of texts in one captured request. Raises ValueError, KeyError or TypeError where there are none.

    The record's form: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
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
    """`{"instances": [{…}, …]}`, a list of rows, or one row; a row by name or in order."""
    rows = payload.get("instances", [payload]) if isinstance(payload, dict) else payload
    for row in rows if not rows or isinstance(rows[0], dict | list) else [rows]:
        values = [row.get(name) for name in names] if isinstance(row, dict) else row
        yield ["" if value is None else str(value) for value in values]


def compare(baseline: Baseline, window: Window) -> list[Finding]:
    """What of each feature has drifted, the furthest first. Empty for a window of fewer than FEWEST_ROWS rows."""
    if window.rows < FEWEST_ROWS:
        return []
    level = ALPHA / len(baseline)
    findings = [_finding(name, each, window, level) for name, each in baseline.items()]
    return sorted(findings, key=lambda finding: (not finding.reasons, -finding.distance))


def _finding(name: str, histogram: Histogram, window: Window, level: float) -> Finding:
    seen, missing = window.counts[name], window.missing[name]
    reasons = []
    distance, p_value, psi = 0.0, 1.0, 0.0
    count = seen.total()
    if count and histogram.total:
        psi = stability_index(histogram.counts, seen)
        if histogram.is_categorical:
            distance, p_value = largest_change(histogram.counts, seen), chi_square(histogram.counts, seen)
            floor = SHARE_FLOOR
        else:
            bins = len(histogram.edges) + 1
            distance = kolmogorov_distance(histogram.counts, seen, bins)
            p_value = kolmogorov_p(distance, histogram.total, count)
            floor = KS_FLOOR
        if p_value < level and distance > floor:
            reasons.append(f"its distribution moved by {distance:.3f}")
        known = histogram.counts if histogram.is_categorical else {str(i) for i in range(len(histogram.edges) + 1)}
        unseen = {code: n for code, n in seen.items() if code not in known}
        if sum(unseen.values()) > max(NEW_CODE_FLOOR * count, 3):
            most = max(unseen, key=lambda code: unseen[code])
            reasons.append(f"{sum(unseen.values())} of {count} values were never seen in training, such as {most!r}")
    if missing_drifted(histogram, missing, window.rows, level):
        reasons.append(f"{missing} of {window.rows} values are missing")
    return Finding(name, distance, p_value, psi, tuple(reasons))


def missing_drifted(histogram: Histogram, missing: int, rows: int, level: float) -> bool:
    """Whether the share of missing values has changed: a two-proportion z test, and a floor."""
    before = histogram.missing / max(1, histogram.total + histogram.missing)
    now = missing / rows
    pooled = (histogram.missing + missing) / (histogram.total + histogram.missing + rows)
    if abs(now - before) <= MISSING_FLOOR or pooled in (0.0, 1.0):
        return False
    error = sqrt(pooled * (1 - pooled) * (1 / (histogram.total + histogram.missing) + 1 / rows))
    return erfc(abs(now - before) / error / sqrt(2)) < level


def kolmogorov_distance(expected: Mapping[str, int], seen: Mapping[str, int], bins: int) -> float:
    """The largest difference of two distribution functions, at the ends of the bins `0` to `bins - 1`."""
    shares = []
    for counts in (expected, seen):
        ordered = [counts.get(str(i), 0) for i in range(bins)]
        total = sum(ordered)
        shares.append([part / total if total else 0.0 for part in accumulate(ordered)])
    return max(abs(a - b) for a, b in zip(*shares, strict=True))


def kolmogorov_p(distance: float, first: int, second: int) -> float:
    """How likely a distance at least this large is without drift.

    The asymptotic series with Stephens' correction for small samples (Numerical Recipes, 3rd edition, 14.3.3).
    """
    size = sqrt(first * second / (first + second))
    x = (size + 0.12 + 0.11 / size) * distance
    if x < 0.2:
        return 1.0
    total = sum((-1) ** (k - 1) * exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def largest_change(expected: Mapping[str, int], seen: Mapping[str, int]) -> float:
    """The largest change of one code's share."""
    before, now = sum(expected.values()), sum(seen.values())
    return max(abs(expected.get(code, 0) / before - seen.get(code, 0) / now) for code in {*expected, *seen})


def chi_square(expected: Mapping[str, int], seen: Mapping[str, int]) -> float:
    """The p-value of the two-sample chi-square test; rare codes are pooled. 1 where one cell is left."""
    before, now = sum(expected.values()), sum(seen.values())
    share = now / (before + now)
    cells: list[tuple[int, int]] = []
    rare = (0, 0)
    for code in sorted({*expected, *seen}):
        cell = expected.get(code, 0), seen.get(code, 0)
        if sum(cell) * min(share, 1 - share) < EXPECTED_AT_LEAST:
            rare = rare[0] + cell[0], rare[1] + cell[1]
        else:
            cells.append(cell)
    if sum(rare):
        cells.append(rare)
    statistic = 0.0
    for first, second in cells:
        for value, part in ((first, 1 - share), (second, share)):
            awaited = (first + second) * part
            statistic += (value - awaited) ** 2 / awaited
    return chi_square_tail(statistic, len(cells) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """The probability of a chi-square value above `statistic`: the regularised upper incomplete gamma function.

    By its series and its continued fraction (Numerical Recipes, 3rd edition, 6.2).
    """
    if freedom < 1 or statistic <= 0:
        return 1.0
    a, x = freedom / 2, statistic / 2
    scale = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-16:
            n += 1
            term *= x / n
            total += term
        return max(0.0, 1 - total * scale)
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
    return scale * fraction


def stability_index(expected: Mapping[str, int], seen: Mapping[str, int]) -> float:
    """The population stability index: 0 for equal shares; above 0.2 the population is said to have moved."""
    codes = {*expected, *seen}
    before, now = sum(expected.values()), sum(seen.values())
    index = 0.0
    for code in codes:
        first = (expected.get(code, 0) + PSI_PRIOR) / (before + PSI_PRIOR * len(codes))
        second = (seen.get(code, 0) + PSI_PRIOR) / (now + PSI_PRIOR * len(codes))
        index += (second - first) * log(second / first)
    return index if isfinite(index) else inf
