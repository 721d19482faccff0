# /// script
# requires-python = "==3.11.*"
# dependencies = [
#   "evidently==0.7.23",
#   "ipython",
#   "kaleido==0.2.1",
#   "msgspec>=0.22",
#   "nannyml==0.13.1",
#   "numpy<2",
#   "orjson>=3.13",
#   "pandas<3",
#   "statsmodels",
#   "whylogs==1.6.4",
# ]
# ///
"""The monitors' core beside evidently, nannyml and whylogs, on the same tables:
`uv run --no-config --script tests/bench/peers.py`.

Their packages are in peers.py.lock, and in no other lock: 1.9 GB. The pins make them import (whylogs needs numpy 1,
evidently and nannyml pandas 2, nannyml statsmodels, whylogs IPython). Each run is in a process of its own; `--quick`
leaves the million rows out.
"""

import argparse
import json
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NUMBERS = [f"n{place:02}" for place in range(40)]
CATEGORIES = [f"k{place:02}" for place in range(10)]
MOVED = ["n00", "n01", "n02", "n03", "n04", "n05", "n06", "n07", "n08", "n09", "k00", "k01"]
"""The columns that drift in the second table: by half a standard deviation, or ten points of a share."""
SIZES = {"1k": (1_000, 1_000), "1M": (100_000, 1_000_000)}


def made(rows: int, seed: int, moved: bool) -> Any:
    """A table of 40 numbers and 10 categories of 20, as a DataFrame."""
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for place, name in enumerate(NUMBERS):
        values = draw.normal(place, 1 + place / 10, rows) if place % 3 else draw.lognormal(place / 20, 0.5, rows)
        columns[name] = values + (0.5 * values.std() if moved and name in MOVED else 0.0)
    labels = np.array([f"level {number}" for number in range(20)], dtype=object)
    for name in CATEGORIES:
        codes = draw.integers(0, 20, rows)
        if moved and name in MOVED:
            codes = np.where(draw.random(rows) < 0.1, 0, codes)
        columns[name] = labels[codes]
    return pd.DataFrame(columns)


def ours(before: Any, now: Any) -> int:
    """Profiles of both tables, judged."""
    from functions.monitoring.baseline import Baseline
    from functions.monitoring.capture import table
    from functions.monitoring.judge import judge
    from functions.monitoring.sketch import Column, Schema

    numbers = [Column(name, "number", centre=float(before[name].iloc[:1000].median())) for name in NUMBERS]
    categories = [Column(name, "category", categories=frozenset(before[name].unique())) for name in CATEGORIES]
    schema = Schema((*numbers, *categories))
    profiles = [table(schema, {name: each[name].to_numpy() for name in schema.names}) for each in (before, now)]
    verdict = judge(Baseline(profiles[0]), profiles[1])
    return sum(bool(finding.reasons) for finding in verdict.findings)


def evidently(before: Any, now: Any) -> int:
    """Its preset for drift, with its own defaults."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    found = json.loads(Report([DataDriftPreset()]).run(now, before).json())
    return int(next(each["value"]["count"] for each in found["metrics"] if "DriftedColumnsCount" in str(each)))


def nannyml(before: Any, now: Any) -> int:
    """Its univariate drift with its defaults (Jensen-Shannon): the columns with an alert in a chunk or more."""
    import nannyml as nml

    drift = nml.UnivariateDriftCalculator(column_names=[*NUMBERS, *CATEGORIES], chunk_number=10)
    alerts = drift.fit(before).calculate(now).filter(period="analysis").to_df()
    return sum(bool(alerts[name].xs("alert", axis=1, level=1).any().any()) for name in [*NUMBERS, *CATEGORIES])


def whylogs(before: Any, now: Any) -> int:
    """Profiles of both tables, and its scores of drift."""
    import whylogs as why
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    views = [why.log(each).view() for each in (now, before)]
    scores = calculate_drift_scores(target_view=views[0], reference_view=views[1], with_thresholds=True)
    return sum(each is not None and each["drift_category"] == "DRIFT" for each in scores.values())


TOOLS: dict[str, Callable[[Any, Any], int]] = {
    "slipway": ours,
    "evidently 0.7.23": evidently,
    "nannyml 0.13.1": nannyml,
    "whylogs 1.6.4": whylogs,
}


def measured(tool: str, size: str) -> dict[str, Any]:
    """How long a tool takes for two tables in memory, once it is imported and has seen small ones: by the clock, and of
    the processor in all its threads, which is what other work on the machine disturbs least."""
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(ROOT))
    TOOLS[tool](made(500, 1, False), made(500, 2, False))
    before, now = (made(rows, seed, bool(seed)) for seed, rows in enumerate(SIZES[size]))
    tables = _peak_mb()
    seconds = busy = float("inf")
    for _ in range(1 if size == "1M" and tool != "slipway" else 3):
        began, began_busy = time.perf_counter(), time.process_time()
        flagged = TOOLS[tool](before, now)
        seconds = min(seconds, time.perf_counter() - began)
        busy = min(busy, time.process_time() - began_busy)
    figures = {"seconds": round(seconds, 3), "of_the_processor": round(busy, 3), "flagged": flagged}
    memory = {"beyond_the_tables_mb": _peak_mb() - tables}
    return {"tool": tool, "rows": SIZES[size], **figures, **memory, "drifted": len(MOVED)}


def _peak_mb() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))
    assert found
    return int(found[1]) // 1024


def main() -> None:
    """Measure each tool on each pair of tables, and print a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small tables only")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(measured(*chosen.child)))
        return
    for size in ("1k",) if chosen.quick else SIZES:
        for tool in TOOLS:
            command = [sys.executable, __file__, "--child", tool, size]
            done = subprocess.run(command, capture_output=True, text=True)
            failed = {"tool": tool, "size": size, "failed": done.stderr.strip().splitlines()[-1:]}
            print(json.dumps(failed) if done.returncode else done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
