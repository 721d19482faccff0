"""How often the quality monitor is wrong, and how soon it sees a fall: `python -m tests.bench.quality`, as Markdown.

On the two data sets of the nannyml package that come with answers and what came true: synthetic_car_loan, where the
world changes at row 25,000 of the analysis, and employment_MA, real people of 2015 to 2018 in nine years' quarters of
which nobody says when the world changed. Beside our rule stand two others, as their documentation and code have them:
Model Monitor's suggested constraints (worse than the baseline at all) and nannyml's (beyond three standard deviations
of the reference's windows of the same size).
"""

import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from functions.monitoring.quality import HIGHER_IS_BETTER, compare, measured

SIZES = (250, 500, 1000, 2500, 5000)
COMPARED = ("accuracy", "auc", "false_positive_rate", "false_negative_rate")

Rows = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Probabilities, and what came true."""
Rule = Callable[[dict[str, Any]], bool]
"""Whether a window of these figures is said to be worse."""


def folder() -> Path:
    """Where the package's data are."""
    return Path(str(importlib.metadata.distribution("nannyml").locate_file("nannyml/datasets/data")))


def car_loan() -> tuple[Rows, Rows]:
    """Reference and analysis of synthetic_car_loan."""
    reference = pd.read_csv(folder() / "synthetic_car_loan_reference.csv")
    analysis = pd.read_csv(folder() / "synthetic_car_loan_analysis.csv")
    truth = pd.read_csv(folder() / "synthetic_car_loan_analysis_target.csv")
    return _rows(reference, "y_pred_proba", reference["repaid"]), _rows(analysis, "y_pred_proba", truth["repaid"])


def employment() -> tuple[Rows, Rows]:
    """Reference and analysis of employment_MA."""
    reference, analysis, truth = (
        pd.read_parquet(folder() / f"employment_MA_{part}.pq") for part in ("reference", "analysis", "analysis_target")
    )
    name = "predicted_probability"
    return _rows(reference, name, reference["employed"]), _rows(analysis, name, truth["employed"])


def _rows(table: pd.DataFrame, probability: str, truth: pd.Series) -> Rows:
    return table[probability].to_numpy(float), truth.to_numpy().astype(int)


def windows(rows: Rows, size: int) -> Iterator[dict[str, Any]]:
    """The figures of each whole window of so many rows."""
    for start in range(0, len(rows[0]) - size + 1, size):
        part = slice(start, start + size)
        yield measured(rows[0][part], rows[1][part])


def ours(baseline: dict[str, Any]) -> Rule:
    """Chance is ruled out, and it matters."""
    return lambda now: any(each.is_worse for each in compare(baseline, now))


def model_monitors(baseline: dict[str, Any]) -> Rule:
    """Worse than the baseline's own value, which is what it suggests as a constraint."""
    return lambda now: any(_worse(name, now[name], baseline[name]) for name in COMPARED)


def nannymls(reference: Rows, size: int) -> Rule:
    """Worse than the mean of the reference's windows by more than three of their standard deviations."""
    parts = list(windows(reference, size))
    limits = {}
    for name in COMPARED:
        values = np.array([part[name] for part in parts])
        side = -1 if name in HIGHER_IS_BETTER else 1
        limits[name] = float(values.mean() + side * 3 * values.std())
    return lambda now: any(_worse(name, now[name], limits[name]) for name in COMPARED)


def _worse(name: str, now: float, limit: float) -> bool:
    return now < limit if name in HIGHER_IS_BETTER else now > limit


def lasting(found: Sequence[bool]) -> list[bool]:
    """Two of the last three windows, the newest among them."""
    return [worse and sum(found[max(0, index - 2) : index + 1]) >= 2 for index, worse in enumerate(found)]


def main() -> None:
    """Print the tables."""
    reference, analysis = car_loan()
    baseline = measured(*reference)
    out = sys.stdout.write
    out("synthetic_car_loan: the world changes at row 25,000 (share of windows that are said to be worse)\n\n")
    out("| rows | rule | before: one window | before: 2 of 3 | after: one window | rows until 2 of 3 rings |\n")
    out("|---|---|---|---|---|---|\n")
    for size in SIZES:
        rules = {
            "ours": ours(baseline),
            "Model Monitor": model_monitors(baseline),
            "nannyml": nannymls(reference, size),
        }
        told = list(windows(analysis, size))
        change = 25_000 // size
        for name, rule in rules.items():
            found = [rule(now) for now in told]
            rings = lasting(found)
            first = next((index for index, ring in enumerate(rings) if ring and index >= change), None)
            rows = "never" if first is None else f"{(first + 1) * size - 25_000:,}"
            before, lasts, after = (np.mean(each) for each in (found[:change], rings[:change], found[change:]))
            out(f"| {size:,} | {name} | {before:.1%} | {lasts:.1%} | {after:.1%} | {rows} |\n")
    reference, analysis = employment()
    baseline = measured(*reference)
    out("\nemployment_MA, windows of 15,000: what each is, and what is said of it\n\n")
    out("| rows from | accuracy | AUC | calibration error | worse |\n|---|---|---|---|---|\n")
    out(f"| reference | {baseline['accuracy']:.3f} | {baseline['auc']:.3f} | {baseline['calibration_error']:.3f} | |\n")
    for index, now in enumerate(windows(analysis, 15_000)):
        worse = ", ".join(each.metric.replace("_", " ") for each in compare(baseline, now) if each.is_worse) or "no"
        out(
            f"| {index * 15_000:,} | {now['accuracy']:.3f} | {now['auc']:.3f} | {now['calibration_error']:.3f} "
            f"| {worse} |\n"
        )


if __name__ == "__main__":
    main()
