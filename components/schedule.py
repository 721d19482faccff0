"""A function that is called on a schedule."""

import pulumi
import pulumi_aws as aws

from components.function import Function
from components.iam import allow, document, trust, use_key


def schedule(
    name: str,
    function: Function,
    expression: str,
    *,
    group: str,
    event: pulumi.Input[str] = "{}",
    on_time: bool = True,
    dead_letters_arn: pulumi.Input[str],
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    """Call `function` with `event` (JSON) as `expression` says; what cannot be delivered goes to the dead letters.

    Where `on_time` is false it is some time within the hour. Returns `group/name`, as EventBridge Scheduler knows it;
    the group is made for this schedule.
    """
    caller = f"{group}-{name}-schedule"
    role = aws.iam.Role(caller, assume_role_policy=trust("scheduler.amazonaws.com"), opts=opts)
    granted = aws.iam.RolePolicy(
        caller,
        role=role.name,
        policy=document(
            allow(["lambda:InvokeFunction"], function.arn),
            allow(["sqs:SendMessage"], dead_letters_arn),
            use_key(kms_key_arn),
        ),
        opts=opts,
    )
    together = aws.scheduler.ScheduleGroup(f"{group}-{name}", name=group, opts=opts)
    made = aws.scheduler.Schedule(
        f"{group}-{name}",
        name=name,
        group_name=together.name,
        schedule_expression=expression,
        flexible_time_window={"mode": "OFF"} if on_time else {"mode": "FLEXIBLE", "maximum_window_in_minutes": 60},
        kms_key_arn=kms_key_arn,
        target={
            "arn": function.arn,
            "role_arn": role.arn,
            "input": event,
            "retry_policy": {"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 5},
            "dead_letter_config": {"arn": dead_letters_arn},
        },
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[granted])),
    )
    return pulumi.Output.concat(made.group_name, "/", made.name)
