"""One model version going live, as a state machine: every way but the whole one is a failed release."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pulumi
import pulumi_aws as aws
from pydantic import Field

from components.alarms import Alarms
from components.dashboard import Chart
from components.dead_letters import DeadLetters
from components.endpoint import VARIANT
from components.function import Function
from components.iam import Statement, allow, default_tags, document, local_arn, read_with_key, trust, use_key
from components.incidents import incidents_uri, may_gather_timeline, may_write_incidents
from components.ledger import may_append, may_read
from components.logs import RetentionDays
from components.runbook import Guide, runbook_name, runbook_url
from components.schedule import schedule
from components.spec import Spec

LONGEST_NAME: Final = 40
"""Of an endpoint: what releases make is called like it, with a version and a digest, in 63 characters."""
ONE_DAY: Final = 24 * 3600
FIFTEEN_MINUTES: Final = 900
MACHINE_NAMESPACE: Final = "AWS/States"


class ReleaseSpec(Spec):
    """How a release watches, and what is left of earlier ones."""

    gate: Mapping[str, float] = Field(min_length=1)
    """The least that each metric of a version has to be, as `accuracy: 0.75`."""
    poll_seconds: int = Field(default=20, ge=1, le=300)
    """How often it looks whether the rollout has settled."""
    keep_last: int = Field(default=5, ge=2, le=100)
    """How many superseded configurations are kept, whatever their age."""
    keep_days: int = Field(default=14, ge=1, le=365)
    """After how long the others go."""
    log_days: RetentionDays = 90
    """How long the release's logs are kept."""


def machine_name(endpoint: str) -> str:
    """What an endpoint's release machine is called."""
    return f"{endpoint}-release"


def machine_arn(endpoint: str) -> str:
    """The ARN of an endpoint's release machine, which is known before it exists."""
    return local_arn("states", f"stateMachine:{machine_name(endpoint)}")


class Release(pulumi.ComponentResource):
    """Releases versions on one endpoint: verifies, rolls out, watches, checks, and records; one at a time.

    A change of the endpoint's own settings is released, too: with the version that is live, when the stack is deployed.
    """

    state_machine_arn: pulumi.Output[str]
    state_machine_name: pulumi.Output[str]
    keep_function_name: pulumi.Output[str]
    """Collects what is superseded."""
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: ReleaseSpec,
        *,
        endpoint_name: pulumi.Input[str],
        template: pulumi.Input[str],
        first_names: pulumi.Input[Sequence[str]],
        signing_key_arn: pulumi.Input[str],
        role_arn: pulumi.Input[str],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        image_repository_arn: pulumi.Input[str],
        ledger_bucket: pulumi.Input[str],
        ledger_bucket_arn: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The endpoint and the model package group are called `name`. `template` and `first_names` are the endpoint's,
        `role_arn` its model's; models are below `prefix`/models in the bucket, incident notes below `prefix`/incidents.
        """
        super().__init__("slipway:index:Release", name, opts=opts)
        if len(name) > LONGEST_NAME:
            raise ValueError(f"{name} has {len(name)} characters: an endpoint that is released has {LONGEST_NAME}")
        child = pulumi.ResourceOptions(parent=self)

        lake = pulumi.Output.concat(bucket_arn, "/", prefix)
        names = {"ENDPOINT": name, "LEDGER_BUCKET": ledger_bucket}
        verify = Function(
            f"{name}-release-verify",
            handler="functions.release.handler.verify",
            also=["functions/incidents", "functions/registry"],
            access=[
                allow(["sagemaker:DescribeModelPackage"], _packages(name)),
                allow(["sagemaker:DescribeEndpoint"], _arn("endpoint", name)),
                allow(["sagemaker:DescribeEndpointConfig"], _arn("endpoint-config", f"{name}-*")),
                allow(["sagemaker:DescribeModel"], _arn("model", f"{name}-*")),
                allow(["sagemaker:DescribeInferenceComponent"], _arn("inference-component", name)),
                allow(["sagemaker:ListInferenceComponents"], "*"),
                allow(["s3:GetObject"], pulumi.Output.concat(lake, "/models/*")),
                # Without it, S3 says that what is not there is forbidden.
                allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/models/*"}}),
                *may_read(ledger_bucket_arn, name),
                allow(["ecr:BatchGetImage"], image_repository_arn),
                allow(["kms:Verify"], signing_key_arn),
                read_with_key(kms_key_arn, "s3"),
            ],
            environment={
                **names,
                "SIGNING_KEY_ARN": signing_key_arn,
                "GATE": json.dumps(dict(spec.gate), sort_keys=True),
            },
            memory_mib=1024,
            timeout_seconds=FIFTEEN_MINUTES,
            log_days=spec.log_days,
            kms_key_arn=kms_key_arn,
            opts=child,
        )
        lost = DeadLetters(
            f"{name}-release",
            senders=["events.amazonaws.com"],
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        step = Function(
            f"{name}-release",
            handler="functions.release.handler.step",
            also=["functions/incidents", "functions/registry"],
            access=[
                *_may_change(name, role_arn, kms_key_arn),
                *_may_scale(name),
                *may_append(ledger_bucket_arn, name),
                *_may_lock(ledger_bucket_arn, name),
                *may_write_incidents(bucket_arn, prefix, name),
                *may_gather_timeline(bucket_arn, prefix, name, alarms=[f"{name}-*"]),
                allow(["states:DescribeExecution"], local_arn("states", f"execution:{machine_name(name)}:*")),
                allow(["sns:Publish"], alerts_topic_arn),
                use_key(kms_key_arn, "s3", "sns", "states"),
            ],
            environment={
                **names,
                "INCIDENTS_URI": incidents_uri(bucket, prefix, name),
                "REPORTS_URI": pulumi.Output.concat("s3://", bucket, f"/{prefix}/monitors"),
                "TOPIC_ARN": alerts_topic_arn,
                "RUNBOOK": runbook_url(),
                "RUNBOOK_NAME": runbook_name(pulumi.get_stack()),
            },
            timeout_seconds=120,
            log_days=spec.log_days,
            kms_key_arn=kms_key_arn,
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        keep = Function(
            f"{name}-release-keep",
            handler="functions.release.keep.handler",
            access=[
                *_may_collect(name),
                allow(["states:StartExecution"], machine_arn(name)),
                use_key(kms_key_arn, "states"),
            ],
            environment={
                "ENDPOINT": name,
                "STATE_MACHINE_ARN": machine_arn(name),
                "KEEP_LAST": str(spec.keep_last),
                "KEEP_DAYS": str(spec.keep_days),
                "ALWAYS_KEEP": pulumi.Output.json_dumps(first_names),
            },
            timeout_seconds=300,
            log_days=spec.log_days,
            kms_key_arn=kms_key_arn,
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        machine = self._machine(name, spec, template, verify, step, kms_key_arn, alerts_topic_arn, child)
        _when_stopped(name, machine, step, lost.queue_arn, child)
        schedule(
            "keep",
            keep,
            "rate(1 day)",
            group=f"{name}-release",
            event=json.dumps({"do": "collect"}),
            on_time=False,
            dead_letters_arn=lost.queue_arn,
            kms_key_arn=kms_key_arn,
            opts=child,
        )
        aws.lambda_.Invocation(
            f"{name}-refresh",
            function_name=keep.name,
            input=pulumi.Output.json_dumps(
                {
                    "do": "refresh",
                    "template": pulumi.Output.json_loads(template),
                    "first": pulumi.Output.from_input(first_names).apply(lambda names: names[-1]),
                    # It looks at an endpoint that is there, and may start a machine that knows this template.
                    "after": [endpoint_name, machine.arn],
                },
                sort_keys=True,
            ),
            triggers={"template": pulumi.Output.from_input(template).apply(_digest)},
            opts=child.merge(pulumi.ResourceOptions(depends_on=[machine, keep])),
        )
        alarms = Alarms(name, alerts_topic_arn, child)
        alarms.add(
            "release-stopped",
            means=f"A release of {name} was aborted or ran out of time.",
            look=[f"$ aws stepfunctions list-executions --state-machine-arn {machine_arn(name)} --max-results 5"],
            act=[
                f"See what serves: `slipway history {name}`. A rollout that has begun goes on without its release.",
                "Release the version again: what was done already is not done twice.",
            ],
            metric_queries=[
                executions("stopped", "ExecutionsAborted", machine_arn(name)),
                executions("late", "ExecutionsTimedOut", machine_arn(name)),
                {"id": "all", "expression": "SUM([stopped, late])", "label": "Stopped releases", "return_data": True},
            ],
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides = [*alarms.guides, *lost.guides]
        where = ("StateMachineArn", machine_arn(name))
        self.charts = [
            Chart(
                "Releases",
                [(MACHINE_NAMESPACE, f"Executions{end}", *where) for end in ("Succeeded", "Failed", "Aborted")],
                period=300,
            )
        ]
        self.state_machine_arn, self.state_machine_name = machine.arn, machine.name
        self.keep_function_name = keep.name
        self.register_outputs(
            {"state_machine_arn": self.state_machine_arn, "state_machine_name": self.state_machine_name}
        )

    def _machine(
        self,
        name: str,
        spec: ReleaseSpec,
        template: pulumi.Input[str],
        verify: Function,
        step: Function,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> aws.sfn.StateMachine:
        role = aws.iam.Role(f"{name}-release-machine", assume_role_policy=trust("states.amazonaws.com"), opts=opts)
        granted = aws.iam.RolePolicy(
            f"{name}-release-machine",
            role=role.name,
            policy=document(
                allow(["lambda:InvokeFunction"], verify.arn, step.arn),
                allow(["sns:Publish"], alerts_topic_arn),
                use_key(kms_key_arn),
            ),
            opts=opts,
        )
        tagged = pulumi.Output.json_loads(template).apply(lambda known: {**known, "tags": default_tags()})
        return aws.sfn.StateMachine(
            f"{name}-release",
            name=machine_name(name),
            role_arn=role.arn,
            definition=pulumi.Output.json_dumps(
                definition(tagged, verify.arn, step.arn, alerts_topic_arn, spec.poll_seconds), sort_keys=True
            ),
            encryption_configuration={
                "type": "CUSTOMER_MANAGED_KMS_KEY",
                "kms_key_id": kms_key_arn,
                "kms_data_key_reuse_period_seconds": 300,
            },
            opts=opts.merge(pulumi.ResourceOptions(depends_on=[granted])),
        )


def definition(
    template: pulumi.Input[Mapping[str, Any]],
    verify_arn: pulumi.Input[str],
    step_arn: pulumi.Input[str],
    topic_arn: pulumi.Input[str],
    poll_seconds: int,
) -> dict[str, Any]:
    """The machine, in Amazon States Language. Its input: model_package_arn, by, reason; and for what it is meant:
    rollback (to the version before, at once), force (whatever alarms say), wait: false (or be refused), refresh.
    """

    def task(step: str, then: str, arn: pulumi.Input[str] = step_arn, seconds: int = 150) -> dict[str, Any]:
        return {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {
                "FunctionName": arn,
                "Payload": {
                    "step": step,
                    "execution.$": "$$.Execution.Id",
                    "started.$": "$$.Execution.StartTime",
                    "release.$": "$",
                },
            },
            "OutputPath": "$.Payload",
            "TimeoutSeconds": seconds,
            "Retry": [
                {"ErrorEquals": ["Refused", "RolledBack", "NotReleasable"], "MaxAttempts": 0},
                {"ErrorEquals": ["Again"], "IntervalSeconds": 3, "MaxAttempts": 6, "BackoffRate": 1.5},
                {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2.0},
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Failed"}],
            "Next": then,
        }

    def choice(variable: str, then: str, otherwise: str) -> dict[str, Any]:
        chosen = {"Variable": variable, "BooleanEquals": True, "Next": then}
        return {"Type": "Choice", "Choices": [chosen], "Default": otherwise}

    unrecorded = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sns:publish",
        "Parameters": {
            "TopicArn": topic_arn,
            "Subject": "A release failed, and that could not be recorded",
            "Message.$": "States.Format('{}: {}', $$.Execution.Id, States.JsonToString($.unrecorded))",
        },
        "Next": "Could not be recorded",
    }
    return {
        "Comment": "One model version going live. Any end but `Live` leaves the last good version serving.",
        "StartAt": "Template",
        "TimeoutSeconds": ONE_DAY,
        "States": {
            "Template": {"Type": "Pass", "Result": template, "ResultPath": "$.template", "Next": "Lock"},
            "Lock": task("lock", "Our turn?"),
            "Our turn?": choice("$.turn", "Verify", "Wait for our turn"),
            "Wait for our turn": {"Type": "Wait", "Seconds": poll_seconds, "Next": "Lock"},
            "Verify": task("verify", "Ready", verify_arn, FIFTEEN_MINUTES + 30),
            "Ready": task("ready", "Model"),
            "Model": task("model", "Configuration"),
            "Configuration": task("configuration", "Update"),
            "Update": task("update", "Wait"),
            "Wait": {"Type": "Wait", "Seconds": poll_seconds, "Next": "Look"},
            "Look": task("look", "Settled?"),
            "Settled?": choice("$.settled", "Check", "Wait"),
            "Check": task("check", "Record"),
            "Record": task("record", "Tell"),
            "Tell": task("tell", "Live"),
            "Live": {"Type": "Succeed"},
            "Failed": {
                **task("failed", "Did not go live"),
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.unrecorded", "Next": "Tell anyway"}],
            },
            "Tell anyway": unrecorded,
            "Could not be recorded": {"Type": "Fail", "Error": "Unrecorded", "Cause": "See the release's execution."},
            "Did not go live": {"Type": "Fail", "ErrorPath": "$.failed.error", "CausePath": "$.failed.cause"},
        },
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _arn(kind: str, name: str) -> str:
    return local_arn("sagemaker", f"{kind}/{name}")


def _packages(group: str) -> str:
    return _arn("model-package", f"{group}/*")


def executions(identity: str, metric: str, state_machine_arn: str) -> dict[str, Any]:
    """A query of an alarm: how many executions of a machine ended in one way."""
    stat = {
        "namespace": MACHINE_NAMESPACE,
        "metric_name": metric,
        "dimensions": {"StateMachineArn": state_machine_arn},
        "period": 300,
        "stat": "Sum",
    }
    return {"id": identity, "metric": stat, "return_data": False}


def _may_change(name: str, role_arn: pulumi.Input[str], kms_key_arn: pulumi.Input[str]) -> list[Statement]:
    """What it takes to put another version behind the endpoint, and nothing that could take one away."""
    models, configurations = _arn("model", f"{name}-*"), _arn("endpoint-config", f"{name}-*")
    return [
        allow(["sagemaker:DescribeEndpoint"], _arn("endpoint", name)),
        allow(["sagemaker:UpdateEndpoint"], _arn("endpoint", name), configurations),
        allow(["sagemaker:CreateEndpointConfig", "sagemaker:DescribeEndpointConfig"], configurations),
        allow(["sagemaker:CreateModel", "sagemaker:DescribeModel"], models),
        allow(["sagemaker:AddTags"], models, configurations),
        # A model made of a version needs the right on the version, too.
        allow(["sagemaker:CreateModel", "sagemaker:DescribeModelPackage"], _packages(name)),
        allow(
            ["sagemaker:DescribeInferenceComponent", "sagemaker:UpdateInferenceComponent"],
            _arn("inference-component", name),
        ),
        allow(["sagemaker:ListInferenceComponents"], "*"),
        allow(["iam:PassRole"], role_arn, when={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}),
        # The disks of the new instances hold their key through a grant.
        allow(["kms:DescribeKey"], kms_key_arn),
        allow(["kms:CreateGrant"], kms_key_arn, when={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
        allow(["cloudwatch:DescribeAlarms"], local_arn("cloudwatch", "alarm:*")),
    ]


def _may_scale(name: str) -> list[Statement]:
    """To let go of autoscaling while the instance type changes, and to put it back."""
    ours = {
        "StringEquals": {
            "application-autoscaling:service-namespace": "sagemaker",
            "application-autoscaling:scalable-dimension": "sagemaker:variant:DesiredInstanceCount",
        }
    }
    alarms = (f"alarm:{name}-*", f"alarm:TargetTracking-endpoint/{name}/variant/{VARIANT}-*")
    return [
        allow(
            [
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:DescribeScalingPolicies",
                "application-autoscaling:DescribeScheduledActions",
            ],
            "*",
        ),
        allow(
            [
                "application-autoscaling:DeregisterScalableTarget",
                "application-autoscaling:PutScalingPolicy",
                "application-autoscaling:PutScheduledAction",
                "application-autoscaling:RegisterScalableTarget",
            ],
            local_arn("application-autoscaling", "scalable-target/*"),
            when=ours,
        ),
        allow(["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"], *(local_arn("cloudwatch", a) for a in alarms)),
    ]


def _may_lock(ledger_bucket_arn: pulumi.Input[str], name: str) -> list[Statement]:
    locks = f"locks/{name}/*"
    return [
        allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(ledger_bucket_arn, "/", locks)),
        allow(["s3:ListBucket"], ledger_bucket_arn, when={"StringLike": {"s3:prefix": locks}}),
    ]


def _may_collect(name: str) -> list[Statement]:
    models, configurations = _arn("model", f"{name}-*"), _arn("endpoint-config", f"{name}-*")
    return [
        allow(["sagemaker:DescribeEndpoint"], _arn("endpoint", name)),
        allow(["sagemaker:DeleteEndpointConfig", "sagemaker:DescribeEndpointConfig"], configurations),
        allow(["sagemaker:DeleteModel", "sagemaker:DescribeModel"], models),
        allow(["sagemaker:DescribeInferenceComponent"], _arn("inference-component", name)),
        allow(["sagemaker:ListEndpointConfigs", "sagemaker:ListInferenceComponents", "sagemaker:ListModels"], "*"),
    ]


def _when_stopped(
    name: str,
    machine: aws.sfn.StateMachine,
    step: Function,
    dead_letters_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """An execution that is stopped from outside takes no step any more: EventBridge says so, and it is recorded."""
    rule = aws.cloudwatch.EventRule(
        f"{name}-release-stopped",
        description=f"A release of {name} was aborted or ran out of time",
        event_pattern=pulumi.Output.json_dumps(
            {
                "source": ["aws.states"],
                "detail-type": ["Step Functions Execution Status Change"],
                "detail": {"stateMachineArn": [machine.arn], "status": ["ABORTED", "TIMED_OUT"]},
            }
        ),
        opts=opts,
    )
    allowed = aws.lambda_.Permission(
        f"{name}-release-stopped",
        action="lambda:InvokeFunction",
        function=step.name,
        principal="events.amazonaws.com",
        source_arn=rule.arn,
        opts=opts,
    )
    aws.cloudwatch.EventTarget(
        f"{name}-release-stopped",
        rule=rule.name,
        arn=step.arn,
        retry_policy={"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 10},
        dead_letter_config={"arn": dead_letters_arn},
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[allowed])),
    )
