"""A private network: no way to or from the internet, only to the AWS services that the platform calls."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Annotated

import pulumi
import pulumi_aws as aws
from pydantic import Field, StringConstraints, field_validator

from components.iam import Statement, account_id, allow, document, local_arn, region, trust
from components.logs import RetentionDays
from components.spec import Spec

SUBNET_BITS = 3
"""A zone gets an eighth of the network, however many zones there are: adding one renumbers no other."""

ENDPOINTS = {
    "ecr.api": "ecr",
    "ecr.dkr": "ecr",
    "sts": "sts",
    "logs": "logs",
    "monitoring": "cloudwatch",
    "kms": "kms",
    "sns": "sns",
    "ec2": "ec2",
    "eks": "eks",
    "eks-auth": "eks-auth",
    "sagemaker.api": "sagemaker",
    "sagemaker.runtime": "sagemaker",
    "sagemaker.featurestore-runtime": "sagemaker",
}
"""What nodes, pods, models and the kill-switch call, each with the prefix of its IAM actions."""

KARPENTER_ENDPOINTS = {"ssm": "ssm", "sqs": "sqs"}
"""What Karpenter calls beside that: for the images of nodes, and for warnings that one is taken away."""

OBJECT_ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:GetObjectTagging"]
BUCKET_ACTIONS = ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketAcl", "s3:ListBucketMultipartUploads"]

ZoneLetter = Annotated[str, StringConstraints(pattern="^[a-z]$")]


class NetworkSpec(Spec):
    """Addresses and zones of a network."""

    cidr: IPv4Network
    """Private addresses that overlap with no network it will ever be joined to."""
    zones: list[ZoneLetter] = Field(min_length=2, max_length=6)
    """The region's availability zones by letter, such as `[a, b, c]`; EKS needs two."""
    flow_log_days: RetentionDays = 90
    """How long it is known who talked to whom."""

    @field_validator("cidr")
    @classmethod
    def _private_and_roomy(cls, cidr: IPv4Network) -> IPv4Network:
        if not cidr.is_private or not 16 <= cidr.prefixlen <= 20:
            raise ValueError(
                "set a private network from /16 (AWS's largest) to /20 (below it pods run out), such as 10.20.0.0/16"
            )
        return cidr

    @field_validator("zones")
    @classmethod
    def _each_once(cls, zones: list[str]) -> list[str]:
        if len(set(zones)) < len(zones):
            raise ValueError("each zone counts once: set different letters, such as [a, b, c]")
        return zones


class Network(pulumi.ComponentResource):
    """A VPC with one private subnet in each zone, endpoints for AWS's services, and a log of who talked to whom."""

    vpc_id: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    workload_security_group_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: NetworkSpec,
        *,
        kms_key_arn: pulumi.Input[str],
        karpenter: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("slipway:index:Network", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        vpc = aws.ec2.Vpc(
            name,
            cidr_block=str(spec.cidr),
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": name},
            opts=child,
        )
        # Adopts the group that AWS makes with every VPC, and takes all its rules away.
        aws.ec2.DefaultSecurityGroup(f"{name}-closed", vpc_id=vpc.id, ingress=[], egress=[], opts=child)
        _log_flows(name, vpc.id, spec.flow_log_days, kms_key_arn, child)
        table = aws.ec2.RouteTable(f"{name}-private", vpc_id=vpc.id, tags={"Name": f"{name}-private"}, opts=child)
        subnets = [
            _private_subnet(f"{name}-{zone}", str(cidr), f"{region()}{zone}", vpc.id, table.id, child)
            for zone, cidr in zip(spec.zones, spec.cidr.subnets(SUBNET_BITS), strict=False)
        ]
        endpoints = aws.ec2.SecurityGroup(
            f"{name}-endpoints", vpc_id=vpc.id, description="AWS services, for what runs in this network", opts=child
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-endpoints",
            security_group_id=endpoints.id,
            cidr_ipv4=str(spec.cidr),
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description="HTTPS from this network",
            opts=child,
        )
        for service, prefix in (ENDPOINTS | (KARPENTER_ENDPOINTS if karpenter else {})).items():
            aws.ec2.VpcEndpoint(
                f"{name}-{service.replace('.', '-')}",
                vpc_id=vpc.id,
                service_name=f"com.amazonaws.{region()}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=[subnet.id for subnet in subnets],
                security_group_ids=[endpoints.id],
                policy=document(_our_own([f"{prefix}:*"], "*")),
                tags={"Name": f"{name}-{service}"},
                opts=child,
            )
        storage = aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{region()}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id],
            policy=document(*_storage_access()),
            tags={"Name": f"{name}-s3"},
            opts=child,
        )
        self.vpc_id = vpc.id
        self.private_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in subnets)).apply(list)
        self.workload_security_group_id = _workload_group(name, vpc.id, endpoints.id, storage.prefix_list_id, child)
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "private_subnet_ids": self.private_subnet_ids,
                "workload_security_group_id": self.workload_security_group_id,
            }
        )


def _private_subnet(
    name: str,
    cidr: str,
    zone: str,
    vpc_id: pulumi.Input[str],
    table_id: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> aws.ec2.Subnet:
    subnet = aws.ec2.Subnet(
        name,
        vpc_id=vpc_id,
        cidr_block=cidr,
        availability_zone=zone,
        map_public_ip_on_launch=False,
        # Kubernetes looks for this tag when it places internal load balancers.
        tags={"Name": name, "kubernetes.io/role/internal-elb": "1"},
        opts=opts,
    )
    aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=table_id, opts=opts)
    return subnet


def _log_flows(
    name: str,
    vpc_id: pulumi.Input[str],
    days: RetentionDays,
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """Record every connection, refused ones too, in an encrypted log group."""
    group = aws.cloudwatch.LogGroup(f"{name}-flows", retention_in_days=days, kms_key_id=kms_key_arn, opts=opts)
    role = aws.iam.Role(f"{name}-flows", assume_role_policy=trust("vpc-flow-logs.amazonaws.com"), opts=opts)
    access = aws.iam.RolePolicy(
        f"{name}-flows",
        role=role.name,
        policy=document(
            allow(["logs:DescribeLogGroups"], local_arn("logs", "log-group:*")),
            allow(
                ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                group.arn,
                pulumi.Output.concat(group.arn, ":*"),
            ),
        ),
        opts=opts,
    )
    aws.ec2.FlowLog(
        f"{name}-flows",
        vpc_id=vpc_id,
        traffic_type="ALL",
        log_destination_type="cloud-watch-logs",
        log_destination=group.arn,
        iam_role_arn=role.arn,
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[access])),
    )


def _workload_group(
    name: str,
    vpc_id: pulumi.Input[str],
    endpoints_group_id: pulumi.Input[str],
    s3_prefix_list_id: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str]:
    """The security group of models and jobs: nobody calls them over the network, and they call AWS alone."""
    group = aws.ec2.SecurityGroup(
        f"{name}-workload", vpc_id=vpc_id, description="Models and jobs: they call AWS and nothing else", opts=opts
    )
    aws.vpc.SecurityGroupEgressRule(
        f"{name}-workload-services",
        security_group_id=group.id,
        referenced_security_group_id=endpoints_group_id,
        ip_protocol="tcp",
        from_port=443,
        to_port=443,
        description="HTTPS to AWS services",
        opts=opts,
    )
    aws.vpc.SecurityGroupEgressRule(
        f"{name}-workload-s3",
        security_group_id=group.id,
        prefix_list_id=s3_prefix_list_id,
        ip_protocol="tcp",
        from_port=443,
        to_port=443,
        description="HTTPS to S3",
        opts=opts,
    )
    return group.id


def _our_own(actions: Sequence[str], resource: str) -> Statement:
    """For an endpoint's policy: only identities of this account pass."""
    caller = {"StringEquals": {"aws:PrincipalAccount": account_id()}}
    return {**allow(actions, resource, when=caller), "Principal": {"AWS": "*"}}


def _storage_access() -> list[Statement]:
    """Our identities reach our buckets, so data cannot leave for a bucket of somebody else's."""
    ours = {"StringEquals": {"aws:PrincipalAccount": account_id(), "aws:ResourceAccount": account_id()}}
    everyone = {"Principal": {"AWS": "*"}}
    return [
        {**allow([*OBJECT_ACTIONS, *BUCKET_ACTIONS], "*", when=ours), **everyone},
        # Image layers come from a bucket of ECR's own, through links that ECR has signed.
        {**allow(["s3:GetObject"], f"arn:aws:s3:::prod-{region()}-starport-layer-bucket/*"), **everyone},
    ]
