"""What a plan changes about what is deployed: in cost, in risk, and in who may do what.

What is deployed is told by a state: the export of a stack (`pulumi stack export`), the rehearsal's own, or what
`slipway plan --export` wrote of another commit. Nothing is asked of AWS. Which change of a property replaces a resource
is told by the rehearsal's providers (infra/rehearsal/aws/types.py), where `pulumi preview` has the last word.
"""

import contextvars
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pulumi.runtime.config import set_all_config

from infra.rehearsal.aws.types import TYPES
from infra.rehearsal.deployment import REFERENCE_TYPE
from infra.rehearsal.engine import DeploymentError, Engine, Plan, Resource, Step
from infra.rehearsal.properties import from_path, holds_secret, opened, parse_path
from infra.rehearsal.provider import UNKNOWN, Props
from infra.rehearsal.state import STACK_TYPE, Cipher, Record, State, StateError, StateStore, imported
from infra.rights import Rights, compared
from infra.settings import Settings
from policies.cost.pricing import Line, estimate
from policies.exceptions import stack_of
from policies.rules import kind

DEFAULTS: Final = "__defaults"
"""Where Pulumi's providers note which inputs they chose themselves."""

HOLDS: Final[Mapping[str, str]] = {
    "aws:cloudwatch/logGroup:LogGroup": "its log events",
    "aws:cognito/userPool:UserPool": "its users and clients",
    "aws:dynamodb/table:Table": "its items",
    "aws:ebs/volume:Volume": "its files",
    "aws:ecr/repository:Repository": "its images",
    "aws:efs/fileSystem:FileSystem": "its files",
    "aws:eks/cluster:Cluster": "all objects in it",
    "aws:kms/key:Key": "everything that it encrypts",
    "aws:rds/cluster:Cluster": "its tables",
    "aws:rds/instance:Instance": "its tables",
    "aws:s3/bucket:Bucket": "its objects",
    "aws:s3/bucketObjectv2:BucketObjectv2": "the object, unless the bucket keeps versions",
    "aws:sagemaker/featureGroup:FeatureGroup": "the records of its online store",
    "aws:sagemaker/mlflowApp:MlflowApp": "its experiments",
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": "its versions of models",
    "aws:secretsmanager/secret:Secret": "the secret",
    "aws:sqs/queue:Queue": "the messages in it",
    "kubernetes:core/v1:Namespace": "all objects in it",
    "kubernetes:core/v1:PersistentVolumeClaim": "its files",
}
"""What is lost with a resource of a type."""

SERVES: Final[Mapping[str, str]] = {
    "aws:apigateway/restApi:RestApi": "the prediction API, and its address changes",
    "aws:apigateway/stage:Stage": "the prediction API",
    "aws:cognito/userPoolDomain:UserPoolDomain": "signing in",
    "aws:ec2/natGateway:NatGateway": "the way out of the network",
    "aws:ec2/routeTable:RouteTable": "what its subnets reach",
    "aws:ec2/subnet:Subnet": "everything in the subnet",
    "aws:ec2/vpc:Vpc": "everything in the network",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "the way to a service of AWS",
    "aws:eks/addon:Addon": "what the add-on does in the cluster",
    "aws:eks/cluster:Cluster": "everything in the cluster",
    "aws:eks/nodeGroup:NodeGroup": "the pods on its nodes",
    "aws:iam/role:Role": "what acts in the role",
    "aws:kms/key:Key": "everything that it encrypts",
    "aws:lambda/function:Function": "what the function does",
    "aws:sagemaker/endpoint:Endpoint": "predictions",
    "aws:sagemaker/featureGroup:FeatureGroup": "reading and writing features",
    "aws:scheduler/schedule:Schedule": "what runs on the schedule",
    "aws:sfn/stateMachine:StateMachine": "what it runs, executions that are under way included",
    "aws:sns/topic:Topic": "what is told through it, and every subscription",
    "aws:sqs/queue:Queue": "what is sent through it",
}
"""What stops while there is no resource of a type."""

IN_PLACE: Final[Mapping[tuple[str, str], str]] = {
    ("aws:eks/cluster:Cluster", "version"): "the control plane is upgraded, which cannot be undone",
    ("aws:eks/cluster:Cluster", "deletionProtection"): "whether it can be deleted by mistake changes",
    ("aws:eks/nodeGroup:NodeGroup", "version"): "its nodes are replaced, and their pods move",
    ("aws:eks/nodeGroup:NodeGroup", "releaseVersion"): "its nodes are replaced, and their pods move",
    ("aws:eks/nodeGroup:NodeGroup", "launchTemplate"): "its nodes are replaced, and their pods move",
    ("aws:sagemaker/endpoint:Endpoint", "endpointConfigName"): "its instances are replaced; requests are served on",
    ("aws:cloudwatch/logGroup:LogGroup", "retentionInDays"): "log events older than it are deleted",
    ("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "rules"): "when objects are deleted changes",
    ("aws:s3/bucketVersioning:BucketVersioning", "versioningConfiguration"): "whether old versions are kept changes",
    ("aws:s3/bucket:Bucket", "forceDestroy"): "whether it can be deleted with its objects changes",
}
"""What a change in place does that a reader has to know, by type and first step of the property's path."""

UNKNOWABLE: Final[Mapping[str, str]] = {
    "aws:cloudcontrol/resource:Resource": "whether it is replaced depends on the type in it, which is not known here",
    "kubernetes:helm.sh/v3:Release": "what the chart changes in the cluster is not looked into",
}


SECRET: Final = "[secret]"
"""Stands for a value that nobody may see."""


@dataclass(frozen=True)
class Value:
    """An input that differs: what it is and what it becomes, as JSON has it; None where it is not given."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Changed:
    """One resource that changes."""

    op: str
    type: str
    name: str
    urn: str
    properties: tuple[str, ...]
    """The inputs that differ."""
    because: tuple[str, ...]
    """Those of them for which it is replaced."""
    loses: str = ""
    """What is lost with it."""
    stops: str = ""
    """What stops: until the new one is there, or for good."""
    notes: tuple[str, ...] = ()
    """What else a reader has to know."""
    sure: bool = True
    """Not where all that differs is a secret, or known only after `up`: then it may change."""
    values: tuple[Value, ...] = ()
    """The inputs that differ, with what they are and become."""
    component: str = ""
    """The URN of the component of the stack that it is in, '' where it is in none."""
    delete_first: bool = False
    """Whether the old one goes before the new one comes."""


@dataclass(frozen=True)
class Cost:
    """Dollars a month of one resource, before and after."""

    urn: str
    what: str
    """What is paid for, the dearest of it."""
    expected_before: float
    expected_after: float
    ceiling_before: float
    ceiling_after: float


@dataclass(frozen=True)
class Money:
    """Dollars a month, before and after."""

    floor_before: float
    floor_after: float
    expected_before: float
    expected_after: float
    """With the usage that the stack's YAML states now."""
    ceiling_before: float
    ceiling_after: float
    items: tuple[tuple[str, float, float], ...]
    """The resources whose ceiling changes, with it before and after; the largest change first."""
    parts: tuple[Cost, ...] = ()
    """The resources whose cost changes, the largest change first."""


@dataclass(frozen=True)
class Changes:
    """What a plan changes about one stack."""

    stack: str
    since: str
    """Where it stands what is deployed."""
    refused: str = ""
    """Why the deployment would fail, where it would; then nothing else is known."""
    changed: tuple[Changed, ...] = ()
    cost: Money | None = None
    rights: tuple[Rights, ...] = ()
    not_known: tuple[str, ...] = ()
    """What cannot be told from here."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


# --- what is deployed -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deployed:
    """What is deployed of a stack, and who says so."""

    since: str
    state: State


def read_states(paths: Iterable[Path]) -> dict[str, Deployed]:
    """The state in each file, or in each `.json` of a folder, by its stack.

    Raises StateError for what is no export of a stack.
    """
    states = {}
    for path in (file for each in paths for file in (sorted(each.glob("*.json")) if each.is_dir() else [each])):
        try:
            document = json.loads(path.read_text("utf-8"))
            keeper = document["deployment"].get("secrets_providers") or {}
            state = imported(document, _revealed(keeper))
            [stack] = [each for each in state.resources.values() if each.type == STACK_TYPE]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"{path}: no state of a stack ({type(error).__name__}: {error}); give what `pulumi stack export` or "
                "`slipway plan --export` wrote"
            ) from None
        states[stack_of(stack.urn)] = Deployed(path.name, _without_defaults(state))
    return states


def _revealed(keeper: Mapping[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """What opens a state's secrets: the passphrase, where it is given and they are closed with one."""
    passphrase = os.environ.get("PULUMI_CONFIG_PASSPHRASE")
    salt = (keeper.get("state") or {}).get("salt")
    if not passphrase or keeper.get("type") != "passphrase" or not salt:
        return lambda sealed: UNKNOWN
    cipher = Cipher(lambda: passphrase, salt)
    return lambda sealed: json.loads(cipher.decrypt(sealed["ciphertext"])) if sealed["ciphertext"] else UNKNOWN


def _without_defaults(state: State) -> State:
    """The state without the inputs that the official providers added, which no program here ever said."""

    def said(inputs: Any, named: str | None = None) -> Any:
        if isinstance(inputs, list):
            return [said(each) for each in inputs]
        if not isinstance(inputs, dict):
            return inputs
        # A name that was generated stays, and is said to be: the next plan keeps it.
        added = set(inputs.get(DEFAULTS) or ()) - {named}
        noted = {DEFAULTS: [named]} if named in (inputs.get(DEFAULTS) or ()) else {}
        return {key: said(value) for key, value in inputs.items() if key != DEFAULTS and key not in added} | noted

    def named(type_: str) -> str:
        return row.named if (row := TYPES.get(type_)) else ""

    state.resources = {
        urn: replace(each, inputs=said(each.inputs, named(each.type))) for urn, each in state.resources.items()
    }
    return state


class _Known(StateStore):
    """The given states and no others; of a stack that is only read by another one, what that one read."""

    def __init__(self, work: Path, states: Mapping[str, State]) -> None:
        super().__init__(work)
        self._states = states
        self._read: dict[str, Record] = {}
        for state in states.values():
            for each in state.resources.values():
                if each.type == REFERENCE_TYPE and "outputs" in each.outputs:
                    self._read[str(each.outputs["name"]).rpartition("/")[2]] = each

    def load(self, stack: str) -> State:
        copy = State()
        if stack in self._states:
            copy.resources = dict(self._states[stack].resources)
        elif stack in self._read:
            urn = f"urn:pulumi:{stack}::slipway::{STACK_TYPE}::slipway-{stack}"
            copy.resources = {urn: Record(urn=urn, type=STACK_TYPE, outputs=self._read[stack].outputs["outputs"])}
        return copy


# --- what changes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reviewed:
    """One stack's plan, and what it changes."""

    settings: Settings
    plan: Plan | None
    """None where there is none, because the deployment would fail."""
    changes: Changes


def changes(
    settings: Sequence[Settings], deployed: Mapping[str, Deployed], engine_of: Callable[[Path, StateStore], Engine]
) -> list[Changes]:
    """What each stack's plan changes about its state, for the stacks that have one; in the order of `settings`.

    `engine_of` makes an engine that plans on a store's states, and asks nobody.
    """
    return [each.changes for each in reviewed(settings, deployed, engine_of)]


def reviewed(
    settings: Sequence[Settings], deployed: Mapping[str, Deployed], engine_of: Callable[[Path, StateStore], Engine]
) -> list[Reviewed]:
    """As `changes`, with the plans."""
    with TemporaryDirectory(prefix="slipway-") as nothing:
        states = {stack: each.state for stack, each in deployed.items()}
        engine = engine_of(Path(nothing), _Known(Path(nothing), states))
        return [
            review(each, engine, deployed[each.stack].state, deployed[each.stack].since)
            for each in settings
            if each.stack in deployed
        ]


def review(settings: Settings, engine: Engine, state: State, since: str) -> Reviewed:
    """What the engine's plan of a stack changes about the state that the engine plans on."""
    try:
        plan = engine.plan(settings)
    except DeploymentError as error:
        return Reviewed(settings, None, Changes(settings.stack, since, refused=str(error)))
    return Reviewed(settings, plan, changed_by(settings, plan, engine.planned(settings.stack), state, since))


def changed_by(settings: Settings, plan: Plan, planned: State, state: State, since: str) -> Changes:
    """What a plan, and the state that it would leave, change about the state that it was made on."""
    before = [_resource(each) for each in state.ordered() if not each.external]
    after = [each for each in plan.resources if each.type != REFERENCE_TYPE]
    changed = tuple(_changed(plan, planned, state))
    return Changes(
        settings.stack,
        since,
        changed=changed,
        cost=contextvars.copy_context().run(_money, settings, before, after),
        rights=tuple(compared(before, after)),
        not_known=tuple(_not_known(changed)),
    )


def _resource(record: Record) -> Resource:
    return Resource(
        urn=record.urn,
        type=record.type,
        name=record.name,
        custom=record.custom,
        id=record.id,
        inputs=opened(record.inputs),
        outputs=opened(record.outputs),
        parent=record.parent,
        protect=record.protect,
        dependencies=record.dependencies,
        property_dependencies=record.property_dependencies,
    )


def _changed(plan: Plan, planned: State, state: State) -> Iterator[Changed]:
    parents = {urn: each.parent for urn, each in state.resources.items()}
    parents |= {each.urn: each.parent for each in plan.resources}
    for step in plan.steps:
        if step.op in ("same", "read") or step.type.startswith("pulumi:") or step.type.startswith("slipway:"):
            continue
        told = _told(step, state.resources.get(step.urn), planned.resources.get(step.urn))
        yield replace(told, component=_component(step.urn, parents))


def _component(urn: str, parents: Mapping[str, str]) -> str:
    """The URN of the outermost component that holds a resource, '' where it is in none."""
    above = [urn]
    while urn := parents.get(urn, ""):
        above.append(urn)
    return above[-2] if len(above) > 2 else ""


def _told(step: Step, old: Record | None, new: Record | None) -> Changed:
    changed = Changed(step.op, step.type, step.name, step.urn, step.diff.changed, step.diff.replaces)
    if old is None:
        return changed
    if step.op == "create":
        return replace(changed, notes=("it was deployed and is gone, so it is made again",))
    before, after = opened(old.inputs), opened(new.inputs) if new else {}
    changed = replace(changed, values=tuple(_values(step, old, new)) if new else ())
    notes = tuple(dict.fromkeys(_notes(step, before, after)))
    if step.op == "update":
        hidden = [path for path in step.diff.changed if UNKNOWN in (from_path(before, path), from_path(after, path))]
        return replace(changed, notes=notes, sure=len(hidden) < len(step.diff.changed))
    kept = old.retain_on_delete
    loses = "" if kept else HOLDS.get(step.type, "")
    if loses and step.type == "aws:s3/bucket:Bucket" and not before.get("forceDestroy"):
        loses += " (AWS refuses while there are any: forceDestroy is off)"
    stops = SERVES.get(step.type, "")
    if step.op == "replace" and not step.diff.delete_before_replace:
        # The new one is there before the old one goes.
        stops = ""
    elif stops:
        stops += ", until the new one is there" if step.op == "replace" else ""
    if kept:
        notes += ("the old one stays in AWS, and nobody manages it any more",)
        stops = ""
    return replace(changed, loses=loses, stops=stops, notes=notes, delete_first=step.diff.delete_before_replace)


def _values(step: Step, old: Record, new: Record) -> Iterator[Value]:
    for path in step.diff.changed:
        top = str(parse_path(path)[0])
        if holds_secret(old.inputs.get(top)) or holds_secret(new.inputs.get(top)):
            yield Value(path, SECRET, SECRET)
        else:
            yield Value(path, from_path(old.inputs, path), from_path(new.inputs, path))


def _notes(step: Step, before: Props, after: Props) -> Iterator[str]:
    for path in step.diff.changed:
        name = path.partition(".")[0].partition("[")[0]
        said = IN_PLACE.get((step.type, name))
        if said and step.op == "update" and not (name == "retentionInDays" and _more(before, after, name)):
            yield said


def _more(before: Props, after: Props, name: str) -> bool:
    """Whether a number grows, 0 or none standing for no limit."""
    old, new = before.get(name) or float("inf"), after.get(name) or float("inf")
    return isinstance(old, int | float) and isinstance(new, int | float) and new > old


def _not_known(changed: Sequence[Changed]) -> Iterator[str]:
    unsure = [each.name for each in changed if not each.sure]
    if unsure:
        yield f"whether these change, for all that differs is secret or known only after `up`: {', '.join(unsure)}"
    for type_, why in UNKNOWABLE.items():
        touched = [each.name for each in changed if each.type == type_ and each.op == "update"]
        if touched:
            yield f"{', '.join(touched)} ({kind(type_)}): {why}"


def _money(settings: Settings, before: Sequence[Resource], after: Sequence[Resource]) -> Money:
    set_all_config(dict(settings.config))
    ceilings: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    estimates = [estimate(resources) for resources in (before, after)]
    floors = [sum(line.floor_usd for line in lines) for lines in estimates]
    expected = [sum(line.expected_usd for line in lines) for lines in estimates]
    most = [sum(line.ceiling_usd for line in lines) for lines in estimates]
    for index, lines in enumerate(estimates):
        for line in lines:
            ceilings[line.resource][index] += line.ceiling_usd
    moved = [(name, old, new) for name, (old, new) in ceilings.items() if abs(new - old) >= 0.01]
    moved.sort(key=lambda item: (-abs(item[2] - item[1]), item[0]))
    parts = tuple(_parts(*estimates))
    return Money(floors[0], floors[1], expected[0], expected[1], most[0], most[1], tuple(moved), parts)


def _parts(before: Sequence[Line], after: Sequence[Line]) -> list[Cost]:
    """What each resource costs before and after, where that changes."""
    amounts: dict[str, list[float]] = defaultdict(lambda: [0.0] * 4)
    dearest: dict[str, Line] = {}
    for offset, lines in enumerate((before, after)):
        for each in lines:
            of_it = amounts[each.urn]
            of_it[offset] += each.expected_usd
            of_it[2 + offset] += each.ceiling_usd
            if each.urn not in dearest or each.ceiling_usd >= dearest[each.urn].ceiling_usd:
                dearest[each.urn] = each
    found = [Cost(urn, dearest[urn].what, *each) for urn, each in amounts.items() if _moves(each)]
    return sorted(found, key=lambda each: (-abs(each.ceiling_after - each.ceiling_before), each.urn))


def _moves(amounts: Sequence[float]) -> bool:
    expected_before, expected_after, ceiling_before, ceiling_after = amounts
    return abs(expected_after - expected_before) >= 0.01 or abs(ceiling_after - ceiling_before) >= 0.01


def combined(found: Iterable[Changes]) -> dict[str, list[Changed]]:
    """What is to be looked at first, by what it is: `replaced`, `deleted`, `loses data`, `goes down`."""
    risks: dict[str, list[Changed]] = {"loses data": [], "goes down": [], "replaced": [], "deleted": []}
    for each in found:
        for one in each.changed:
            if one.loses:
                risks["loses data"].append(one)
            if one.stops:
                risks["goes down"].append(one)
            if one.op in ("replace", "delete"):
                risks["replaced" if one.op == "replace" else "deleted"].append(one)
    return risks
