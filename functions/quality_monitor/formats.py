"""Model quality in SageMaker Model Monitor's files, for a binary classifier.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html; the names of constraints and
violations are those of its container's own files.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import sqrt
from typing import Any, Final

from functions.monitoring.quality import FLOORS, HIGHER_IS_BETTER, THRESHOLD, Change, Figures, Quality

METRICS: Final = "binary_classification_metrics"
CONSTRAINTS: Final = "binary_classification_constraints"
ENOUGH_ROWS: Final = 200
"""With fewer, Model Monitor gives no standard deviations."""
POINTS: Final = 100
"""Of a curve."""
BETAS: Final = {"f0_5": 0.5, "f1": 1.0, "f2": 2.0}
TOLD: Final = ("accuracy", "auc", "false_positive_rate", "false_negative_rate")
"""Of what is compared, what Model Monitor knows, too."""


def statistics(quality: Quality, time: datetime) -> dict[str, Any]:
    """statistics.json of rows with labels.

    Standard deviations are those of theory, where Model Monitor takes five samples of 80 %. The constant classifier
    beside which it puts the model says yes to everything.
    """
    figures = quality.figures()
    rows, positives = figures["rows"], figures["positives"]
    yes, hits = quality.true_positives + quality.false_positives, quality.true_positives
    negatives = rows - positives
    shares = {
        "recall": (hits, positives),
        "precision": (hits, yes),
        "accuracy": (rows - quality.false_positives - (positives - hits), rows),
        "true_positive_rate": (hits, positives),
        "true_negative_rate": (negatives - quality.false_positives, negatives),
        "false_positive_rate": (quality.false_positives, negatives),
        "false_negative_rate": (positives - hits, positives),
    }
    constant = {"recall": (positives, positives), "precision": (positives, rows), "accuracy": (positives, rows)}
    metrics: dict[str, Any] = {
        "confusion_matrix": {
            "0": {"0": negatives - quality.false_positives, "1": quality.false_positives},
            "1": {"0": positives - hits, "1": hits},
        },
        **{name: _share(*of, rows) for name, of in shares.items()},
        **{f"{name}_best_constant_classifier": _share(*of, rows) for name, of in constant.items()},
        **_curves(quality, positives, negatives),
        "auc": _value(figures["auc"], figures["auc_deviation"], rows),
    }
    for name, beta in BETAS.items():
        metrics[name] = _value(_f(beta, hits, yes, positives), None, rows)
        metrics[f"{name}_best_constant_classifier"] = _value(_f(beta, positives, rows, positives), None, rows)
    return {
        "version": 0.0,
        "dataset": {"item_count": rows, "evaluation_time": time.isoformat(timespec="milliseconds")},
        METRICS: metrics,
    }


def read_statistics(document: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a statistics.json of model quality tells. Raises ValueError for anything else."""
    try:
        metrics = document[METRICS]
        matrix = metrics["confusion_matrix"]
        (true_negatives, false_positives), (false_negatives, true_positives) = (
            (int(matrix[label]["0"]), int(matrix[label]["1"])) for label in ("0", "1")
        )
        auc = float(metrics["auc"]["value"]) if "auc" in metrics else None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no statistics.json of a binary classifier's quality: {error!r}") from error
    positives, negatives = true_positives + false_negatives, true_negatives + false_positives
    rows = positives + negatives
    return {
        "rows": rows,
        "positives": positives,
        "threshold": THRESHOLD,
        "accuracy": (true_positives + true_negatives) / rows if rows else None,
        "auc": auc,
        "false_positive_rate": false_positives / negatives if negatives else None,
        "false_negative_rate": false_negatives / positives if positives else None,
    }


def constraints(baseline: Figures, floors: Mapping[str, float] = FLOORS) -> dict[str, Any]:
    """constraints.json: how bad each figure may be before a window is said to be worse, confidence aside."""
    known = {name: float(baseline[name]) for name in TOLD if baseline.get(name) is not None}
    return {
        "version": 0.0,
        CONSTRAINTS: {
            name: {"threshold": _limit(name, value, floors[name]), "comparison_operator": _operator(name)}
            for name, value in known.items()
        },
    }


def violations(changes: Iterable[Change]) -> dict[str, Any]:
    """constraint_violations.json."""
    return {
        "violations": [
            {
                "constraint_check_type": _operator(change.metric),
                "description": f"Metric {change.metric} with {change.now:.6g} was {_operator(change.metric)} "
                f"{_limit(change.metric, change.before, change.floor):.6g}",
                "metric_name": change.metric,
            }
            for change in changes
            if change.is_worse
        ]
    }


def _operator(metric: str) -> str:
    return "LessThanThreshold" if metric in HIGHER_IS_BETTER else "GreaterThanThreshold"


def _limit(metric: str, before: float, floor: float) -> float:
    return before - floor if metric in HIGHER_IS_BETTER else before + floor


def _share(part: int, whole: int, rows: int) -> dict[str, Any]:
    if not whole:
        return _value(None, None, rows)
    share = part / whole
    return _value(share, sqrt(share * (1 - share) / whole), rows)


def _value(value: float | None, deviation: float | None, rows: int) -> dict[str, Any]:
    known = deviation is not None and rows >= ENOUGH_ROWS
    return {"value": 0.0 if value is None else value, "standard_deviation": deviation if known else "NaN"}


def _f(beta: float, hits: int, yes: int, positives: int) -> float | None:
    """The F score: the weighted harmonic mean of precision and recall."""
    square = beta * beta
    return (1 + square) * hits / (yes + square * positives) if yes + square * positives else None


def _curves(quality: Quality, positives: int, negatives: int) -> dict[str, Any]:
    """What the rates are at every threshold, from the highest down, at POINTS of them at most."""
    points = [(0, 0)]
    hits = misses = 0
    for cell in sorted({*quality.positives, *quality.negatives}, reverse=True):
        hits, misses = hits + quality.positives[cell], misses + quality.negatives[cell]
        points.append((hits, misses))
    points = _thinned(points)
    return {
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": [misses / negatives if negatives else 0.0 for _, misses in points],
            "true_positive_rates": [hits / positives if positives else 0.0 for hits, _ in points],
        },
        "precision_recall_curve": {
            "precisions": [hits / (hits + misses) if hits + misses else 1.0 for hits, misses in points],
            "recalls": [hits / positives if positives else 0.0 for hits, _ in points],
        },
    }


def _thinned(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    last = len(points) - 1
    if last < POINTS:
        return points
    return [points[round(number * last / (POINTS - 1))] for number in range(POINTS)]
