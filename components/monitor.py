"""What every monitor is: a Lambda on a schedule, with alarms for when it fails and for when it no longer runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import pulumi
import pulumi_aws as aws
from pydantic import AfterValidator, Field

from components.alarms import Alarms
from components.dashboard import Chart
from components.dead_letters import DeadLetters
from components.function import Function
from components.iam import Statement
from components.logs import RetentionDays
from components.runbook import Guide
from components.schedule import schedule
from components.spec import Spec
from functions.monitoring.emf import DIMENSION, NAMESPACE

UNITS: Final = {"minute": 60, "minutes": 60, "hour": 3600}
SCHEDULE: Final = "run"
"""What a monitor's schedule is called in its group."""


def seconds(schedule: str) -> int:
    """The time between two runs. Raises ValueError for a schedule that is no rate from a minute to an hour."""
    found = re.fullmatch(r"rate\((\d+) (minutes?|hour)\)", schedule)
    interval = int(found[1]) * UNITS[found[2]] if found else 0
    if not 60 <= interval <= 3600:
        raise ValueError("no rate from a minute to an hour: set one such as rate(15 minutes) or rate(1 hour)")
    return interval


def _a_rate(schedule: str) -> str:
    seconds(schedule)
    return schedule


Rate = Annotated[str, AfterValidator(_a_rate)]
"""A schedule of a monitor's."""
LayerArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:layer:[A-Za-z0-9_-]{1,64}:\d+$")]
"""A version of a Lambda layer."""


class MonitorSpec(Spec):
    """How often a monitor runs, and with what."""

    schedule: Rate = "rate(1 hour)"
    """How often it runs: a rate from a minute to an hour."""
    memory_mib: int = Field(default=512, ge=128, le=10240)
    """Memory of its function; processors come with it."""
    timeout_seconds: int = Field(default=300, ge=30, le=900)
    """How long a run may take."""
    log_days: RetentionDays = 90
    """How long its logs are kept."""
    layer_arn: LayerArn | None = None
    """A published version of the layer that `slipway monitor layer` builds. With its packages captured requests are
    read faster, to the same result; without it the standard library reads them."""


class Monitor(pulumi.ComponentResource):
    """The function `<name>-<what>`, called on its schedule.

    It has the alarms `<name>-<what>-failed`, for a run that failed, and `<name>-<what>-silent`, for runs that stay
    away; whoever makes it adds alarms on what it finds.
    """

    function: Function
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    alarms: Alarms
    """Its own, to which more are added: `monitor.alarms.add("drift", …)` is the alarm `<name>-drift`."""
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        what: str,
        spec: MonitorSpec,
        *,
        handler: str,
        access: Sequence[Statement],
        event: Mapping[str, Any],
        also: Sequence[str] = (),
        environment: Mapping[str, pulumi.Input[str]] | None = None,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`name` is the endpoint's, `what` the monitor's: data, quality, service, freshness, spending.

        `event` is what the function is called with, as JSON; its values may be Outputs. `also` names packages that it
        uses besides its own and `functions/monitoring`.
        """
        super().__init__("slipway:index:Monitor", f"{name}-{what}", opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        self._name, self._period = name, seconds(spec.schedule)

        lost = DeadLetters(f"{name}-{what}", kms_key_arn=kms_key_arn, alerts_topic_arn=alerts_topic_arn, opts=child)
        self.function = Function(
            f"{name}-{what}",
            handler=handler,
            access=access,
            environment=environment,
            also=["functions/monitoring", *also],
            kms_key_arn=kms_key_arn,
            memory_mib=spec.memory_mib,
            timeout_seconds=spec.timeout_seconds,
            log_days=spec.log_days,
            layers=[spec.layer_arn] if spec.layer_arn else [],
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        told = pulumi.Output.json_dumps(dict(event), sort_keys=True)
        self.schedule_name = schedule(
            SCHEDULE,
            self.function,
            spec.schedule,
            group=f"{name}-{what}",
            event=told,
            dead_letters_arn=lost.queue_arn,
            kms_key_arn=kms_key_arn,
            opts=child,
        )
        self.alarms = Alarms(name, alerts_topic_arn, child)
        self._lost = lost.guides
        self.charts = []
        self._watch_itself(name, what)
        self._ring_when_silent(name, what, told, child)
        self.register_outputs({"function_name": self.function.name, "schedule_name": self.schedule_name})

    @property
    def guides(self) -> list[Guide]:
        """The runbook's sections of all its alarms."""
        return [*self.alarms.guides, *self._lost]

    def rings(
        self, alarm: str, metric: str, *, means: str, look: Sequence[str], act: Sequence[str]
    ) -> aws.cloudwatch.MetricAlarm:
        """The alarm `<name>-<alarm>`: on as long as the function says 1 of `metric`, which it says 0 or 1 of.

        How many windows it takes is decided in the function, which knows which were judged.
        """
        return self.alarms.add(
            alarm,
            means=means,
            look=look,
            act=act,
            namespace=NAMESPACE,
            metric_name=metric,
            dimensions={DIMENSION: self._name},
            statistic="Maximum",
            period=self._period,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )

    def shows(self, title: str, *metrics: str, stat: str = "Maximum") -> None:
        """Adds a chart of the monitor's own metrics to the stack's dashboard."""
        drawn = [(NAMESPACE, metric, DIMENSION, self._name) for metric in metrics]
        self.charts.append(Chart(title, drawn, stat, period=self._period))

    def _watch_itself(self, name: str, what: str) -> None:
        self.alarms.add(
            f"{what}-failed",
            means=f"A run of the {what} monitor of {name} failed.",
            look=[_log(name, what)],
            act=[
                "The log says why: a right that is missing, something that is not where it should be, too little time.",
                "Nothing is lost: the next run also reads what this one should have.",
            ],
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": self.function.name},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )

    def _ring_when_silent(self, name: str, what: str, event: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        """The first run comes with the deployment: so that one that cannot run shows, and the alarm begins well."""
        first = aws.lambda_.Invocation(
            f"{name}-{what}-first",
            function_name=self.function.name,
            input=event,
            opts=opts.merge(pulumi.ResourceOptions(ignore_changes=["input"])),
        )
        self.alarms.add(
            f"{what}-silent",
            means=f"The {what} monitor of {name} no longer runs: nobody watches.",
            look=[
                f"$ aws scheduler get-schedule --group-name {name}-{what} --name {SCHEDULE}",
                f"$ aws lambda get-function --function-name {name}-{what}",
                _log(name, what),
            ],
            act=[
                "Bring back what is gone: `slipway up STACK`, or `pulumi up` in the cloud.",
                "Nothing is lost: the first run reads what was written since the last one.",
            ],
            namespace="AWS/Lambda",
            metric_name="Invocations",
            dimensions={"FunctionName": self.function.name},
            statistic="Sum",
            period=self._period,
            evaluation_periods=2,
            comparison_operator="LessThanThreshold",
            threshold=1,
            treat_missing_data="breaching",
            opts=opts.merge(pulumi.ResourceOptions(depends_on=[first])),
        )


def _log(name: str, what: str) -> str:
    return f"$ aws logs tail /aws/lambda/{name}-{what} --since 2h"
