"""What others bring a product: features from their producers, labels from those who find out, the truth of predictions.

A producer puts a file into the lake and the ingestion takes it in; labels to train on are files, too; what came true of
single predictions is told in Model Monitor's form, request by request.
"""

import csv
import io
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from functions.employment.features import LABEL, SCHEMA
from infra.gameday.census import Person
from infra.gameday.stage import Stage
from infra.gameday.traffic import Exchange, Traffic
from infra.rehearsal.product import TIME, taken_in

Truth = Callable[[Person], bool]
"""Whether a person has work."""
GROUND_TRUTH: Final = "%Y/%m/%d/%H"
"""Folders that Model Monitor reads."""
TELL_SECONDS: Final = 1.0
"""Between two files of what came true; a request is told of one to two seconds after it was answered."""


def works(person: Person) -> bool:
    """As the survey has it."""
    return person.works


def stamp(ago: timedelta = timedelta(0)) -> str:
    """A time so long ago, as files have it."""
    return (datetime.now(UTC) - ago).strftime(TIME)


def features(people: Sequence[Person], at: str, names: Sequence[str] = SCHEMA.names) -> bytes:
    """A file of people as a producer writes it, as asked at a time; `names` are what it calls the columns."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([SCHEMA.record_id, SCHEMA.event_time, *names])
    writer.writerows([person.id, at, *person.values.values()] for person in people)
    return written.getvalue().encode()


def deliver(stage: Stage, name: str, body: bytes) -> dict[str, Any]:
    """Put a file into the lake, and wait until the ingestion has taken it in. Returns its receipt.

    Raises ProductError where it is not taken in.
    """
    stage.write(f"{stage.outputs['incoming_uri']}/{name}", body)
    receipt = taken_in(stage.clients, stage.outputs, name)
    stage.clients.ask("flush", {})
    return receipt


def labels(people: Sequence[Person], at: str, truth: Truth = works) -> bytes:
    """A file of who has work, known at a time."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([SCHEMA.record_id, SCHEMA.event_time, LABEL])
    writer.writerows([person.id, at, int(truth(person))] for person in people)
    return written.getvalue().encode()


class GroundTruth:
    """Tells what came true of each request, a little after it was answered; `truth` may change meanwhile."""

    def __init__(self, stage: Stage, traffic: Traffic) -> None:
        self.truth: Truth = works
        self._stage, self._traffic = stage, traffic
        self._told = 0
        self._over = threading.Event()
        self._teller = threading.Thread(target=self._keep_telling, daemon=True)

    def __enter__(self) -> "GroundTruth":
        self._teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._teller.join()

    def _keep_telling(self) -> None:
        while not self._over.wait(TELL_SECONDS):
            exchanges = list(self._traffic.exchanges)
            late = [each for each in exchanges[self._told :] if each.at < time.time() - TELL_SECONDS]
            lines = [_line(each, self.truth) for each in late if not each.error]
            if lines:
                moment = datetime.now(UTC)
                name = f"{moment.strftime(GROUND_TRUTH)}/{moment:%M%S}-{self._told}.jsonl"
                self._stage.write(f"{self._stage.outputs['ground_truth_uri']}/{name}", "".join(lines).encode())
            self._told += len(late)


def _line(exchange: Exchange, truth: Truth) -> str:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-merge.html"""
    data = "\n".join(str(int(truth(person))) for person in exchange.people)
    told = {
        "groundTruthData": {"data": data, "encoding": "CSV"},
        "eventMetadata": {"eventId": exchange.id},
        "eventVersion": "0",
    }
    return json.dumps(told) + "\n"
