"""Least privilege by evidence: what each role of a rehearsed stack is granted, what it used, and how the two differ."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from infra.needs import Need, details
from infra.permissions import Caller, Document, Grant, Policies, decide
from policies.documents import Statement, parse

EXPLANATIONS: Final = Path(__file__).parents[1] / "policies" / "unused_grants.yaml"
SUFFIX: Final = re.compile(r"-[0-9a-f]{7}$")
"""What Pulumi puts behind a name that it makes."""

UNKNOWN_ACTION: Final = "IAM has no action of that name: add the operation's to infra/needs.py"


class Explanation(BaseModel):
    """Why roles are granted what the rehearsal does not show them to use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: tuple[str, ...] = Field(min_length=1)
    """Names of roles, without what Pulumi puts behind them; `*` stands for any text here and below."""
    actions: tuple[str, ...] = Field(min_length=1)
    resources: tuple[str, ...] = ("*",)
    via: str | None = None
    """Of grants on a key, those for calls through this service alone: `sqs`."""
    when: Literal["not shown by the rehearsal", "on failure", "on another occasion"]
    why: str = Field(min_length=20)

    def covers(self, role: str, grant: Grant) -> bool:
        """Whether it speaks of this grant of a role."""
        return (
            any(fnmatchcase(role, each) for each in self.roles)
            and any(fnmatchcase(grant.action.lower(), each.lower()) for each in self.actions)
            and any(fnmatchcase(grant.resource, each) for each in self.resources)
            and (self.via is None or any(each.startswith(f"{self.via}.") for each in _via(grant)))
        )


def _via(grant: Grant) -> Iterator[str]:
    for tests in grant.statement.conditions.values():
        for key, values in tests.items():
            if key.lower() == "kms:viaservice":
                yield from values


def explanations(path: Path = EXPLANATIONS) -> list[Explanation]:
    """The reviewed ones."""
    return [Explanation.model_validate(each) for each in yaml.safe_load(path.read_text("utf-8"))["unused"]]


@dataclass(frozen=True)
class Call:
    """A call that took rights, as the rehearsal recorded it."""

    principal: str
    service: str
    operation: str
    needs: tuple[Need, ...]


def recorded(path: Path) -> Iterator[Call]:
    """The calls in a rehearsal's record that roles and services of AWS made."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if '"needs"' in line:
                raw = json.loads(line)
                needs = tuple(map(Need.read, raw["needs"]))
                yield Call(raw["principal"], raw["service"], raw["action"], needs)


@dataclass(frozen=True)
class Missing:
    """A right that was used and is not granted: on AWS the call would have been refused."""

    need: Need
    operation: str
    calls: int
    why: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**self.need.to_dict(), "operation": self.operation, "calls": self.calls, "why": self.why}


@dataclass(frozen=True)
class Unused:
    """A right that is granted, and that no call took."""

    grant: Grant
    explanation: Explanation | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        told = {"when": self.explanation.when, "why": self.explanation.why} if self.explanation else {"why": None}
        where = {"policy": self.grant.policy, "statement": self.grant.statement.label}
        return {"action": self.grant.action, "resource": self.grant.resource, **where, **told}


@dataclass(frozen=True)
class Findings:
    """What the evidence says of one role, or of one service of AWS (which has no policies of its own)."""

    name: str
    principal: str
    stack: str
    calls: int
    granted: int
    """Actions on resources."""
    used: tuple[Grant, ...]
    unused: tuple[Unused, ...]
    missing: tuple[Missing, ...]
    assumed: tuple[str, ...]
    """Conditions that no request tells of, and that were taken to hold."""
    suggested: tuple[Mapping[str, Any], ...]
    """The least statements by which all that was seen is granted."""

    @property
    def unexplained(self) -> list[Unused]:
        """What is granted, never used, and explained nowhere."""
        return [each for each in self.unused if each.explanation is None]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "principal": self.principal,
            "stack": self.stack,
            "calls": self.calls,
            "granted": self.granted,
            "used": len(self.used),
            "unused": [each.to_dict() for each in self.unused],
            "missing": [each.to_dict() for each in self.missing],
            "assumed": list(self.assumed),
            "suggested": list(self.suggested),
        }


@dataclass(frozen=True)
class Evidence:
    """What the evidence says of all that were asked about."""

    findings: tuple[Findings, ...]
    stale: tuple[Explanation, ...]
    """Explanations of what no role is granted any more."""

    @property
    def missing(self) -> list[tuple[str, Missing]]:
        """What was used and is not granted, with whose it is."""
        return [(each.name, missing) for each in self.findings for missing in each.missing]

    @property
    def unexplained(self) -> list[tuple[str, Unused]]:
        """What is granted, never used and not explained, with whose it is."""
        return [(each.name, unused) for each in self.findings for unused in each.unexplained]

    def counts(self) -> dict[str, int]:
        """All of it in numbers."""
        return {
            "roles": sum(each.stack != "" for each in self.findings),
            "granted": sum(each.granted for each in self.findings),
            "used": sum(len(each.used) for each in self.findings),
            "unused": sum(len(each.unused) for each in self.findings),
            "unexplained": len(self.unexplained),
            "missing": len(self.missing),
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "counts": self.counts(),
            "roles": {each.name: each.to_dict() for each in self.findings},
            "stale_explanations": [each.model_dump() for each in self.stale],
        }


@dataclass(frozen=True)
class Role:
    """One deployed role."""

    name: str
    """As the program names it: without what Pulumi puts behind it."""
    arn: str
    stack: str
    policies: Policies


def weigh(
    roles: Sequence[Role], calls: Iterable[Call], document_of: Document, explained: Sequence[Explanation], account: str
) -> Evidence:
    """Hold what was called against what is granted."""
    by_principal: dict[str, Counter[tuple[Need, str]]] = defaultdict(Counter)
    times: Counter[str] = Counter()
    for call in calls:
        times[call.principal] += 1
        by_principal[call.principal].update((need, call.operation) for need in dict.fromkeys(call.needs))
    findings = [
        _of_role(role, by_principal.get(role.arn, Counter()), times[role.arn], document_of, explained, account)
        for role in roles
    ]
    for service in sorted(each for each in by_principal if not each.startswith("arn:")):
        caller = Caller(service, account)
        missing, assumed = _judged(by_principal[service], caller, Policies(()), document_of)
        if missing:
            findings.append(Findings(service, service, "", times[service], 0, (), (), missing, assumed, ()))
    stale = [
        each
        for each in explained
        if not any(each.covers(role.name, grant) for role in roles for grant in role.policies.grants())
    ]
    return Evidence(tuple(findings), tuple(stale))


def _of_role(
    role: Role,
    needs: Counter[tuple[Need, str]],
    calls: int,
    document_of: Document,
    explained: Sequence[Explanation],
    account: str,
) -> Findings:
    caller = Caller(role.arn, account)
    grants = list(dict.fromkeys(role.policies.grants()))
    used = [grant for grant in grants if any(grant.covers(need, caller) for need, _ in needs)]
    unused = [
        Unused(grant, next((each for each in explained if each.covers(role.name, grant)), None))
        for grant in grants
        if grant not in used
    ]
    missing, assumed = _judged(needs, caller, role.policies, document_of)
    suggested = tuple(suggest(used, (each.need for each in missing)))
    return Findings(
        role.name, role.arn, role.stack, calls, len(grants), tuple(used), tuple(unused), missing, assumed, suggested
    )


def _judged(
    needs: Mapping[tuple[Need, str], int], caller: Caller, policies: Policies, document_of: Document
) -> tuple[tuple[Missing, ...], tuple[str, ...]]:
    missing: list[Missing] = []
    assumed: list[str] = []
    for (need, operation), count in needs.items():
        if details(need.action) is None:
            missing.append(Missing(need, operation, count, UNKNOWN_ACTION))
            continue
        decision = decide(need, caller, policies, document_of)
        assumed += [f"{each} of {need.action}" for each in decision.assumed]
        if not decision.granted:
            missing.append(Missing(need, operation, count, decision.why))
    return tuple(missing), tuple(dict.fromkeys(assumed))


def suggest(used: Iterable[Grant], missing: Iterable[Need]) -> Iterator[Mapping[str, Any]]:
    """The statements that would do: of what is granted, what was used; and what is missing, by its exact ARN."""
    by_place: dict[tuple[str, str], list[str]] = defaultdict(list)
    by_condition: dict[str, Any] = {}
    for grant in used:
        condition = grant.statement.conditions
        key = json.dumps(condition, sort_keys=True)
        by_condition[key] = {operator: {k: list(v) for k, v in tests.items()} for operator, tests in condition.items()}
        by_place[grant.resource, key].append(grant.action)
    by_condition["{}"] = {}
    for need in missing:
        by_place[need.resource, "{}"].append(need.action)
    by_actions: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for (resource, key), actions in by_place.items():
        by_actions[tuple(sorted(set(actions))), key].append(resource)
    for (together, key), resources in by_actions.items():
        more = {"Condition": by_condition[key]} if by_condition[key] else {}
        yield {"Effect": "Allow", "Action": list(together), "Resource": resources, **more}


# --- what is deployed -------------------------------------------------------------------------------------------------


def access(name: str | None = None) -> Evidence:
    """The evidence of the rehearsal, for all its stacks, one stack, or one role.

    Raises SettingsError for what there is not, NotDeployed where nothing is.
    """
    from infra.reach import NotDeployed, reach
    from infra.rehearsal.session import WORK
    from infra.rehearsal.state import StateStore
    from infra.settings import SettingsError, stack_names, stacks_of

    store = StateStore(WORK)
    stacks = store.stacks()
    if not stacks:
        raise NotDeployed("nothing is rehearsed, so that there is no evidence: `slipway up local` makes some")
    if name in stack_names() and name not in stacks:
        raise SettingsError(f"{name} is not rehearsed; the evidence is that of {', '.join(stacks)}")
    deployed = reach(stacks[0])
    clients = deployed.client
    roles = [role for stack in stacks for role in _roles(store, stack, clients)]
    wanted = stacks_of([name]) if name in ("local", *stacks) else None
    chosen = [
        role for role in roles if name is None or (role.stack in wanted if wanted else name in (role.name, role.arn))
    ]
    if not chosen:
        known = ", ".join(sorted(role.name for role in roles))
        raise SettingsError(f"there is no rehearsed stack or role {name}: there are {', '.join(stacks)}; {known}")
    account = deployed.settings.account_id
    found = weigh(roles, recorded(WORK / "calls.jsonl"), documents(clients), explanations(), account)
    if name is None or name == "local":
        return found
    names = {role.name for role in chosen}
    return Evidence(tuple(each for each in found.findings if each.name in names), ())


def _roles(store: Any, stack: str, client: Any) -> Iterator[Role]:
    iam = client("iam")
    for record in store.load(stack).resources.values():
        if record.type == "aws:iam/role:Role":
            physical = record.outputs["name"]
            yield Role(SUFFIX.sub("", physical), record.outputs["arn"], stack, _policies(iam, physical))


def _policies(iam: Any, role: str) -> Policies:
    def pages(operation: str, member: str) -> Iterator[Any]:
        for page in iam.get_paginator(operation).paginate(RoleName=role):
            yield from page[member]

    def managed(arn: str) -> list[Statement]:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        return parse(document)

    statements = [
        (policy, statement)
        for policy in pages("list_role_policies", "PolicyNames")
        for statement in parse(iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"])
    ]
    statements += [
        (policy["PolicyName"], statement)
        for policy in pages("list_attached_role_policies", "AttachedPolicies")
        for statement in managed(policy["PolicyArn"])
    ]
    boundary = iam.get_role(RoleName=role)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    return Policies(statements, managed(boundary) if boundary else None)


def documents(client: Any) -> Document:
    """What reads the policies of resources, where there are any: of buckets, keys, topics, queues, and so on."""
    from botocore.exceptions import ClientError

    def text(arn: str) -> Any:
        _, _, service, _, _, name = arn.split(":", 5)
        if service == "s3":
            return client("s3").get_bucket_policy(Bucket=name.partition("/")[0])["Policy"]
        if service == "kms":
            return client("kms").get_key_policy(KeyId=arn, PolicyName="default")["Policy"]
        if service == "sns":
            return client("sns").get_topic_attributes(TopicArn=arn)["Attributes"].get("Policy")
        if service == "sqs":
            sqs = client("sqs")
            queue = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            return (
                client("sqs")
                .get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"]
                .get("Policy")
            )
        if service == "lambda":
            return client("lambda").get_policy(FunctionName=name.split(":")[1])["Policy"]
        if service == "ecr":
            return client("ecr").get_repository_policy(repositoryName=name.partition("/")[2])["policyText"]
        if service == "sagemaker" and (group := re.fullmatch(r"model-package(?:-group)?/([^/]+).*", name)):
            return client("sagemaker").get_model_package_group_policy(ModelPackageGroupName=group[1])["ResourcePolicy"]
        return None

    @cache
    def of(arn: str) -> Sequence[Statement] | None:
        try:
            found = text(arn)
        except ClientError:  # it has none, or belongs to another account
            return None
        return parse(found) if found else None

    return of


# --- for people -------------------------------------------------------------------------------------------------------


def lines(evidence: Evidence, *, details_of: bool, suggest_: bool) -> Iterator[str]:
    """The evidence as text: a table of all roles, then what is to be done about each; `details_of` shows all of it."""
    rows: list[tuple[str, ...]] = [("role", "calls", "granted", "used", "explained", "unexplained", "missing")]
    for each in evidence.findings:
        unexplained = len(each.unexplained)
        numbers = (each.calls, each.granted, len(each.used), len(each.unused) - unexplained, unexplained)
        rows.append((each.name, *map(str, numbers), str(len(each.missing))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        yield "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
    for each in evidence.findings:
        yield from _of_one(each, details_of, suggest_)
    for stale in evidence.stale:
        whose = ", ".join(stale.roles)
        yield f"\nwarning: {EXPLANATIONS.name} explains what nobody is granted: {', '.join(stale.actions)} of {whose}"
    counts = evidence.counts()
    yield (
        f"\n{counts['roles']} roles are granted an action on a resource {counts['granted']} times: {counts['used']} "
        f"were used, {counts['unused']} were not, {counts['unexplained']} of those without an explanation; "
        f"{counts['missing']} were used and are not granted"
    )


def _of_one(found: Findings, all_of_it: bool, suggest_: bool) -> Iterator[str]:
    unused = found.unused if all_of_it else found.unexplained
    if not (unused or found.missing or all_of_it or suggest_):
        return
    yield f"\n{found.name}"
    for missing in found.missing:
        yield f"  used, not granted    {missing.need.action} on {missing.need.resource}"
        yield f"                       by {missing.operation}, {missing.calls} times: {missing.why}"
    for each in unused:
        yield f"  granted, never used  {each.grant.action} on {each.grant.resource} ({each.grant.policy})"
        if each.explanation:
            yield f"                       {each.explanation.when}: {each.explanation.why}"
    if all_of_it:
        yield from (f"  used                 {grant.action} on {grant.resource}" for grant in found.used)
        yield from (f"  taken to hold        {condition}" for condition in found.assumed)
    if suggest_ and found.suggested:
        yield json.dumps({"Version": "2012-10-17", "Statement": found.suggested}, indent=2)
