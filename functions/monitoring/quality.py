"""How good a binary classifier is, from probabilities and labels: figures with their errors, and falls with confidence.

`Quality` is a sketch: integers in cells of the probability, so that parts of a window add up to the same whole in any
order. The training pipeline measures the baseline with it (`measured`), the quality monitor every window.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import pi, sqrt
from statistics import NormalDist
from typing import Any, Final

CELLS: Final = 1 << 16
"""Of the probabilities from 0 to 1, all of one width: one is known to within 2 ** -17."""
BINS: Final = 10
"""Of the probabilities, for calibration; as in Guo et al., On Calibration of Modern Neural Networks (2017), 3."""
THRESHOLD: Final = 0.5
"""A row is said to be positive at a probability above this, unless the baseline says otherwise."""
FEWEST_OF_A_CLASS: Final = 10
"""The AUC of fewer positives or negatives than this is not compared: its error is not known well enough."""
ALPHA: Final = 0.01
"""How often a window of a model that is as good as ever may be called worse, over all figures together."""
FLOORS: Final[Mapping[str, float]] = {
    "accuracy": 0.02,
    "auc": 0.02,
    "false_positive_rate": 0.05,
    "false_negative_rate": 0.05,
    "brier": 0.02,
    "calibration_error": 0.03,
}
"""What is compared, and by how much it has to get worse before that matters to anybody."""
HIGHER_IS_BETTER: Final = frozenset({"accuracy", "auc"})

Figures = Mapping[str, Any]
"""rows, positives and threshold; accuracy, auc, false_positive_rate, false_negative_rate, brier, calibration_error and
ece, each None where it is not defined; auc_error, the most that the cells change the AUC by; and the standard errors
auc_deviation, brier_deviation and calibration_error_deviation."""


@dataclass
class Quality:
    """Rows with their probabilities and labels, any number of them."""

    threshold: float = THRESHOLD
    positives: Counter[int] = field(default_factory=Counter)
    """Of the rows that are positive, how many have a probability in a cell."""
    negatives: Counter[int] = field(default_factory=Counter)
    true_positives: int = 0
    """Exact, as the next: a threshold may lie within a cell."""
    false_positives: int = 0

    def add(self, probability: float, label: int) -> None:
        """One row. Raises ValueError for a probability that is none, and a label that is neither 0 nor 1."""
        if not 0 <= probability <= 1:
            raise ValueError(f"{probability!r} is no probability: it has to be from 0 to 1")
        if label not in (0, 1):
            raise ValueError(f"{label!r} is no label: it has to be 0 or 1")
        (self.positives if label else self.negatives)[int(probability * CELLS)] += 1
        if probability > self.threshold:
            self.true_positives += label
            self.false_positives += 1 - label

    def merge(self, other: "Quality") -> "Quality":
        """Of the rows of both. Raises ValueError where their thresholds differ."""
        if self.threshold != other.threshold:
            raise ValueError(f"rows judged at {self.threshold} and at {other.threshold} cannot be put together")
        return Quality(
            self.threshold,
            self.positives + other.positives,
            self.negatives + other.negatives,
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
        )

    @property
    def rows(self) -> int:
        return self.positives.total() + self.negatives.total()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; equal rows make equal dictionaries."""
        return {
            "threshold": self.threshold,
            "positives": sorted(self.positives.items()),
            "negatives": sorted(self.negatives.items()),
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Quality":
        """What `to_dict` made."""
        return cls(
            told["threshold"],
            Counter(dict(told["positives"])),
            Counter(dict(told["negatives"])),
            told["true_positives"],
            told["false_positives"],
        )

    def figures(self) -> dict[str, Any]:
        """Everything measured; see `Figures`."""
        positives, negatives = self.positives.total(), self.negatives.total()
        false_negatives = positives - self.true_positives
        auc, error, deviation = _auc(self.positives, self.negatives)
        brier, brier_deviation = self._brier()
        ece, beyond_chance, calibration_deviation = self._calibration()
        return {
            "rows": self.rows,
            "positives": positives,
            "threshold": self.threshold,
            "accuracy": _share(self.rows - self.false_positives - false_negatives, self.rows),
            "auc": auc,
            "auc_error": error,
            "auc_deviation": deviation,
            "false_positive_rate": _share(self.false_positives, negatives),
            "false_negative_rate": _share(false_negatives, positives),
            "brier": brier,
            "brier_deviation": brier_deviation,
            "ece": ece,
            "calibration_error": beyond_chance,
            "calibration_error_deviation": calibration_deviation,
        }

    def bins(self) -> list[tuple[int, float, float]]:
        """Of each bin of the probabilities that has rows: how many, their mean probability, the share of positives."""
        counts, sums, hits = [0] * BINS, [0.0] * BINS, [0] * BINS
        for label, cell, count in self._cells():
            which = min(BINS - 1, cell * BINS // CELLS)
            counts[which] += count
            sums[which] += count * _middle(cell)
            hits[which] += count * label
        return [(n, total / n, hit / n) for n, total, hit in zip(counts, sums, hits, strict=True) if n]

    def _cells(self) -> Iterable[tuple[int, int, int]]:
        """Label, cell and count, in an order that does not depend on that of the rows: so nor do sums of floats."""
        return chain(
            ((0, cell, count) for cell, count in sorted(self.negatives.items())),
            ((1, cell, count) for cell, count in sorted(self.positives.items())),
        )

    def _brier(self) -> tuple[float | None, float | None]:
        """The mean squared error of the probabilities, and its standard error; exact to 2 ** -16."""
        if not self.rows:
            return None, None
        errors = [((_middle(cell) - label) ** 2, count) for label, cell, count in self._cells()]
        mean = sum(error * count for error, count in errors) / self.rows
        spread = sum((error - mean) ** 2 * count for error, count in errors) / max(1, self.rows - 1)
        return mean, sqrt(spread / self.rows)

    def _calibration(self) -> tuple[float | None, float | None, float | None]:
        """The expected calibration error; what of it is beyond chance; and the standard error of that.

        A well calibrated model has an error, too, the larger the fewer the rows: of the |sum| of a bin's residuals,
        normal with variance sum of p (1 - p), chance alone gives sqrt(2 / pi) standard deviations on average.
        """
        if not self.rows:
            return None, None, None
        error = chance = spread = 0.0
        for count, probability, share in self.bins():
            variance = count * probability * (1 - probability)
            error += count * abs(share - probability)
            chance += sqrt(2 / pi * variance)
            spread += variance
        return error / self.rows, max(0.0, error - chance) / self.rows, sqrt(spread) / self.rows


def measured(probabilities: Iterable[float], labels: Iterable[int], threshold: float = THRESHOLD) -> dict[str, Any]:
    """The figures of rows: what a baseline says of quality. Raises ValueError as `Quality.add` does."""
    quality = Quality(threshold)
    for probability, label in zip(probabilities, labels, strict=True):
        quality.add(float(probability), int(label))
    return quality.figures()


@dataclass(frozen=True)
class Change:
    """One figure of a window beside the baseline's."""

    metric: str
    before: float
    now: float
    worse_by: float
    """Positive where it got worse, whether that is up or down."""
    at_least: float
    """With confidence, it got worse by at least this."""
    floor: float

    @property
    def is_worse(self) -> bool:
        """That chance did it is ruled out, and it matters."""
        return self.at_least > 0 and self.worse_by > self.floor

    @property
    def sentence(self) -> str:
        name = {"auc": "AUC", "brier": "Brier score"}.get(self.metric, self.metric.replace("_", " "))
        return f"{name} went from {self.before:.3f} to {self.now:.3f} (worse by {self.at_least:.3f} or more for sure)"


def compare(
    baseline: Figures, now: Figures, floors: Mapping[str, float] = FLOORS, alpha: float = ALPHA
) -> list[Change]:
    """Each figure that both have, the worst first.

    `alpha` is shared evenly by the figures. What the baseline does not tell, such as an older one's Brier score, is
    left out.
    """
    known = [name for name in FLOORS if baseline.get(name) is not None and now.get(name) is not None]
    if not all(min(_classes(each)) >= FEWEST_OF_A_CLASS for each in (baseline, now)):
        known = [name for name in known if name != "auc"]
    z = NormalDist().inv_cdf(1 - alpha / max(1, len(known)))
    changes = [_change(name, baseline, now, floors.get(name, FLOORS[name]), z) for name in known]
    return sorted(changes, key=lambda change: (not change.is_worse, change.floor - change.worse_by))


def _change(metric: str, baseline: Figures, now: Figures, floor: float, z: float) -> Change:
    before, after = float(baseline[metric]), float(now[metric])
    worse_by = before - after if metric in HIGHER_IS_BETTER else after - before
    if metric in _OF:
        first, second = _OF[metric](baseline), _OF[metric](now)
        good, bad = (before, after) if metric in HIGHER_IS_BETTER else (after, before)
        of_good, of_bad = (first, second) if metric in HIGHER_IS_BETTER else (second, first)
        at_least = _difference_at_least(good, of_good, bad, of_bad, z)
    else:
        error = sqrt(_deviation(metric, baseline, now) ** 2 + _deviation(metric, now, now) ** 2)
        unsure = sum(each.get("auc_error") or 0.0 for each in (baseline, now)) if metric == "auc" else 0.0
        at_least = worse_by - z * error - unsure
    return Change(metric, before, after, worse_by, at_least, floor)


_OF: Final = {
    "accuracy": lambda figures: figures["rows"],
    "false_positive_rate": lambda figures: figures["rows"] - figures["positives"],
    "false_negative_rate": lambda figures: figures["positives"],
}
"""Of the figures that are shares: of how many rows."""


def _classes(figures: Figures) -> tuple[int, int]:
    return figures["positives"], figures["rows"] - figures["positives"]


def _deviation(metric: str, of: Figures, now: Figures) -> float:
    """A figure's standard error. Where a baseline does not tell it: from its size, and for the rest from the window."""
    told = of.get(f"{metric}_deviation")
    if told is not None:
        return float(told)
    if metric == "auc":
        return hanley_mcneil(float(of["auc"]), *_classes(of))
    return float(now[f"{metric}_deviation"]) * sqrt(now["rows"] / of["rows"])


def hanley_mcneil(auc: float, positives: int, negatives: int) -> float:
    """The standard error of an AUC of which nothing else is known.

    Hanley and McNeil, The meaning and use of the area under a ROC curve (Radiology 143, 1982).
    """
    two_positives, two_negatives = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc)
    variance += (positives - 1) * (two_positives - auc**2) + (negatives - 1) * (two_negatives - auc**2)
    return sqrt(max(0.0, variance) / (positives * negatives))


def _difference_at_least(first: float, of_first: int, second: float, of_second: int, z: float) -> float:
    """The lower confidence bound of `first - second`, two shares.

    Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10): right for shares of 0 and 1, too.
    """
    low, _ = wilson(first, of_first, z)
    _, high = wilson(second, of_second, z)
    return first - second - sqrt((first - low) ** 2 + (high - second) ** 2)


def wilson(share: float, rows: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share."""
    if not rows:
        return 0.0, 1.0
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def _auc(positives: Mapping[int, int], negatives: Mapping[int, int]) -> tuple[float | None, float | None, float | None]:
    """The area under the ROC curve; the most that rows of one cell change it by; and its standard error.

    A positive and a negative of one cell count as half a pair in order. The error is that of DeLong et al. (Biometrics
    44, 1988): the spread of how many of the other class each row is beyond.
    """
    ups, downs = sum(positives.values()), sum(negatives.values())
    if not ups or not downs:
        return None, None, None
    # All in halves of pairs, and so in integers.
    pairs = tied = below = ups_below = 0
    up_squares = down_squares = down_sum = 0
    for cell in sorted({*positives, *negatives}):
        up, down = positives.get(cell, 0), negatives.get(cell, 0)
        placed = 2 * below + down
        pairs += up * placed
        up_squares += up * placed * placed
        beyond = 2 * (ups - ups_below - up) + up
        down_sum += down * beyond
        down_squares += down * beyond * beyond
        tied += up * down
        below += down
        ups_below += up
    return (
        pairs / (2 * ups * downs),
        tied / (2 * ups * downs),
        sqrt(_spread(pairs, up_squares, ups, 2 * downs) + _spread(down_sum, down_squares, downs, 2 * ups)),
    )


def _spread(total: int, squares: int, count: int, scale: int) -> float:
    """The variance of the mean of `count` integers over `scale`, from their sum and that of their squares."""
    if count < 2:
        return 0.0
    return (squares * count - total * total) / (count * count * (count - 1) * scale * scale)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _middle(cell: int) -> float:
    return min(1.0, (cell + 0.5) / CELLS)
