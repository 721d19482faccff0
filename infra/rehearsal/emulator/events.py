"""Events that arrive: what EventBridge rules match, delivered to whatever they name."""

import copy
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from moto.events.models import Rule, events_backends
from moto.events.utils import EventTemplateParser

from infra.rehearsal.emulator import clients
from infra.rehearsal.emulator.calls import ACCOUNT, key_of, turn_of

DELIVERED_HERE: Final = ("lambda", "sagemaker", "sns", "sqs", "states")
"""Targets that events are delivered to here; the others (logs, buses, archives) are left to moto."""
NOBODY: Final = ""
"""Who looks where a delivery goes: the emulator, for AWS knows without a call."""
NOT_DELIVERED: Final = (BotoCoreError, ClientError, LookupError)

_endpoint = ""
_send_to_moto_targets = Rule.send_to_targets


def install(endpoint: str) -> None:
    """Deliver what moto does not, through `endpoint`."""
    global _endpoint
    _endpoint = endpoint
    Rule.send_to_targets = _send_to_targets  # type: ignore[assignment, method-assign]  # that is what is replaced


def emit(region: str, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str] = ()) -> None:
    """Put an event of an AWS service on the default bus."""
    entry = {
        "Source": source,
        "DetailType": detail_type,
        "Detail": json.dumps(detail, default=str),
        "Resources": list(resources),
    }
    with turn_of("events"):
        events_backends[ACCOUNT][region].put_events([entry])


def deliver(
    arn: str,
    event: Any,
    region: str,
    *,
    principal: str = "events.amazonaws.com",
    source: str = "",
    target: Mapping[str, Any] | None = None,
    subject: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Hand an event to what an ARN names, on behalf of a role (its ARN) or a service.

    `source` is the ARN of what sends it, `target` holds EventBridge's parameters for it, `subject` a topic's, and
    `attributes` a queue's. Raises what NOT_DELIVERED lists where it does not arrive.
    """
    service, name = arn.split(":")[2], arn.rpartition(":")[2]
    text = event if isinstance(event, str) else json.dumps(event, default=str)
    if service == "lambda":
        _refuse_stranger(_client("lambda", region, NOBODY), arn, principal, source)
        _client("lambda", region, principal).invoke(FunctionName=arn, InvocationType="Event", Payload=text.encode())
    elif service == "sns":
        more = {"Subject": subject[:100]} if subject else {}  # no topic takes a longer one
        _client("sns", region, principal).publish(TopicArn=arn, Message=text, **more)
    elif service == "sqs":
        sqs = _client("sqs", region, principal)
        group = (target or {}).get("SqsParameters", {}).get("MessageGroupId")
        sqs.send_message(
            QueueUrl=_client("sqs", region, NOBODY).get_queue_url(QueueName=name)["QueueUrl"],
            MessageBody=text,
            MessageAttributes={
                key: {"DataType": "String", "StringValue": value} for key, value in (attributes or {}).items()
            },
            **({"MessageGroupId": group} if group else {}),
        )
    elif service == "states":
        _client("stepfunctions", region, principal).start_execution(stateMachineArn=arn, input=text)
    elif service == "sagemaker":
        parameters = (target or {}).get("SageMakerPipelineParameters", {}).get("PipelineParameterList", [])
        name = arn.rpartition("/")[2]
        sagemaker = _client("sagemaker", region, principal)
        sagemaker.start_pipeline_execution(PipelineName=name, PipelineParameters=parameters)
    else:
        raise LookupError(f"the rehearsal delivers no events to {service} ({arn})")


def deliver_later(arn: str, event: Any, region: str, *, dead_letters: str | None = None, **how: Any) -> None:
    """Deliver without waiting for it, as `deliver` does; what does not arrive goes to the queue `dead_letters`."""
    arguments = (arn, event, region, dead_letters, how)
    threading.Thread(target=_deliver_or_keep, args=arguments, daemon=True).start()


def timestamp(moment: float) -> str:
    """A moment (seconds since 1970) as events have it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _keeper(how: Mapping[str, Any]) -> str:
    """Who puts what was not delivered into the queue: EventBridge itself; Scheduler does it in the schedule's role."""
    of_schedule = str(how.get("source", "")).startswith("arn:aws:scheduler:")
    return str(how["principal"]) if of_schedule and "principal" in how else "events.amazonaws.com"


def _deliver_or_keep(arn: str, event: Any, region: str, dead_letters: str | None, how: Mapping[str, Any]) -> None:
    try:
        deliver(arn, event, region, **how)
    except NOT_DELIVERED as error:
        where = f"; kept in {dead_letters}" if dead_letters else ""
        print(f"not delivered to {arn}: {error}{where}", flush=True)
        if dead_letters:
            known = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            told = {"TARGET_ARN": arn, "ERROR_CODE": known, "ERROR_MESSAGE": str(error)[:1024]}
            if how.get("source"):
                told["RULE_ARN"] = how["source"]
            try:
                deliver(dead_letters, event, region, principal=_keeper(how), attributes=told)
            except NOT_DELIVERED as failure:
                print(f"lost, as {dead_letters} does not take it either: {failure}", flush=True)


def _refuse_stranger(client: Any, function: str, principal: str, source: str) -> None:
    """Hold a service to the function's policy, without which AWS does not let it invoke. Roles are let through."""
    if not principal.endswith(".amazonaws.com"):
        return
    try:
        statements = json.loads(client.get_policy(FunctionName=function)["Policy"])["Statement"]
    except client.exceptions.ResourceNotFoundException:
        client.get_function_configuration(FunctionName=function)  # raises where there is no such function
        statements = []
    for statement in statements:
        conditions = statement.get("Condition") or {}
        sources = [
            value for each in conditions.values() for key, value in each.items() if key.lower() == "aws:sourcearn"
        ]
        of_service = (statement.get("Principal") or {}).get("Service") == principal
        if statement.get("Effect") == "Allow" and of_service and all(fnmatchcase(source, each) for each in sources):
            return
    raise LookupError(f"the policy of {function} does not let {principal} invoke it for {source}: add a Permission")


def _send_to_targets(rule: Rule, event: Any, transform_input: bool = True) -> None:
    """In the place of moto's method. A rule without a pattern is a schedule, and matches no event."""
    pattern = rule.event_pattern
    if rule.state == "DISABLED" or not pattern.get_pattern() or not pattern.matches_event(event):
        return
    for target in list(rule.targets):
        if target["Arn"].split(":")[2] in DELIVERED_HERE:
            send_to(target, shaped(target, _readable(event)), rule.region_name, rule.arn)
            continue
        others = copy.copy(rule)
        others.targets = [target]
        try:
            _send_to_moto_targets(others, event, transform_input)
        except Exception as error:  # One target must not keep an event from the others, nor its sender from going on.
            print(f"not delivered to {target['Arn']}: {type(error).__name__}: {error}", flush=True)


def send_to(target: Mapping[str, Any], event: Any, region: str, source: str) -> None:
    """Deliver to a target of a rule or schedule, as its role where it has one."""
    dead_letters = (target.get("DeadLetterConfig") or {}).get("Arn")
    principal = target.get("RoleArn") or "events.amazonaws.com"
    deliver_later(
        target["Arn"], event, region, dead_letters=dead_letters, principal=principal, source=source, target=target
    )


def shaped(target: Mapping[str, Any], event: Any) -> Any:
    """The event as a target wants it: whole, a constant, a part, or written into a template."""
    if target.get("Input"):
        return target["Input"]
    if target.get("InputPath"):
        found = event
        for step in target["InputPath"].removeprefix("$").strip(".").split("."):
            found = found.get(step) if step and isinstance(found, dict) else found
        return found
    transformer = target.get("InputTransformer")
    if not transformer:
        return event
    return EventTemplateParser.parse(
        input_template=transformer.get("InputTemplate"),
        input_paths_map=transformer.get("InputPathsMap", {}),
        event=event,
    )


def _readable(event: Any) -> Any:
    moment = event.get("time")
    return {**event, "time": timestamp(moment)} if isinstance(moment, int | float) else event


def _client(service: str, region: str, principal: str) -> Any:
    key = key_of(principal) if principal.startswith("arn:") else principal or "rehearsal"
    return clients.client(service, region=region, endpoint=_endpoint, key=key)
