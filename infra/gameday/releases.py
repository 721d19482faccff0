"""A release that fails, and one that is slow: SageMaker's own guard takes them back, for alarms ring."""

from collections.abc import Sequence
from typing import ClassVar

from infra.approvals import approve
from infra.gameday import candidates
from infra.gameday.play import RECOVER_SECONDS, Play, Scenario
from infra.gameday.report import Check

AUTHOR = "dana"
REVIEWER = "erin"


class _Release(Scenario):
    """A version whose serving code was changed is approved, and so is released."""

    decisions = ("none", "roll-back")
    """None: the release's own guard has gone back already, and the recovery sees that."""
    program: ClassVar[str]
    notes: ClassVar[str]
    arn = ""

    def prepare(self, play: Play) -> None:
        self.arn = candidates.register(play.stage, self.program, AUTHOR, self.notes)
        play.person(AUTHOR, f"registers version {self.version}: {self.notes}")

    @property
    def version(self) -> str:
        """Its number."""
        return self.arn.rpartition("/")[2]

    def break_it(self, play: Play) -> None:
        play.person(REVIEWER, f"approves version {self.version}, for its model passes the gate; so it is released")
        approve(play.stage.deployed, int(self.version), REVIEWER, "its model is as good as the one that serves")

    def mend(self, play: Play) -> None:
        def taken_back() -> bool:
            return play.stage.status() == "InService" and play.stage.live() == play.before

        play.until(taken_back, f"version {self.version} is taken back", RECOVER_SECONDS)

    def put_back(self, play: Play) -> None:
        if self.arn:
            candidates.reject(play.stage, self.arn, "taken back on a game day")

    def more_checks(self, play: Play) -> Sequence[Check]:
        failed = [entry for entry in play.stage.ledger("failed") if entry.package_arn == self.arn]
        why = str(failed[-1].evidence["reason"]) if failed else "no entry"
        return [Check("the ledger has the failed release", bool(failed), why)]


class BadRelease(_Release):
    name = "bad-release"
    breaks = "A version goes live whose serving code fails for everybody older than 60."
    alarms = ("errors", "error-share")
    cause = ("errors", "has taken it back")
    notes = "Reads what a pension pays from a table"
    program = """

_predict = predict_fn


def predict_fn(data, model):
    if (data[:, 0] > 60).any():
        raise KeyError("no pension in the table")
    return _predict(data, model)
"""


class SlowRelease(_Release):
    name = "slow-release"
    breaks = "A version goes live whose serving code takes a second for each request."
    alarms = ("latency",)
    cause = ("latency", "has taken it back")
    notes = "Looks every person up once more"
    program = """

_predict = predict_fn


def predict_fn(data, model):
    import time

    time.sleep(1)
    return _predict(data, model)
"""
