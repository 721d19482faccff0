"""What an endpoint's alarms lead to, as a state machine: go back, retrain, stop or call someone; and record it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws
from pydantic import Field

from components.alarms import Alarms
from components.dashboard import Chart
from components.dead_letters import DeadLetters
from components.endpoint import VARIANT
from components.function import Function
from components.iam import Statement, account_id, allow, document, local_arn, trust, use_key
from components.incidents import incidents_uri, may_gather_timeline, may_write_incidents
from components.ledger import may_read
from components.logs import RetentionDays
from components.model_registry import APPROVAL_STATUS, packages
from components.release import MACHINE_NAMESPACE, executions
from components.runbook import Guide, runbook_name, runbook_url
from components.spec import Spec
from components.training_pipeline import TrainingPipeline
from functions.recovery.core import ALARMS
from functions.recovery.guard import Limits as Guards
from policies.cost.prices import PRICES
from policies.cost.pricing import jobs_of

THIRTY_DAYS: Final = 30 * 24 * 3600
"""A training may take 28 days, and labels may take weeks to come: the machine waits for both."""
GUARDS: Final = Guards()
SCRIPTS: Final = ("newest", "challenge")
"""Processing jobs of a retraining, which cost at most what the pipeline's own first one does."""


class RetrainingSpec(Spec):
    """When a model is trained again by itself, and when a person has to look first (functions/recovery/guard.py)."""

    debounce_hours: float = Field(default=GUARDS.debounce_hours, ge=0, le=24 * 90)
    """The least time between two retrainings."""
    least_new_labels: int = Field(default=GUARDS.least_new_labels, ge=50)
    """How many labels have to be newer than what the serving version was trained on."""
    budget_percent: float = Field(default=GUARDS.budget_percent, gt=0, le=100)
    """How much of the month's budget may be spent, this training included."""
    far: float = Field(default=GUARDS.far, gt=0, le=1)
    """How far a feature of the new labelled rows may be from what the endpoint is asked."""
    label_share: float = Field(default=GUARDS.label_share, gt=0, le=1)
    """How far the share of positives of the new labels may be from the earlier ones'."""
    sudden: float = Field(default=GUARDS.sudden, gt=0, le=1)
    """How far that share may be from one delivery to the next."""
    one_source: float = Field(default=GUARDS.one_source, gt=0, le=1)
    """How much of the new labels one source may give that has not always."""
    least_compared: int = Field(default=GUARDS.least_compared, ge=50)
    """On how many of the newest held-out rows the new version has to be compared with the one that serves."""
    confidence: float = Field(default=GUARDS.confidence, ge=0.5, lt=1)
    """How sure it has to be that it is better."""
    try_again_hours: float = Field(default=6, gt=0, le=48)
    """How often it is tried again, while the alarm rings, what may not be yet: for want of labels, say."""


class RecoverySpec(Spec):
    """How an endpoint recovers by itself."""

    young_hours: float = Field(default=24, gt=0, le=24 * 14)
    """For how long after its release a version that is worse than its predecessor is taken back."""
    settle_minutes: float = Field(default=15, gt=0, le=24 * 60)
    """After how long an alarm that still rings means that what was done has not helped."""
    poll_seconds: int = Field(default=20, ge=1, le=300)
    """How often it looks whether what it started has ended."""
    retraining: RetrainingSpec = RetrainingSpec()
    """When it may train by itself, and with what."""
    log_days: RetentionDays = 90
    """How long the recovery's logs are kept."""


@dataclass(frozen=True, kw_only=True)
class Lake:
    """A product's part of the data lake, and the ledger."""

    bucket: pulumi.Input[str]
    bucket_arn: pulumi.Input[str]
    prefix: str
    ledger_bucket: pulumi.Input[str]
    ledger_bucket_arn: pulumi.Input[str]

    def uri(self, folder: str) -> pulumi.Output[str]:
        """The URI of a folder of the product's."""
        return pulumi.Output.concat("s3://", self.bucket, f"/{self.prefix}/{folder}")

    def objects(self, *below: str) -> list[pulumi.Output[str]]:
        """The ARNs of what is below folders."""
        return [pulumi.Output.concat(self.bucket_arn, f"/{self.prefix}/{each}") for each in below]


def machine_name(endpoint: str) -> str:
    """What an endpoint's recovery machine is called."""
    return f"{endpoint}-recovery"


def alarm_names(endpoint: str) -> list[str]:
    """The alarms that are decided on, whether the endpoint has them all or not."""
    return [f"{endpoint}-{what}" for what in ALARMS]


class Recovery(pulumi.ComponentResource):
    """Acts on the alarms of one endpoint: each opens an incident, or joins the one that is open; what is decided is
    done, and written down. Nothing that it does puts a version live that nobody has approved."""

    state_machine_arn: pulumi.Output[str]
    state_machine_name: pulumi.Output[str]
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: RecoverySpec,
        *,
        training: TrainingPipeline,
        budget_name: pulumi.Input[str],
        usd_per_month: float,
        label_time: str,
        release_machine_arn: pulumi.Input[str],
        stop_function_name: pulumi.Input[str],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        ledger_bucket: pulumi.Input[str],
        ledger_bucket_arn: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The endpoint and the model package group are called `name`. `stop_function_name` is the kill-switch's,
        `label_time` the column of label files with the time from which a label was known."""
        super().__init__("slipway:index:Recovery", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        called = machine_name(name)
        lake = Lake(
            bucket=bucket,
            bucket_arn=bucket_arn,
            prefix=prefix,
            ledger_bucket=ledger_bucket,
            ledger_bucket_arn=ledger_bucket_arn,
        )
        stops = pulumi.Output.concat(local_arn("lambda", "function:"), stop_function_name)
        lost = DeadLetters(
            called,
            senders=["events.amazonaws.com"],
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        settings: dict[str, Any] = {
            "sources": {
                "endpoint": name,
                "variant": VARIANT,
                "alarms": alarm_names(name),
                "ledger_bucket": ledger_bucket,
                "reports_uri": lake.uri("monitors"),
            },
            "place": {
                "incidents_uri": incidents_uri(bucket, prefix, name),
                "topic_arn": alerts_topic_arn,
                "runbook": runbook_url(),
                "runbook_name": runbook_name(pulumi.get_stack()),
                "settle_seconds": int(60 * spec.settle_minutes),
                "release_machine_arn": release_machine_arn,
                "stop_function": stop_function_name,
            },
            "limits": {"young_hours": spec.young_hours},
        }
        shared: dict[str, Any] = {
            "also": ["functions/incidents", "functions/monitoring", "functions/release"],
            "timeout_seconds": 300,
            "memory_mib": 512,
            "log_days": spec.log_days,
            "kms_key_arn": kms_key_arn,
            "opts": child,
        }
        step = Function(
            called,
            handler="functions.recovery.handler.step",
            access=[
                *_may_look(name, lake),
                *may_gather_timeline(bucket_arn, prefix, name, alarms=[f"{name}-*"]),
                allow(["states:ListExecutions", "states:StartExecution"], release_machine_arn),
                allow(["states:DescribeExecution"], local_arn("states", f"execution:{name}-release:*")),
                allow(["lambda:InvokeFunction"], stops),
                allow(["sns:Publish"], alerts_topic_arn),
                use_key(kms_key_arn, "s3", "sns", "states"),
            ],
            environment={"SETTINGS": pulumi.Output.json_dumps(settings, sort_keys=True)},
            **shared,
        )
        told = {
            "pipeline": training.pipeline_name,
            "labels_uri": lake.uri("labels/"),
            "label_time": label_time,
            "captures_uri": lake.uri("captures"),
            "data_uri": lake.uri("retraining"),
            "job": pulumi.Output.json_loads(training.job),
            "limits": spec.retraining.model_dump(exclude={"try_again_hours"}),
            "poll_seconds": spec.poll_seconds,
            "training_usd": pulumi.Output.from_input(training.definition).apply(most_usd),
            "budget_usd": usd_per_month,
            "budget_name": budget_name,
            "account": account_id(),
        }
        train = Function(
            f"{name}-retraining",
            handler="functions.recovery.handler.train",
            access=[
                *_may_look(name, lake),
                *_may_train(name, lake, training, budget_name),
                use_key(kms_key_arn, "s3", "states"),
            ],
            environment={"SETTINGS": pulumi.Output.json_dumps({**settings, "training": told}, sort_keys=True)},
            **shared,
        )
        machine = _machine(name, spec, step, train, kms_key_arn, alerts_topic_arn, child)
        _when_an_alarm_rings(name, machine, lost.queue_arn, kms_key_arn, child)
        alarms = Alarms(name, alerts_topic_arn, child)
        alarms.add(
            "recovery-failed",
            means=f"A recovery of {name} did not end well: what its alarm needs is left to a person.",
            look=[
                f"$ slipway incident list {name}",
                f"$ aws stepfunctions list-executions --state-machine-arn {_arn(name)} --max-results 5",
            ],
            act=["The incident says what was left undone, and why: do that by hand.", "Then mend what failed."],
            metric_queries=[
                *(executions(end.lower(), f"Executions{end}", _arn(name)) for end in ("Failed", "TimedOut", "Aborted")),
                {
                    "id": "all",
                    "expression": "SUM([failed, timedout, aborted])",
                    "label": "Failed recoveries",
                    "return_data": True,
                },
            ],
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides = [*alarms.guides, *lost.guides]
        where = ("StateMachineArn", _arn(name))
        self.charts = [
            Chart(
                "Recoveries",
                [(MACHINE_NAMESPACE, f"Executions{end}", *where) for end in ("Succeeded", "Failed")],
                period=300,
            )
        ]
        self.state_machine_arn, self.state_machine_name = machine.arn, machine.name
        self.register_outputs({"state_machine_arn": self.state_machine_arn})


def most_usd(definition: str) -> float:
    """What a retraining costs at most: the pipeline's jobs, and two as its first one, each for as long as it may run.

    Raises ValueError where an instance type has no price.
    """
    jobs = [each for each in jobs_of(definition) if each.instance_type]
    unknown = sorted({each.instance_type for each in jobs} - set(PRICES["instances"]))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} has no price: run `slipway prices --refresh`, or add it to prices.json")
    costs = [
        PRICES["instances"][each.instance_type]["usd"] * each.instances * each.max_hours * each.jobs for each in jobs
    ]
    return round(sum(costs) + len(SCRIPTS) * costs[0], 2) if costs else 0.0


def _arn(name: str) -> str:
    return local_arn("states", f"stateMachine:{machine_name(name)}")


def _sagemaker(kind: str, name: str) -> str:
    return local_arn("sagemaker", f"{kind}/{name}")


# --- what it may do -------------------------------------------------------------------------------------------------


def _may_look(name: str, lake: Lake) -> list[Statement]:
    """To see what serves, what rings, what was measured; and to write incidents."""
    reports = f"{lake.prefix}/monitors/*/{name}/*"
    return [
        allow(["sagemaker:DescribeEndpoint"], _sagemaker("endpoint", name)),
        allow(["sagemaker:DescribeEndpointConfig"], _sagemaker("endpoint-config", f"{name}*")),
        allow(["sagemaker:DescribeModel"], _sagemaker("model", f"{name}*")),
        allow(["sagemaker:ListInferenceComponents"], "*"),
        allow(["sagemaker:DescribeInferenceComponent"], _sagemaker("inference-component", f"{name}*")),
        allow(["cloudwatch:DescribeAlarms"], local_arn("cloudwatch", "alarm:*")),
        allow(["cloudwatch:GetMetricData"], "*"),
        allow(["s3:GetObject"], pulumi.Output.concat(lake.bucket_arn, "/", reports)),
        allow(["s3:ListBucket"], lake.bucket_arn, when={"StringLike": {"s3:prefix": reports}}),
        *may_read(lake.ledger_bucket_arn, name),
        *may_write_incidents(lake.bucket_arn, lake.prefix, name),
    ]


def _may_train(name: str, lake: Lake, training: TrainingPipeline, budget_name: pulumi.Input[str]) -> list[Statement]:
    """To start the pipeline and two jobs, to read what they make, and to reject a version: never to approve one."""
    locks = f"locks/{name}-retraining/*"
    listed = [f"{lake.prefix}/{each}" for each in ("labels/*", f"captures/{name}/*", "retraining/*", "training/*")]
    runs = pulumi.Output.concat(training.arn, "/execution/*")
    return [
        allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(lake.ledger_bucket_arn, "/", locks)),
        allow(["s3:ListBucket"], lake.ledger_bucket_arn, when={"StringLike": {"s3:prefix": locks}}),
        allow(["states:DescribeExecution"], local_arn("states", f"execution:{machine_name(name)}:*")),
        allow(["s3:GetObject"], *lake.objects("labels/*", "retraining/*", "training/*")),
        allow(["s3:ListBucket"], lake.bucket_arn, when={"StringLike": {"s3:prefix": listed}}),
        allow(["sagemaker:DescribeModelPackage"], packages(name)),
        allow(["sagemaker:UpdateModelPackage"], packages(name), when={"StringEquals": {APPROVAL_STATUS: "Rejected"}}),
        allow(
            ["sagemaker:DescribePipeline", "sagemaker:ListPipelineExecutions", "sagemaker:StartPipelineExecution"],
            training.arn,
        ),
        allow(
            [
                "sagemaker:DescribePipelineExecution",
                "sagemaker:ListPipelineExecutionSteps",
                "sagemaker:RetryPipelineExecution",
            ],
            runs,
        ),
        allow(["budgets:ViewBudget"], pulumi.Output.concat(f"arn:aws:budgets::{account_id()}:budget/", budget_name)),
        *training.may_process(f"{name[:36]}-*"),
    ]


# --- the machine ----------------------------------------------------------------------------------------------------


def _machine(
    name: str,
    spec: RecoverySpec,
    step: Function,
    train: Function,
    kms_key_arn: pulumi.Input[str],
    alerts_topic_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> aws.sfn.StateMachine:
    called = f"{machine_name(name)}-machine"
    role = aws.iam.Role(called, assume_role_policy=trust("states.amazonaws.com"), opts=opts)
    granted = aws.iam.RolePolicy(
        called,
        role=role.name,
        policy=document(
            allow(["lambda:InvokeFunction"], step.arn, train.arn),
            allow(["sns:Publish"], alerts_topic_arn),
            use_key(kms_key_arn),
        ),
        opts=opts,
    )
    return aws.sfn.StateMachine(
        machine_name(name),
        name=machine_name(name),
        role_arn=role.arn,
        definition=pulumi.Output.json_dumps(definition(step.arn, train.arn, alerts_topic_arn, spec), sort_keys=True),
        encryption_configuration={
            "type": "CUSTOMER_MANAGED_KMS_KEY",
            "kms_key_id": kms_key_arn,
            "kms_data_key_reuse_period_seconds": 300,
        },
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[granted])),
    )


def definition(
    step_arn: pulumi.Input[str], train_arn: pulumi.Input[str], topic_arn: pulumi.Input[str], spec: RecoverySpec
) -> dict[str, Any]:
    """The machine, in Amazon States Language. Its input: EventBridge's event of an alarm; or what a person asks for:
    `retrain` or `confirm` (an incident's id), with `by` and `why`.
    """

    def task(step: str, then: str, arn: pulumi.Input[str] = step_arn) -> dict[str, Any]:
        return {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {
                "FunctionName": arn,
                "Payload": {"step": step, "execution.$": "$$.Execution.Id", "recovery.$": "$"},
            },
            "OutputPath": "$.Payload",
            "TimeoutSeconds": 330,
            "Retry": [
                {"ErrorEquals": ["NotPossible", "NoIncident"], "MaxAttempts": 0},
                {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2.0},
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Failed"}],
            "Next": then,
        }

    def train(step: str, then: str) -> dict[str, Any]:
        return task(step, then, train_arn)

    def choice(variable: str, then: str, otherwise: str) -> dict[str, Any]:
        chosen = {"Variable": variable, "BooleanEquals": True, "Next": then}
        return {"Type": "Choice", "Choices": [chosen], "Default": otherwise}

    def one_of(variable: str, ways: Mapping[str, str], otherwise: str) -> dict[str, Any]:
        chosen = [{"Variable": variable, "StringEquals": value, "Next": then} for value, then in ways.items()]
        return {"Type": "Choice", "Choices": chosen, "Default": otherwise}

    poll = {"Seconds": spec.poll_seconds}

    def waiting(
        what: str, look: dict[str, Any], done: str, then: str, pause: Mapping[str, Any] = poll
    ) -> dict[str, Any]:
        """Looks again and again until it is done."""
        return {
            f"Wait for {what}": {"Type": "Wait", **pause, "Next": f"Look for {what}"},
            f"Look for {what}": {**look, "Next": f"Is there {what}?"},
            f"Is there {what}?": choice(done, then, f"Wait for {what}"),
        }

    return {
        "Comment": "An alarm of an endpoint: what is decided on it, what is done, and how that ends.",
        "StartAt": "Open",
        "TimeoutSeconds": THIRTY_DAYS,
        "States": {
            "Open": task("open", "What follows?"),
            "What follows?": one_of("$.next", {"look": "Decide", "guard": "Guard"}, "Over"),
            "Decide": task("look", "Decided?"),
            "Decided?": choice("$.ready", "What to do?", "Wait for more to be known"),
            "Wait for more to be known": {"Type": "Wait", **poll, "Next": "Decide"},
            "What to do?": one_of("$.action", {"roll-back": "Go back", "retrain": "Guard", "stop": "Stop"}, "Tell"),
            "Go back": task("roll_back", "Wait for the version before"),
            **waiting("the version before", task("look_back", ""), "$.back", "Tell"),
            "Stop": task("stop", "Tell"),
            "Guard": train("guard", "May it be trained?"),
            "May it be trained?": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.go", "BooleanEquals": True, "Next": "Newest data"},
                    {
                        "And": [
                            {"Variable": "$.again", "BooleanEquals": True},
                            {"Variable": "$.told", "IsPresent": True},
                        ],
                        "Next": "Wait for another try",
                    },
                ],
                "Default": "Tell",
            },
            "Wait for another try": {
                "Type": "Wait",
                "Seconds": int(3600 * spec.retraining.try_again_hours),
                "Next": "Guard",
            },
            "Newest data": train("newest", "Wait for the newest data"),
            **waiting("the newest data", train("look_job", ""), "$.ended", "Inspect"),
            "Inspect": train("inspect", "To be trusted?"),
            "To be trusted?": choice("$.go", "Train", "Tell"),
            "Train": train("train", "Wait for a challenger"),
            **waiting("a challenger", train("look_train", ""), "$.trained", "Challenge", {"SecondsPath": "$.pause"}),
            "Challenge": train("challenge", "Wait for a comparison"),
            **waiting("a comparison", train("look_job", ""), "$.ended", "Judge"),
            "Judge": train("judge", "Tell"),
            "Tell": task("tell", "To be watched?"),
            "To be watched?": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.watch", "BooleanEquals": True, "Next": "Wait for quiet"},
                    {"Variable": "$.again", "BooleanEquals": True, "Next": "Wait for another try"},
                ],
                "Default": "Over",
            },
            **waiting("quiet", task("settle", ""), "$.settled", "Over"),
            "Over": {"Type": "Succeed"},
            "Failed": {
                **task("failed", "Not recovered"),
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.unrecorded", "Next": "Tell anyway"}],
            },
            "Not recovered": {"Type": "Fail", "Error": "NotRecovered", "CausePath": "$.failed"},
            "Tell anyway": {
                "Type": "Task",
                "Resource": "arn:aws:states:::sns:publish",
                "Parameters": {
                    "TopicArn": topic_arn,
                    "Subject": "A recovery failed, and that could not be recorded",
                    "Message.$": "States.Format('{}: {}', $$.Execution.Id, States.JsonToString($.unrecorded))",
                },
                "Next": "Could not be recorded",
            },
            "Could not be recorded": {"Type": "Fail", "Error": "Unrecorded", "Cause": "See the recovery's execution."},
        },
    }


def _when_an_alarm_rings(
    name: str,
    machine: aws.sfn.StateMachine,
    dead_letters_arn: pulumi.Input[str],
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """Each alarm that begins or ceases to ring starts the machine."""
    called = f"{machine_name(name)}-alarms"
    role = aws.iam.Role(called, assume_role_policy=trust("events.amazonaws.com"), opts=opts)
    granted = aws.iam.RolePolicy(
        called,
        role=role.name,
        policy=document(allow(["states:StartExecution"], machine.arn), use_key(kms_key_arn, "states")),
        opts=opts,
    )
    rule = aws.cloudwatch.EventRule(
        called,
        description=f"An alarm of {name} begins or ceases to ring",
        event_pattern=pulumi.Output.json_dumps(
            {
                "source": ["aws.cloudwatch"],
                "detail-type": ["CloudWatch Alarm State Change"],
                "detail": {"alarmName": alarm_names(name), "state": {"value": ["ALARM", "OK"]}},
            }
        ),
        opts=opts,
    )
    aws.cloudwatch.EventTarget(
        called,
        rule=rule.name,
        arn=machine.arn,
        role_arn=role.arn,
        retry_policy={"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 10},
        dead_letter_config={"arn": dead_letters_arn},
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[granted])),
    )
