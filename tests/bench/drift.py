"""How often the data monitor is wrong, and what it finds: `python -m tests.bench.drift PART`, as Markdown.

- `calibration`: windows without drift, 50 columns of every kind, many sizes of baseline and window.
- `faults`: faults put into one column each, in windows of 500 rows.
- `real`: real data, with and without known drift (see tests/bench/drift_data.py).
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from functions.monitoring.baseline import Baseline, fit
from functions.monitoring.judge import ALPHA, Violation, judge
from functions.monitoring.sketch import Profile, Schema

Table = Mapping[str, NDArray[Any]]
"""Columns by name: numbers with NaN where one is missing, or texts."""


def table(source: Generator, rows: int) -> dict[str, NDArray[Any]]:
    """Rows of a world that stands still: 40 numbers and 10 categories, of every kind that makes trouble."""

    def zipf(levels: int, power: float) -> NDArray[Any]:
        shares = 1 / np.arange(1, levels + 1) ** power
        return source.choice(levels, rows, p=shares / shares.sum())

    def holes(values: NDArray[Any], share: float) -> NDArray[Any]:
        return np.where(source.random(rows) < share, np.nan, values)

    numbers = {
        **{f"normal_{i}": source.normal(10.0**i, 2.0, rows) for i in range(-1, 5)},
        **{f"lognormal_{i}": source.lognormal(i, 0.5 + i / 2, rows) for i in range(4)},
        **{f"uniform_{i}": source.uniform(-i, 1 + i, rows) for i in range(3)},
        "cauchy": source.standard_cauchy(rows),
        "pareto": source.pareto(1.1, rows),
        "student": source.standard_t(2, rows),
        "exponential": source.exponential(1000, rows),
        "two_humps": np.where(source.random(rows) < 0.4, source.normal(0, 1, rows), source.normal(30, 2, rows)),
        **{
            f"zeros_{share}": np.where(source.random(rows) * 1000 < share, 0.0, source.exponential(5, rows))
            for share in (500, 900, 990, 999)
        },
        "ages": source.integers(18, 91, rows).astype(float),
        "years": source.integers(1990, 2027, rows).astype(float),
        "counts": source.poisson(3, rows).astype(float),
        "many_counts": source.poisson(3000, rows).astype(float),
        "ratings": source.choice(5, rows, p=[0.05, 0.05, 0.1, 0.3, 0.5]) + 1.0,
        "prices": np.round(source.lognormal(3, 1, rows), 1),
        "coin": source.integers(0, 2, rows).astype(float),
        "rare_flag": (source.random(rows) < 0.02).astype(float),
        "rarest_flag": (source.random(rows) < 0.0005).astype(float),
        "constant": np.full(rows, 7.0),
        "nearly_constant": np.where(source.random(rows) < 0.001, 8.0, 7.0),
        **{f"holes_{share}": holes(source.normal(0, 1, rows), share / 1000) for share in (1, 10, 100, 500, 950)},
        "empty": np.full(rows, np.nan),
        "seconds": source.uniform(1.7e9, 1.7e9 + 86400, rows),
        "tiny": source.normal(0, 1e-9, rows),
        "huge": source.lognormal(60, 3, rows),
    }
    codes = {
        "sides": source.integers(0, 2, rows),
        "days": source.integers(0, 7, rows),
        "states": zipf(50, 1.0),
        "even_levels": source.integers(0, 200, rows),
        "shops": zipf(900, 1.1),
        "streets": zipf(20_000, 1.0),
        "even_streets": source.integers(0, 1500, rows),
        "identifiers": source.integers(0, 10**9, rows),
        "rare_level": (source.random(rows) < 0.0005).astype(int),
        "one_level": np.zeros(rows, int),
    }
    return {**numbers, **{name: values.astype(str) for name, values in codes.items()}}


def is_text(values: NDArray[Any]) -> bool:
    """Whether a column is of categories."""
    return values.dtype.kind in "UO"


def trained(data: Table) -> Baseline:
    """The baseline of a table, made as the training pipeline makes it: of texts."""
    texts = [
        values.tolist() if is_text(values) else ["" if value != value else repr(value) for value in values.tolist()]
        for values in data.values()
    ]
    return fit(list(data), [is_text(values) for values in data.values()], zip(*texts, strict=True))


def seen(schema: Schema, data: Table) -> Profile:
    """The profile of a table."""
    profile = Profile.empty(schema)
    for name, values in data.items():
        tally = profile.columns[name]
        if is_text(values):
            tally.add(values.tolist())
        else:
            tally.add_numbers(values.tolist())
    profile.rows = len(next(iter(data.values())))
    return profile


# --- calibration ------------------------------------------------------------------------------------------------------

SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 20_000)
BASELINES = {1000: 12, 10_000: 4, 100_000: 2}
"""Rows of a baseline, and how many different ones are made."""


def of_three(alarms: Sequence[bool]) -> list[bool]:
    """Whether two of the last three windows alarm, the newest among them; of the third window and all later ones."""
    return [last and (first or second) for first, second, last in zip(alarms, alarms[1:], alarms[2:], strict=False)]


def calibration(windows: int, baselines: Sequence[int], sizes: Sequence[int]) -> Iterator[str]:
    """Of windows without drift, the share that alarms."""
    yield "| rows of the baseline | rows of a window | windows | one alarms | two of three | most often |"
    yield "|---|---|---|---|---|---|"
    for size in baselines:
        many = BASELINES[size]
        sources = [np.random.default_rng([7, size, number]) for number in range(many)]
        worlds = [(source, trained(table(source, size))) for source in sources]
        for rows in sizes:
            count = max(3, windows // many)
            alarms: list[bool] = []
            twice: list[bool] = []
            blamed = Counter[str]()
            for source, baseline in worlds:
                verdicts = [judge(baseline, seen(baseline.schema, table(source, rows))) for _ in range(count)]
                its = [verdict.status == "violated" for verdict in verdicts]
                alarms += its
                twice += of_three(its)
                blamed.update(
                    f"{violation.feature_name} ({violation.group}: {violation.constraint_check_type})"
                    for verdict in verdicts
                    for violation in verdict.violations
                )
            most = ", ".join(f"{name} {times}" for name, times in blamed.most_common(3)) or "none"
            yield (f"| {size:,} | {rows:,} | {len(alarms):,} | {np.mean(alarms):.2%} | {np.mean(twice):.2%} | {most} |")


def of_column(baseline: Baseline, name: str, values: NDArray[Any]) -> list[Violation]:
    """What is said of one of the baseline's columns, as if all of them were judged."""
    tally = baseline.profile.columns[name]
    alone = Profile.empty(Schema((tally.column,)))
    alone.columns, alone.rows = {name: tally}, baseline.rows
    window = seen(alone.schema, {name: values})
    return list(judge(Baseline(alone), window, alpha=ALPHA / len(baseline.profile.columns)).violations)


# --- faults -----------------------------------------------------------------------------------------------------------

FAULTS: Mapping[str, frozenset[str]] = {
    "a fifth is missing": frozenset({"broken"}),
    "the column is gone": frozenset({"broken"}),
    "100 times as large": frozenset({"broken"}),
    "stuck": frozenset({"broken"}),
    "numbers become words": frozenset({"broken"}),
    "5 % are of a new category": frozenset({"broken"}),
    "30 % are of another category": frozenset({"drift"}),
    "half a deviation larger": frozenset({"drift"}),
}
"""Faults, and what they are to be called. A column that cannot have one, such as a constant that is stuck, is spared
that test: see `faulty`."""
FIXED = frozenset({"sides", "days", "states", "even_levels", "rare_level", "one_level"})
"""Categories with a fixed set of values."""
LUMPY = ("zeros", "ages", "years", "counts", "ratings", "coin", "rare", "constant", "nearly")
"""Numbers that are whole, or often the same."""


def faulty(fault: str, data: Table) -> Iterator[tuple[str, NDArray[Any]]]:
    """The values of each column that can have this fault, with it."""
    for name, values in data.items():
        text = is_text(values)
        there = values[values != "nan"] if text else values[~np.isnan(values)]
        if len(there) < len(values) / 2:
            continue
        every = np.arange(len(values))
        kinds, counts = np.unique(there, return_counts=True)
        common = kinds[counts.argsort()[::-1]]
        varied = counts.max() < 0.9 * len(there)
        changed: NDArray[Any] | None = None
        if fault == "a fifth is missing":
            changed = np.where(every % 5 == 0, "" if text else np.nan, values)
        elif fault == "the column is gone":
            changed = np.full(len(values), "" if text else np.nan)
        elif fault == "100 times as large" and not text and (there != 0).mean() > 0.05:
            changed = values * 100
        elif fault == "stuck" and varied:
            changed = np.full(len(values), there[0])
        elif fault == "numbers become words" and not text:
            changed = np.full(len(values), "unknown")
        elif fault == "5 % are of a new category" and name in FIXED:
            changed = np.where(every % 20 == 0, "never seen", values)
        elif fault == "30 % are of another category" and name in FIXED and len(kinds) > 1:
            changed = np.where(every % 10 < 3, common[1], values)
        elif fault == "half a deviation larger" and not text and varied and not name.startswith(LUMPY):
            changed = values + there.std() / 2
        if changed is not None:
            yield name, changed


def faults(rows: int, times: int) -> Iterator[str]:
    """Of faults in one column each, the share that is found in the first window, and told for what it is."""
    yield "| fault | rows of the baseline | tried | found | told right |"
    yield "|---|---|---|---|---|"
    sums = np.zeros(3, int)
    for size in (1000, 10_000):
        source = np.random.default_rng([8, size])
        baseline = trained(table(source, size))
        for fault, groups in FAULTS.items():
            counts = np.zeros(3, int)
            for _ in range(times):
                for name, values in faulty(fault, table(source, rows)):
                    its = {each.group for each in of_column(baseline, name, values)}
                    counts += [1, bool(its), bool(its & groups)]
                    if not its & groups:
                        print(fault, name, its, file=sys.stderr)
            sums += counts
            tried, found, right = counts.tolist()
            yield f"| {fault} | {size:,} | {tried} | {found / tried:.1%} | {right / tried:.1%} |"
    tried, found, right = sums.tolist()
    yield f"| all | | {tried} | {found / tried:.1%} | {right / tried:.1%} |"


def real(windows: int) -> Iterator[str]:
    """What drift_data tells; it needs pandas and more."""
    from tests.bench.drift_data import everything

    return everything(windows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("calibration", "faults", "real"))
    parser.add_argument("--windows", type=int, default=240, help="of each size; not for faults")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of a window, for calibration")
    parser.add_argument("--baselines", type=int, nargs="+", default=[*BASELINES], choices=[*BASELINES])
    options = parser.parse_args()
    parts = {
        "calibration": lambda: calibration(options.windows, options.baselines, options.sizes),
        "faults": lambda: faults(500, 3),
        "real": lambda: real(options.windows),
    }
    for line in parts[options.part]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
