"""A Lambda function, with its log, its role and no right too many."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pulumi
import pulumi_aws as aws

from components.iam import Statement, allow, document, local_arn, trust, use_key
from components.logs import RetentionDays

ROOT = Path(__file__).parent.parent


class Function(pulumi.ComponentResource):
    """Code of `functions/` in Lambda: it may do what `access` says and write its own log, and no more."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    role_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        handler: str,
        access: Sequence[Statement],
        kms_key_arn: pulumi.Input[str],
        environment: Mapping[str, pulumi.Input[str]] | None = None,
        files: Mapping[str, str] | None = None,
        also: Sequence[str] = (),
        memory_mib: int = 256,
        timeout_seconds: int = 60,
        log_days: RetentionDays = 90,
        layers: Sequence[str] = (),
        dead_letters_arn: pulumi.Input[str] | None = None,
        concurrency: int | None = None,
        vpc_id: pulumi.Input[str] | None = None,
        subnet_ids: pulumi.Input[Sequence[str]] = (),
        security_group_ids: Sequence[pulumi.Input[str]] = (),
        tracing: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The function is called `name`, at most 64 characters.

        `handler` is a module and its function: `functions.kill_switch.handler.handler`. Its package is zipped, with all
        modules right under `functions/`, with what `also` names (`functions/registry`) and with `files` (path → text).
        `layers` are the ARNs of versions of Lambda layers that it imports from.
        `dead_letters_arn` is a queue for what failed twice when invoked asynchronously; the right to send is added.
        `concurrency` reserves so many executions, and allows no more. With `vpc_id` it runs in `subnet_ids` of a
        network, and calls what `security_group_ids` let it. With `tracing`, X-Ray is told of what it does for requests
        that are traced.
        """
        super().__init__("slipway:index:Function", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        # The log group comes before the function: on its first call that would make one without our key.
        logs = aws.cloudwatch.LogGroup(
            name, name=f"/aws/lambda/{name}", retention_in_days=log_days, kms_key_id=kms_key_arn, opts=child
        )
        role = aws.iam.Role(name, assume_role_policy=trust("lambda.amazonaws.com"), opts=child)
        rights = [
            *access,
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], pulumi.Output.concat(logs.arn, ":*")),
        ]
        if dead_letters_arn is not None:
            rights += [allow(["sqs:SendMessage"], dead_letters_arn), use_key(kms_key_arn, "sqs")]
        if tracing:
            rights += [allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*")]
        if vpc_id is not None:
            rights += _may_join_network(name, vpc_id)
        granted = aws.iam.RolePolicy(name, role=role.name, policy=document(*rights), opts=child)
        package = handler.rpartition(".")[0].rpartition(".")[0].replace(".", "/")
        function = aws.lambda_.Function(
            name,
            name=name,
            role=role.arn,
            runtime=aws.lambda_.Runtime.PYTHON3D12,
            architectures=["arm64"],
            handler=handler,
            code=source(package, *also, files=files),
            memory_size=memory_mib,
            timeout=timeout_seconds,
            layers=[*layers] or None,
            kms_key_arn=kms_key_arn,
            environment={"variables": environment} if environment else None,
            dead_letter_config={"target_arn": dead_letters_arn} if dead_letters_arn is not None else None,
            reserved_concurrent_executions=concurrency,
            tracing_config={"mode": "Active" if tracing else "PassThrough"},
            vpc_config={"subnet_ids": subnet_ids, "security_group_ids": list(security_group_ids)}
            if vpc_id is not None
            else None,
            opts=child.merge(pulumi.ResourceOptions(depends_on=[granted])),
        )
        aws.lambda_.FunctionEventInvokeConfig(
            name,
            function_name=function.name,
            maximum_retry_attempts=1,
            maximum_event_age_in_seconds=3600,
            opts=child,
        )
        self.name, self.arn, self.role_arn = function.name, function.arn, role.arn
        self.register_outputs({"name": self.name, "arn": self.arn, "role_arn": self.role_arn})


def _may_join_network(name: str, vpc_id: pulumi.Input[str]) -> list[Statement]:
    """What Lambda does with a function's role to join it to a network, and what the function's own code may not.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html: which interfaces nobody knows beforehand.
    """
    create, delete = "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"
    looks = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"]
    places = [local_arn("ec2", f"{kind}/*") for kind in ("network-interface", "security-group", "subnet")]
    network = pulumi.Output.concat(local_arn("ec2", "vpc/"), vpc_id)
    return [
        allow([create], *places, when={"ArnEquals": {"ec2:Vpc": network}}),
        allow([delete], places[0]),
        allow(looks, "*"),
        {
            "Effect": "Deny",
            "Action": [create, delete, *looks],
            "Resource": "*",
            "Condition": {"ArnEquals": {"lambda:SourceFunctionArn": local_arn("lambda", f"function:{name}")}},
        },
    ]


def source(*packages: str, files: Mapping[str, str] | None = None) -> pulumi.AssetArchive:
    """Packages (or modules) of functions and what they share, under the import paths that they have here.

    Python files only: a cache among them would change the archive with every test run.
    """
    found = {*(ROOT / "functions").glob("*.py")}
    for package in packages:
        path = ROOT / package
        found |= {path} if path.is_file() else {*path.rglob("*.py")}
    paths = sorted(str(file.relative_to(ROOT)) for file in found)
    return pulumi.AssetArchive(
        {
            **{path: pulumi.FileAsset(str(ROOT / path)) for path in paths},
            **{path: pulumi.StringAsset(text) for path, text in sorted((files or {}).items())},
        }
    )
