"""What goes wrong with data: the world moves, the truth changes, a producer changes its form, or sleeps."""

import json
import random
import re
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from functions.employment.features import SCHEMA
from functions.registry.sign import location
from infra import releases, retraining
from infra.approvals import approve, package_arn
from infra.gameday import candidates
from infra.gameday.census import Person, in_group_quarters, people
from infra.gameday.play import QUIET_SECONDS, RECOVER_SECONDS, Missed, Play, Scenario
from infra.gameday.report import Check
from infra.gameday.supply import GroundTruth, Truth, deliver, features, labels, stamp, works

AGE: Final = "AGEP"
PRODUCER: Final = "the survey's office"
REVIEWER: Final = "erin"
OPERATOR: Final = "olaf"
OFFERED: Final = re.compile(r"approve version (\d+)")
LABELLED: Final = 3000
"""People whose labels are delivered to train on: enough for the gate."""
FILE: Final = 200
"""People in a file whose content does not matter."""


class _Retraining(Scenario):
    """What only a new model mends: it is trained by itself, offered, approved by a person, and released."""

    decisions = ("retrain",)
    monitor: ClassVar[str]
    """Which one tells that all is as before."""
    delivered: str = ""
    """The URI of the labels that were delivered."""
    offered: int = 0
    _confirmed = False

    def deliver(self, play: Play, persons: Sequence[Person], truth: Truth) -> None:
        """Features and labels of these people, found out by now."""
        stage, name = play.stage, f"{self.name}-{stamp().replace(':', '')}"
        play.person(PRODUCER, f"delivers features and labels of {len(persons):,} of those who are asked about now")
        deliver(stage, f"{name}.csv", features(persons, stamp(timedelta(seconds=30))))
        self.delivered = f"{stage.outputs['labels_uri']}/{name}.csv"
        stage.write(self.delivered, labels(persons, stamp(), truth))

    def mend(self, play: Play) -> None:
        def offered() -> int:
            incident = play.incident()
            if incident and incident.evidence.get("held") and not self._confirmed:
                self._confirmed = True
                why = "these are those who are asked about now, and they were asked as ever"
                play.person(OPERATOR, f"looks at the labels that are held, and lets the retraining go on: {why}")
                retraining.retrain(play.stage.deployed, confirm=incident.id, why=why)
            found = [OFFERED.search(need) for need in incident.needs] if incident else []
            return next((int(each[1]) for each in found if each), 0)

        self.offered = play.until(offered, "a challenger beats the champion, and is offered", RECOVER_SECONDS)
        play.person(REVIEWER, f"approves version {self.offered}, on what the incident says of it; so it is released")
        arn = approve(play.stage.deployed, self.offered, REVIEWER, "it beats the one that serves on the newest rows")
        play.until(lambda: play.stage.live() == arn, f"version {self.offered} serves", RECOVER_SECONDS)

    def put_back(self, play: Play) -> None:
        stage = play.stage
        if self.delivered:
            bucket, key = location(self.delivered)
            stage.clients("s3").delete_object(Bucket=bucket, Key=key)
        if play.before and stage.live() != play.before:
            play.person(OPERATOR, "goes back to the version of before, for the game is over")
            result = releases.rollback(stage.deployed.client, stage.endpoint, reason="a game day is over")
            if not result.ok or result.live != play.before:
                raise Missed(f"{play.before} does not serve again: {result.reason or result.live}")
        if self.offered:
            arn = package_arn(stage.deployed, self.offered)
            candidates.reject(stage, arn, "it was made for a game day")
        # What was asked and labelled meanwhile is still read, and may ring for the version of before.
        back = datetime.now(UTC)
        well = f"the {self.monitor} monitor finds nothing once all is as before"
        play.until(lambda: self._finds_nothing(play, back), well, QUIET_SECONDS)
        play.until(play.quiet, "the alarms are quiet once all is as before", QUIET_SECONDS)
        play.until(stage.is_idle, "the recovery has nothing to do", QUIET_SECONDS)

    def _finds_nothing(self, play: Play, since: datetime) -> bool:
        stage = play.stage
        report = json.loads(stage.read(f"{stage.outputs['reports_uri']}/{self.monitor}/{stage.endpoint}/latest.json"))
        later = datetime.fromisoformat(report["time"]) > since
        return later and report["model_package_arn"] == play.before and report["status"] == "stable"


class FeatureDrift(_Retraining):
    name = "feature-drift"
    breaks = "Half of those whom the endpoint is asked about are people in homes, colleges, prisons and barracks."
    alarms = ("drift",)
    monitor = "data"
    cause = ("RELP", "moved")

    def break_it(self, play: Play) -> None:
        usual, others = list(people()), list(in_group_quarters())
        mixed = usual[: len(others)] + others
        random.Random(1).shuffle(mixed)
        play.traffic.people = mixed
        play.tell("break", "half of the requests are about people in group quarters")
        self.deliver(play, mixed[:LABELLED], works)

    def put_back(self, play: Play) -> None:
        play.traffic.people = people()
        super().put_back(play)


class LabelDrift(_Retraining):
    name = "label-drift"
    breaks = "The same people are asked about, and whoever is older than 52 retires: the answers are wrong."
    alarms = ("quality",)
    monitor = "quality"
    cause = ("accuracy",)
    pension_age: Final = 52

    def __init__(self) -> None:
        self._open = ExitStack()
        self._truth: GroundTruth | None = None

    def prepare(self, play: Play) -> None:
        self._truth = self._open.enter_context(GroundTruth(play.stage, play.traffic))

    def retired(self, person: Person) -> bool:
        """Who works, from now on."""
        return person.works and float(person.values[AGE]) <= self.pension_age

    def break_it(self, play: Play) -> None:
        assert self._truth
        self._truth.truth = self.retired
        play.tell("break", f"whoever is older than {self.pension_age} has no work any more, as their labels say")
        self.deliver(play, random.Random(2).sample(list(people()), LABELLED), self.retired)

    def put_back(self, play: Play) -> None:
        if self._truth:
            self._truth.truth = works
        try:
            super().put_back(play)
        finally:
            self._open.close()


class SchemaChange(Scenario):
    name = "schema-change"
    breaks = "Upstream tells ages in months instead of years, and calls the column otherwise in its files."
    alarms = ("broken-data",)
    decisions = ("page",)
    cause = (AGE, "broken")
    renamed: Final = "AGE_MONTHS"
    _receipt: dict[str, object]

    def break_it(self, play: Play) -> None:
        play.traffic.send = in_months
        play.tell("break", "ages come in months")
        names = [self.renamed if name == AGE else name for name in SCHEMA.names]
        name = f"{self.name}-{stamp().replace(':', '')}.csv"
        self._receipt = deliver(play.stage, name, features(people()[:FILE], stamp(), names))

    def mend(self, play: Play) -> None:
        play.person(PRODUCER, "is told of it by the alarm, and tells ages in years again")
        play.traffic.send = Person.line

    def put_back(self, play: Play) -> None:
        play.traffic.send = Person.line
        play.until(play.quiet, "the alarms are quiet once all is as before", QUIET_SECONDS)

    def more_checks(self, play: Play) -> Sequence[Check]:
        refused = str(self._receipt.get("refused") or self._receipt)
        return [Check("the file with the other column was not taken in", self.renamed in refused, refused[:200])]


class StaleFeatures(Scenario):
    name = "stale-features"
    breaks = "The producer of features sends what it sent two months ago, file after file."
    alarms = ("stale",)
    decisions = ("page",)
    cause = ("features", "old")
    files: Final = 3
    old: Final = timedelta(days=60)

    def break_it(self, play: Play) -> None:
        for number in range(self.files):
            self._deliver(play, number, self.old)
        play.tell("break", f"{self.files} files came with rows that are {self.old.days} days old")

    def mend(self, play: Play) -> None:
        play.person(PRODUCER, "is told of it by the alarm, mends its query, and sends what is true today")
        self._deliver(play, self.files, timedelta(seconds=10))

    def _deliver(self, play: Play, number: int, ago: timedelta) -> None:
        persons = people()[number * FILE : (number + 1) * FILE]
        name = f"{self.name}-{stamp().replace(':', '')}-{number}.csv"
        deliver(play.stage, name, features(persons, stamp(ago)))

    def put_back(self, play: Play) -> None:
        play.until(play.quiet, "the alarms are quiet once all is as before", QUIET_SECONDS)


def in_months(person: Person) -> str:
    """A request's line with the age in months."""
    return ",".join(f"{float(value) * 12:g}" if name == AGE else value for name, value in person.values.items())
