"""The versions of a model: what each is worth, who made and who approved it, and the signature that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pulumi
import pulumi_aws as aws
from pydantic import Field, StringConstraints

from components.alarms import Alarms
from components.dead_letters import DeadLetters
from components.function import Function
from components.iam import RoleArn, Statement, account_id, allow, document, local_arn, use_key
from components.ledger import may_append, may_read
from components.logs import RetentionDays
from components.runbook import Guide
from components.schedule import schedule
from components.spec import Spec

AccountId = Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=2048, strip_whitespace=True)]
"""A text of a model card; SageMaker's schema takes 2048 characters."""

APPROVAL_STATUS = "sagemaker:ModelApprovalStatus"
"""The condition key that tells a decision on a version from any other change of it."""
UNDECIDED = {"Null": {APPROVAL_STATUS: "true"}}
LONG_SECONDS = 300
"""How long a function may take that reads all of a model: enough for some 20 GB."""
LONGEST_NAME = 63 - len("-registry-retention")
"""Of what a product is called: its functions are called after it, and names of functions have up to 64 characters."""


class CardSpec(Spec):
    """What the model card of every version says; the run fills in the rest."""

    owner: Words
    """Who answers for the model."""
    purpose: Words
    """What the model is to find out."""
    intended_uses: Words
    """What for its answers are to be used."""
    risk_rating: Literal["High", "Medium", "Low"]
    """How bad it is when it is wrong, by your own rules."""
    risk_explanation: Words
    """Why."""
    caveats: Words
    """What it should not be used for, and what to know before one does."""
    factors: str = Field(default="", max_length=2048)
    """What it depends on how well the model does."""
    ethical_considerations: str = Field(default="", max_length=2048)
    """What it may do to those whom it judges."""


class RegistrySpec(Spec):
    """What a model is for, and who decides on it."""

    description: str = Field(min_length=1, max_length=1024)
    """What its versions are, in a sentence."""
    card: CardSpec
    """The model card."""
    approvers: tuple[RoleArn, ...] = Field(min_length=1)
    """The roles of those who may approve. One who has started the training of a version is not let approve it."""
    verified_names: bool = False
    """Whether an approver's session must be called as their identity provider calls them (aws:SourceIdentity). Without
    it whoever may take the approver's role chooses the name that the two-person rule goes by."""
    consumers: tuple[AccountId, ...] = ()
    """Other accounts whose endpoints may serve these versions."""
    keep_days: int = Field(default=90, ge=1, le=3650)
    """After how long a version goes that is not approved and never was live."""
    dry_run: bool = False
    """Whether the daily tidying only logs what it would delete."""
    signing_key_deletion_days: int = Field(default=30, ge=7, le=30)
    """How long the key that signs versions can still be had back, once the stack is gone."""
    protect: bool = True
    """Whether deleting the stack stops at the signing key, without which no version can be released."""
    log_days: RetentionDays = 90
    """How long the registry's functions' logs are kept."""


class ModelRegistry(pulumi.ComponentResource):
    """A model package group, whose versions are completed with a card and a signature, decided on by a second person,
    and kept as long as anyone wants them. Every approval is written to the ledger, then its release starts."""

    model_package_group_name: pulumi.Output[str]
    arn: pulumi.Output[str]
    signing_key_arn: pulumi.Output[str]
    approver_role_arn: pulumi.Output[str]
    complete_function_name: pulumi.Output[str]
    """The pipeline's last step."""
    complete_function_arn: pulumi.Output[str]
    approvals_function_name: pulumi.Output[str]
    retention_function_name: pulumi.Output[str]
    consumer_access: pulumi.Output[str]
    """What the consumers' accounts need besides, as JSON: see `for_consumers`."""
    guides: list[Guide]

    def __init__(
        self,
        name: str,
        spec: RegistrySpec,
        *,
        bucket_arn: pulumi.Input[str],
        prefix: str,
        image_repository_arn: pulumi.Input[str],
        ledger_bucket: pulumi.Input[str],
        ledger_bucket_arn: pulumi.Input[str],
        release_state_machine_arn: pulumi.Input[str] | None,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The group is called `name`, as is the endpoint; models are below `prefix`/models in the bucket.

        An approval starts the state machine; None: somebody releases by hand.
        """
        super().__init__("slipway:index:ModelRegistry", name, opts=opts)
        if len(name) > LONGEST_NAME:
            raise ValueError(f"{name} has {len(name)} characters: a product's stack has at most {LONGEST_NAME}")
        child = pulumi.ResourceOptions(parent=self)

        group = aws.sagemaker.ModelPackageGroup(
            name,
            model_package_group_name=name,
            model_package_group_description=spec.description,
            # Its versions are the record of what was served: they outlive the stack, and AWS deletes no group with any.
            opts=child.merge(pulumi.ResourceOptions(retain_on_delete=True)),
        )
        if spec.consumers:
            aws.sagemaker.ModelPackageGroupPolicy(
                name,
                model_package_group_name=group.model_package_group_name,
                resource_policy=document(*_group_policy(name, spec.consumers)),
                opts=child,
            )
        lost = DeadLetters(
            f"{name}-decisions",
            senders=["events.amazonaws.com"],
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        key = aws.kms.Key(
            f"{name}-signing",
            description=f"Signs the versions of {name}",
            key_usage="SIGN_VERIFY",
            customer_master_key_spec="ECC_NIST_P256",
            deletion_window_in_days=spec.signing_key_deletion_days,
            opts=child.merge(pulumi.ResourceOptions(protect=spec.protect)),
        )
        aws.kms.Alias(f"{name}-signing", name=f"alias/{name}-signing", target_key_id=key.key_id, opts=child)
        models = pulumi.Output.concat(bucket_arn, f"/{prefix}/models/*")
        recorded = {"LEDGER_BUCKET": ledger_bucket, "ENDPOINT": name}
        complete = Function(
            f"{name}-registry-complete",
            handler="functions.registry.complete.handler",
            access=[
                allow(["sagemaker:DescribeModelPackage"], packages(name)),
                allow(["sagemaker:UpdateModelPackage"], packages(name), when=UNDECIDED),
                allow(["s3:GetObject"], pulumi.Output.concat(bucket_arn, f"/{prefix}/*")),
                allow(["s3:PutObject"], models),
                # Without it, S3 says that what is not there is forbidden.
                allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/*"}}),
                allow(["ecr:BatchGetImage"], image_repository_arn),
                allow(["kms:Sign", "kms:Verify"], key.arn),
                *may_read(ledger_bucket_arn, name),
                use_key(kms_key_arn, "s3"),
            ],
            environment={
                **recorded,
                "SIGNING_KEY_ARN": key.arn,
                "CARD": json.dumps(spec.card.model_dump(), sort_keys=True),
            },
            memory_mib=512,
            timeout_seconds=LONG_SECONDS,
            log_days=spec.log_days,
            kms_key_arn=kms_key_arn,
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        aws.kms.KeyPolicy(
            f"{name}-signing", key_id=key.key_id, policy=document(*_signing(complete.role_arn)), opts=child
        )
        approvals = Function(
            f"{name}-registry-approvals",
            handler="functions.registry.approvals.handler",
            access=[
                allow(["sagemaker:DescribeModelPackage"], packages(name)),
                allow(["sagemaker:UpdateModelPackage"], packages(name), when=UNDECIDED),
                allow(["s3:GetObject"], models),
                *may_append(ledger_bucket_arn, name),
                use_key(kms_key_arn, "s3"),
                *([allow(["states:StartExecution"], release_state_machine_arn)] if release_state_machine_arn else []),
            ],
            environment={
                **recorded,
                **({"RELEASE_STATE_MACHINE_ARN": release_state_machine_arn} if release_state_machine_arn else {}),
            },
            log_days=spec.log_days,
            kms_key_arn=kms_key_arn,
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        retention = Function(
            f"{name}-registry-retention",
            handler="functions.registry.retention.handler",
            access=[
                allow(["sagemaker:ListModelPackages"], "*"),  # AWS knows no resource for it
                allow(["sagemaker:DescribeModelPackage", "sagemaker:DeleteModelPackage"], packages(name)),
                allow(["sagemaker:DescribeEndpoint"], local_arn("sagemaker", f"endpoint/{name}")),
                allow(["sagemaker:DescribeEndpointConfig"], local_arn("sagemaker", f"endpoint-config/{name}*")),
                allow(["sagemaker:DescribeModel"], local_arn("sagemaker", f"model/{name}*")),
                *may_append(ledger_bucket_arn, name),
                use_key(kms_key_arn, "s3"),
            ],
            environment={
                **recorded,
                "GROUP": name,
                "DAYS": str(spec.keep_days),
                "DRY_RUN": json.dumps(spec.dry_run),
            },
            timeout_seconds=LONG_SECONDS,
            log_days=spec.log_days,
            kms_key_arn=kms_key_arn,
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        approver = _approver(name, spec, child)
        _tell(name, approvals, lost, alerts_topic_arn, child)
        schedule(
            "tidying",
            retention,
            "rate(1 day)",
            group=f"{name}-registry",
            on_time=False,
            dead_letters_arn=lost.queue_arn,
            kms_key_arn=kms_key_arn,
            opts=child,
        )
        self.guides = [*_alarms(name, complete, approvals, retention, alerts_topic_arn, child), *lost.guides]

        self.model_package_group_name, self.arn = group.model_package_group_name, group.arn
        self.signing_key_arn, self.approver_role_arn = key.arn, approver.arn
        self.complete_function_name, self.complete_function_arn = complete.name, complete.arn
        self.approvals_function_name, self.retention_function_name = approvals.name, retention.name
        self.consumer_access = pulumi.Output.json_dumps(
            for_consumers(spec.consumers, bucket_arn=bucket_arn, prefix=prefix) if spec.consumers else {}
        )
        self.register_outputs(
            {
                "model_package_group_name": self.model_package_group_name,
                "arn": self.arn,
                "signing_key_arn": self.signing_key_arn,
                "approver_role_arn": self.approver_role_arn,
                "complete_function_name": self.complete_function_name,
                "complete_function_arn": self.complete_function_arn,
                "approvals_function_name": self.approvals_function_name,
                "retention_function_name": self.retention_function_name,
                "consumer_access": self.consumer_access,
            }
        )


def model_package_arn(group: str, version: int) -> str:
    """The ARN of one version of a model, which is known before the version exists."""
    return local_arn("sagemaker", f"model-package/{group}/{version}")


def packages(group: str) -> str:
    """All versions of a model, for policies."""
    return local_arn("sagemaker", f"model-package/{group}/*")


def may_register(group: str) -> list[Statement]:
    """What a training pipeline's role may do in a registry: register versions that nobody has decided on."""
    return [
        allow(
            ["sagemaker:CreateModelPackage"],
            packages(group),
            local_arn("sagemaker", f"model-package-group/{group}"),
            when={"StringEquals": {APPROVAL_STATUS: "PendingManualApproval"}},
        ),
        allow(["sagemaker:DescribeModelPackage"], packages(group)),
        allow(["sagemaker:DescribeModelPackageGroup"], local_arn("sagemaker", f"model-package-group/{group}")),
        {
            "Effect": "Deny",
            "Action": ["sagemaker:UpdateModelPackage"],
            "Resource": [packages(group)],
            "Condition": {"Null": {APPROVAL_STATUS: "false"}},
        },
    ]


def may_verify(
    group: str,
    *,
    bucket_arn: pulumi.Input[str],
    prefix: str,
    image_repository_arn: pulumi.Input[str],
    signing_key_arn: pulumi.Input[str],
) -> list[Statement]:
    """What a release needs for `functions.registry.verify`, beside reading the ledger (components/ledger.may_read)."""
    return [
        allow(["sagemaker:DescribeModelPackage"], packages(group)),
        allow(["s3:GetObject"], pulumi.Output.concat(bucket_arn, f"/{prefix}/models/*")),
        allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/models/*"}}),
        allow(["ecr:BatchGetImage"], image_repository_arn),
        allow(["kms:Verify"], signing_key_arn),
    ]


def for_consumers(
    accounts: Sequence[str], *, bucket_arn: pulumi.Input[str], prefix: str
) -> Mapping[str, list[Statement]]:
    """What other accounts need beside the group's policy to serve a version; without any of it, CreateModel is denied.

    Returns the statements for the policies of the `bucket` that has the models, of the `key` that encrypts them, and of
    the `repository` of an image of our own. The consumer's endpoint has to be in the same region.
    """
    who = {"AWS": [f"arn:aws:iam::{account}:root" for account in accounts]}
    return {
        "bucket": [
            {**allow(["s3:GetObject"], pulumi.Output.concat(bucket_arn, f"/{prefix}/models/*")), "Principal": who},
            {
                **allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/models/*"}}),
                "Principal": who,
            },
        ],
        "key": [{**use_key("*", "s3"), "Action": ["kms:Decrypt", "kms:DescribeKey"], "Principal": who}],
        "repository": [
            {
                "Effect": "Allow",
                "Principal": who,
                "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            }
        ],
    }


def _group_policy(name: str, accounts: Sequence[str]) -> list[Statement]:
    """Other accounts may look at versions and make models of them; they may not decide on any.

    https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-deploy-xaccount.html
    """
    who = {"AWS": [f"arn:aws:iam::{account}:root" for account in accounts]}
    group = local_arn("sagemaker", f"model-package-group/{name}")
    reading = ["sagemaker:DescribeModelPackage", "sagemaker:ListModelPackages", "sagemaker:CreateModel"]
    return [
        {"Sid": "Group", **allow(["sagemaker:DescribeModelPackageGroup"], group), "Principal": who},
        {"Sid": "Versions", **allow(reading, packages(name)), "Principal": who},
    ]


def _signing(signer_role_arn: pulumi.Input[str]) -> list[Statement]:
    """Who may use the signing key. In a key's own policy the resource `*` is that key."""
    root = {"AWS": f"arn:aws:iam::{account_id()}:root"}
    administration = [
        "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
        "kms:EnableKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListAliases", "kms:ListKeyPolicies",
        "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource",
        "kms:UpdateAlias", "kms:UpdateKeyDescription",
    ]  # fmt: skip
    return [
        {
            "Sid": "IamOfThisAccountDecides",
            "Effect": "Allow",
            "Principal": root,
            "Action": [*administration, "kms:Verify", "kms:GetPublicKey"],
            "Resource": "*",
        },
        {
            # The role stands in a condition: as a principal, KMS would remember this very role, and not the next one
            # of its name.
            "Sid": "OneRoleSigns",
            "Effect": "Allow",
            "Principal": root,
            "Action": "kms:Sign",
            "Resource": "*",
            "Condition": {"ArnEquals": {"aws:PrincipalArn": signer_role_arn}},
        },
        {
            "Sid": "NobodyElseSigns",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "kms:Sign",
            "Resource": "*",
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": signer_role_arn}},
        },
    ]


def _approver(name: str, spec: RegistrySpec, opts: pulumi.ResourceOptions) -> aws.iam.Role:
    """The role in which people decide: it can do nothing else."""
    trusted: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"AWS": list(spec.approvers)},
        "Action": ["sts:AssumeRole", *(["sts:SetSourceIdentity"] if spec.verified_names else [])],
    }
    if spec.verified_names:
        trusted["Condition"] = {"StringEquals": {"sts:RoleSessionName": "${aws:SourceIdentity}"}}
    role = aws.iam.Role(
        f"{name}-approver",
        name=f"{name}-approver",
        description=f"Approves or rejects versions of {name}",
        assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [trusted]}),
        max_session_duration=3600,
        opts=opts,
    )
    aws.iam.RolePolicy(
        f"{name}-approver",
        role=role.name,
        policy=document(
            allow(
                ["sagemaker:UpdateModelPackage"],
                packages(name),
                when={"StringEquals": {APPROVAL_STATUS: ["Approved", "Rejected"]}},
            )
        ),
        opts=opts,
    )
    return role


def _tell(
    name: str,
    approvals: Function,
    lost: DeadLetters,
    alerts_topic_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """Tell people of a decision at once, and the approvals function who made it, once CloudTrail knows."""
    retry = aws.cloudwatch.EventTargetRetryPolicyArgs(maximum_event_age_in_seconds=3600, maximum_retry_attempts=10)
    decided = aws.cloudwatch.EventRule(
        f"{name}-decided",
        description=f"A version of {name} was approved or rejected",
        event_pattern=json.dumps(
            {
                "source": ["aws.sagemaker"],
                "detail-type": ["SageMaker Model Package State Change"],
                "detail": {"ModelPackageGroupName": [name], "ModelApprovalStatus": ["Approved", "Rejected"]},
            }
        ),
        opts=opts,
    )
    aws.cloudwatch.EventTarget(
        f"{name}-decided",
        rule=decided.name,
        arn=alerts_topic_arn,
        retry_policy=retry,
        dead_letter_config={"arn": lost.queue_arn},
        opts=opts,
    )
    version, execution = f"model-package/{name}/", f"pipeline/{name}-training/execution/"
    for what, words, call in (
        (
            "approvals",
            f"CloudTrail tells who decided on a version of {name}",
            {
                "eventName": ["UpdateModelPackage"],
                "requestParameters": {
                    "modelPackageArn": [{"prefix": local_arn("sagemaker", version)}],
                    "modelApprovalStatus": ["Approved", "Rejected"],
                },
            },
        ),
        (
            "starts",
            f"CloudTrail tells who started the training of a version of {name}",
            {
                "eventName": ["StartPipelineExecution"],
                "responseElements": {"pipelineExecutionArn": [{"prefix": local_arn("sagemaker", execution)}]},
            },
        ),
    ):
        told = aws.cloudwatch.EventRule(
            f"{name}-{what}",
            description=words,
            event_pattern=json.dumps(
                {
                    "source": ["aws.sagemaker"],
                    "detail-type": ["AWS API Call via CloudTrail"],
                    "detail": {"eventSource": ["sagemaker.amazonaws.com"], **call},
                }
            ),
            opts=opts,
        )
        permitted = aws.lambda_.Permission(
            f"{name}-{what}",
            function=approvals.name,
            action="lambda:InvokeFunction",
            principal="events.amazonaws.com",
            source_arn=told.arn,
            source_account=account_id(),
            opts=opts,
        )
        aws.cloudwatch.EventTarget(
            f"{name}-{what}",
            rule=told.name,
            arn=approvals.arn,
            retry_policy=retry,
            dead_letter_config={"arn": lost.queue_arn},
            opts=opts.merge(pulumi.ResourceOptions(depends_on=[permitted])),
        )


def _alarms(
    name: str,
    complete: Function,
    approvals: Function,
    retention: Function,
    alerts_topic_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> list[Guide]:
    alarms = Alarms(f"{name}-registry", alerts_topic_arn, opts)
    for what, function, means, act in (
        (
            "complete-failed",
            complete,
            "A version was registered without its card or its signature: it cannot be released.",
            "Register what the log says is missing, then run the pipeline again, or invoke the function again with the "
            "same event: it does no harm.",
        ),
        (
            "approvals-failed",
            approvals,
            "An approval was not recorded: its version cannot be released.",
            "After the cause is gone, approve the version again: the new event is as good as the first.",
        ),
        (
            "retention-failed",
            retention,
            "Old versions were not deleted.",
            'Nothing is lost. Try again with {"dry_run": true}, and read what it would delete.',
        ),
    ):
        log = f"/aws/lambda/{name}-registry-{what.removesuffix('-failed')}"
        alarms.add(
            what,
            means=means,
            look=[f"$ aws logs tail {log} --since 1h"],
            act=[act],
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": function.name},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
    return alarms.guides
