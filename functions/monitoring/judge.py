"""What of a window is not what the baseline awaits, and whether its data are broken or the world has moved.

A column has moved only where the distance is significant at ALPHA over all columns together (Bonferroni) *and* one that
matters: a p-value alone finds something in any large window, a distance alone in any small one. Data are broken where
no population could have done it: values that are missing, of another type, far from all that training saw, stuck, or
of no known category. What is broken in a column explains that it moved, and is not said to be drift as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from functions.monitoring import statistics
from functions.monitoring.baseline import Baseline
from functions.monitoring.cells import Cells
from functions.monitoring.formats import DISTANCES, Limits, Violation, closed, hapaxes, unknown
from functions.monitoring.sketch import Profile, Tally
from functions.monitoring.statistics import Pair

__all__ = ["ALPHA", "FEWEST_ROWS", "Finding", "Verdict", "Violation", "judge"]

ALPHA: Final = 0.01
"""How often a window without drift may be said to have moved, over all its columns."""
FEWEST_ROWS: Final = 50
"""A smaller window is insufficient: nothing is said of it."""
SHARED: Final = 0.05
"""Windows that are judged by one baseline share its chance errors, the more the larger they are beside it. Where all is
shared, ALPHA is to be so many times smaller, that two of three windows are no more often wrong."""
CERTAIN: Final = 0.1
"""Each test for broken data gets this part of ALPHA: there are up to nine for each column, and they call a person."""
MISSING_FLOOR: Final = 0.01
"""The least rise of the share of missing values that matters."""
FILLED_FLOOR: Final = 0.05
"""The least fall of that share: no model is the worse for it, but it may be the better for learning from them."""
WRONG_FLOOR: Final = 0.005
"""The least share of wrong values that matters: of another type, never seen, infinite, out of range; and more than
WRONG_ROWS of them in any case, so that one says nothing."""
WRONG_ROWS: Final = 3
MALFORMED_FLOOR: Final = 0.01
"""The least share of rows that cannot be read that matters."""
FAR: Final = 1.0
"""A value is far out where it is beyond training's least or largest by more than so many times what lies between."""
UNITS: Final = 10.0
"""Where the size of values and their spread both change by more than this, their unit has changed."""
RARE: Final = 0.05
"""A number that so few rows had in training, and SPIKE of the rows more have now, stands in for others."""
SPIKE: Final = 0.3
STUCK: Final = 0.05
"""Where one value takes all, it has to be so much of a change to matter."""
REQUEST: Final = "(request)"
"""What a violation of no feature is filed under."""

Part = Literal["feature", "prediction"]


@dataclass(frozen=True)
class Finding:
    """One column of a window compared with its baseline."""

    feature: str
    part: Part
    statistics: Mapping[str, float]
    """All have: rows, missing (a share), distance, p, psi, js, robust; numbers also ks, w1; categories chi2, linf,
    unseen (a share). A distance is 0, and a p-value 1, where there is nothing to compare."""
    reasons: tuple[str, ...] = ()
    """What is wrong with it; empty where nothing is."""


@dataclass(frozen=True)
class Verdict:
    """What a window was found to be."""

    status: Literal["insufficient", "stable", "violated"]
    rows: int
    findings: tuple[Finding, ...] = ()
    """Of every column, the furthest first."""
    violations: tuple[Violation, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether its data are broken: wrong in schema, type, range or units, missing, stuck, or never seen."""
        return any(violation.group == "broken" for violation in self.violations)

    @property
    def drifting(self) -> bool:
        """Whether the features moved, or the predictions did and broken data do not explain it."""
        moved = {violation.group for violation in self.violations}
        return "drift" in moved or ("prediction" in moved and "broken" not in moved)


def judge(baseline: Baseline, window: Profile, *, alpha: float = ALPHA) -> Verdict:
    """Judge a window, whose profile was made with the baseline's schema. No window raises anything."""
    enough = window.rows >= FEWEST_ROWS
    # Where upstream adds a column to a CSV, no row can be read: that must not wait for rows.
    violations = [*_requests(baseline, window)] if window.rows + window.malformed >= FEWEST_ROWS else []
    if not enough and not violations:
        return Verdict("insufficient", window.rows)
    findings = []
    for comparison in _comparisons(baseline, window, alpha) if enough else ():
        violations += (found := comparison.violations())
        reasons = tuple(each.description for each in found)
        findings.append(Finding(comparison.now.column.name, comparison.part, comparison.statistics, reasons))
    findings.sort(key=lambda finding: (not finding.reasons, -finding.statistics["distance"]))
    return Verdict("violated" if violations else "stable", window.rows, tuple(findings), tuple(violations))


def _comparisons(baseline: Baseline, window: Profile, alpha: float) -> Iterator["_Comparison"]:
    profile = baseline.profile
    level = alpha / (len(profile.columns) + len(profile.outputs))
    for part, before, now in (
        ("feature", profile.columns, window.columns),
        ("prediction", profile.outputs, window.outputs),
    ):
        for name, tally in before.items():
            its = now.get(name, Tally(tally.column))
            if its.total >= FEWEST_ROWS:
                absent = window.absent.get(name, 0) if part == "feature" else 0
                yield _Comparison(part, tally, its, absent, baseline.constraints.of(name), level)  # type: ignore[arg-type]  # mypy widens the literals


def _requests(baseline: Baseline, window: Profile) -> Iterator[Violation]:
    """What is wrong with requests as such."""
    if not baseline.constraints.default.evaluate:
        return
    asked = window.rows + window.malformed
    if window.malformed > max(MALFORMED_FLOOR * asked, WRONG_ROWS):
        widths = ", ".join(f"{count} with {width}" for width, count in sorted(window.widths.items()))
        lengths = f"; rows have {len(baseline.schema.columns)} values, there were {widths}" if widths else ""
        text = f"{window.malformed} of {asked} rows cannot be read{lengths}"
        yield Violation(REQUEST, "data_type_check", text, "broken")
    for name, count in sorted(window.extra.items()):
        if count > max(WRONG_FLOOR * window.rows, WRONG_ROWS):
            text = f"{count} of {window.rows} rows have this column, which training did not have"
            yield Violation(name, "extra_column_check", text, "broken")


@dataclass
class _Comparison:
    """A column of the baseline, and the same of the window."""

    part: Part
    before: Tally
    now: Tally
    absent: int
    """In how many rows the column was not there."""
    limits: Limits
    level: float
    """Below this a p-value is significant."""
    statistics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        share = self.now.total / (self.now.total + self.before.total) if self.before.total else 1.0
        self.level *= SHARED**share
        self.numeric = self.before.column.kind == "number"
        self.known, self.seen = _values(self.before), _values(self.now)
        self.statistics = {
            "rows": self.now.total,
            "missing": self.now.missing / self.now.total,
            **dict.fromkeys(("distance", "psi", "js", "robust"), 0.0),
            "p": 1.0,
        }
        self.statistics |= dict.fromkeys(("ks", "w1") if self.numeric else ("chi2", "linf", "unseen"), 0.0)
        # Putting cells in order is most of the work of judging: done once.
        self.cells = Cells.of(self.before, self.now)
        if self.known and self.seen:
            (self._measure_numbers if self.numeric else self._measure_categories)()

    # --- measuring

    def _measure_numbers(self) -> None:
        apart = statistics.kolmogorov(self.cells.pairs)
        _, deviation = statistics.moments(self.cells.before)
        carried = statistics.wasserstein(self.cells.paired)
        self._measured(statistics.pooled(self.cells.pairs, statistics.PSI_BINS), apart)
        self.statistics |= {
            "p": statistics.kolmogorov_p(apart, self.known, self.seen),
            "ks": apart,
            # A constant has no deviation: then the distance is in its own units.
            "w1": carried / deviation if deviation else carried,
        }

    def _measure_categories(self) -> None:
        # Where training has more values than its baseline knows, all others are one. Otherwise a window's new values
        # stay apart: one that is as rare as its neighbours in training is no more than chance.
        known, rare = self.before.column.categories, (0, 0)
        whole = not unknown(self.before, known)
        names = known | self.now.values.keys() if whole else known
        pairs = [(self.before.values.get(name, 0), self.now.values.get(name, 0)) for name in names]
        rare = (0, self.now.others) if whole else (unknown(self.before, known), unknown(self.now, known))
        common = statistics.common(pairs, (self.known, self.seen), rare)
        chi2, freedom = statistics.chi_square(common)
        apart = statistics.largest_change(common)
        self._measured(common, apart)
        self.statistics |= {
            "p": statistics.chi_square_tail(chi2, freedom),
            "chi2": chi2,
            "linf": apart,
            "unseen": unknown(self.now, self.domain) / self.seen,
        }

    def _measured(self, pairs: list[Pair], apart: float) -> None:
        self.statistics |= {
            "distance": apart,
            "psi": statistics.stability_index(pairs),
            "js": statistics.jensen_shannon(pairs),
            "robust": statistics.robust(apart, self.known, self.seen),
        }

    @property
    def domain(self) -> frozenset[str]:
        """The categories that are allowed."""
        return self.before.column.categories if self.limits.domains is None else self.limits.domains

    # --- judging

    def violations(self) -> list[Violation]:
        """What is wrong with the column."""
        found = [*self._broken()] if self.limits.evaluate else []
        if not any(violation.group == "broken" for violation in found) and self.limits.compare and self._moved():
            found.append(self._told("baseline_drift_check", self._movement(), "drift"))
        return found

    def _told(self, check: str, description: str, group: str) -> Violation:
        drift = "prediction" if self.part == "prediction" else "drift"
        return Violation(self.now.column.name, check, description, "broken" if group == "broken" else drift)  # type: ignore[arg-type]  # mypy widens the literals

    def _moved(self) -> bool:
        limits, p = self.limits, self.statistics["p"]
        if p >= self.level:
            return False
        floor = limits.threshold if self.numeric else limits.categorical_threshold
        if not self.numeric and limits.chi_square and floor is not None:
            return p < floor
        if floor is None:
            floor = DISTANCES[self.before.column.kind]
        return self.statistics["robust" if limits.robust else "distance"] > floor

    def _movement(self) -> str:
        kind = "distribution" if self.numeric else "categories' shares"
        return f"its {kind} moved by {self.statistics['distance']:.3f} (at most 1; p = {self.statistics['p']:.1e})"

    def _broken(self) -> Iterator[Violation]:
        yield from self._missing()
        yield from self._wrong_type()
        found = [*(self._out_of_range() if self.numeric else self._unseen())]
        if not any(violation.group == "broken" for violation in found):
            # One reason is enough: what is out of range or never seen is not said to be stuck as well.
            found = [*self._stuck()] or found
        yield from found

    def _missing(self) -> Iterator[Violation]:
        missing, total = self.now.missing, self.now.total
        check, text = "completeness_check", f"{missing} of {total} values are missing"
        if self.absent * 2 > total:
            check, text = "missing_column_check", f"{self.absent} of {total} rows do not have this column"
        least = self.limits.completeness
        if least is not None:
            if 1 - missing / total < least and statistics.above_p(missing, total, 1 - least) < self.certain:
                yield self._told(check, f"{text}; at least {least:.1%} have to be there", "broken")
            return
        known, of_known = self.before.missing, self.before.total
        text += f", {known / of_known:.1%} were in training" if of_known else ""
        moved = missing / total - (known / of_known if of_known else 0.0)
        if moved > MISSING_FLOOR and self._rose(known, of_known, missing, total):
            yield self._told(check, text, "broken")
        elif -moved > FILLED_FLOOR and self._rose(of_known - known, of_known, total - missing, total):
            # More is known than in training: nobody has to mend that, but the model has not seen it.
            yield self._told(check, text, "drift")

    def _wrong_type(self) -> Iterator[Violation]:
        for what, known, wrong in (
            ("no numbers", self.before.texts, self.now.texts),
            ("infinite", self.before.infinite, self.now.infinite),
        ):
            if self._many(known, wrong, self.limits.datatype_threshold):
                such = sorted(self.now.strange, key=lambda text: (-self.now.strange[text], text))[:1]
                example = f", such as {such[0]!r}" if such and what == "no numbers" else ""
                yield self._told("data_type_check", f"{wrong} of {self.now.count} values are {what}{example}", "broken")

    def _unseen(self) -> Iterator[Violation]:
        limits, wrong = self.limits, unknown(self.now, self.domain)
        if not self.known:
            return
        values = {value: count for value, count in self.now.values.items() if value not in self.domain}
        if limits.domains is not None:
            where, group = "the constraints do not allow", "broken"
            too_many = self._many(unknown(self.before, limits.domains), wrong, limits.domain_threshold)
        else:
            where, group = "training never saw", "broken" if closed(self.before) else "drift"
            too_many = self._new(values, wrong)
        if too_many:
            such = sorted(values, key=lambda value: (-values[value], value))[:1]
            text = f"{where} {wrong} of its {self.now.count} values{f', such as {such[0]!r}' if such else ''}"
            yield self._told("categorical_values_check", text, group)

    def _new(self, values: Mapping[str, int], wrong: int) -> bool:
        """Whether more values are new than a further look at the same world would bring."""
        awaited = hapaxes(self.before)
        if wrong <= WRONG_ROWS or wrong / self.seen - awaited / self.known <= WRONG_FLOOR:
            return False
        if unknown(self.before, self.domain):
            return self._rose(awaited, self.known, wrong, self.seen)
        # Rows with the same new value are no independent witnesses. So many different ones are, and of one value it is
        # how unlikely it is that training missed it.
        level = self.certain / len(values) if values else 0.0
        one = statistics.rise_p(0, self.known, max(values.values(), default=0), self.seen) < level
        return one or self._rose(awaited, self.known, len(values), self.seen)

    def _out_of_range(self) -> Iterator[Violation]:
        least, most, seen = self.before.minimum, self.before.maximum, self.seen
        if not seen:
            return
        negative = self.cells.below(0.0)
        if self.limits.non_negative:
            if negative:
                text = f"{negative} of {seen} values are negative, and the constraints forbid it"
                yield self._told("data_type_check", text, "broken")
                return
        elif least is not None and least >= 0 and self._many(1, negative, None):
            yield self._told("data_type_check", f"{negative} of {seen} values are negative, none was", "broken")
            return
        if least is None or most is None or not self.known:
            return
        width = FAR * (most - least)
        first, last = self.cells.before[0][0], self.cells.before[-1][0]
        outside = seen - self.cells.within(first, last)
        far = seen - self.cells.within(first - width, last + width)
        if self._many(2, far, None):
            text = f"{far} of {seen} values are far from all in training, which are from {least:g} to {most:g}"
            yield self._told("baseline_drift_check", text, "broken")
        elif outside * 2 > seen and self._rose(2, self.known, outside, seen):
            text = f"{outside} of {seen} values are out of the range of training, {least:g} to {most:g}"
            yield self._told("baseline_drift_check", text, "broken")
        elif self.statistics["p"] < self.certain and (times := self._rescaled()):
            yield self._told(
                "baseline_drift_check", f"values and their spread are {times:.3g} times what they were", "broken"
            )

    def _rescaled(self) -> float | None:
        """By how much the unit seems to have changed; None where it has not."""
        sizes = []
        for cells in (self.cells.before, self.cells.now):
            sized = sorted((abs(value), count) for value, count in cells if value)
            if not sized:
                return None
            spread = statistics.quantile(cells, 0.9) - statistics.quantile(cells, 0.1)
            sizes.append((statistics.quantile(sized, 0.5), spread))
        (size, spread), (size_now, spread_now) = sizes
        larger = size_now >= UNITS * size and spread_now >= UNITS * spread > 0
        smaller = size_now * UNITS <= size and spread_now * UNITS <= spread and spread > 0
        return size_now / size if larger or smaller else None

    def _stuck(self) -> Iterator[Violation]:
        if not self.known or not self.seen:
            return
        if self.numeric:
            value, (before, now) = self.cells.fullest
            shown = f"{self.now.minimum:g}" if self.now.minimum == self.now.maximum else f"{value:g} or close to it"
        else:
            shown, now = max(self.now.values.items(), key=lambda each: (each[1], each[0]), default=("", 0))
            before = self.before.values.get(shown, 0)
            shown = repr(shown)
        share = before / self.known
        rise = now / self.seen - share
        alone = now == self.seen and rise > STUCK
        spike = self.numeric and share <= RARE and rise > SPIKE
        if (alone or spike) and self._rose(before, self.known, now, self.seen):
            text = f"{now} of {self.seen} values are {shown}, {share:.1%} were in training"
            yield self._told("baseline_drift_check", text, "broken")

    @property
    def certain(self) -> float:
        """Below this a p-value says that data are broken."""
        return self.level * CERTAIN

    def _rose(self, known: int, of_known: int, wrong: int, of: int) -> bool:
        """Whether a share is larger than in training, by more than chance."""
        return statistics.rise_p(known, of_known, wrong, of) < self.certain

    def _many(self, known: int, wrong: int, least_right: float | None) -> bool:
        """Whether too many of the values are wrong: more than in training, or than a team allows."""
        count, of_known = self.now.count, self.before.count
        if not wrong:
            return False
        if least_right is not None:
            return 1 - wrong / count < least_right and statistics.above_p(wrong, count, 1 - least_right) < self.certain
        known = min(known, of_known)
        more = wrong / count - (known / of_known if of_known else 0.0)
        return more > WRONG_FLOOR and wrong > WRONG_ROWS and self._rose(known, of_known, wrong, count)


def _values(tally: Tally) -> int:
    """How many values can be compared."""
    return tally.numbers if tally.column.kind == "number" else sum(tally.values.values()) + tally.others
