"""What an account needs before `pulumi up`: the state's bucket, the secrets' key, and roles for CI inside a boundary.

It is written with boto3, not as a CloudFormation stack: what is there already is adopted and mended, whoever made it;
nothing is ever deleted, also not by a failure half-way; and what will be done can be told to the letter before.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal
from urllib.parse import unquote

from botocore.exceptions import ClientError, NoCredentialsError, ProfileNotFound, TokenRetrievalError

from infra import bootstrap_documents as documents
from infra.bootstrap_documents import BOUNDARY, GITHUB, SECRETS_ALIAS, Issuer, Place
from infra.environments import Deploys, Environment, environment, environments

Client = Callable[[str], Any]
"""Gives the boto3 client of a service, in the environment's account and region."""

TAGS: Final = {"owner": "ml-platform", "product": "platform", "made-by": "slipway-bootstrap"}
OLD_STATE_DAYS: Final = 365
"""How long a version of the state that was written over is kept."""
SESSION_SECONDS: Final = 7200
"""How long a deployment's credentials last: a cluster with node groups takes up to an hour."""
POLICY_VERSIONS: Final = 5
"""Of one managed policy: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html."""


class BootstrapError(Exception):
    """The account cannot be made ready: the text says why, and what to do."""


@dataclass(frozen=True)
class Step:
    """What is to be done about one thing."""

    what: str
    op: Literal["make", "mend", "none"]
    changes: Mapping[str, str] = field(default_factory=dict)
    """By what of it: `is → will be`; where it is made, only what it will be."""
    documents: Mapping[str, Any] = field(default_factory=dict)
    """The policies among them, in full."""
    left: Sequence[str] = ()
    """What is there beside what belongs there; a person decides about it."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


class Part(ABC):
    """One thing that an account has to have, and what it has to be like."""

    what: str

    @abstractmethod
    def wanted(self) -> Mapping[str, Any]:
        """What it has to be like, aspect by aspect."""

    @abstractmethod
    def found(self) -> Mapping[str, Any] | None:
        """What it is like; None where there is none."""

    @abstractmethod
    def make(self) -> None:
        """Make it; it is mended afterwards."""

    @abstractmethod
    def mend(self, aspect: str) -> None:
        """Make one aspect what it has to be."""

    def left(self) -> Sequence[str]:
        """What is there beside what belongs there."""
        return ()

    def step(self) -> Step:
        """What would be done."""
        wanted, found = self.wanted(), self.found()
        differing = [each for each in wanted if found is None or not _same(found.get(each), wanted[each])]
        policies = {aspect: wanted[aspect] for aspect in differing if _is_policy(wanted[aspect])}
        if found is None:
            told = {aspect: _words(value) for aspect, value in wanted.items()}
            return Step(self.what, "make", told, policies)
        told = {aspect: f"{_words(found.get(aspect))} → {_words(wanted[aspect])}" for aspect in differing}
        return Step(self.what, "mend" if differing else "none", told, policies, self.left())

    def ensure(self) -> None:
        """Make it, or mend what differs; what is right is not touched."""
        found = self.found()
        if found is None:
            self.make()
            found = self.found() or {}
        for aspect, value in self.wanted().items():
            if not _same(found.get(aspect), value):
                self.mend(aspect)


class SecretsKey(Part):
    """The KMS key that encrypts Pulumi's secrets and state."""

    def __init__(self, place: Place, client: Client) -> None:
        self.what, self._place, self._kms = f"key {SECRETS_ALIAS}", place, client("kms")

    def wanted(self) -> Mapping[str, Any]:
        return {"usable": True, "new key material each year": True, "policy": documents.key_policy(self._place)}

    def arn(self) -> str | None:
        """Its ARN; None before it is made."""
        with _unless("NotFoundException"):
            return str(self._kms.describe_key(KeyId=SECRETS_ALIAS)["KeyMetadata"]["Arn"])
        return None

    def found(self) -> Mapping[str, Any] | None:
        arn = self.arn()
        if arn is None:
            return None
        usable = self._kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "Enabled"
        rotated = usable and self._kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
        policy = json.loads(self._kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"])
        return {"usable": usable, "new key material each year": rotated, "policy": policy}

    def make(self) -> None:
        made = self._kms.create_key(
            Description="Pulumi's secrets and state",
            Policy=json.dumps(documents.key_policy(self._place)),
            Tags=[{"TagKey": key, "TagValue": value} for key, value in TAGS.items()],
        )["KeyMetadata"]
        self._kms.create_alias(AliasName=SECRETS_ALIAS, TargetKeyId=made["KeyId"])

    def mend(self, aspect: str) -> None:
        arn = self.arn()
        if aspect == "usable":
            key = self._kms.describe_key(KeyId=arn)["KeyMetadata"]
            if key["KeyState"] == "PendingDeletion":
                self._kms.cancel_key_deletion(KeyId=key["KeyId"])
            self._kms.enable_key(KeyId=key["KeyId"])
        elif aspect == "policy":
            policy = json.dumps(documents.key_policy(self._place))
            self._kms.put_key_policy(KeyId=arn, PolicyName="default", Policy=policy)
        else:
            self._kms.enable_key_rotation(KeyId=arn)


class StateBucket(Part):
    """The bucket of Pulumi's state."""

    def __init__(self, place: Place, client: Client, key: SecretsKey) -> None:
        self.what, self._place, self._key = f"bucket {place.bucket}", place, key
        self._s3 = client("s3")
        self._of = {"Bucket": place.bucket, "ExpectedBucketOwner": place.account}

    def wanted(self) -> Mapping[str, Any]:
        return {
            "public access": "blocked",
            "owner of all objects": "the account",
            "versions": "kept",
            "encrypted with": self._key.arn() or SECRETS_ALIAS,
            "policy": documents.bucket_policy(self._place),
            "old versions": f"expire after {OLD_STATE_DAYS} days, uploads that broke off after 7",
        }

    def found(self) -> Mapping[str, Any] | None:
        try:
            self._s3.head_bucket(Bucket=self._place.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchBucket"):
                return None
            raise BootstrapError(
                f"{self.what}: AWS answers {error.response['Error']['Code']}: it is another account's, or your "
                "credentials may not see it (s3:ListBucket)"
            ) from error
        found: dict[str, Any] = {}
        with _unless("NoSuchPublicAccessBlockConfiguration"):
            block = self._s3.get_public_access_block(**self._of)["PublicAccessBlockConfiguration"]
            found["public access"] = "blocked" if block == _BLOCKED else "partly open"
        with _unless("OwnershipControlsNotFoundError"):
            [rule] = self._s3.get_bucket_ownership_controls(**self._of)["OwnershipControls"]["Rules"]
            owned = rule["ObjectOwnership"] == "BucketOwnerEnforced"
            found["owner of all objects"] = "the account" if owned else rule["ObjectOwnership"]
        enabled = self._s3.get_bucket_versioning(**self._of).get("Status") == "Enabled"
        found["versions"] = "kept" if enabled else "written over"
        with _unless("ServerSideEncryptionConfigurationNotFoundError"):
            [rule] = self._s3.get_bucket_encryption(**self._of)["ServerSideEncryptionConfiguration"]["Rules"]
            default = rule["ApplyServerSideEncryptionByDefault"]
            found["encrypted with"] = default.get("KMSMasterKeyID", default["SSEAlgorithm"])
        with _unless("NoSuchBucketPolicy"):
            found["policy"] = json.loads(self._s3.get_bucket_policy(**self._of)["Policy"])
        with _unless("NoSuchLifecycleConfiguration"):
            rules = self._s3.get_bucket_lifecycle_configuration(**self._of)["Rules"]
            right = len(rules) == 1 and {key: rules[0].get(key) for key in _COMPARED} == _COMPARED
            found["old versions"] = self.wanted()["old versions"] if right else "other rules"
        return found

    def make(self) -> None:
        where: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": self._place.region}}
        self._s3.create_bucket(
            Bucket=self._place.bucket,
            ObjectOwnership="BucketOwnerEnforced",
            **(where if self._place.region != "us-east-1" else {}),  # which is the one that may not be said
        )
        self._s3.get_waiter("bucket_exists").wait(Bucket=self._place.bucket)
        tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
        self._s3.put_bucket_tagging(**self._of, Tagging={"TagSet": tags})

    def mend(self, aspect: str) -> None:
        s3, of = self._s3, self._of
        if aspect == "public access":
            s3.put_public_access_block(**of, PublicAccessBlockConfiguration=_BLOCKED)
        elif aspect == "owner of all objects":
            rules = [{"ObjectOwnership": "BucketOwnerEnforced"}]
            s3.put_bucket_ownership_controls(**of, OwnershipControls={"Rules": rules})
        elif aspect == "versions":
            s3.put_bucket_versioning(**of, VersioningConfiguration={"Status": "Enabled"})
        elif aspect == "encrypted with":
            default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": self._key.arn()}
            rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
            s3.put_bucket_encryption(**of, ServerSideEncryptionConfiguration={"Rules": [rule]})
        elif aspect == "policy":
            s3.put_bucket_policy(**of, Policy=json.dumps(documents.bucket_policy(self._place)))
        else:
            s3.put_bucket_lifecycle_configuration(**of, LifecycleConfiguration={"Rules": _LIFECYCLE})


class Boundary(Part):
    """The managed policy that bounds CI's roles and every role they make."""

    def __init__(self, place: Place, client: Client) -> None:
        self.what, self._place, self._iam = f"policy {BOUNDARY}", place, client("iam")

    def wanted(self) -> Mapping[str, Any]:
        return {"policy": documents.boundary(self._place)}

    def found(self) -> Mapping[str, Any] | None:
        arn = self._place.boundary
        with _unless("NoSuchEntity"):
            version = self._iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            held = self._iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            return {"policy": _document(held)}
        return None

    def make(self) -> None:
        self._iam.create_policy(
            PolicyName=BOUNDARY,
            PolicyDocument=json.dumps(documents.boundary(self._place)),
            Description="The most that CI, and every role that it makes, can do",
            Tags=_iam_tags(),
        )
        self._iam.get_waiter("policy_exists").wait(PolicyArn=self._place.boundary)

    def mend(self, aspect: str) -> None:
        arn = self._place.boundary
        versions = self._iam.list_policy_versions(PolicyArn=arn)["Versions"]
        if len(versions) >= POLICY_VERSIONS:  # AWS keeps no more: the oldest makes room
            others = [each for each in versions if not each["IsDefaultVersion"]]
            oldest = min(others, key=lambda each: each["CreateDate"])
            self._iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
        policy = json.dumps(documents.boundary(self._place))
        self._iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy, SetAsDefault=True)


class Provider(Part):
    """The OIDC provider through which AWS knows CI's jobs."""

    def __init__(self, place: Place, client: Client, issuer: Issuer) -> None:
        self.what, self._issuer, self._iam = f"OIDC provider {issuer.host}", issuer, client("iam")
        self._arn = place.iam(f"oidc-provider/{issuer.host}")

    def wanted(self) -> Mapping[str, Any]:
        return {f"audience {self._issuer.audience}": "known"}

    def found(self) -> Mapping[str, Any] | None:
        with _unless("NoSuchEntity"):
            known = self._iam.get_open_id_connect_provider(OpenIDConnectProviderArn=self._arn)["ClientIDList"]
            return {f"audience {each}": "known" for each in known}
        return None

    def make(self) -> None:
        self._iam.create_open_id_connect_provider(
            Url=f"https://{self._issuer.host}", ClientIDList=[self._issuer.audience], Tags=_iam_tags()
        )

    def mend(self, aspect: str) -> None:
        self._iam.add_client_id_to_open_id_connect_provider(
            OpenIDConnectProviderArn=self._arn, ClientID=self._issuer.audience
        )


class Role(Part):
    """A role that CI assumes: to deploy, or only to plan."""

    def __init__(self, place: Place, client: Client, issuers: Sequence[Issuer], purpose: str) -> None:
        self.name, self._place, self._iam = place.role(purpose), place, client("iam")
        self.what = f"role {self.name}"
        policy = documents.deploy_policy if purpose == "deploy" else documents.plan_policy
        self._policy, self._trust = policy(place), documents.trust(place, issuers, purpose)

    def wanted(self) -> Mapping[str, Any]:
        return {
            "assumed by": self._trust,
            "boundary": self._place.boundary,
            "policy": self._policy,
            "seconds": SESSION_SECONDS,
        }

    def found(self) -> Mapping[str, Any] | None:
        with _unless("NoSuchEntity"):
            role = self._iam.get_role(RoleName=self.name)["Role"]
            found: dict[str, Any] = {
                "assumed by": _document(role["AssumeRolePolicyDocument"]),
                "boundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
                "seconds": role["MaxSessionDuration"],
            }
            with _unless("NoSuchEntity"):
                held = self._iam.get_role_policy(RoleName=self.name, PolicyName=self.name)["PolicyDocument"]
                found["policy"] = _document(held)
            return found
        return None

    def left(self) -> Sequence[str]:
        attached = self._iam.list_attached_role_policies(RoleName=self.name)["AttachedPolicies"]
        inline = self._iam.list_role_policies(RoleName=self.name)["PolicyNames"]
        return [
            *(
                f"{each['PolicyName']} is attached, too: aws iam detach-role-policy --role-name {self.name} "
                f"--policy-arn {each['PolicyArn']}"
                for each in attached
            ),
            *(
                f"the policy {each} is in it, too: aws iam delete-role-policy --role-name {self.name} "
                f"--policy-name {each}"
                for each in inline
                if each != self.name
            ),
        ]

    def make(self) -> None:
        self._iam.create_role(
            RoleName=self.name,
            AssumeRolePolicyDocument=json.dumps(self._trust),
            PermissionsBoundary=self._place.boundary,
            MaxSessionDuration=SESSION_SECONDS,
            Description=f"Assumed by CI for {self._place.environment}",
            Tags=_iam_tags(),
        )
        self._iam.get_waiter("role_exists").wait(RoleName=self.name)

    def mend(self, aspect: str) -> None:
        if aspect == "assumed by":
            self._iam.update_assume_role_policy(RoleName=self.name, PolicyDocument=json.dumps(self._trust))
        elif aspect == "boundary":
            self._iam.put_role_permissions_boundary(RoleName=self.name, PermissionsBoundary=self._place.boundary)
        elif aspect == "policy":
            policy = json.dumps(self._policy)
            self._iam.put_role_policy(RoleName=self.name, PolicyName=self.name, PolicyDocument=policy)
        else:
            self._iam.update_role(RoleName=self.name, MaxSessionDuration=SESSION_SECONDS)


# --- the whole ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bootstrap:
    """An environment's account, and what it has to have."""

    place: Place
    parts: Sequence[Part]
    environment: Environment

    def steps(self) -> list[Step]:
        """What would be done, and what is right already; reads only."""
        return [part.step() for part in self.parts]

    def ensure(self, tell: Callable[[str], None]) -> None:
        """Do it, one thing after the other; run again after a failure, it carries on."""
        for part in self.parts:
            step = part.step()
            if step.op != "none":
                tell(f"{step.what}: {'made' if step.op == 'make' else 'mended: ' + ', '.join(step.changes)}")
                part.ensure()


def bootstrap(name: str, client: Client) -> Bootstrap:
    """What the account of environment `name` has to have, as `client` sees it.

    Raises EnvironmentsError for no such environment, and BootstrapError where the credentials are another account's.
    """
    found = environment(name)
    guard(found, name, client)
    place = place_of(name)
    key = SecretsKey(place, client)
    parts: list[Part] = [key, StateBucket(place, client, key), Boundary(place, client)]
    if found.deploys:
        issuers = documents.issuers(found.deploys, name)
        parts += [Provider(place, client, each) for each in issuers]
        parts += [Role(place, client, issuers, purpose) for purpose in ("plan", "deploy")]
    return Bootstrap(place, parts, found)


def place_of(name: str) -> Place:
    """Where an environment is, and which regions the other environments of its account are in."""
    found = environment(name)
    regions = sorted({each.region for each in environments().values() if each.account == found.account})
    return Place(name, found.account, found.region, found.partition, regions)


def guard(found: Environment, name: str, client: Client) -> None:
    """Raise BootstrapError unless the credentials are of the environment's account."""
    try:
        caller = client("sts").get_caller_identity()
    except (NoCredentialsError, ProfileNotFound, TokenRetrievalError) as error:
        raise BootstrapError(
            f"there are no AWS credentials ({error}): set AWS_PROFILE to an administrator's of account "
            f"{found.account}; or rehearse it: slipway bootstrap {name} --rehearse"
        ) from None
    if caller["Account"] != found.account:
        raise BootstrapError(
            f"your credentials are {caller['Arn']}, and {name} is account {found.account}: use that account's "
            f"(AWS_PROFILE), or correct environments.{name}.account in stacks/environments.yaml"
        )


def next_steps(made: Bootstrap, stacks: Sequence[str]) -> list[str]:
    """The commands that `pulumi up` still needs, and what CI's host has to be told, once for each environment."""
    place, name = made.place, made.place.environment
    lines = [f"export PULUMI_BACKEND_URL='{backend(place)}'", "pulumi login"]
    secrets = f"awskms://{SECRETS_ALIAS}?region={place.region}"
    lines += [f"pulumi stack init {stack} --secrets-provider='{secrets}'" for stack in stacks]
    if stacks:
        lines.append(
            f"git add {' '.join(f'stacks/Pulumi.{stack}.yaml' for stack in stacks)}  # they name their key now"
        )
    deploys = made.environment.deploys
    if deploys and deploys.github:
        plain = "/".join(part.partition("@")[0] for part in deploys.github.split("/"))
        lines.append(
            f"gh api --method PUT repos/{plain}/environments/{name}  # then add its reviewers: repository settings, "
            f"Environments, {name}"
        )
    return lines


def backend(place: Place) -> str:
    """Where Pulumi keeps the state."""
    return f"s3://{place.bucket}?region={place.region}&awssdk=v2"


def hints(made: Bootstrap) -> list[str]:
    """What the reader of the plan may have overlooked."""
    name, deploys = made.place.environment, made.environment.deploys
    if deploys is None:
        return [
            f"nobody's CI may deploy {name}, so that no role is made: set environments.{name}.deploys.github in "
            "stacks/environments.yaml to OWNER/REPOSITORY"
        ]
    found = []
    if deploys.github and "@" not in deploys.github:
        found.append(
            f"{GITHUB} names repositories made or renamed since 15 July 2026 with their ids. For such a one, set "
            f"environments.{name}.deploys.github to what this prints: gh api repos/{deploys.github} --jq "
            "'\"\\(.owner.login)@\\(.owner.id)/\\(.name)@\\(.id)\"'"
        )
    if deploys.runner == Deploys.model_fields["runner"].default:
        found.append(
            "a cluster has no public endpoint: CI's jobs that deploy a platform stack need a runner inside its "
            f"network. Set environments.{name}.deploys.runner to its label"
        )
    return found


_BLOCKED: Final = dict.fromkeys(
    ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
)
_COMPARED: Final = {
    "Status": "Enabled",
    "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_STATE_DAYS},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}
_LIFECYCLE: Final = [{"ID": "old-versions", "Filter": {"Prefix": ""}, **_COMPARED}]


@contextmanager
def _unless(code: str) -> Iterator[None]:
    """What is inside ends where AWS answers a call with `code`."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != code:
            raise


def _iam_tags() -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in TAGS.items()]


def _document(held: Any) -> Any:
    """A policy as botocore gives it: read already, or a text with percent signs."""
    return json.loads(unquote(held)) if isinstance(held, str) else held


def _same(one: Any, other: Any) -> bool:
    """Whether two values mean the same: AWS may return a policy's lists in another order, and single values bare."""
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        plain = sorted((_plain(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
        return plain[0] if len(plain) == 1 else plain
    return value


def _is_policy(value: Any) -> bool:
    return isinstance(value, dict) and "Statement" in value


def _words(value: Any) -> str:
    if _is_policy(value):
        return f"{len(value['Statement'])} statements"
    return {True: "yes", False: "no", None: "none"}.get(value, str(value)) if not isinstance(value, str) else value
