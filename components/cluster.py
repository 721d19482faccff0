"""The Kubernetes cluster that training jobs and their GPUs live in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

import pulumi
import pulumi_aws as aws
from pydantic import Field

from components.iam import RoleArn, allow, attach, document, region, trust, trust_pods
from components.logs import RetentionDays
from components.nodes import NodePool, Nodes
from components.spec import Spec

LOG_TYPES = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
ACCESS_POLICY = "arn:aws:eks::aws:cluster-access-policy"


class ClusterSpec(Spec):
    """One cluster's version, its own nodes, and who may do everything in it."""

    version: Literal["1.34", "1.35"] = "1.35"
    """In AWS's standard support until 2026-12-02 and 2027-03-27; extended support costs six times as much."""
    admins: list[RoleArn] = Field(min_length=1)
    """Cluster administrators; whoever runs `pulumi up` acts as one of them."""
    system_nodes: NodePool = NodePool(instance_types=["m7i.large"], min_size=2, max_size=3)
    """Nodes for what the cluster itself runs: without any, its DNS never starts."""
    log_days: RetentionDays = 90
    """How long the control plane's logs are kept."""
    protect: bool = True
    """Whether AWS refuses to delete the cluster."""


class Cluster(pulumi.ComponentResource):
    """EKS, reachable from the network only, its secrets encrypted with our key and every control-plane log kept."""

    name: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    security_group_id: pulumi.Output[str]
    """Of the control plane and of every node: EKS makes it, and gives it to nodes that name no groups themselves."""

    def __init__(
        self,
        name: str,
        spec: ClusterSpec,
        *,
        subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
        kms_key_arn: pulumi.Input[str],
        developers: Mapping[str, Sequence[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The cluster is called `name`. `developers` are roles that may change what runs in some namespaces."""
        super().__init__("slipway:index:Cluster", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        role = aws.iam.Role(f"{name}-control-plane", assume_role_policy=trust("eks.amazonaws.com"), opts=child)
        access = [
            *attach(role, f"{name}-control-plane", ["AmazonEKSClusterPolicy"], child),
            aws.iam.RolePolicy(
                f"{name}-control-plane",
                role=role.name,
                policy=document(
                    allow(["kms:Encrypt", "kms:Decrypt", "kms:ListGrants", "kms:DescribeKey"], kms_key_arn)
                ),
                opts=child,
            ),
        ]
        # EKS writes to the group of this name, and would make one without our key.
        logs = aws.cloudwatch.LogGroup(
            f"{name}-control-plane",
            name=f"/aws/eks/{name}/cluster",
            retention_in_days=spec.log_days,
            kms_key_id=kms_key_arn,
            opts=child,
        )
        cluster = aws.eks.Cluster(
            name,
            name=name,
            version=spec.version,
            role_arn=role.arn,
            vpc_config={"subnet_ids": subnet_ids, "endpoint_private_access": True, "endpoint_public_access": False},
            encryption_config={"provider": {"key_arn": kms_key_arn}, "resources": ["secrets"]},
            enabled_cluster_log_types=LOG_TYPES,
            access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": False},
            # The add-ons below take the place of what EKS would install on its own, unseen by anyone's plan.
            bootstrap_self_managed_addons=False,
            upgrade_policy={"support_type": "STANDARD"},
            deletion_protection=spec.protect,
            opts=child.merge(pulumi.ResourceOptions(depends_on=[*access, logs], protect=spec.protect)),
        )
        for admin in spec.admins:
            _grant(admin, "AmazonEKSClusterAdminPolicy", cluster.name, child)
        for developer, namespaces in developers.items():
            _grant(developer, "AmazonEKSEditPolicy", cluster.name, child, namespaces)
        _start_workers(name, spec.system_nodes, cluster.name, subnet_ids, kms_key_arn, child)
        self.name = cluster.name
        self.kubeconfig = _kubeconfig(cluster)
        self.security_group_id = cluster.vpc_config.apply(lambda network: str(network.cluster_security_group_id))
        self.register_outputs({"name": self.name, "security_group_id": self.security_group_id})


def _grant(
    role_arn: str,
    policy: str,
    cluster_name: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
    namespaces: Sequence[str] = (),
) -> None:
    """Let a role do what one of EKS's access policies says, in all of a cluster or in some namespaces."""
    name = role_arn.partition(":role/")[2].replace("/", "-")
    entry = aws.eks.AccessEntry(name, cluster_name=cluster_name, principal_arn=role_arn, opts=opts)
    aws.eks.AccessPolicyAssociation(
        name,
        cluster_name=cluster_name,
        principal_arn=entry.principal_arn,
        policy_arn=f"{ACCESS_POLICY}/{policy}",
        access_scope={"type": "namespace", "namespaces": namespaces} if namespaces else {"type": "cluster"},
        opts=opts,
    )


def _start_workers(
    name: str,
    pool: NodePool,
    cluster_name: pulumi.Input[str],
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """The add-ons a node needs to become ready, then nodes, then the add-ons that need a node to run on."""

    def addon(addon_name: str, after: Sequence[pulumi.Resource] = (), **settings: object) -> aws.eks.Addon:
        return aws.eks.Addon(
            f"{name}-{addon_name}",
            addon_name=addon_name,
            cluster_name=cluster_name,
            configuration_values=json.dumps(settings) if settings else None,
            resolve_conflicts_on_update="OVERWRITE",
            opts=opts.merge(pulumi.ResourceOptions(depends_on=after)),
        )

    pods = aws.iam.Role(f"{name}-pod-network", assume_role_policy=trust_pods(), opts=opts)
    identity = [
        *attach(pods, f"{name}-pod-network", ["AmazonEKS_CNI_Policy"], opts),
        aws.eks.PodIdentityAssociation(
            f"{name}-pod-network",
            cluster_name=cluster_name,
            namespace="kube-system",
            service_account="aws-node",
            role_arn=pods.arn,
            opts=opts,
        ),
    ]
    first = [
        addon("eks-pod-identity-agent"),
        addon("kube-proxy"),
        # Without this, network policies are stored and mean nothing.
        addon("vpc-cni", identity, enableNetworkPolicy="true"),
    ]
    nodes = Nodes(
        f"{name}-system",
        pool,
        ami_type="AL2023_x86_64_STANDARD",
        cluster_name=cluster_name,
        subnet_ids=subnet_ids,
        kms_key_arn=kms_key_arn,
        labels={"slipway/pool": "system"},
        opts=opts.merge(pulumi.ResourceOptions(depends_on=first)),
    )
    addon("coredns", [nodes])
    addon("eks-node-monitoring-agent", [nodes])


def _kubeconfig(cluster: aws.eks.Cluster) -> pulumi.Output[str]:
    """How Pulumi reaches the cluster: as the AWS identity it runs under, with tokens that last minutes."""
    token = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["eks", "get-token", "--cluster-name", cluster.name, "--region", region()],
    }
    return pulumi.Output.json_dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "deployer"}}],
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {
                        "server": cluster.endpoint,
                        "certificate-authority-data": cluster.certificate_authority.data,
                    },
                }
            ],
            "users": [{"name": "deployer", "user": {"exec": token}}],
        }
    )
