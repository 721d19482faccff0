"""What the data monitor's report says in words, and draws."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from functions.monitoring import report as reports
from functions.monitoring.baseline import Baseline
from functions.monitoring.judge import FEWEST_ROWS, Finding, Verdict
from functions.monitoring.sketch import Profile, Tally

MOST_PLOTS: Final = 12
BINS: Final = 20
MOST_BARS: Final = 14
TAIL: Final = 0.005
"""What of a distribution lies beyond either end of its plot, and is drawn into its last bars."""
WHOLE: Final = {"(request)": "the requests themselves"}
"""What the judge calls what is no column, in words."""
NAMED: Final = 3
"""So many columns are named in the sentence on top."""


def summary(verdict: Verdict, window: Profile, since: str) -> str:
    """The sentence on top."""
    if verdict.status == "insufficient":
        if not window.requests and not window.malformed:
            return f"Nothing was captured since {_clock(since)}."
        kept = f"{_rows(window.rows)} captured since {_clock(since)}"
        return f"{kept}, too few to judge (it takes {FEWEST_ROWS}): they count with the next ones."
    if verdict.status == "stable":
        columns = len(verdict.findings)
        return f"{_rows(verdict.rows)} look like the training data: none of {columns} columns moved, nothing is broken."
    broken = _features(each.feature_name for each in verdict.violations if each.group == "broken")
    moved = _features(each.feature_name for each in verdict.violations if each.group != "broken")
    told = []
    if broken:
        told.append(f"the data are broken in {_named(broken)}")
    if moved:
        told.append(f"{_named(moved)} moved")
    unread = f", and {window.malformed:,} that cannot be read" if window.malformed else ""
    return f"Of {_rows(verdict.rows)}{unread}: {'; '.join(told)}."


def plots(baseline: Baseline, window: Profile, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """What is drawn of the columns with something to tell, the furthest first."""
    drawn = []
    for finding in findings:
        part = "columns" if finding.part == "feature" else "outputs"
        before = getattr(baseline.profile, part).get(finding.feature)
        now = getattr(window, part).get(finding.feature)
        if not finding.reasons or before is None or now is None:
            continue
        labels, first, second = bars_of(before, now)
        drawn.append(
            {
                "feature": finding.feature,
                "part": finding.part,
                "told": "; ".join(finding.reasons),
                "labels": labels,
                "before": first,
                "now": second,
            }
        )
    return drawn[:MOST_PLOTS]


def bars_of(before: Tally, now: Tally) -> tuple[list[str], list[float], list[float]]:
    """What bars of a column are called, and what share of its values each is: of the baseline's, of the window's."""
    return (_codes if before.column.kind == "category" else _numbers)(before, now)


def page(report: Mapping[str, Any]) -> str:
    """The report as a page: everything in it is in its JSON, too."""
    broken = [f"{each['feature_name']}: {each['description']}" for each in report["violations"] if _is_broken(each)]
    moved = [
        (
            each["feature"] if each["part"] == "feature" else f"answer: {each['feature']}",
            each["told"],
            reports.bars(each["before"], each["now"], each["labels"], title=f"{each['feature']}: training and now"),
        )
        for each in report["plots"]
    ]
    names = ("ks", "w1", "linf", "psi", "js", "p", "missing", "unseen")
    numbers = [
        [each["feature"], each["part"], "yes" if each["reasons"] else "no"]
        + [_number(each["statistics"].get(name)) for name in names]
        for each in report["findings"]
    ]
    heads = ("column", "part", "told of", "KS", "W1", "L∞", "PSI", "JS", "p", "missing", "unseen")
    history = [
        [_clock(each["time"]), each["rows"], *("yes" if each["flags"][name] else "no" for name in each["flags"])]
        for each in reversed(report["history"])
    ]
    flags = tuple(report["history"][-1]["flags"]) if report["history"] else ()
    key = '<p class="dim">Grey: training. Blue: this window. The furthest first.</p>'
    return reports.page(
        f"{report['endpoint']}: what it is asked, and answers",
        report["summary"],
        [
            ("What is broken", reports.listed(broken)),
            ("What moved", key + reports.figures(moved) if moved else ""),
            ("All columns", reports.table(heads, numbers)),
            (
                "The windows before",
                reports.table(("window", "rows", *(each.replace("_", " ") for each in flags)), history),
            ),
            ("Lines that cannot be read", reports.listed(report["examples"])),
        ],
        status=report["status"],
        facts={
            "from": _clock(report["since"]),
            "to": _clock(report["until"]),
            "rows": f"{report['rows']:,}",
            "requests": f"{report['requests']:,}",
            "cannot be read": f"{report['malformed']:,}",
            "version": report["model_package_arn"].rpartition("/")[2],
            "alarms": ", ".join(name.replace("_", " ") for name, on in report["stands"].items() if on) or "none",
        },
    )


def _is_broken(violation: Mapping[str, Any]) -> bool:
    return bool(violation["group"] == "broken")


def _number(value: float | None) -> float | str:
    return "" if value is None else float(value)


def _features(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(WHOLE.get(name, name) for name in names))


def _named(features: Sequence[str]) -> str:
    more = len(features) - NAMED
    return ", ".join(features[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")


def _clock(time: str) -> str:
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M} UTC"


def _numbers(before: Tally, now: Tally) -> tuple[list[str], list[float], list[float]]:
    """Bars for a quantity: one for each value where there are few, else of equal width over where nearly all lie."""
    values = sorted({value for tally in (before, now) for value, _ in tally.ordered()})
    if len(values) <= BINS:
        edges = values
    else:
        ends = [_ends(tally.ordered()) for tally in (before, now) if tally.cells]
        least, most = min(low for low, _ in ends), max(high for _, high in ends)
        edges = [least + (most - least) * step / (BINS - 1) for step in range(BINS)]

    def counts(tally: Tally) -> list[int]:
        found = [0] * len(edges)
        for value, count in tally.ordered():
            nearest = min(range(len(edges)), key=lambda index: abs(edges[index] - value))
            found[nearest] += count
        return found

    bars = dict(zip((f"{edge:.4g}" for edge in edges), zip(counts(before), counts(now), strict=True), strict=True))
    return _shares(bars, before, now)


def _ends(cells: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Between which values all but the TAILs lie."""
    sums = list(accumulate(count for _, count in cells))
    low = next(value for (value, _), total in zip(cells, sums, strict=True) if total > TAIL * sums[-1])
    high = next(value for (value, _), total in zip(cells, sums, strict=True) if total >= (1 - TAIL) * sums[-1])
    return low, high


def _codes(before: Tally, now: Tally) -> tuple[list[str], list[float], list[float]]:
    """Bars for codes: the most frequent ones, in the order of their names."""
    known = {*before.values, *now.values}
    largest = sorted(
        known,
        key=lambda code: (
            -before.values.get(code, 0) / (before.total or 1) - now.values.get(code, 0) / (now.total or 1),
            code,
        ),
    )[:MOST_BARS]
    bars = {
        code: (before.values.get(code, 0), now.values.get(code, 0))
        for code in sorted(largest, key=lambda code: (not code.isdecimal(), int(code) if code.isdecimal() else 0, code))
    }
    first, second = (
        sum(tally.values.get(code, 0) for code in known - {*bars}) + tally.others for tally in (before, now)
    )
    if first or second:
        bars["others"] = (first, second)
    return _shares(bars, before, now)


def _shares(
    bars: Mapping[str, tuple[int, int]], before: Tally, now: Tally
) -> tuple[list[str], list[float], list[float]]:
    """Bars as shares, with one each for what is no value: where there is any."""
    counts = dict(bars)
    for name in ("texts", "infinite", "missing"):
        found = getattr(before, name), getattr(now, name)
        if any(found):
            counts[name] = found
    of_before, of_now = before.total or 1, now.total or 1
    return (
        list(counts),
        [round(first / of_before, 6) for first, _ in counts.values()],
        [round(second / of_now, 6) for _, second in counts.values()],
    )
