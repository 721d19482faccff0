"""Whether a version of a model may go live: signed by us, unaltered, good enough, and approved by someone else."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from functions import ledger
from functions.ledger import Entry
from functions.registry import sign
from functions.registry.sign import ALGORITHM, CannotBeSigned, Statement

METRIC_TOLERANCE: Final = 1e-4
"""How far a metric in the metadata may be, relatively, from the evaluation's: it is written with six digits."""


NAMED: Final = ("user", "assumed-role", "federated-user", "user-profile")
"""The kinds of callers whose ARNs end with who it is; the last are SageMaker Studio's."""


class NotReleasable(Exception):
    """A version must not go live; `reason` says why, and what would change that."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was verified of a version, for the ledger."""

    package_arn: str
    statement: dict[str, str]
    key_arn: str
    metrics: dict[str, float]
    gate: dict[str, float]
    author: str
    approved_by: str
    approved_at: str
    approval_id: str
    """The id of the CloudTrail event that shows who approved."""
    verified_at: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def verify(
    package_arn: str,
    *,
    sagemaker: Any,
    s3: Any,
    kms: Any,
    ecr: Any,
    key_arn: str,
    gate: Mapping[str, float],
    ledger_bucket: str,
    endpoint: str | None = None,
) -> Evidence:
    """What speaks for releasing a version. Raises NotReleasable where anything speaks against it.

    The clients are boto3's. `key_arn` is the registry's own key, `gate` the least of each metric, and `endpoint` whose
    ledger has the approval (None: the one that is called like the package's group).
    """
    package = _described(sagemaker, package_arn)
    status = package.get("ModelApprovalStatus")
    if status != "Approved":
        raise NotReleasable(f"{package_arn} is {status}: a second person has to approve it first")
    document = _signature(s3, package)
    signed = check(document, kms=kms, key_arn=key_arn)
    _unaltered(signed, package, s3, ecr)
    metrics = _passes(s3, package, signed, gate)
    group = package_arn.rpartition(":")[2].split("/")[1]
    entries = ledger.entries(s3, ledger_bucket, endpoint or group)
    approval = _approval(entries, package, document, signed)
    return Evidence(
        package_arn=package_arn,
        statement=asdict(signed),
        key_arn=key_arn,
        metrics=metrics,
        gate=dict(gate),
        author=signed.author,
        approved_by=approval.by,
        approved_at=approval.at,
        approval_id=approval.id,
        verified_at=ledger.now(),
    )


def check(document: Mapping[str, Any], *, kms: Any, key_arn: str) -> Statement:
    """The statement that a signature covers. Raises NotReleasable where it is not the key's."""
    named = document.get("key_arn")
    if named != key_arn:
        raise NotReleasable(f"it is signed with {named}, and not with the registry's key {key_arn}")
    try:
        if document["algorithm"] != ALGORITHM:
            raise NotReleasable(f"the signature is made with {document['algorithm']}, and not with {ALGORITHM}")
        statement = Statement(**{field.name: str(document["statement"][field.name]) for field in fields(Statement)})
        signature = base64.b64decode(document["signature"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise NotReleasable(f"its signature cannot be read: {error!r}") from error
    try:
        answer = kms.verify(
            KeyId=key_arn,
            Message=statement.canonical(),
            MessageType="RAW",
            Signature=signature,
            SigningAlgorithm=ALGORITHM,
        )
        valid = bool(answer["SignatureValid"])
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("KMSInvalidSignatureException", "InvalidSignatureException"):
            raise
        valid = False
    if not valid:
        raise NotReleasable("its signature does not fit what it says: the statement was altered after it was signed")
    return statement


def same_person(one: str, other: str) -> bool:
    """Whether two callers are one person: the same ARN, or the same user or session name under another role.

    Who signs on through an identity provider has one session name in each role; a role's sessions of different names
    are different persons.
    """
    return one == other or person(one) == person(other)


def person(arn: str) -> str:
    """`arn:aws:iam::…:user/path/ann` → `ann`, `arn:aws:sts::…:assumed-role/Role/ann` → `ann`; else the ARN itself."""
    resource = arn.split(":", 5)[-1]
    kind, _, rest = resource.partition("/")
    return rest.rpartition("/")[2] if kind in NAMED else arn


def starter(entries: list[Entry], package: Mapping[str, Any]) -> str | None:
    """Who started the pipeline that made a package, as CloudTrail tells; None where it has not told."""
    run = package.get("CustomerMetadataProperties", {}).get("run")
    found = [each.by for each in entries if each.kind == "started" and each.package_arn.rpartition("/")[2] == run]
    return found[-1] if found else None


def _described(sagemaker: Any, package_arn: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = sagemaker.describe_model_package(ModelPackageName=package_arn)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        raise NotReleasable(f"{package_arn} is not in the registry: {error.response['Error']['Message']}") from error
    return found


def _signature(s3: Any, package: Mapping[str, Any]) -> dict[str, Any]:
    uri = package.get("CustomerMetadataProperties", {}).get(sign.SIGNATURE)
    if not uri:
        raise NotReleasable("it is not signed: run the registry's complete function on it, as the pipeline does")
    try:
        document: dict[str, Any] = json.loads(sign.read(s3, uri))
    except (CannotBeSigned, ValueError) as error:
        raise NotReleasable(f"its signature cannot be read: {error}") from error
    return document


def _unaltered(signed: Statement, package: Mapping[str, Any], s3: Any, ecr: Any) -> None:
    """Raises NotReleasable where a package is no longer what was signed."""
    try:
        seen = sign.observe(package, s3=s3, ecr=ecr)
    except CannotBeSigned as error:
        raise NotReleasable(f"what was signed is not there any more: {error}") from error
    differ = [
        f"{field.name} is {getattr(seen, field.name)}, and {getattr(signed, field.name)} was signed"
        for field in fields(Statement)
        if getattr(seen, field.name) != getattr(signed, field.name)
    ]
    if differ:
        raise NotReleasable(f"it is not what was signed: {'; '.join(differ)}")


def _passes(s3: Any, package: Mapping[str, Any], signed: Statement, gate: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a package that reaches every threshold."""
    body = sign.read(s3, sign.beside(package, "evaluation.json"))
    if hashlib.sha256(body).hexdigest() != signed.evaluation_sha256:
        raise NotReleasable("its evaluation was altered while it was verified")
    metrics = {name: float(value) for name, value in json.loads(body)["metrics"].items()}
    told = package.get("CustomerMetadataProperties", {})
    for name, value in metrics.items():
        if name in told and abs(float(told[name]) - value) > METRIC_TOLERANCE * max(abs(value), 1e-9):
            raise NotReleasable(f"its metadata say that {name} is {told[name]}, its evaluation {value:g}")
    short = [
        f"{name} is {metrics[name]:.4f}, less than {least:g}" if name in metrics else f"{name} was not measured"
        for name, least in gate.items()
        if not metrics.get(name, float("nan")) >= least
    ]
    if short:
        raise NotReleasable(f"it does not pass the gate: {'; '.join(short)}")
    return metrics


def _approval(
    entries: list[Entry], package: Mapping[str, Any], document: Mapping[str, Any], signed: Statement
) -> Entry:
    """The approval that holds for a package as it is. Raises NotReleasable where none does."""
    arn = package["ModelPackageArn"]
    found = [entry for entry in entries if entry.kind == "approved" and entry.package_arn == arn]
    if not found:
        raise NotReleasable(
            "nobody knows who approved it: the ledger has no entry. CloudTrail tells of an approval within 15 minutes; "
            "after that, see the approvals function's log and its dead letters"
        )
    approval = found[-1]
    if not approval.by:
        raise NotReleasable("nobody knows who approved it: the approval's entry names no one. Approve it again")
    for author in (signed.author, starter(entries, package)):
        if author and same_person(approval.by, author):
            raise NotReleasable(
                f"{approval.by} approved what {author} made: someone else has to approve it, in a role of their own"
            )
    if approval.evidence.get("statement_sha256") != statement_sha256(document):
        raise NotReleasable(
            f"what was signed changed after {approval.by} approved it at {approval.at}: approve it again"
        )
    changed = modified(package)
    who = package.get("LastModifiedBy", {}).get("IamIdentity", {}).get("Arn", "someone")
    recorder = str(approval.evidence.get("recorded_by", ""))  # whose role can change a version's card alone
    if (
        changed != approval.evidence.get("package_modified_at")
        and who.rpartition("/")[0] != recorder.rpartition("/")[0]
    ):
        raise NotReleasable(
            f"{who} changed it at {changed}, after {approval.by} approved it at {approval.at}: approve it again"
        )
    return approval


def statement_sha256(document: Mapping[str, Any]) -> str:
    """What an approval refers to: the signed statement that was there when it was given."""
    return hashlib.sha256(sign.canonical(document["statement"])).hexdigest()


def modified(package: Mapping[str, Any]) -> str:
    """When a package was last changed."""
    when: datetime = package.get("LastModifiedTime") or package["CreationTime"]
    return ledger.stamp(when)
