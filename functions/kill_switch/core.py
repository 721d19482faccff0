"""What the kill-switch decides: what is an alarm, what is to be stopped and what is left alone, what an undo restores.

Nothing here asks or changes anything. Whatever can be stopped is described alike: its values as they are, and the
values it has when it is stopped. To stop is to set these, to undo is to set what was before.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, get_args

Kind = Literal["scale-out", "capacity", "execution", "job", "queue", "nodes"]
"""In the order in which they are stopped: capacity that is taken away before scale-out is held comes back at once, and
an execution takes its jobs with it."""
ORDER: Final = get_args(Kind)
FINAL: Final = ("execution", "job")
"""What has ended cannot be put back: it is started again, by whoever wants it."""

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Why the switch is asked."""

    source: Literal["budget", "anomaly", "alarm", "person"]
    name: str
    """The budget's, the anomaly monitor's or the alarm's name; a person's ARN."""
    reason: str


class NotAnAlarm(Exception):
    """A message on the topic that asks for nothing: the text says why."""


def alarm(message: str) -> Alarm:
    """The alarm that a message on the topic tells of. Raises NotAnAlarm: what is not understood stops nothing.

    AWS Budgets writes a mail, CloudWatch and Cost Anomaly Detection write JSON:
    https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
    https://docs.aws.amazon.com/cost-management/latest/userguide/ad-SNS.html
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
    """
    try:
        told = json.loads(message)
    except ValueError:
        return _budget(message)
    if not isinstance(told, dict):
        raise NotAnAlarm(f"neither an alarm nor an anomaly: {message[:200]}")
    if "AlarmName" in told:
        if told.get("NewStateValue") != "ALARM":
            raise NotAnAlarm(f"the alarm {told['AlarmName']} is {told.get('NewStateValue')}, and does not ring")
        return Alarm(source="alarm", name=str(told["AlarmName"]), reason=str(told.get("NewStateReason", "")))
    if "anomalyId" in told:
        impact = told.get("impact") or {}
        usd = impact.get("totalImpact", "an unknown amount of")
        reason = f"anomaly {told['anomalyId']}: {usd} USD more than expected"
        return Alarm(source="anomaly", name=str(told.get("monitorName") or told["anomalyId"]), reason=reason)
    raise NotAnAlarm(f"neither an alarm nor an anomaly: {message[:200]}")


def _budget(message: str) -> Alarm:
    fields = dict(re.findall(r"^\s*([A-Z][A-Za-z ]+): (.+?)\s*$", message, re.MULTILINE))
    if "Budget Name" not in fields or "Alert Threshold" not in fields:
        raise NotAnAlarm(f"no notification of a budget, an anomaly or an alarm: {message[:200]}")
    kind = fields.get("Alert Type", "ACTUAL")
    reason = (
        f"{kind.lower()} amount {fields.get(f'{kind} Amount', 'unknown')}, threshold {fields['Alert Threshold']}, of a "
        f"budget of {fields.get('Budgeted Amount', 'unknown')}"
    )
    return Alarm(source="budget", name=fields["Budget Name"], reason=reason)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Something that spends."""

    kind: Kind
    name: str
    """What it is and what it is called: `endpoint/employment-prod/variant/live`, `queue/vision`."""
    now: Values
    """What the switch would change of it, as it is."""
    stopped: Values
    """The same, as it is when it is stopped."""
    protected: bool = False
    note: str = ""
    """What the person who reads the record should know of it."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is done with one of them, and why."""

    kind: Kind
    name: str
    before: Values
    after: Values
    change: bool
    why: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def decide(found: Iterable[Found], allowed: Sequence[str]) -> list[Decision]:
    """What is to be stopped, in order, and what is left as it is. `allowed` are patterns of names."""
    return [_decision(each, allowed) for each in sorted(found, key=lambda each: (ORDER.index(each.kind), each.name))]


def _decision(found: Found, allowed: Sequence[str]) -> Decision:
    change = False
    if found.now == found.stopped:
        why = found.note or "it is at its least already"
    elif found.protected:
        why = "it is protected by its tag"
    elif not any(fnmatchcase(found.name, pattern) for pattern in allowed):
        why = "kill_switch.allow does not name it"
    else:
        change, why = True, found.note or "it spends"
    return Decision(kind=found.kind, name=found.name, before=found.now, after=found.stopped, change=change, why=why)


def restore(
    changed: Sequence[Mapping[str, Any]], read: Callable[[Kind, str], Values | None], *, overwrite: bool
) -> list[Decision]:
    """What is to be put back of the `changed` of a record, the last first. `read` says how something is now.

    What was changed since is left as it is, unless `overwrite` says otherwise: somebody meant it.
    """
    return [_restoration(Decision(**each), read, overwrite) for each in reversed(changed)]


def _restoration(done: Decision, read: Callable[[Kind, str], Values | None], overwrite: bool) -> Decision:
    now = None if done.kind in FINAL else read(done.kind, done.name)
    change = False
    if done.kind in FINAL:
        why = "it has ended: start it again where it is still wanted"
    elif now is None:
        why = "it is gone"
    elif now == done.before:
        why = "it is as it was before"
    elif now != done.after and not overwrite:
        why = f"it was changed since, to {json.dumps(dict(now))}: --overwrite puts it back all the same"
    else:
        change, why = True, "it is put back"
    return Decision(
        kind=done.kind,
        name=done.name,
        before=done.after if now is None else now,
        after=done.before,
        change=change,
        why=why,
    )
