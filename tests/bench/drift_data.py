"""What the data monitor says of real data whose drift is known: `python -m tests.bench.drift real`, as Markdown.

The data lie in the wheels of nannyml, popmon, river (group `datasets`) and scikit-learn. Beside the monitor's verdict
stand those of other rules, from the same statistics: a p-value below 0.05 in any column, evidently's default for more
than 1,000 rows (normed Wasserstein or Jensen-Shannon distance of 0.1 in any column), and Model Monitor's (`Robust`
above 0.1 in any column).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it brings no types
from numpy.typing import NDArray
from sklearn import datasets

from functions.monitoring.baseline import Baseline
from functions.monitoring.judge import Finding, Verdict, judge
from tests.bench.drift import Table, seen, trained

RULES: Mapping[str, Callable[[Verdict], bool]] = {
    "Slipway": lambda verdict: verdict.status == "violated",
    "p < 0.05": lambda verdict: any(each.statistics["p"] < 0.05 for each in verdict.findings),
    "evidently": lambda verdict: any(_evidently(each) >= 0.1 for each in verdict.findings),
    "Model Monitor": lambda verdict: any(each.statistics["robust"] > 0.1 for each in verdict.findings),
}
HEADS = " | ".join(RULES)
LINE = "---|" * len(RULES)


def _evidently(finding: Finding) -> float:
    told = finding.statistics
    return told["w1"] if "w1" in told else told["js"] * sqrt(log(2))  # its logarithms are natural ones


def wheel(package: str, path: str) -> Path:
    """A file of a wheel, which is not imported."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"there is no {package} here: run this by `uv run --group datasets`")
    return Path(found.origin).parent / path


def nannyml(name: str) -> pd.DataFrame:
    path = wheel("nannyml", f"datasets/data/{name}")
    return pd.read_parquet(path) if path.suffix == ".pq" else pd.read_csv(path)


def columns(frame: pd.DataFrame, *without: str) -> dict[str, NDArray[Any]]:
    """A frame as a table: what is no number is a category."""
    told = {}
    for name in frame.columns.difference(without, sort=False):
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            told[name] = values.to_numpy(float)
        else:
            told[name] = values.astype(object).where(values.notna(), "").astype(str).to_numpy(str)
    return told


def rows(data: Table, chosen: Any) -> Table:
    """Some rows of a table."""
    return {name: values[chosen] for name, values in data.items()}


def length(data: Table) -> int:
    return len(next(iter(data.values())))


def verdicts(baseline: Baseline, data: Table, size: int) -> list[Verdict]:
    """Of windows in the order of the data, disjoint."""
    starts = range(0, length(data) - size + 1, size)
    return [judge(baseline, seen(baseline.schema, rows(data, slice(start, start + size)))) for start in starts]


def shares(told: Sequence[Verdict]) -> str:
    """How many of these windows alarm, rule by rule."""
    return " | ".join(f"{np.mean([rule(each) for each in told]):.1%}" if told else "-" for rule in RULES.values())


def moved(told: Sequence[Verdict]) -> str:
    """What alarms most."""
    names = Counter(
        f"{name} ({group})"
        for each in told
        for name, group in dict.fromkeys((found.feature_name, found.group) for found in each.violations)
    )
    return ", ".join(f"{name} {count}" for name, count in names.most_common(4)) or "none"


# --- nothing moved ----------------------------------------------------------------------------------------------------


def still() -> Iterator[tuple[str, Table, int]]:
    """Tables in which nothing moves once their rows are shuffled, and a size of windows."""
    yield "employment_MA", columns(nannyml("employment_MA_reference.pq"), "id", "year", "employed", "prediction"), 500
    loans = nannyml("synthetic_car_loan_reference.csv")
    yield "synthetic_car_loan", columns(loans, "id", "timestamp", "repaid", "y_pred"), 500
    houses = nannyml("california_housing_reference.csv")
    yield "california_housing", columns(houses, "id", "timestamp", "clf_target", "y_pred"), 500
    flights = pd.read_csv(wheel("popmon", "test_data/flight_delays_reference.csv.gz"))
    yield "flight_delays", columns(flights, "Unnamed: 0", "DATE"), 500
    for name, load in (("digits", datasets.load_digits), ("breast_cancer", datasets.load_breast_cancer)):
        yield name, columns(pd.DataFrame(load().data).rename(columns=str)), 100


def null(windows: int) -> Iterator[str]:
    """Windows of rows that were held out at random: each alarm is a false one."""
    yield f"| data | columns | rows of the baseline | windows | {HEADS} |"
    yield f"|---|---|---|---|{LINE}"
    source = np.random.default_rng(11)
    for name, data, size in still():
        order = source.permutation(length(data))
        half = len(order) // 2
        baseline = trained(rows(data, order[:half]))
        told = [
            judge(baseline, seen(baseline.schema, rows(data, source.choice(order[half:], size, replace=False))))
            for _ in range(windows)
        ]
        yield f"| {name} | {len(data)} | {half:,} | {windows} of {size} | {shares(told)} |"


# --- drift that is known ----------------------------------------------------------------------------------------------


def loans(sizes: Sequence[int] = (50, 100, 250, 500, 1000)) -> Iterator[str]:
    """synthetic_car_loan: drift begins exactly at row 25,000 of what is to be judged."""
    without = ("id", "timestamp", "repaid", "y_pred")
    baseline = trained(columns(nannyml("synthetic_car_loan_reference.csv"), *without))
    data = columns(nannyml("synthetic_car_loan_analysis.csv"), *without)
    yield f"| rows of a window | windows | before the drift: {HEADS} | after it: {HEADS} | windows until it is found |"
    yield f"|---|---|{LINE}{LINE}---|"
    for size in sizes:
        told = verdicts(baseline, data, size)
        begin = 25_000 // size
        delay = next((i for i, each in enumerate(told[begin:], 1) if each.status == "violated"), None)
        yield f"| {size} | {len(told)} | {shares(told[:begin])} | {shares(told[begin:])} | {delay} |"


def known() -> Iterator[str]:
    """Other streams, in windows in their order."""
    yield f"| data | part | windows | {HEADS} | what moved (windows) | the model's accuracy |"
    yield f"|---|---|---|{LINE}---|---|"

    def row(name: str, part: str, size: int, told: Sequence[Verdict], accuracy: float | None = None) -> str:
        right = "" if accuracy is None else f"{accuracy:.1%}"
        return f"| {name} | {part} | {len(told)} of {size:,} | {shares(told)} | {moved(told)} | {right} |"

    without = ("id", "timestamp", "repaid", "y_pred")
    baseline = trained(columns(nannyml("synthetic_car_loan_dq_reference.csv"), *without))
    data = columns(nannyml("synthetic_car_loan_dq_analysis.csv"), *without)
    told = verdicts(baseline, data, 500)
    half = len(told) // 2
    yield row("synthetic_car_loan_dq", "first half", 500, told[:half])
    yield row("synthetic_car_loan_dq", "second half: missing and unseen values", 500, told[half:])

    without = ("id", "year", "employed", "prediction")
    baseline = trained(columns(nannyml("employment_MA_reference.pq"), *without))
    people = nannyml("employment_MA_analysis.pq")
    people["right"] = people["prediction"] == nannyml("employment_MA_analysis_target.pq")["employed"].to_numpy()
    for year, its in people.groupby("year"):
        told = verdicts(baseline, columns(its, *without, "right"), 1000)
        yield row("employment_MA", str(year), 1000, told, its["right"].mean())

    without = ("id", "timestamp", "clf_target", "y_pred")
    baseline = trained(columns(nannyml("california_housing_reference.csv"), *without))
    houses = nannyml("california_housing_analysis.csv")
    yield row("california_housing", "all", 500, verdicts(baseline, columns(houses, *without), 500))

    flights = [pd.read_csv(wheel("popmon", f"test_data/flight_delays{part}.csv.gz")) for part in ("_reference", "")]
    before, now = (columns(frame, "Unnamed: 0", "DATE") for frame in flights)
    yield row("flight_delays", "the other months", 1000, verdicts(trained(before), now, 1000))

    yield from series(row)


def series(row: Callable[[str, str, int, Sequence[Verdict]], str]) -> Iterator[str]:
    """Series whose changes people have marked, where enough rows come before the first that most of them agree on."""
    for name, time, first in (
        # Five annotators: 234 to 238 and 415 to 417. Three of them see changes at 53 and 143 as well.
        ("occupancy", "time", 234),
        # Three of five annotators: 296 to 302.
        ("airline_passengers", "date", 299),
    ):
        data = columns(pd.read_csv(wheel("river", f"drift/datasets/{name}.csv")), time)
        told = verdicts(trained(rows(data, slice(0, first - 100))), rows(data, slice(first - 100, first)), 50)
        yield row(name, f"before row {first}", 50, told)
        told = verdicts(trained(rows(data, slice(0, first - 100))), rows(data, slice(first, None)), 50)
        yield row(name, f"from row {first} on", 50, told)


def everything(windows: int) -> Iterator[str]:
    """All tables."""
    for title, lines in (
        ("Held-out rows, shuffled: nothing moved", null(windows)),
        ("synthetic_car_loan: drift begins at row 25,000", loans()),
        ("Other streams, in their order", known()),
    ):
        yield from ("", f"**{title}**", "")
        yield from lines
