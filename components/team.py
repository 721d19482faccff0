"""A team's place in the cluster: its namespace, its part of the machines, its data, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from components.gpu import GPU, GpuPool
from components.iam import RoleArn, account_id, allow, document, use_key
from components.spec import Spec

TEAM_LABEL = "slipway/team"
"""Marks the namespaces that the queues look after."""
TRAINER = "trainer"
"""The service account that a team's jobs run as."""
POD_IDENTITY_AGENT = "169.254.170.23/32"
"""Where the agent on each node hands pods their role's credentials."""
SERVING = "serving"
"""The priority class of pods that answer requests."""
FOREIGN_PRIORITIES = [SERVING, "system-cluster-critical", "system-node-critical"]
"""Priority classes that push others off a node; no pod of a team may take one."""
RESERVED = "default", "karpenter", "kueue-system", "platform"
"""Namespaces of the cluster's own, and what in the lake belongs to the platform."""
OBJECTS = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]


def _of_a_team(name: str) -> str:
    if name in RESERVED or name.startswith("kube-"):
        raise ValueError(f"{name} is the name of something of the cluster's or the data lake's own: choose another")
    return name


TeamName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"), AfterValidator(_of_a_team)
]
"""A team's name, and that of its namespace and its prefix in the data lake."""


class Share(Spec):
    """A team's part of something: what is its own, what it may borrow while idle, and what of its own it lends.

    A plain number is all its own, lent while idle and without borrowing.
    """

    own: NonNegativeInt
    """What nobody else can take."""
    borrow: NonNegativeInt = 0
    """How much more it may use while others leave it idle. They take it back whenever they need it."""
    lend: NonNegativeInt | None = None
    """How much of its own others may use while it is idle; all of it unless set."""

    @model_validator(mode="before")
    @classmethod
    def _plain_number(cls, value: Any) -> Any:
        return {"own": value} if isinstance(value, int) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "integer", "minimum": 0}, handler(core_schema)]}

    @model_validator(mode="after")
    def _lends_what_it_has(self) -> Share:
        if self.lend is not None and self.lend > self.own:
            raise ValueError(f"lend {self.lend} is above own {self.own}: lower lend or raise own")
        return self

    @property
    def most(self) -> int:
        """What the team may use at once, borrowed included."""
        return self.own + self.borrow


class TeamSpec(Spec):
    """How much a team may use at once, and who works there."""

    gpus: NonNegativeInt | dict[str, Share]
    """Its part of each pool of GPUs, in units that pods ask for: GPUs, or shares of one where a pool shares them.

    A plain number is a part of the one pool there is.
    """
    cpus: Share = Share(own=16)
    """Processors of the team's pods."""
    memory_gib: Share = Share(own=64)
    """Memory of the team's pods."""
    scratch_gib: PositiveInt = Field(default=20, le=16384)
    """Local disk of a container that does not say how much it needs: more than it asked for ends it."""
    weight: PositiveInt = Field(default=1, le=1000)
    """How much of what is borrowed goes to this team, against the others' weights; for queues that share fairly."""
    developers: tuple[RoleArn, ...] = ()
    """Roles that may change what runs in the team's namespace, and nothing else in the cluster."""

    @model_validator(mode="after")
    def _can_run_something(self) -> TeamSpec:
        for key in ("cpus", "memory_gib"):
            if getattr(self, key).most < 1:
                raise ValueError(f"{key}: no pod runs without any: set 1 or more")
        return self

    def shares(self, pools: Mapping[str, object]) -> dict[str, Share]:
        """Its part of every pool, by the pool's name. Raises ValueError for a pool that is not there."""
        if isinstance(self.gpus, int):
            if self.gpus and len(pools) > 1:
                raise ValueError(
                    f"gpus: {self.gpus} does not say of which pool: set gpus to {{<pool>: {self.gpus}}}; the pools are "
                    f"{', '.join(pools)}"
                )
            return {pool: Share(own=self.gpus) for pool in pools}
        for pool in self.gpus.keys() - pools.keys():
            raise ValueError(f"gpus.{pool}: there is no such pool: set one of {', '.join(pools)}")
        return {pool: self.gpus.get(pool, Share(own=0)) for pool in pools}


class Team(pulumi.ComponentResource):
    """A team's namespace, closed to all others, and the role by which its jobs reach the team's own data.

    Pods run restricted, within the team's quota, and may not take a priority that pushes others away. They reach DNS,
    AWS over the network's own endpoints, and each other: several nodes may train one model. EFA goes past the network
    policies, since it is no IP traffic; security groups hold it. What jobs read and write lies in the data lake under
    the team's name.
    """

    namespace: pulumi.Output[str]
    trainer_role_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: TeamSpec,
        *,
        pools: Mapping[str, GpuPool],
        cluster_name: pulumi.Input[str],
        data_bucket_arn: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The namespace and the prefix in the lake are called `name`. `pools` are the cluster's, by name."""
        # What is in a namespace goes with it: under its former name this is the same one.
        former = pulumi.ResourceOptions(aliases=[pulumi.Alias(type_="slipway:index:TeamNamespace")])
        super().__init__("slipway:index:Team", name, opts=pulumi.ResourceOptions.merge(opts, former))
        child = pulumi.ResourceOptions(parent=self)

        most = {GPU: 0}
        for pool, share in spec.shares(pools).items():
            most[pools[pool].resource] = most.get(pools[pool].resource, 0) + share.most
        namespace, inside = _namespace(name, spec, most, child)
        _limit_pods(name, spec, inside)
        _close_network(name, inside)
        _open_within(name, inside)
        account = kubernetes.core.v1.ServiceAccount(
            f"{name}-{TRAINER}",
            metadata={"name": TRAINER, "namespace": name},
            # Its pods get AWS credentials from the agent; Kubernetes' own token would only let them ask the API server.
            automount_service_account_token=False,
            opts=inside,
        )
        role = aws.iam.Role(f"{name}-{TRAINER}", assume_role_policy=_trust_jobs(name, cluster_name), opts=child)
        access = aws.iam.RolePolicy(
            f"{name}-{TRAINER}",
            role=role.name,
            policy=document(
                allow(OBJECTS, pulumi.Output.concat(data_bucket_arn, f"/{name}/*")),
                allow(
                    ["s3:ListBucket"],
                    data_bucket_arn,
                    when={"StringLike": {"s3:prefix": [f"{name}/*"]}},
                ),
                use_key(kms_key_arn, "s3"),
            ),
            opts=child,
        )
        aws.eks.PodIdentityAssociation(
            f"{name}-{TRAINER}",
            cluster_name=cluster_name,
            namespace=name,
            service_account=TRAINER,
            role_arn=role.arn,
            opts=child.merge(pulumi.ResourceOptions(depends_on=[account, access])),
        )
        self.namespace = namespace.metadata["name"]
        self.trainer_role_arn = role.arn
        self.register_outputs({"namespace": self.namespace, "trainer_role_arn": self.trainer_role_arn})


def _trust_jobs(team: str, cluster_name: pulumi.Input[str]) -> pulumi.Output[str]:
    """Lets EKS Pod Identity assume a role for the team's jobs in this one cluster, and for no other pod.

    The agent names the pod in session tags; the conditions hold even where somebody associates the role elsewhere.
    """
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {
                    "aws:SourceAccount": account_id(),
                    "aws:RequestTag/eks-cluster-name": cluster_name,
                    "aws:RequestTag/kubernetes-namespace": team,
                    "aws:RequestTag/kubernetes-service-account": TRAINER,
                }
            },
        }
    )


def _namespace(
    name: str, spec: TeamSpec, gpus: Mapping[str, int], opts: pulumi.ResourceOptions
) -> tuple[kubernetes.core.v1.Namespace, pulumi.ResourceOptions]:
    """A namespace of restricted pods with a quota, and the options for what is in it.

    `gpus` says how many of each GPU resource its pods may have at once.
    """
    namespace = kubernetes.core.v1.Namespace(
        name,
        metadata={
            "name": name,
            "labels": {
                TEAM_LABEL: name,
                **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
            },
        },
        opts=opts,
    )
    inside = opts.merge(pulumi.ResourceOptions(depends_on=[namespace]))
    kubernetes.core.v1.ResourceQuota(
        f"{name}-quota",
        metadata={"name": "quota", "namespace": name},
        spec={"hard": dict(_hard(spec, gpus))},
        opts=inside,
    )
    return namespace, inside


def _hard(spec: TeamSpec, gpus: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """What all pods of a namespace may have together: the team's own, and what it may borrow."""
    for resource, most in gpus.items():
        yield f"requests.{resource}", str(most)
    yield "requests.cpu", str(spec.cpus.most)
    yield "requests.memory", f"{spec.memory_gib.most}Gi"
    yield "limits.memory", f"{spec.memory_gib.most}Gi"
    # Objects that nobody needs in such numbers slow down the API server for all.
    yield "pods", "1000"
    yield "count/jobs.batch", "2000"
    # Either would open the namespace to the network, past its policies.
    yield "services.loadbalancers", "0"
    yield "services.nodeports", "0"


def _limit_pods(name: str, spec: TeamSpec, opts: pulumi.ResourceOptions) -> None:
    """No pod of a namespace may push others off a node, and each has limits."""
    kubernetes.core.v1.ResourceQuota(
        f"{name}-priorities",
        metadata={"name": "priorities", "namespace": name},
        spec={
            "hard": {"pods": "0"},
            "scope_selector": {
                "match_expressions": [
                    {"scope_name": "PriorityClass", "operator": "In", "values": FOREIGN_PRIORITIES},
                ]
            },
        },
        opts=opts,
    )
    small = {"memory": f"{min(4, spec.memory_gib.most)}Gi", "ephemeral-storage": f"{spec.scratch_gib}Gi"}
    kubernetes.core.v1.LimitRange(
        f"{name}-limits",
        metadata={"name": "limits", "namespace": name},
        spec={
            "limits": [
                {
                    "type": "Container",
                    # The quota refuses a pod that names no limits, so those who name none get small ones.
                    "default_request": {"cpu": "1", **small},
                    "default": small,
                    "max": {"cpu": str(spec.cpus.most), "memory": f"{spec.memory_gib.most}Gi"},
                    # On a node that runs out of either, pods of other teams would be ended.
                    "max_limit_request_ratio": {"memory": "1", "ephemeral-storage": "1"},
                }
            ]
        },
        opts=opts,
    )


def deny_all(name: str, namespace: str, opts: pulumi.ResourceOptions) -> None:
    """Deny all traffic of a namespace's pods, but what other policies let through."""
    kubernetes.networking.v1.NetworkPolicy(
        f"{name}-deny",
        metadata={"name": "deny", "namespace": namespace},
        spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
        opts=opts,
    )


TO_DNS: Any = {
    "to": [
        {
            "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}},
            "pod_selector": {"match_labels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}
"""What a network policy lets out so that names can be looked up."""
# The network has no way to the internet: HTTPS leads to its own endpoints, to S3 and to the API server, nowhere else.
TO_HTTPS: Any = {
    "to": [{"ip_block": {"cidr": "0.0.0.0/0"}}],
    "ports": [{"protocol": "TCP", "port": 443}],
}


def _close_network(namespace: str, opts: pulumi.ResourceOptions) -> None:
    """Deny all traffic, then let pods reach what they cannot do without."""
    deny_all(namespace, namespace, opts)
    kubernetes.networking.v1.NetworkPolicy(
        f"{namespace}-allow-aws",
        metadata={"name": "allow-aws", "namespace": namespace},
        spec={
            "pod_selector": {},
            "policy_types": ["Egress"],
            "egress": [
                TO_DNS,
                TO_HTTPS,
                {"to": [{"ip_block": {"cidr": POD_IDENTITY_AGENT}}], "ports": [{"protocol": "TCP", "port": 80}]},
            ],
        },
        opts=opts,
    )


def _open_within(namespace: str, opts: pulumi.ResourceOptions) -> None:
    """Let a namespace's pods reach each other on any port: the nodes that train one model together talk on many."""
    kubernetes.networking.v1.NetworkPolicy(
        f"{namespace}-allow-own",
        metadata={"name": "allow-own", "namespace": namespace},
        spec={
            "pod_selector": {},
            "policy_types": ["Ingress", "Egress"],
            # A pod selector without a namespace's means the policy's own namespace.
            "ingress": [{"from_": [{"pod_selector": {}}]}],
            "egress": [{"to": [{"pod_selector": {}}]}],
        },
        opts=opts,
    )
