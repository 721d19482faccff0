"""What a model may do while it trains and while it serves."""

import pulumi
import pulumi_aws as aws

from components.iam import Statement, allow, document, local_arn, trust, use_key

INTERFACES = [
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
]
LOOK_UPS = [
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
]
PULL = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
WRITE_LOGS = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
METRICS = ["AWS/SageMaker", "/aws/sagemaker/*"]


class ModelRole(pulumi.ComponentResource):
    """The role of one product's jobs and models: its own prefix of the lake, its image, our network, and no more."""

    arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        bucket_arn: pulumi.Input[str],
        prefix: str,
        image_repository_arn: pulumi.Input[str],
        vpc_id: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("slipway:index:ModelRole", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        role = aws.iam.Role(f"{name}-model", assume_role_policy=trust("sagemaker.amazonaws.com"), opts=child)
        access = aws.iam.RolePolicy(
            f"{name}-model",
            role=role.name,
            policy=document(
                *_data(bucket_arn, prefix, kms_key_arn),
                allow(PULL, image_repository_arn),
                allow(["ecr:GetAuthorizationToken"], "*"),
                allow(WRITE_LOGS, local_arn("logs", "log-group:/aws/sagemaker/*")),
                allow(["cloudwatch:PutMetricData"], "*", when={"StringLike": {"cloudwatch:namespace": METRICS}}),
                *_network(vpc_id),
            ),
            opts=child,
        )
        # A model made before its role may read S3 is refused, so the ARN is given out together with the rights.
        self.arn = pulumi.Output.all(role.arn, access.policy).apply(lambda both: str(both[0]))
        self.register_outputs({"arn": self.arn})


def _data(bucket_arn: pulumi.Input[str], prefix: str, kms_key_arn: pulumi.Input[str]) -> list[Statement]:
    return [
        allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(bucket_arn, "/", prefix, "/*")),
        allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/*"}}),
        use_key(kms_key_arn),
        allow(["kms:DescribeKey"], kms_key_arn),
        # The disks of jobs and endpoints hold their key through a grant.
        allow(["kms:CreateGrant"], kms_key_arn, when={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
    ]


def _network(vpc_id: pulumi.Input[str]) -> list[Statement]:
    """SageMaker puts a model into our network with the model's own role."""
    parts = [local_arn("ec2", f"{kind}/*") for kind in ("network-interface", "security-group", "subnet")]
    ours = {"ArnEquals": {"ec2:Vpc": pulumi.Output.concat(local_arn("ec2", "vpc/"), vpc_id)}}
    return [allow(INTERFACES, *parts, when=ours), allow(LOOK_UPS, "*")]
