"""How often the data monitor is wrong, and what it finds: `python -m tests.bench.drift PART`, as Markdown.

- `calibration`: windows without drift, 50 columns of every kind, many sizes of baseline and window.
- `faults`: faults put into one column each, in windows of 500 rows.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from functions.monitoring.baseline import Baseline, fit
from functions.monitoring.judge import Verdict, judge
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
        **{
            f"holes_{share}": holes(source.normal(0, 1, rows), share / 1000) for share in (1, 10, 100, 500, 950)
        },
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
        if tally.column.kind == "category":
            tally.add_counts(Counter(values.tolist()))
            tally.settle()
        else:
            tally.add_numbers(values.tolist())
    profile.rows = len(next(iter(data.values())))
    return profile


# --- calibration ------------------------------------------------------------------------------------------------------

SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 20_000)


def of_three(alarms: Sequence[bool]) -> list[bool]:
    """Whether two of the last three windows alarm, the newest among them; of the third window and all later ones."""
    return [last and (first or second) for first, second, last in zip(alarms, alarms[1:], alarms[2:], strict=False)]


def calibration(windows: int, baselines: Mapping[int, int]) -> Iterator[str]:
    """Of windows without drift, the share that alarms."""
    yield "| rows of the baseline | rows of a window | windows | one alarms | two of three | most often |"
    yield "|---|---|---|---|---|---|"
    for size, many in baselines.items():
        sources = [np.random.default_rng([7, size, number]) for number in range(many)]
        worlds = [(source, trained(table(source, size))) for source in sources]
        for rows in SIZES:
            count = max(3, windows // many if rows < 20_000 else windows // many // 2)
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
            yield (
                f"| {size:,} | {rows:,} | {len(alarms):,} | {np.mean(alarms):.2%} | {np.mean(twice):.2%} | {most} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("calibration",))
    parser.add_argument("--windows", type=int, default=1000)
    options = parser.parse_args()
    for line in calibration(options.windows, {1000: 50, 10_000: 10, 100_000: 3}):
        print(line, flush=True)


if __name__ == "__main__":
    main()
