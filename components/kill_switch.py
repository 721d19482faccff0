"""What stops the spending of a stack when a budget or an anomaly says so, or a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pydantic import Field, StringConstraints

from components.alarms import Alarms
from components.alerts import encrypted_topic
from components.budget import ATTRIBUTION
from components.dead_letters import DeadLetters
from components.function import Function
from components.iam import Statement, allow, default_tags, local_arn, use_key
from components.logs import RetentionDays
from components.runbook import Guide
from components.spec import Spec
from functions.kill_switch.spending import PROTECTED
from functions.running import JOBS

ASKS = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com"]
"""The services whose alarms stop something."""
GROUP = "slipway:kill-switch"
"""What Kubernetes calls those who may hold queues and pools of nodes."""
FIVE_MINUTES = 300

Allowed = Annotated[
    str,
    StringConstraints(
        pattern=r"^(endpoint|inference-component|pipeline|(training|processing|transform|tuning)-job|queue|node-pool)/\S+$"
    ),
]
"""What may be stopped, as the record names it, `*` standing for any characters: `endpoint/employment-prod/*`."""


class KillSwitchSpec(Spec):
    """What the switch of a stack does by itself, and what it may stop at all."""

    mode: Literal["dry-run", "act"] = "dry-run"
    """Whether an alarm stops something, or only says what would be stopped. A person decides with each command."""
    allow: list[Allowed] = Field(default_factory=list, max_length=50)
    """What may be stopped, by whomever; nothing where it is empty."""
    drain: bool = False
    """Whether held queues also stop the jobs that they have admitted."""
    log_days: RetentionDays = 90
    """How long its function's logs are kept."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """The part of a cluster that a switch may hold, and how it gets there."""

    cluster_name: pulumi.Input[str]
    cluster_security_group_id: pulumi.Input[str]
    queues: Sequence[str]
    """Kueue's ClusterQueues."""
    pools: Sequence[str]
    """Karpenter's NodePools."""
    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    """Lets it call AWS."""


class KillSwitch(pulumi.ComponentResource):
    """A topic for alarms, and a function behind it that takes what spends to its least, records it, and can undo it.

    Endpoints go to their minimum and scale out no more; pipelines and jobs that no tag protects are stopped; queues
    admit nothing more, and Karpenter starts no more nodes. What serves at its minimum is never touched, nor are nodes
    on which something runs. The tag `slipway:protected` keeps anything from being stopped.
    """

    function_name: pulumi.Output[str]
    topic_arn: pulumi.Output[str]
    """Where an alarm sends that is to stop the stack."""
    guides: list[Guide]

    def __init__(
        self,
        name: str,
        spec: KillSwitchSpec,
        *,
        ledger_bucket: pulumi.Input[str],
        ledger_bucket_arn: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        pipeline_names: Sequence[pulumi.Input[str]] = (),
        held: Held | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """With `held` it is a switch of a cluster, which the provider in `opts` reaches; otherwise it is of a product:
        of what carries the stack's owner, product and environment tags, and of the pipelines named.
        """
        super().__init__("slipway:index:KillSwitch", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        called = f"{name}-stop"

        topic = encrypted_topic(called, ASKS, kms_key_arn, child)
        lost = DeadLetters(
            called,
            senders=["sns.amazonaws.com"],
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        tags = {tag: default_tags()[tag] for tag in ATTRIBUTION}
        pipelines = [pulumi.Output.concat(local_arn("sagemaker", "pipeline/"), each) for each in pipeline_names]
        records = f"kill-switch/{name}/"
        settings: dict[str, Any] = {
            "name": name,
            "mode": spec.mode,
            "allow": spec.allow,
            "records": pulumi.Output.concat("s3://", ledger_bucket, "/", records),
            "alerts": alerts_topic_arn,
        }
        place: dict[str, Any] = {}
        if held:
            settings["cluster"] = {
                "name": held.cluster_name,
                "queues": held.queues,
                "pools": held.pools,
                "drain": spec.drain,
            }
            rights = [
                allow(["eks:DescribeCluster"], pulumi.Output.concat(local_arn("eks", "cluster/"), held.cluster_name))
            ]
            place = {
                "vpc_id": held.vpc_id,
                "subnet_ids": held.subnet_ids,
                "security_group_ids": [held.security_group_id, _reach_cluster(called, held, child)],
            }
        else:
            settings["product"] = {"tags": tags, "pipelines": pipelines}
            rights = _may_stop(tags, pipelines)
        record = pulumi.Output.concat(ledger_bucket_arn, "/", records, "*")
        function = Function(
            called,
            handler="functions.kill_switch.handler.handler",
            access=[
                *rights,
                allow(["s3:GetObject", "s3:PutObject"], record),
                # Without it S3 says of a record that is not there that it is forbidden.
                allow(["s3:ListBucket"], ledger_bucket_arn, when={"StringLike": {"s3:prefix": f"{records}*"}}),
                allow(["sns:Publish"], alerts_topic_arn),
                use_key(kms_key_arn, "s3", "sns"),
            ],
            environment={"SETTINGS": pulumi.Output.json_dumps(settings, sort_keys=True)},
            timeout_seconds=FIVE_MINUTES,
            log_days=spec.log_days,
            kms_key_arn=kms_key_arn,
            dead_letters_arn=lost.queue_arn,
            # Two at once would each take the other's changes for a person's.
            concurrency=1,
            opts=child,
            **place,
        )
        if held:
            _grant(called, held, function.role_arn, child)
        permission = aws.lambda_.Permission(
            called,
            action="lambda:InvokeFunction",
            function=function.name,
            principal="sns.amazonaws.com",
            source_arn=topic.arn,
            opts=child,
        )
        aws.sns.TopicSubscription(
            called,
            topic=topic.arn,
            protocol="lambda",
            endpoint=function.arn,
            redrive_policy=pulumi.Output.json_dumps({"deadLetterTargetArn": lost.queue_arn}),
            opts=child.merge(pulumi.ResourceOptions(depends_on=[permission])),
        )
        alarms = Alarms(called, alerts_topic_arn, child)
        alarms.add(
            "failed",
            means=f"The kill-switch of {name} was asked, and could not do all of it: some of it spends on.",
            look=[
                f"The log of the function `{called}`, and its newest record under `{records}` in the ledger's bucket.",
                f"$ slipway stop {name}",
            ],
            act=[
                "Mend what the record names, or stop that by hand.",
                f"Run `slipway stop {name} --act`: what is stopped already is left alone.",
                f"To put back what was stopped: `slipway stop {name} --undo RECORD --act`.",
            ],
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": function.name},
            statistic="Sum",
            period=60,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides = [*lost.guides, *alarms.guides]
        self.function_name, self.topic_arn = function.name, topic.arn
        self.register_outputs({"function_name": self.function_name, "topic_arn": self.topic_arn})


def _may_stop(tags: Mapping[str, str], pipelines: Sequence[pulumi.Input[str]]) -> list[Statement]:
    """The right to stop what carries these tags and not the one that protects, and to see all that runs."""
    ours = {"StringEquals": {f"aws:ResourceTag/{tag}": value for tag, value in tags.items()}}
    unprotected = {**ours, "Null": {f"aws:ResourceTag/{PROTECTED}": "true"}}
    jobs = {each.noun: local_arn("sagemaker", f"{each.call.replace('_', '-')}/*") for each in JOBS.values()}
    endpoints, components = (local_arn("sagemaker", f"{kind}/*") for kind in ("endpoint", "inference-component"))
    lists = ["ListEndpoints", "ListInferenceComponents", *(f"List{each.noun}s" for each in JOBS.values())]
    rights = [
        # AWS knows no resource for these.
        allow([*(f"sagemaker:{each}" for each in lists), "application-autoscaling:DescribeScalableTargets"], "*"),
        allow(["sagemaker:ListTags"], endpoints, *jobs.values()),
        allow(["sagemaker:DescribeEndpoint"], endpoints, when=ours),
        allow(["sagemaker:DescribeInferenceComponent"], components, when=ours),
        allow(["sagemaker:UpdateEndpointWeightsAndCapacities"], endpoints, when=unprotected),
        allow(["sagemaker:UpdateInferenceComponentRuntimeConfig"], components, when=unprotected),
        allow(
            ["application-autoscaling:RegisterScalableTarget"],
            local_arn("application-autoscaling", "scalable-target/*"),
            when={
                **unprotected,
                "StringEquals": {
                    **unprotected["StringEquals"],
                    "application-autoscaling:service-namespace": "sagemaker",
                },
            },
        ),
    ]
    for noun, each in jobs.items():
        rights.append(allow([f"sagemaker:Describe{noun}", f"sagemaker:Stop{noun}"], each, when=unprotected))
    if pipelines:
        runs = [pulumi.Output.concat(each, "/execution/*") for each in pipelines]
        actions = ["ListPipelineExecutionSteps", "DescribePipelineExecution", "StopPipelineExecution"]
        rights += [
            allow(["sagemaker:ListPipelineExecutions"], *pipelines),
            # An execution carries no tags: it is the product's by its pipeline.
            allow([f"sagemaker:{each}" for each in actions], *runs),
        ]
    return rights


def _reach_cluster(name: str, held: Held, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """A security group that lets the function call the cluster's API, and the cluster answer."""
    group = aws.ec2.SecurityGroup(
        name, vpc_id=held.vpc_id, description="The kill-switch: it calls the API of the cluster", opts=opts
    )
    https: dict[str, Any] = {"ip_protocol": "tcp", "from_port": 443, "to_port": 443}
    aws.vpc.SecurityGroupEgressRule(
        name,
        security_group_id=group.id,
        referenced_security_group_id=held.cluster_security_group_id,
        description="HTTPS to the API of the cluster",
        opts=opts,
        **https,
    )
    aws.vpc.SecurityGroupIngressRule(
        name,
        security_group_id=held.cluster_security_group_id,
        referenced_security_group_id=group.id,
        description="HTTPS from the kill-switch",
        opts=opts,
        **https,
    )
    return group.id


def _grant(name: str, held: Held, role_arn: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
    """Let the role read and patch these queues and pools, and nothing else of the cluster."""
    aws.eks.AccessEntry(
        name, cluster_name=held.cluster_name, principal_arn=role_arn, kubernetes_groups=[GROUP], opts=opts
    )
    kinds = (("kueue.x-k8s.io", "clusterqueues", held.queues), ("karpenter.sh", "nodepools", held.pools))
    role = kubernetes.rbac.v1.ClusterRole(
        name,
        metadata={"name": "slipway-kill-switch"},
        rules=[
            {"api_groups": [group], "resources": [kind], "resource_names": sorted(names), "verbs": ["get", "patch"]}
            for group, kind, names in kinds
            if names
        ],
        opts=opts,
    )
    kubernetes.rbac.v1.ClusterRoleBinding(
        name,
        metadata={"name": "slipway-kill-switch"},
        role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.metadata.name},
        subjects=[{"kind": "Group", "name": GROUP, "api_group": "rbac.authorization.k8s.io"}],
        opts=opts,
    )
