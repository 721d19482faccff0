"""Events that arrive: EventBridge rules, schedules, and the delivery to whatever they name."""

import copy
import json
import re
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.events import models
from moto.events.models import Rule, events_backends
from moto.scheduler.models import Schedule, scheduler_backends

from infra.rehearsal.emulator import lambdas
from infra.rehearsal.emulator.calls import ACCOUNT

LIVE_TARGETS: Final = ("lambda", "sns", "states", "sagemaker", "firehose")
"""Targets that moto does not deliver to; the others are left to it."""
UNITS: Final = {"minute": 60, "hour": 3600, "day": 86400}
DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

_endpoint = ""
_send_to_moto_targets = Rule.send_to_targets
_next_due: dict[str, tuple[str, datetime | None]] = {}


@dataclass(frozen=True)
class Due:
    """Something on a schedule, and what to do when it is time."""

    name: str
    """`group/name` of a schedule; the name of a rule."""
    arn: str
    expression: str
    timezone: str
    region: str
    targets: tuple[Mapping[str, Any], ...]


def install(endpoint: str) -> None:
    """Deliver what moto does not, through `endpoint`."""
    global _endpoint
    _endpoint = endpoint
    Rule.send_to_targets = _send_to_targets  # type: ignore[method-assign]  # that is what is replaced


def emit(region: str, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str] = ()) -> None:
    """Put an event of an AWS service on the default bus."""
    entry = {
        "Source": source,
        "DetailType": detail_type,
        "Detail": json.dumps(detail, default=str),
        "Resources": list(resources),
    }
    events_backends[ACCOUNT][region].put_events([entry])


def deliver(arn: str, event: Any, region: str, target: Mapping[str, Any] | None = None) -> None:
    """Hand an event to what an ARN names. Raises ClientError, or LookupError where there is nothing of that name."""
    service = arn.split(":")[2]
    text = event if isinstance(event, str) else json.dumps(event, default=str)
    if service == "lambda":
        function = lambdas.function_of(arn)
        if function is None:
            raise LookupError(f"there is no function {arn}")
        lambdas.invoke_later(function, json.loads(text))
    elif service == "sns":
        subject = {"Subject": event["Subject"]} if isinstance(event, dict) and "Subject" in event else {}
        _client("sns", region).publish(TopicArn=arn, Message=text, **subject)
    elif service == "sqs":
        sqs = _client("sqs", region)
        url = sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=text)
    elif service == "states":
        _client("stepfunctions", region).start_execution(stateMachineArn=arn, input=text)
    elif service == "sagemaker":
        parameters = (target or {}).get("SageMakerPipelineParameters", {}).get("PipelineParameterList", [])
        name = arn.rpartition("/")[2]
        _client("sagemaker", region).start_pipeline_execution(PipelineName=name, PipelineParameters=parameters)
    elif service == "firehose":
        record = {"Data": text.encode()}
        _client("firehose", region).put_record(DeliveryStreamName=arn.rpartition("/")[2], Record=record)
    elif service == "events":
        entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
        _client("events", region).put_events(Entries=[{**entry, "EventBusName": arn}])
    else:
        raise LookupError(f"the rehearsal delivers no events to {service} ({arn})")


def fire(name: str) -> int:
    """Do now what a schedule (`group/name`) or a rule's schedule would do in its time; how many targets it has.

    Raises LookupError where there is none of that name.
    """
    for due in _scheduled():
        if due.name == name:
            _start(due)
            return len(due.targets)
    raise LookupError(
        f"there is no enabled schedule {name!r}; there are {', '.join(sorted(d.name for d in _scheduled()))}"
    )


def tick(now: float) -> None:
    """Start whatever is due at `now`, in seconds since 1970."""
    moment = datetime.fromtimestamp(now, UTC)
    for due in _scheduled():
        expression, when = _next_due.get(due.arn, ("", None))
        if expression != due.expression:
            _next_due[due.arn] = due.expression, following(due.expression, moment, due.timezone)
        elif when is not None and moment >= when:
            _next_due[due.arn] = due.expression, following(due.expression, moment, due.timezone)
            _start(due)


def following(expression: str, after: datetime, timezone: str = "UTC") -> datetime | None:
    """When a schedule is due next; None where it never is again. Raises ValueError for no schedule expression.

    The forms are EventBridge's: `rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)` and `at(2026-11-21T08:00:00)`.
    """
    zone = ZoneInfo(timezone)
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        return after + timedelta(seconds=int(rate[1]) * UNITS[rate[2]])
    if at := re.fullmatch(r"at\((.+)\)", expression):
        moment = datetime.fromisoformat(at[1]).replace(tzinfo=zone)
        return moment if moment > after else None
    if cron := re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression):
        fields = cron.groups()
        moment = after.astimezone(zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = moment + timedelta(days=366 * 5)
        while moment < end:
            if not _on_day(fields, moment):
                moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
            elif not _matches(fields[1], moment.hour, 0):
                moment = moment.replace(minute=0) + timedelta(hours=1)
            elif not _matches(fields[0], moment.minute, 0):
                moment += timedelta(minutes=1)
            else:
                return moment.astimezone(UTC)
        return None
    raise ValueError(f"{expression!r} is no schedule: it is rate(…), cron(…) with six fields, or at(…)")


def _on_day(fields: Sequence[str], moment: datetime) -> bool:
    _, _, day, month, weekday, year = fields
    return (
        _matches(day, moment.day, 1)
        and _matches(_numbered(month, MONTHS), moment.month, 1)
        and _matches(_numbered(weekday, DAYS), moment.isoweekday() % 7 + 1, 1)
        and _matches(year, moment.year, 1970)
    )


def _numbered(field: str, names: Sequence[str]) -> str:
    for number, name in enumerate(names, 1):
        field = field.upper().replace(name, str(number))
    return field


def _matches(field: str, value: int, first: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            low, high = first, value
        elif "-" in span:
            low, high = (int(end) for end in span.split("-"))
        else:
            low = int(span)
            high = value if step else low
        if low <= value <= high and (value - low) % int(step or 1) == 0:
            return True
    return False


def _scheduled() -> Iterator[Due]:
    """Everything that is on a schedule and enabled."""
    for region, events_backend in list(events_backends[ACCOUNT].items()):
        for bus in list(events_backend.event_buses.values()):
            for rule in list(bus.rules.values()):
                if rule.scheduled_expression and rule.state == "ENABLED":
                    targets = tuple(rule.targets)
                    yield Due(rule.name, rule.arn, rule.scheduled_expression, "UTC", region, targets)
    for region, backend in list(scheduler_backends[ACCOUNT].items()):
        for group in list(backend.schedule_groups.values()):
            for schedule in list(group.schedules.values()):
                if schedule.state == "ENABLED":
                    yield _due(schedule, region)


def _due(schedule: Schedule, region: str) -> Due:
    zone = schedule.schedule_expression_timezone
    name = f"{schedule.group_name}/{schedule.name}"
    return Due(name, schedule.arn, schedule.schedule_expression, zone, region, (schedule.target,))


def _start(due: Due) -> None:
    for target in due.targets:
        event = {
            "version": "0",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": due.region,
            "resources": [due.arn],
            "detail": {},
        }
        _in_background(target, target.get("Input") or event, due.region)


def _send_to_targets(rule: Rule, event: Any, transform_input: bool = True) -> None:
    """In the place of moto's method. A rule without a pattern is a schedule, and matches no event."""
    if not rule.event_pattern.get_pattern() or not rule.event_pattern.matches_event(event):
        return
    left_to_moto = [target for target in rule.targets if target["Arn"].split(":")[2] not in LIVE_TARGETS]
    if left_to_moto:
        others = copy.copy(rule)
        others.targets = left_to_moto
        _send_to_moto_targets(others, event, transform_input)
    for target in rule.targets:
        if target not in left_to_moto:
            _in_background(target, _shaped(target, _readable(event)), rule.region_name)


def _readable(event: Any) -> Any:
    moment = event.get("time")
    if isinstance(moment, int | float):
        return {**event, "time": datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return event


def _shaped(target: Mapping[str, Any], event: Any) -> Any:
    """The event as a target wants it: whole, a constant, a part, or written into a template."""
    if "Input" in target:
        return target["Input"]
    if "InputPath" in target:
        found = event
        for step in target["InputPath"].removeprefix("$").strip(".").split("."):
            found = found[step] if step else found
        return found
    transformer = target.get("InputTransformer")
    if not transformer:
        return event
    return models.EventTemplateParser.parse(
        input_template=transformer.get("InputTemplate"),
        input_paths_map=transformer.get("InputPathsMap", {}),
        event=event,
    )


def _in_background(target: Mapping[str, Any], event: Any, region: str) -> None:
    threading.Thread(target=_deliver_or_keep, args=(target, event, region), daemon=True).start()


def _deliver_or_keep(target: Mapping[str, Any], event: Any, region: str) -> None:
    """Deliver, or hand what cannot be delivered to the target's dead-letter queue."""
    try:
        deliver(target["Arn"], event, region, target)
    except (ClientError, LookupError) as error:
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        print(f"not delivered to {target['Arn']}: {error}" + (f"; kept in {queue}" if queue else ""), flush=True)
        if queue:
            try:
                deliver(queue, event, region)
            except (ClientError, LookupError):
                traceback.print_exc()


def _client(service: str, region: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]  # chosen at run time
        region_name=region,
        endpoint_url=_endpoint,
        aws_access_key_id="events",
        aws_secret_access_key="rehearsal",
        config=Config(retries={"total_max_attempts": 1}),
    )
