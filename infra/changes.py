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
from infra.rehearsal.properties import from_path, opened
from infra.rehearsal.provider import UNKNOWN, Props
from infra.rehearsal.state import STACK_TYPE, Cipher, Record, State, StateError, StateStore, imported
from infra.settings import Settings
from policies.cost.pricing import estimate
from policies.documents import listed
from policies.exceptions import stack_of
from policies.resource_types import ACCESS_POLICY, ATTACHMENT, PERMISSION, POLICY, ROLE, ROLE_POLICY
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
    "aws:ec2/subnet:Subnet": "everything in it",
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


@dataclass(frozen=True)
class Rights:
    """What someone may do now and could not before, and the other way round: `sqs:SendMessage on arn:…`."""

    who: str
    gains: tuple[str, ...]
    loses: tuple[str, ...]


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


def changes(
    settings: Sequence[Settings], deployed: Mapping[str, Deployed], engine_of: Callable[[Path, StateStore], Engine]
) -> list[Changes]:
    """What each stack's plan changes about its state, for the stacks that have one; in the order of `settings`.

    `engine_of` makes an engine that plans on a store's states, and asks nobody.
    """
    with TemporaryDirectory(prefix="slipway-") as nothing:
        states = {stack: each.state for stack, each in deployed.items()}
        engine = engine_of(Path(nothing), _Known(Path(nothing), states))
        return [
            _changes(each, deployed[each.stack].state, engine, deployed[each.stack].since)
            for each in settings
            if each.stack in deployed
        ]


def _changes(settings: Settings, state: State, engine: Engine, since: str) -> Changes:
    try:
        plan = engine.plan(settings)
    except DeploymentError as error:
        return Changes(settings.stack, since, refused=str(error))
    before = [_resource(each) for each in state.ordered() if not each.external]
    after = [each for each in plan.resources if each.type != REFERENCE_TYPE]
    changed = tuple(_changed(plan, state))
    return Changes(
        settings.stack,
        since,
        changed=changed,
        cost=contextvars.copy_context().run(_money, settings, before, after),
        rights=tuple(_rights(before, after)),
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


def _changed(plan: Plan, state: State) -> Iterator[Changed]:
    new = {each.urn: each for each in plan.resources}
    for step in plan.steps:
        if step.op in ("same", "read") or step.type.startswith("pulumi:") or step.type.startswith("slipway:"):
            continue
        old = state.resources.get(step.urn)
        yield _told(step, old, new.get(step.urn))


def _told(step: Step, old: Record | None, new: Resource | None) -> Changed:
    changed = Changed(step.op, step.type, step.name, step.urn, step.diff.changed, step.diff.replaces)
    if step.op == "create" or old is None:
        return changed
    before, after = opened(old.inputs), new.inputs if new else {}
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
    return replace(changed, loses=loses, stops=stops, notes=notes)


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
    return Money(floors[0], floors[1], expected[0], expected[1], most[0], most[1], tuple(moved))


# --- who may do what --------------------------------------------------------------------------------------------------

RBAC: Final = ("kubernetes:rbac.authorization.k8s.io/v1:Role", "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")


def _rights(before: Sequence[Resource], after: Sequence[Resource]) -> Iterator[Rights]:
    old, new = _granted(before), _granted(after)
    for who in sorted(old.keys() | new.keys()):
        gains, loses = sorted(new[who] - old[who]), sorted(old[who] - new[who])
        if gains or loses:
            yield Rights(who, tuple(gains), tuple(loses))


def _granted(resources: Sequence[Resource]) -> defaultdict[str, set[str]]:
    """Everything that the stack's documents allow or deny: by who, each as one line."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    by_urn = {each.urn: each for each in resources}
    for each in resources:
        for who, right in _of(each, by_urn):
            found[who].add(right)
    return found


def _of(each: Resource, by_urn: Mapping[str, Resource]) -> Iterator[tuple[str, str]]:
    inputs = each.inputs
    if each.type == ROLE:
        who = f"role {each.name}"
        yield from ((who, f"may be assumed by {right}") for right in _trust(inputs.get("assumeRolePolicy")))
        for inline in inputs.get("inlinePolicies") or ():
            yield from ((who, right) for right in _document(inline.get("policy")))
        yield from ((who, f"all of {arn}") for arn in inputs.get("managedPolicyArns") or ())
        if inputs.get("permissionsBoundary"):
            yield who, f"no more than {inputs['permissionsBoundary']}"
    elif each.type == ROLE_POLICY:
        yield from ((_role_of(each, by_urn), right) for right in _document(inputs.get("policy")))
    elif each.type == ATTACHMENT:
        policy = next((by_urn[urn] for urn in each.property_dependencies.get("policyArn", ()) if urn in by_urn), None)
        document = policy.inputs.get("policy") if policy and policy.type == POLICY else None
        rights = _document(document) if document else [f"all of {inputs.get('policyArn')}"]
        yield from ((_role_of(each, by_urn), right) for right in rights)
    elif each.type == PERMISSION:
        limits = [str(inputs[key]) for key in ("sourceArn", "sourceAccount", "principalOrgId") if inputs.get(key)]
        if_ = f" if {', '.join(limits)}" if limits else ""
        yield str(inputs.get("principal")), f"{inputs.get('action')} on {inputs.get('function')}{if_}"
    elif each.type == ACCESS_POLICY:
        where = json.dumps(inputs.get("accessScope"), sort_keys=True)
        yield (
            str(inputs.get("principalArn")),
            f"{inputs.get('policyArn')} in cluster {inputs.get('clusterName')}, {where}",
        )
    elif each.type in RBAC:
        for rule in inputs.get("rules") or ():
            on = ", ".join(map(str, rule.get("resources") or rule.get("nonResourceURLs") or ()))
            yield f"Kubernetes {kind(each.type)} {each.name}", f"{', '.join(rule.get('verbs') or ())} on {on}"
    elif each.type != POLICY:
        # What has a policy of its own: a bucket, a key, a queue, a topic, a repository, an endpoint of the network.
        for key, value in inputs.items():
            if "policy" in key.lower() and isinstance(value, str) and '"Statement"' in value:
                yield from _by_principal(value, f"{kind(each.type)} {each.name}")


def _role_of(each: Resource, by_urn: Mapping[str, Resource]) -> str:
    for urn in each.property_dependencies.get("role", ()):
        if urn in by_urn and by_urn[urn].type == ROLE:
            return f"role {by_urn[urn].name}"
    return f"role {each.inputs.get('role')}"


def _statements(text: Any) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return []
    found = listed(document.get("Statement")) if isinstance(document, Mapping) else ()
    return [each for each in found if isinstance(each, Mapping)]


def _document(text: Any) -> list[str]:
    """The lines of a document that someone has."""
    if text == UNKNOWN:
        return ["what only `up` will tell"]
    return [line for each in _statements(text) for line in _lines(each)]


def _lines(statement: Mapping[str, Any]) -> Iterator[str]:
    denied = "not " if statement.get("Effect") == "Deny" else ""
    conditions = _conditions(statement)
    actions = [str(each) for each in listed(statement.get("Action"))]
    actions += [f"all but {each}" for each in listed(statement.get("NotAction"))]
    resources = [str(each) for each in listed(statement.get("Resource"))]
    resources += [f"all but {each}" for each in listed(statement.get("NotResource"))]
    for action in actions:
        for resource in resources or ["it"]:
            yield f"{denied}{action} on {resource}{conditions}"


def _conditions(statement: Mapping[str, Any]) -> str:
    said = statement.get("Condition")
    return f" if {json.dumps(said, sort_keys=True)}" if said else ""


def _principals(statement: Mapping[str, Any]) -> list[str]:
    named = statement.get("Principal")
    if isinstance(named, Mapping):
        return [str(each) for of in named.values() for each in listed(of)]
    if named is not None:
        return ["everyone" if named == "*" else str(named)]
    return [f"everyone but {each}" for of in (statement.get("NotPrincipal") or {}).values() for each in listed(of)]


def _trust(text: Any) -> Iterator[str]:
    for each in _statements(text):
        denied = "not " if each.get("Effect") == "Deny" else ""
        for who in _principals(each):
            yield f"{denied}{who}{_conditions(each)}"


def _by_principal(text: str, on: str) -> Iterator[tuple[str, str]]:
    for each in _statements(text):
        for who in _principals(each):
            for line in _lines(each):
                yield "everyone" if who == "*" else who, f"{line}, by the policy of {on}"


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
