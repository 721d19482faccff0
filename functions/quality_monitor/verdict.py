"""What the quality monitor says of a window of labelled rows, and the report that tells of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from functions.monitoring import report as reports
from functions.monitoring.quality import BINS, FLOORS, Change, Figures, Quality, compare
from functions.quality_monitor.core import Join, Window
from functions.quality_monitor.formats import violations

SHOWN: Final = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "false_positive_rate": "False positive rate",
    "false_negative_rate": "False negative rate",
    "brier": "Brier score",
    "calibration_error": "Calibration error beyond chance",
}

MOST_SAID: Final = 2
"""Figures that a summary names; the report has all."""


@dataclass(frozen=True)
class Rules:
    """When a window is judged, and when it is worse."""

    fewest_rows: int
    """With fewer labelled rows, nothing is said; they are kept for the next run."""
    least_coverage: float
    """The same where labels of a smaller share of the requests are known: those that come first are no fair sample."""
    floors: Mapping[str, float]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Rules":
        """As the schedule's input says."""
        return cls(int(event["fewest_rows"]), float(event["least_coverage"]), {**FLOORS, **event["floors"]})


@dataclass(frozen=True)
class Verdict:
    """What a window was found to be."""

    status: Literal["insufficient", "stable", "violated"]
    summary: str
    figures: Figures = field(default_factory=lambda: Quality().figures())
    coverage: float | None = None
    changes: Sequence[Change] = ()

    @property
    def is_judged(self) -> bool:
        return self.status != "insufficient"


def judge(window: Window | None, coverage: float | None, baseline: Figures | None, rules: Rules) -> Verdict:
    """Judge the labelled rows of the version that serves, by how good it was when it was trained."""
    if window is None or not window.quality.rows:
        return Verdict("insufficient", "No labels have come for what this version answered.", coverage=coverage)
    figures, rows = window.quality.figures(), window.quality.rows
    if baseline is None:
        return Verdict(
            "insufficient",
            f"{rows:,} labelled rows have nothing to be compared with: the version was registered without figures of "
            "its quality. Train it again, or register it with DriftCheckBaselines.ModelQuality.Statistics.",
            figures,
            coverage,
        )
    if rows < rules.fewest_rows:
        said = f"{rows:,} labelled rows are too few to judge: it takes {rules.fewest_rows:,}."
        return Verdict("insufficient", said, figures, coverage)
    if coverage is not None and coverage < rules.least_coverage:
        said = (
            f"Labels of {coverage:.0%} of the requests are too few to judge by: it takes {rules.least_coverage:.0%}, "
            "for those that come first are no fair sample."
        )
        return Verdict("insufficient", said, figures, coverage)
    changes = compare(baseline, figures, rules.floors)
    worse = sorted((change for change in changes if change.is_worse), key=lambda change: [*FLOORS].index(change.metric))
    if worse:
        said = "; ".join(change.sentence for change in worse[:MOST_SAID])
        more = f"; and {len(worse) - MOST_SAID} more" if len(worse) > MOST_SAID else ""
        return Verdict("violated", f"On {rows:,} labelled rows, {said}{more}.", figures, coverage, changes)
    accuracy, before = figures["accuracy"], baseline.get("accuracy")
    beside = "" if before is None else f" (it was {before:.3f} in training)"
    said = f"As good as ever on {rows:,} labelled rows: accuracy {accuracy:.3f}{beside}."
    return Verdict("stable", said, figures, coverage, changes)


def report(
    event: Mapping[str, Any],
    *,
    package_arn: str,
    since: datetime,
    now: datetime,
    verdict: Verdict,
    baseline: Figures | None,
    window: Window | None,
    join: Join,
    stands: bool,
    files: Mapping[str, int],
) -> dict[str, Any]:
    """The report of one run. `stands`: whether it was worse for so many windows that it rings."""
    said = {change.metric: change.sentence for change in verdict.changes}
    found = [
        {**each, "feature_name": each["metric_name"], "description": said[each["metric_name"]], "group": "quality"}
        for each in violations(verdict.changes)["violations"]
    ]
    others = {arn: each for arn, each in join.windows.items() if arn != package_arn}
    return {
        "monitor": "quality",
        "endpoint": event["endpoint"],
        "model_package_arn": package_arn,
        "time": now.isoformat(timespec="milliseconds"),
        "since": since.isoformat(timespec="seconds"),
        "until": now.isoformat(timespec="seconds"),
        "status": verdict.status,
        "rows": verdict.figures["rows"],
        "violations": found,
        "summary": verdict.summary,
        "quality_drop": stands,
        "figures": verdict.figures,
        "baseline": None if baseline is None else dict(baseline),
        "changes": [{**asdict(each), "is_worse": each.is_worse} for each in verdict.changes],
        "calibration": [] if window is None else window.quality.bins(),
        "coverage": verdict.coverage,
        "median_delay_hours": None if window is None else window.median_delay(),
        "counts": asdict(join.counts),
        "files": dict(files),
        "waiting": {
            "predictions": len(join.predictions),
            "labels": len(join.labels),
            "of_all_events": 1 / 2**join.halvings,
        },
        "earlier_versions": [
            {"model_package_arn": arn, "rows": each.quality.rows, "accuracy": each.quality.figures()["accuracy"]}
            for arn, each in others.items()
        ],
    }


def page(told: Mapping[str, Any], history: Sequence[Sequence[Any]]) -> str:
    """The report as a page. `history`: (time, accuracy) of the windows that were judged."""
    changes = told["changes"]
    lines = [
        (
            SHOWN[each["metric"]],
            each["before"],
            each["now"],
            each["worse_by"],
            each["at_least"],
            each["floor"],
            "worse" if each["is_worse"] else "as before",
        )
        for each in changes
    ]
    floor = next((each["before"] - each["floor"] for each in changes if each["metric"] == "accuracy"), None)
    times = [datetime.fromisoformat(time) for time, _ in history]
    counts = {name.replace("_", " "): count for name, count in told["counts"].items() if name != "examples"}
    said = [(f"{low:.0%}", rows, mean, share) for low, (rows, mean, share) in _bins(told["calibration"])]
    earlier = [(each["model_package_arn"], each["rows"], each["accuracy"]) for each in told["earlier_versions"]]
    sections = [
        (
            "Figures",
            reports.table(
                ["", "in training", "now", "worse by", "for sure by", "matters above", "verdict"],
                lines,
            ),
        ),
        (
            "Accuracy of each window (dashed: what is too low)",
            reports.line(times, [accuracy for _, accuracy in history], title="accuracy", limit=floor),
        ),
        ("Calibration", reports.table(["said, from", "rows", "said on average", "came true"], said)),
        ("Labels and predictions of this run", reports.table(["", "number"], list(counts.items()))),
        ("What is wrong with labels", reports.listed(told["counts"]["examples"])),
        ("Rows of earlier versions", reports.table(["version", "rows", "accuracy"], earlier)),
    ]
    coverage, delay = told["coverage"], told["median_delay_hours"]
    facts = {
        "version": told["model_package_arn"].rpartition("/")[2],
        "labelled rows": f"{told['rows']:,}",
        "requests with labels": "unknown" if coverage is None else f"{coverage:.0%}",
        "labels take (median)": "unknown" if delay is None else f"{delay} h",
        "waiting for labels": f"{told['waiting']['predictions']:,} requests",
    }
    title = f"Model quality of {told['endpoint']}"
    return reports.page(title, told["summary"], sections, status=told["status"], facts=facts)


def _bins(calibration: Sequence[Sequence[float]]) -> list[tuple[float, Sequence[float]]]:
    """Each bin with the probability it begins at: that of its mean."""
    return [(int(mean * BINS) / BINS, (rows, mean, share)) for rows, mean, share in calibration]
