"""The kill-switch's Lambda: an alarm (through its topic) or a person asks, `core` decides, this does and records it."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from functions.kill_switch.cluster import Api, Cluster, ClusterError
from functions.kill_switch.core import Alarm, Decision, Found, Kind, NotAnAlarm, Values, alarm, decide, restore
from functions.kill_switch.spending import Product

FAILURES: Final = (ClientError, BotoCoreError, ClusterError, LookupError)
"""What may go wrong with one thing; the others are stopped all the same."""
SUBJECT: Final = 100
"""SNS takes that many characters."""


class Side(Protocol):
    """A part of AWS or a cluster that spends."""

    kinds: tuple[Kind, ...]

    def find(self) -> Any:
        """What spends."""

    def read(self, kind: Kind, name: str) -> Values | None:
        """How one of it is now; None where it is gone."""

    def change(self, kind: Kind, name: str, values: Values) -> None:
        """Set what was read."""


class StopFailed(Exception):
    """Not everything could be stopped: Lambda tries once more, and what has been stopped by then is left alone."""


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Stop what spends, or say what would be stopped.

    `event` is a message from the topic, which acts only where SETTINGS has mode `act`; or a person's, with `by`:
    `act` (otherwise nothing is done, nor recorded), `undo` (a record's name: put back what it stopped) and `overwrite`
    (put back also what was changed since). SETTINGS is made by components/kill_switch.py.
    """
    settings = json.loads(os.environ["SETTINGS"])
    switch = Switch(settings, _id(context))
    if event.get("undo"):
        return switch.undo(event)
    if "by" in event:
        why = Alarm(source="person", name=event["by"], reason=event.get("reason") or "asked by hand")
        return switch.stop(why, act=bool(event.get("act")), recorded=bool(event.get("act")))
    [message] = event["Records"]
    try:
        why = alarm(message["Sns"]["Message"])
    except NotAnAlarm as error:
        print(json.dumps({"ignored": str(error)}))
        return {"ignored": str(error)}
    done = switch.stop(why, act=settings["mode"] == "act", recorded=True)
    if done["problems"]:
        raise StopFailed(f"record {done['record']}: {'; '.join(done['problems'])}")
    return done


def _id(context: Any) -> str:
    """What this run's record is called: it sorts by time."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}-{context.aws_request_id[:8]}"


class Switch:
    """One stack's switch."""

    def __init__(self, settings: Mapping[str, Any], id_: str) -> None:
        self._settings, self._id = settings, id_
        self._s3 = boto3.client("s3")
        self._sides: dict[str, Side] = {}

    def _side(self, which: str) -> Side:
        """The product's side, or the cluster's."""
        if which not in self._sides:
            told = self._settings[which]
            if which == "product":
                self._sides[which] = Product(boto3.client("sagemaker"), boto3.client("application-autoscaling"), **told)
            else:
                self._sides[which] = Cluster(Api(told["name"]), **{k: v for k, v in told.items() if k != "name"})
        return self._sides[which]

    def _of(self, kind: Kind) -> Side:
        return self._side("product" if kind in Product.kinds else "cluster")

    # --- stop -------------------------------------------------------------------------------------------------------

    def stop(self, why: Alarm, *, act: bool, recorded: bool) -> dict[str, Any]:
        """Decide, record, do, record what came of it, and tell."""
        found: list[Found] = []
        problems: list[str] = []
        for side in ("product", "cluster"):
            if side in self._settings:
                try:
                    found += self._side(side).find()
                except FAILURES as error:
                    problems.append(f"what the {side} spends on cannot be seen: {error}")
        decisions = decide(found, self._settings["allow"])
        done: dict[str, Any] = {
            "record": self._id if recorded else None,
            "switch": self._settings["name"],
            "act": act,
            "alarm": vars(why),
        }
        if recorded:
            # Before anything is done: what was there before must be known, whatever happens next.
            self._write(self._id, {**done, "decisions": [each.to_dict() for each in decisions], "problems": problems})
        return self._finish(done, decisions, problems, f"{self._id}.done" if recorded and act else None)

    def undo(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Put back what a record says was stopped. Raises ValueError for a record that is none, or stopped nothing."""
        record, act = str(event["undo"]), bool(event.get("act"))
        stopped = self._read(record)
        if not stopped["act"]:
            raise ValueError(f"record {record} is of a dry run: it stopped nothing")
        changed = [each for each in stopped["decisions"] if each["change"]]
        decisions = restore(
            changed, lambda kind, name: self._of(kind).read(kind, name), overwrite=bool(event.get("overwrite"))
        )
        by = Alarm(source="person", name=event["by"], reason=event.get("reason") or f"undo of {record}")
        name = f"{record}.undone-{self._id}"
        done = {"record": record, "switch": self._settings["name"], "act": act, "undo": True, "alarm": vars(by)}
        if act:
            self._write(name, {**done, "decisions": [each.to_dict() for each in decisions]})
        return self._finish(done, decisions, [], f"{name}.done" if act else None)

    def _finish(
        self, done: dict[str, Any], decisions: Sequence[Decision], problems: list[str], name: str | None
    ) -> dict[str, Any]:
        """Do what was decided, if it is to be done, and tell of it in a record and a message."""
        results = [{**each.to_dict(), "outcome": ""} for each in decisions]
        if done["act"]:
            for result, each in zip(results, decisions, strict=True):
                if each.change:
                    problem = self._do(each)
                    result["outcome"] = "failed" if problem else "done"
                    problems += [problem] if problem else []
        done = {**done, "decisions": results, "problems": problems}
        if name:
            self._write(name, done)
        if done["record"] and (name or done["alarm"]["source"] != "person"):
            self._tell(done)
        print(json.dumps(done))
        return done

    def _do(self, decision: Decision) -> str:
        """Why it failed; nothing where it did not."""
        side = self._of(decision.kind)
        try:
            side.change(decision.kind, decision.name, decision.after)
        except FAILURES as error:
            try:
                if side.read(decision.kind, decision.name) == decision.after:
                    return ""  # it came to that by itself, such as a job that ended meanwhile
            except FAILURES:
                pass
            return f"{decision.kind} of {decision.name}: {error}"
        return ""

    # --- records ----------------------------------------------------------------------------------------------------

    def _place(self, name: str) -> dict[str, str]:
        url = urlsplit(self._settings["records"])
        return {"Bucket": url.netloc, "Key": f"{url.path.lstrip('/')}{name}.json"}

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        body = json.dumps({"at": datetime.now(UTC).isoformat(), **document}, indent=1).encode()
        self._s3.put_object(**self._place(name), Body=body, IfNoneMatch="*", ContentType="application/json")

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.load(self._s3.get_object(**self._place(name))["Body"]))
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            raise ValueError(f"there is no record {name} under {self._settings['records']}") from None

    def _tell(self, done: Mapping[str, Any]) -> None:
        name, undo = self._settings["name"], "undo" in done
        verb = ("was put back" if undo else "was stopped") if done["act"] else "would be stopped (dry run)"
        lines = [f"{name} {verb}: {done['alarm']['source']} {done['alarm']['name']}: {done['alarm']['reason']}", ""]
        for each in done["decisions"]:
            if each["change"]:
                change = f"{json.dumps(each['before'])} -> {json.dumps(each['after'])}"
                lines.append(f"- {each['kind']} {each['name']}: {change} {each['outcome']}".rstrip())
        left = sum(not each["change"] for each in done["decisions"])
        lines += [f"- {left} others are left as they are: the record says why"] if left else []
        lines += [f"! {problem}" for problem in done["problems"]]
        command = f"slipway stop {name} --undo {done['record']} --act" if done["act"] else f"slipway stop {name} --act"
        lines += ["", f"Record: {self._settings['records']}{done['record']}.json"]
        lines += [] if undo else [f"{'To put it back' if done['act'] else 'To stop it'}: {command}"]
        boto3.client("sns").publish(
            TopicArn=self._settings["alerts"], Subject=f"{name} {verb}"[:SUBJECT], Message="\n".join(lines)
        )
