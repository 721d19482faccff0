"""The model quality monitor's core: labels meet predictions, whichever comes first, and the window they make is judged.

What waits for its other half is bounded: where more is asked than can be kept, a share of the events is, chosen by the
hash of their ids. That is a fair sample of all, and the same for predictions and labels, in whatever order they come.
"""

import base64
import csv
import hashlib
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from functions.monitoring.capture import Record
from functions.monitoring.quality import Quality

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 24 * HOUR
UNKNOWN_DAYS: Final = 2
"""How long a label waits for a prediction. Captures come within the hour, so the rest were not captured."""
MOST_WINDOWS: Final = 5
"""So many versions have rows that are not judged yet."""
MOST_EXAMPLES: Final = 5
"""Of malformed lines, what is wrong with them is told of so many."""
NAMES: Final = ("probability", "score", "prediction")
"""Where a row of an answer has several values by name, this one is the probability."""
TRUE: Final = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0}


def identity(text: str) -> str:
    """What an event's id is kept as: 64 bits of its hash. Two of a million share one in 1 of 37 million cases."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def labels_of(line: str | bytes) -> tuple[str, list[int | None]]:
    """The id and the labels of one line of ground truth, in the order of the request's rows; None: not known.

    Model Monitor's form: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-merge.html. A
    request of several rows has a label a line (CSV), or a list of them (JSON). Raises ValueError.
    """
    try:
        told = json.loads(line)
        truth, metadata = told["groundTruthData"], told["eventMetadata"]
        data, encoding = truth["data"], truth.get("encoding", "CSV")
        event = metadata.get("inferenceId") or metadata["eventId"]
        if not isinstance(event, str) or not event:
            raise ValueError("eventId is no text")
        if encoding == "BASE64":
            data = base64.b64decode(data, validate=True).decode("utf-8")
            encoding = "JSON" if data.lstrip()[:1] in ("{", "[") else "CSV"
        values = _json_values(data) if encoding == "JSON" else _csv_values(data)
    except (KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise ValueError(f"no ground truth of Model Monitor's form: {error!r}") from error
    if not values:
        raise ValueError(f"event {event} has no label")
    return event, [_label(value) for value in values]


def _csv_values(data: Any) -> list[Any]:
    return [value for row in csv.reader(io.StringIO(str(data)), strict=True) for value in row]


def _json_values(data: Any) -> list[Any]:
    told = json.loads(data) if isinstance(data, str) else data
    if isinstance(told, dict):
        told = next((told[name] for name in ("labels", "label") if name in told), None)
    return told if isinstance(told, list) else [told]


def _label(value: Any) -> int | None:
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return None
    if text not in TRUE:
        raise ValueError(f"{value!r} is no label: it has to be 0 or 1")
    return TRUE[text]


def probabilities_of(record: Record) -> list[float]:
    """What a captured request was answered, a probability a row. Raises ValueError where it was answered otherwise."""
    return [_probability(row) for row in record.outputs or ()]


def _probability(row: Any) -> float:
    if isinstance(row, Mapping):
        row = next((row[name] for name in NAMES if name in row), None)
    elif isinstance(row, Sequence) and not isinstance(row, str):
        row = row[0] if len(row) == 1 else None
    try:
        value = float(row)
    except (TypeError, ValueError):
        raise ValueError("an answer is no probability") from None
    if not 0 <= value <= 1:
        raise ValueError(f"an answer is {value!r}, which is no probability")
    return value


@dataclass
class Counts:
    """What one run came across."""

    predictions: int = 0
    """Captured requests that were answered with probabilities."""
    predictions_unreadable: int = 0
    predictions_repeated: int = 0
    """With an id that another request has had: the first one counts."""
    labels: int = 0
    """Lines of ground truth that can be read."""
    labels_malformed: int = 0
    labels_repeated: int = 0
    """For an event that has its labels already: the first ones count."""
    labels_misfit: int = 0
    """More or fewer than the request has rows."""
    labels_unknown: int = 0
    """Given up: no prediction has come for UNKNOWN_DAYS. It was not captured, or the id is wrong."""
    joined: int = 0
    """Events that met their labels."""
    never_labelled: int = 0
    """Given up: no label has come for as long as labels may take."""
    examples: list[str] = field(default_factory=list)
    """What is wrong with some malformed lines."""


@dataclass(frozen=True)
class Asked:
    """A captured request that waits for its labels."""

    at: int
    """Seconds since 1970, in whole minutes."""
    package: int
    """Which of the versions answered it."""
    probabilities: tuple[float, ...]


@dataclass
class Window:
    """Rows with labels of one version that are not judged yet."""

    quality: Quality
    hours: Counter[int] = field(default_factory=Counter)
    """When they were asked: how many rows in which hour since 1970."""
    delays: Counter[int] = field(default_factory=Counter)
    """How many hours their labels took."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "quality": self.quality.to_dict(),
            "hours": sorted(self.hours.items()),
            "delays": sorted(self.delays.items()),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Window":
        return cls(Quality.from_dict(told["quality"]), Counter(dict(told["hours"])), Counter(dict(told["delays"])))

    def median_delay(self) -> int | None:
        """Hours that half of the labels took at most."""
        half, seen = self.delays.total() / 2, 0
        for hours, rows in sorted(self.delays.items()):
            seen += rows
            if seen >= half:
                return hours
        return None


@dataclass
class Join:
    """Predictions and labels that wait for each other, and the rows that they have made."""

    days: int
    """How long a prediction waits for its labels."""
    most: int
    """So many rows are remembered; beyond that, a share of the events."""
    halvings: int = 0
    """Of all events, one in 2 ** halvings is kept."""
    packages: list[str] = field(default_factory=list)
    predictions: dict[str, Asked] = field(default_factory=dict)
    labels: dict[str, tuple[int, tuple[int | None, ...]]] = field(default_factory=dict)
    """Arrived before their prediction: when, and which."""
    joined: dict[str, int] = field(default_factory=dict)
    """When events were asked that have their labels."""
    windows: dict[str, Window] = field(default_factory=dict)
    """By the version that answered."""
    counts: Counts = field(default_factory=Counts)

    def ask(
        self, event: str, at: datetime, package: str, probabilities: Sequence[float], thresholds: "Thresholds"
    ) -> None:
        """A captured request."""
        known = identity(event)
        if not self._keeps(known):
            return
        self.counts.predictions += 1
        if known in self.predictions or known in self.joined:
            self.counts.predictions_repeated += 1
            return
        if package not in self.packages:
            self.packages.append(package)
        asked = Asked(int(at.timestamp()) // MINUTE * MINUTE, self.packages.index(package), tuple(probabilities))
        waiting = self.labels.pop(known, None)
        self.predictions[known] = asked
        if waiting:
            self._meet(known, waiting[1], waiting[0], thresholds)

    def tell(self, event: str, at: datetime, labels: Sequence[int | None], thresholds: "Thresholds") -> None:
        """The labels of a request, which arrived at `at`."""
        known = identity(event)
        if not self._keeps(known):
            return
        self.counts.labels += 1
        if known in self.joined or known in self.labels:
            self.counts.labels_repeated += 1
        elif known in self.predictions:
            self._meet(known, labels, int(at.timestamp()), thresholds)
        else:
            self.labels[known] = int(at.timestamp()), tuple(labels)

    def forget(self, now: datetime) -> None:
        """Give up what has waited too long, and keep to the bound."""
        oldest = now.timestamp() - self.days * DAY
        self.counts.never_labelled += sum(asked.at < oldest for asked in self.predictions.values())
        self.predictions = {known: asked for known, asked in self.predictions.items() if asked.at >= oldest}
        self.joined = {known: at for known, at in self.joined.items() if at >= oldest}
        unknown = now.timestamp() - UNKNOWN_DAYS * DAY
        self.counts.labels_unknown += sum(at < unknown for at, _ in self.labels.values())
        self.labels = {known: told for known, told in self.labels.items() if told[0] >= unknown}
        while self.held() > self.most:
            self.halvings += 1
            self.predictions = {known: each for known, each in self.predictions.items() if self._keeps(known)}
            self.joined = {known: each for known, each in self.joined.items() if self._keeps(known)}
            self.labels = {known: each for known, each in self.labels.items() if self._keeps(known)}
        if self.halvings and self.held() < self.most // 4:
            self.halvings -= 1
        for package in list(self.windows)[:-MOST_WINDOWS]:
            del self.windows[package]
        used = sorted({asked.package for asked in self.predictions.values()})
        self.packages = [self.packages[each] for each in used]
        self.predictions = {
            known: replace(asked, package=used.index(asked.package)) for known, asked in self.predictions.items()
        }

    def held(self) -> int:
        """How many rows are remembered."""
        return (
            sum(len(asked.probabilities) for asked in self.predictions.values())
            + sum(len(labels) for _, labels in self.labels.values())
            + len(self.joined)
        )

    def coverage(self, window: Window) -> float | None:
        """The share of requests that have their labels by now, of the hours in which the window's were asked.

        Hours count by the window's rows in them: so labels that are still to come of newer hours lower nothing.
        """
        of: dict[int, list[int]] = {hour: [0, 0] for hour in window.hours}
        for at in self.joined.values():
            if (hour := at // HOUR) in of:
                of[hour][0] += 1
        for asked in self.predictions.values():
            if (hour := asked.at // HOUR) in of:
                of[hour][1] += 1
        known = [
            (window.hours[hour], labelled / (labelled + waiting))
            for hour, (labelled, waiting) in of.items()
            if labelled
        ]
        rows = sum(weight for weight, _ in known)
        return sum(weight * share for weight, share in known) / rows if rows else None

    def to_text(self) -> str:
        """All but the counts, compressed."""
        told = {
            "halvings": self.halvings,
            "packages": self.packages,
            "predictions": [
                [known, asked.at, asked.package, asked.probabilities] for known, asked in self.predictions.items()
            ],
            "labels": [[known, *each] for known, each in self.labels.items()],
            "joined": [[known, at] for known, at in self.joined.items()],
            "windows": {package: window.to_dict() for package, window in self.windows.items()},
        }
        return base64.b64encode(zlib.compress(json.dumps(told, separators=(",", ":")).encode())).decode()

    @classmethod
    def from_text(cls, text: str | None, days: int, most: int) -> "Join":
        """What `to_text` made; None: nothing yet."""
        if text is None:
            return cls(days, most)
        told = json.loads(zlib.decompress(base64.b64decode(text)))
        return cls(
            days,
            most,
            told["halvings"],
            told["packages"],
            {known: Asked(at, package, tuple(given)) for known, at, package, given in told["predictions"]},
            {known: (at, tuple(labels)) for known, at, labels in told["labels"]},
            dict(told["joined"]),
            {package: Window.from_dict(window) for package, window in told["windows"].items()},
        )

    def malformed(self, error: ValueError) -> None:
        """A line of ground truth that cannot be read."""
        self.counts.labels_malformed += 1
        if len(self.counts.examples) < MOST_EXAMPLES:
            self.counts.examples.append(str(error)[:200])

    def _keeps(self, known: str) -> bool:
        return int(known, 16) & ((1 << self.halvings) - 1) == 0

    def _meet(self, known: str, labels: Sequence[int | None], at: int, thresholds: "Thresholds") -> None:
        asked = self.predictions[known]
        if len(labels) != len(asked.probabilities):
            self.counts.labels_misfit += 1
            return
        del self.predictions[known]
        self.joined[known] = asked.at
        self.counts.joined += 1
        package = self.packages[asked.package]
        window = self.windows.get(package)
        if window is None:
            window = self.windows[package] = Window(Quality(thresholds(package)))
        rows = 0
        for probability, label in zip(asked.probabilities, labels, strict=True):
            if label is not None:
                window.quality.add(probability, label)
                rows += 1
        window.hours[asked.at // HOUR] += rows
        window.delays[max(0, at - asked.at) // HOUR] += rows


Thresholds = Callable[[str], float]
"""The probability above which a version says yes."""


def read_ground_truth(join: Join, lines: Iterable[bytes], arrived: datetime, thresholds: Thresholds) -> None:
    """Take in the lines of a file of labels."""
    for line in lines:
        if not line.strip():
            continue
        try:
            event, labels = labels_of(line)
        except ValueError as error:
            join.malformed(error)
            continue
        join.tell(event, arrived, labels, thresholds)
