"""Predictions for whole files of rows, where nobody waits for an answer: no endpoint runs for it."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import pulumi
import pulumi_aws as aws
from pydantic import AfterValidator, Field, model_validator

from components.alarms import Alarms
from components.dashboard import Chart
from components.dead_letters import DeadLetters
from components.function import Function
from components.iam import allow, default_tags, local_arn, read_with_key
from components.ledger import may_read
from components.logs import RetentionDays
from components.model_registry import may_verify, packages
from components.runbook import Guide
from components.schedule import schedule
from components.spec import Spec
from components.training_pipeline import SAGEMAKER, InstanceType
from policies.local_disks import has_local_disks

NAMESPACE = "Slipway/Batch"
LONGEST_NAME = 44
"""Of a stack: its jobs are called `<stack>-batch-<12 digits>`, and names of jobs have up to 63 characters."""


def _a_schedule(text: str) -> str:
    if not re.fullmatch(r"rate\([1-9]\d* (minutes?|hours?|days?)\)|cron\(\S+( \S+){5}\)", text):
        raise ValueError("no schedule: set one such as rate(1 hour) or cron(0 5 * * ? *)")
    return text


class BatchSpec(Spec):
    """When files are looked for, and what predicts for them."""

    schedule: Annotated[str, AfterValidator(_a_schedule)] = "rate(1 hour)"
    """When files are looked for: `rate(1 hour)` or `cron(0 3 * * ? *)`, in UTC."""
    live: bool = False
    """Whether the version predicts that the endpoint serves; else the newest approved one, after its signature, digests
    and gate were verified."""
    instance_type: InstanceType = "ml.m5.large"
    """The machines of a job."""
    instance_count: int = Field(default=1, ge=1, le=100)
    """How many machines share a file's rows."""
    at_most: int = Field(default=10, ge=1, le=100)
    """How many jobs one run starts, one for each file. AWS runs as many side by side as the account's quota allows."""
    max_payload_mib: int = Field(default=6, ge=1, le=100)
    """Rows are sent to the model in requests of this size."""
    timeout_seconds: int = Field(default=600, ge=1, le=3600)
    """How long the model may take for one request."""
    first_is_id: bool = True
    """Whether the first column of a row tells whose it is; the model does not see it."""
    with_features: bool = False
    """Whether answers repeat the whole row, or only its identifier."""
    gate: Mapping[str, float] = {}
    """The least of each metric of a version that predicts without being served."""
    log_days: RetentionDays = 90
    """How long logs are kept."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.live and not self.gate:
            raise ValueError("set gate, such as {accuracy: 0.8}, or live: true")
        if not self.first_is_id and not self.with_features:
            raise ValueError("without identifiers nobody knows whose answer is whose: set with_features: true")
        return self


class BatchPrediction(pulumi.ComponentResource):
    """Each CSV file below `batch/incoming/` is answered by one below `batch/answers/`, called like it and `.out`.

    A file has one row a line, without a header: an identifier, then the features in the schema's order.
    """

    incoming_uri: pulumi.Output[str]
    answers_uri: pulumi.Output[str]
    function_name: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: BatchSpec,
        *,
        role_arn: pulumi.Input[str],
        signing_key_arn: pulumi.Input[str],
        image_repository_arn: pulumi.Input[str],
        ledger_bucket: pulumi.Input[str],
        ledger_bucket_arn: pulumi.Input[str],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        subnet_ids: pulumi.Input[Sequence[str]],
        security_group_id: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The model package group, and the endpoint if there is one, are called `name`; `role_arn` is the model's."""
        super().__init__("slipway:index:BatchPrediction", name, opts=opts)
        if len(name) > LONGEST_NAME:
            raise ValueError(f"{name} has {len(name)} characters: a stack with batch prediction has {LONGEST_NAME}")
        child = pulumi.ResourceOptions(parent=self)
        called = f"{name}-batch"
        uri = pulumi.Output.concat("s3://", bucket, "/", prefix, "/batch")
        self.incoming_uri = pulumi.Output.concat(uri, "/incoming/")
        self.answers_uri = pulumi.Output.concat(uri, "/answers/")
        lost = DeadLetters(
            called,
            senders=["events.amazonaws.com"],
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        resources = {
            "InstanceType": spec.instance_type,
            "InstanceCount": spec.instance_count,
            **({} if has_local_disks(spec.instance_type) else {"VolumeKmsKeyId": kms_key_arn}),
        }
        jobs, models = (local_arn("sagemaker", f"{kind}/{called}-*") for kind in ("transform-job", "model"))
        tagging = {"StringEquals": {"sagemaker:TaggingAction": "CreateTransformJob"}}
        serving = [
            allow(["sagemaker:DescribeEndpoint"], local_arn("sagemaker", f"endpoint/{name}")),
            allow(["sagemaker:DescribeEndpointConfig"], local_arn("sagemaker", f"endpoint-config/{name}*")),
            allow(["sagemaker:DescribeModel"], local_arn("sagemaker", f"model/{name}*")),
            allow(["sagemaker:ListInferenceComponents"], "*"),  # AWS knows no resource for it
            allow(["sagemaker:DescribeInferenceComponent"], local_arn("sagemaker", f"inference-component/{name}*")),
        ]
        verifying = [
            *may_verify(
                name,
                bucket_arn=bucket_arn,
                prefix=prefix,
                image_repository_arn=image_repository_arn,
                signing_key_arn=signing_key_arn,
            ),
            allow(["sagemaker:ListModelPackages"], "*"),  # nor for this
            *may_read(ledger_bucket_arn, name),
        ]
        function = Function(
            called,
            handler="functions.batch.handler.handler",
            also=["functions/registry"],
            access=[
                allow(
                    ["s3:ListBucket"],
                    bucket_arn,
                    when={"StringLike": {"s3:prefix": [f"{prefix}/batch/incoming/*", f"{prefix}/batch/answers/*"]}},
                ),
                *(serving if spec.live else verifying),
                allow(["sagemaker:DescribeTransformJob"], jobs),
                allow(["sagemaker:DescribeModel"], models),
                allow(
                    ["sagemaker:CreateTransformJob"],
                    jobs,
                    when={
                        "ArnEquals": {"sagemaker:OutputKmsKeyArn": kms_key_arn},
                        "StringEquals": {"sagemaker:InstanceTypes": [spec.instance_type]},
                    },
                ),
                allow(["sagemaker:AddTags"], jobs, when=tagging),
                allow(
                    ["sagemaker:CreateModel"],
                    models,
                    packages(name),
                    when={"Bool": {"sagemaker:NetworkIsolation": "true"}},
                ),
                allow(
                    ["iam:PassRole"],
                    role_arn,
                    when={"StringEquals": {"iam:PassedToService": SAGEMAKER}},
                ),
                read_with_key(kms_key_arn, "s3"),
                allow(["kms:CreateGrant"], kms_key_arn, when={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
            ],
            environment={
                "BATCH": pulumi.Output.json_dumps(
                    {
                        "name": called,
                        "group": name,
                        "endpoint": name if spec.live else None,
                        "incoming": self.incoming_uri,
                        "answers": self.answers_uri,
                        "at_most": spec.at_most,
                        "max_payload_mib": spec.max_payload_mib,
                        "timeout_seconds": spec.timeout_seconds,
                        "first_is_id": spec.first_is_id,
                        "with_features": spec.with_features,
                        "resources": resources,
                        "role_arn": role_arn,
                        "subnet_ids": subnet_ids,
                        "security_group_id": security_group_id,
                        "kms_key_arn": kms_key_arn,
                        "signing_key_arn": signing_key_arn,
                        "ledger_bucket": ledger_bucket,
                        "gate": dict(spec.gate),
                        "tags": [{"Key": key, "Value": value} for key, value in sorted(default_tags().items())],
                    },
                    sort_keys=True,
                )
            },
            kms_key_arn=kms_key_arn,
            memory_mib=512,
            timeout_seconds=900,
            concurrency=1,
            log_days=spec.log_days,
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        _count(called, function, lost, child)
        self.schedule_name = schedule(
            "look",
            function,
            spec.schedule,
            group=called,
            dead_letters_arn=lost.queue_arn,
            kms_key_arn=kms_key_arn,
            opts=child,
        )
        alarms = Alarms(called, alerts_topic_arn, child)
        alarms.add(
            "failed",
            means=f"A batch of {name} was not predicted.",
            look=[
                f"$ aws sagemaker list-transform-jobs --name-contains {called} --status-equals Failed",
                "The log group /aws/sagemaker/TransformJobs has what the model said; AWS names the row in it.",
            ],
            act=[
                "A row that the model cannot read: mend the file, and bring it again. It is another job then.",
                "A fault of AWS: bring the same file again.",
            ],
            namespace=NAMESPACE,
            metric_name="failed_jobs",
            dimensions={"batch": called},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        alarms.add(
            "not-started",
            means=f"Batches of {name} are not started.",
            look=[f"$ aws logs tail /aws/lambda/{called} --since 2h"],
            act=[
                "The log says why: no approved version, one that does not verify, a right or a quota that is missing."
            ],
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": function.name},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides = [*alarms.guides, *lost.guides]
        self.charts = [
            Chart(
                "Batches", [(NAMESPACE, f"{how}_jobs", "batch", called) for how in ("completed", "failed")], period=3600
            )
        ]
        self.function_name = function.name
        self.register_outputs(
            {
                "incoming_uri": self.incoming_uri,
                "answers_uri": self.answers_uri,
                "function_name": self.function_name,
                "schedule_name": self.schedule_name,
            }
        )


def _count(name: str, function: Function, lost: DeadLetters, opts: pulumi.ResourceOptions) -> None:
    """Tell the function how each job ended."""
    rule = aws.cloudwatch.EventRule(
        f"{name}-ended",
        description="A batch transform job ended",
        event_pattern=pulumi.Output.json_dumps(
            {
                "source": ["aws.sagemaker"],
                "detail-type": ["SageMaker Transform Job State Change"],
                "detail": {
                    "TransformJobName": [{"prefix": f"{name}-"}],
                    "TransformJobStatus": ["Completed", "Failed", "Stopped"],
                },
            }
        ),
        opts=opts,
    )
    permitted = aws.lambda_.Permission(
        f"{name}-ended",
        function=function.name,
        action="lambda:InvokeFunction",
        principal="events.amazonaws.com",
        source_arn=rule.arn,
        opts=opts,
    )
    aws.cloudwatch.EventTarget(
        f"{name}-ended",
        rule=rule.name,
        arn=function.arn,
        retry_policy={"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 10},
        dead_letter_config={"arn": lost.queue_arn},
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[permitted])),
    )
