"""One resource of every type that the rehearsal's AWS provider knows: its inputs, a change, and what shows that."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.aws.assets import ARCHIVE, ASSET, SIGNATURE
from infra.rehearsal.aws.mapping import find
from infra.rehearsal.aws.types import TYPES
from infra.rehearsal.provider import Props
from tests.served_models import ECHO, archive

ACCOUNT, REGION = "123456789012", "us-east-1"
REST_API, STAGE = "aws:apigateway/restApi:RestApi", "aws:apigateway/stage:Stage"
SECURE = {"securityPolicy": "SecurityPolicy_TLS13_1_3_2025_09", "endpointAccessMode": "STRICT"}
TAGS = {"owner": "ml", "product": "p", "environment": "local", "cost-center": "1"}


def provider(endpoint: str | None = None, region: str = REGION) -> AwsProvider:
    return AwsProvider(region, ACCOUNT, TAGS, endpoint)


def document(*actions: str, **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": list(actions), **({"Resource": "*"} if not more else {}), **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(service: str) -> str:
    return document("sts:AssumeRole", Principal={"Service": service})


def code(text: str) -> Props:
    return {SIGNATURE: ARCHIVE, "assets": {"app.py": {SIGNATURE: ASSET, "text": text}}}


class World:
    """An emulator with one resource of every type that another one needs, made when it is first asked for."""

    def __init__(self, endpoint: str) -> None:
        self.aws, self.endpoint = provider(endpoint), endpoint
        self._made: dict[str, Props] = {}
        self._count = 0

    def number(self) -> int:
        """A new one: for addresses and for names that are not generated."""
        self._count += 1
        return self._count

    def make(self, type_: str) -> tuple[Props, str, Props]:
        """A new resource: its inputs, its id and its outputs."""
        inputs = self.aws.check(type_, "made", None, CASES[type_].inputs(self))
        return inputs, *self.aws.create(type_, inputs, f"{type_}-{self.number()}")

    def __call__(self, type_: str) -> Props:
        """The outputs of the one that others share."""
        if type_ not in self._made:
            self._made[type_] = self.make(type_)[2]
        return self._made[type_]

    def model_data(self) -> str:
        """A model archive that can be served."""
        bucket = self("aws:s3/bucket:Bucket")["id"]
        self.client("s3").upload_fileobj(io.BytesIO(archive(ECHO.format(name="v1"))), bucket, "model.tar.gz")
        return f"s3://{bucket}/model.tar.gz"

    def log_bucket(self, source: str) -> str:
        """A bucket that takes the access logs of `source`."""
        _, target, _ = self.make("aws:s3/bucket:Bucket")
        may = document(
            "s3:PutObject",
            Principal={"Service": "logging.s3.amazonaws.com"},
            Resource=f"arn:aws:s3:::{target}/*",
            Condition={"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{source}"}},
        )
        self.aws.create("aws:s3/bucketPolicy:BucketPolicy", {"bucket": target, "policy": may}, "")
        return target

    def locked_bucket(self) -> str:
        """A new bucket with Object Lock."""
        inputs = self.aws.check("aws:s3/bucket:Bucket", "locked", None, {"objectLockEnabled": True})
        return self.aws.create("aws:s3/bucket:Bucket", inputs, f"locked-{self.number()}")[0]

    def client(self, service: str) -> Any:
        """The service as a user sees it."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # chosen by the test
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="user",
            aws_secret_access_key="user",
            config=Config(inject_host_prefix=False),
        )

    def configuration(self) -> str:
        """A new endpoint configuration's name."""
        return str(self.make("aws:sagemaker/endpointConfiguration:EndpointConfiguration")[1])


@dataclass(frozen=True)
class Case:
    """How to declare a resource, and what a change of it is seen by."""

    inputs: Callable[[World], Props]
    change: Callable[[World], Props] = field(default=lambda world: {})
    """Inputs that can be changed in place."""
    shows: str | Callable[[World, str], Any] = ""
    """JMESPath into what the row's `read` call answers, to what the change is seen by; or what looks for it by id."""
    value: Any = None
    """What is seen then; a function makes it of the new inputs."""
    unseen: str = ""
    """Why the emulator does not show it, where it does not."""
    stays: str = ""
    """Why it is read as there after its deletion, where it is."""


def _rule(world: World) -> Props:
    return {
        "securityGroupId": world("aws:ec2/securityGroup:SecurityGroup")["id"],
        "ipProtocol": "tcp",
        "fromPort": world.number(),
        "toPort": 65000,
        "cidrIpv4": "10.0.0.0/8",
    }


def _interface(world: World) -> Props:
    return {
        "vpcId": world("aws:ec2/vpc:Vpc")["id"],
        "serviceName": "com.amazonaws.us-east-1.sts",
        "vpcEndpointType": "Interface",
        "subnetIds": [world("aws:ec2/subnet:Subnet")["id"]],
        "securityGroupIds": [world("aws:ec2/securityGroup:SecurityGroup")["id"]],
        "privateDnsEnabled": True,
        "policy": document("sts:*", Principal="*", Resource="*"),
    }


def _alarm(world: World) -> Props:
    return {
        "comparisonOperator": "GreaterThanThreshold",
        "evaluationPeriods": 3,
        "datapointsToAlarm": 2,
        "metricName": "m",
        "namespace": "Test",
        "period": 60,
        "statistic": "Sum",
        "threshold": 1,
        "dimensions": {"endpoint": "e"},
        "treatMissingData": "notBreaching",
    }


def _in_bucket(**inputs: Any) -> Callable[[World], Props]:
    """A setting of a bucket of its own."""
    return lambda world: {"bucket": world.make("aws:s3/bucket:Bucket")[1], **inputs}


def _lifecycle(days: int) -> Props:
    abort = {"daysAfterInitiation": 7}
    rule = {"id": "forget", "status": "Enabled", "filter": {}, "expiration": {"days": days}}
    return {"rules": [{**rule, "abortIncompleteMultipartUpload": abort}]}


def _encryption(bucket_key: bool) -> Props:
    default = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/k"}
    return {"rules": [{"applyServerSideEncryptionByDefault": default, "bucketKeyEnabled": bucket_key}]}


def _cluster(world: World) -> Props:
    return {
        "name": f"cluster-{world.number()}",
        "roleArn": world("aws:iam/role:Role")["arn"],
        "version": "1.34",
        "vpcConfig": {
            "subnetIds": [world("aws:ec2/subnet:Subnet")["id"]],
            "endpointPrivateAccess": True,
            "endpointPublicAccess": False,
        },
        "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
        "encryptionConfig": {"resources": ["secrets"], "provider": {"keyArn": world("aws:kms/key:Key")["arn"]}},
        "enabledClusterLogTypes": ["api", "audit"],
        "bootstrapSelfManagedAddons": False,
        "upgradePolicy": {"supportType": "STANDARD"},
    }


def _node_group(world: World) -> Props:
    template = world("aws:ec2/launchTemplate:LaunchTemplate")
    return {
        "clusterName": world("aws:eks/cluster:Cluster")["id"],
        "nodeRoleArn": world("aws:iam/role:Role")["arn"],
        "subnetIds": [world("aws:ec2/subnet:Subnet")["id"]],
        "scalingConfig": {"minSize": 0, "maxSize": 2, "desiredSize": 0},
        "instanceTypes": ["g6.xlarge"],
        "amiType": "AL2023_x86_64_NVIDIA",
        "launchTemplate": {"id": template["id"], "version": template["latestVersion"]},
        "labels": {"nvidia.com/gpu.present": "true", "pool": "train"},
        "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
        "nodeRepairConfig": {"enabled": True},
        "updateConfig": {"maxUnavailable": 1},
    }


def _launch_template(world: World) -> Props:
    ebs = {"encrypted": "true", "deleteOnTermination": "true", "volumeSize": 100, "volumeType": "gp3"}
    return {
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": ebs}],
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1, "httpEndpoint": "enabled"},
        "tagSpecifications": [{"resourceType": "instance", "tags": {"Name": "n"}}],
        "userData": "IyEvYmluL3NoCg==",
        "updateDefaultVersion": True,
    }


def _budget(world: World) -> Props:
    to_topic = {
        "comparisonOperator": "GREATER_THAN",
        "threshold": 80,
        "thresholdType": "PERCENTAGE",
        "notificationType": "ACTUAL",
        "subscriberSnsTopicArns": [world("aws:sns/topic:Topic")["arn"]],
    }
    return {
        "budgetType": "COST",
        "timeUnit": "MONTHLY",
        "limitAmount": "100.00",
        "limitUnit": "USD",
        "costFilters": [{"name": "TagKeyValue", "values": ["user:product$p"]}],
        "notifications": [to_topic, {**to_topic, "threshold": 100}],
    }


def _impact(usd: str) -> Props:
    dimension = {"key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE", "matchOptions": ["GREATER_THAN_OR_EQUAL"], "values": [usd]}
    return {"dimension": dimension}


def _anomalies_told(world: World) -> Props:
    return {
        "frequency": "IMMEDIATE",
        "monitorArnLists": [world("aws:costexplorer/anomalyMonitor:AnomalyMonitor")["arn"]],
        "subscribers": [{"type": "SNS", "address": world("aws:sns/topic:Topic")["arn"]}],
        "thresholdExpression": _impact("100"),
    }


def _feature_group(world: World) -> Props:
    key = world("aws:kms/key:Key")["arn"]
    bucket = world("aws:s3/bucket:Bucket")["id"]
    return {
        "featureGroupName": f"people-{world.number()}",
        "recordIdentifierFeatureName": "id",
        "eventTimeFeatureName": "event_time",
        "featureDefinitions": [
            {"featureName": "id", "featureType": "String"},
            {"featureName": "event_time", "featureType": "String"},
            {"featureName": "age", "featureType": "Fractional"},
        ],
        # What a role of this account may do in S3 is looked at; it is not what is tested here.
        "roleArn": "arn:aws:iam::123456789012:role/features-of-another",
        "onlineStoreConfig": {"enableOnlineStore": True, "securityConfig": {"kmsKeyId": key}},
        "offlineStoreConfig": {"s3StorageConfig": {"s3Uri": f"s3://{bucket}/features", "kmsKeyId": key}},
    }


def _endpoint_configuration(world: World) -> Props:
    variant = {
        "variantName": "live",
        "modelName": world("aws:sagemaker/model:Model")["id"],
        "initialInstanceCount": 1,
        "instanceType": "ml.m5.large",
        "initialVariantWeight": 1,
    }
    capture = {
        "enableCapture": True,
        "initialSamplingPercentage": 100,
        "destinationS3Uri": f"s3://{world('aws:s3/bucket:Bucket')['id']}/captures",
        "captureOptions": [{"captureMode": "Input"}, {"captureMode": "Output"}],
        "captureContentTypeHeader": {"csvContentTypes": ["text/csv"]},
    }
    key = world("aws:kms/key:Key")["arn"]
    return {"productionVariants": [variant], "dataCaptureConfig": capture, "kmsKeyArn": key}


def _model(world: World) -> Props:
    return {
        "executionRoleArn": world("aws:iam/role:Role")["arn"],
        "primaryContainer": {"image": "sklearn:1", "modelDataUrl": world.model_data(), "environment": {"A": "b"}},
        "enableNetworkIsolation": True,
        "vpcConfig": {
            "subnets": [world("aws:ec2/subnet:Subnet")["id"]],
            "securityGroupIds": [world("aws:ec2/securityGroup:SecurityGroup")["id"]],
        },
    }


def _rollout(wait: int) -> Props:
    routing = {"type": "ALL_AT_ONCE", "waitIntervalInSeconds": wait}
    return {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": routing}}


def _endpoint(world: World) -> Props:
    return {"endpointConfigName": world.configuration(), "deploymentConfig": _rollout(1)}


def _scalable(world: World) -> Props:
    endpoint = world("aws:sagemaker/endpoint:Endpoint")["id"]
    return {
        "serviceNamespace": "sagemaker",
        "scalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "resourceId": f"endpoint/{endpoint}/variant/live",
    }


def _tracking(target: float) -> Props:
    metric = {"predefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    return {
        "targetTrackingScalingPolicyConfiguration": {
            "targetValue": target,
            "scaleInCooldown": 600,
            "predefinedMetricSpecification": metric,
        }
    }


def _scaling_policy(world: World) -> Props:
    target = world("aws:appautoscaling/target:Target")
    ids = {name: target[name] for name in ("serviceNamespace", "scalableDimension", "resourceId")}
    return {**ids, "policyType": "TargetTrackingScaling", **_tracking(100)}


def _scheduled_action(world: World) -> Props:
    target = world("aws:appautoscaling/target:Target")
    ids = {name: target[name] for name in ("serviceNamespace", "scalableDimension", "resourceId")}
    bounds = {"minCapacity": 1, "maxCapacity": 2}
    return {**ids, "schedule": "cron(0 7 ? * MON-FRI *)", "timezone": "Europe/Berlin", "scalableTargetAction": bounds}


def _component(world: World) -> Props:
    """An inference component on an endpoint of its own, whose variant has no model."""
    variant = {
        "variantName": "live",
        "initialInstanceCount": 1,
        "instanceType": "ml.m5.large",
        "managedInstanceScaling": {"status": "ENABLED", "minInstanceCount": 0, "maxInstanceCount": 1},
        "routingConfigs": [{"routingStrategy": "LEAST_OUTSTANDING_REQUESTS"}],
    }
    role = world("aws:iam/role:Role")["arn"]
    kind, name = "aws:sagemaker/endpointConfiguration:EndpointConfiguration", f"component-{world.number()}"
    config = {"name": name, "productionVariants": [variant], "executionRoleArn": role}
    world.aws.create(kind, world.aws.check(kind, name, None, config), name)
    kind = "aws:sagemaker/endpoint:Endpoint"
    world.aws.create(kind, world.aws.check(kind, name, None, {"name": name, "endpointConfigName": name}), f"{name}-up")
    return {"typeName": "AWS::SageMaker::InferenceComponent", "desiredState": _desired(world, name, 1024)}


def _desired(world: World, name: str, memory: int) -> str:
    return json.dumps(
        {
            "InferenceComponentName": name,
            "EndpointName": name,
            "VariantName": "live",
            "Specification": {
                "ModelName": world("aws:sagemaker/model:Model")["id"],
                "ComputeResourceRequirements": {"MinMemoryRequiredInMb": memory},
            },
            "RuntimeConfig": {"CopyCount": 1},
            "Tags": [{"Key": "owner", "Value": "ml"}],
        }
    )


def _pipeline(text: str) -> str:
    fail = {"Name": "fail", "Type": "Fail", "Arguments": {"ErrorMessage": text}}
    return json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": [fail]})


def _machine(text: str) -> str:
    return json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": text, "End": True}}})


def _function(world: World) -> Props:
    return {
        "code": code("def handler(event, context):\n    return 1\n"),
        "role": world("aws:iam/role:Role")["arn"],
        "handler": "app.handler",
        "runtime": "python3.12",
        "timeout": 10,
        "memorySize": 256,
        "environment": {"variables": {"A": "b"}},
        "kmsKeyArn": world("aws:kms/key:Key")["arn"],
        "deadLetterConfig": {"targetArn": world("aws:sqs/queue:Queue")["arn"]},
        "architectures": ["arm64"],
        "tracingConfig": {"mode": "Active"},
    }


def _schedule(world: World) -> Props:
    return {
        "groupName": world("aws:scheduler/scheduleGroup:ScheduleGroup")["id"],
        "scheduleExpression": "rate(1 hour)",
        "flexibleTimeWindow": {"mode": "OFF"},
        "target": {
            "arn": world("aws:lambda/function:Function")["arn"],
            "roleArn": world("aws:iam/role:Role")["arn"],
            "input": "{}",
            "retryPolicy": {"maximumRetryAttempts": 5, "maximumEventAgeInSeconds": 3600},
            "deadLetterConfig": {"arn": world("aws:sqs/queue:Queue")["arn"]},
        },
    }


def _entry(world: World) -> Props:
    return {
        "clusterName": world("aws:eks/cluster:Cluster")["id"],
        "principalArn": f"arn:aws:iam::{ACCOUNT}:role/entry-{world.number()}",
    }


CASES: Mapping[str, Case] = {
    "aws:kms/key:Key": Case(
        lambda world: {"description": "d", "enableKeyRotation": True, "rotationPeriodInDays": 365},
        lambda world: {"description": "e", "deletionWindowInDays": 7, "enableKeyRotation": False},
        "KeyMetadata.Description",
        "e",
    ),
    "aws:kms/keyPolicy:KeyPolicy": Case(
        lambda world: {
            "keyId": world.make("aws:kms/key:Key")[1],
            "policy": document("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, Resource="*"),
        },
        lambda world: {"policy": document("kms:Sign", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, Resource="*")},
        lambda world, id_: json.loads(world.client("kms").get_key_policy(KeyId=id_, PolicyName="default")["Policy"])[
            "Statement"
        ][0]["Action"],
        ["kms:Sign"],
        stays="a key always has a policy",
    ),
    "aws:kms/alias:Alias": Case(
        lambda world: {"targetKeyId": world("aws:kms/key:Key")["keyId"]},
        lambda world: {"targetKeyId": world.make("aws:kms/key:Key")[1]},
        "KeyMetadata.KeyId",
        lambda inputs: inputs["targetKeyId"],
    ),
    "aws:ec2/vpc:Vpc": Case(
        lambda world: {"cidrBlock": "10.0.0.0/16", "enableDnsSupport": True, "enableDnsHostnames": True},
        lambda world: {"enableDnsHostnames": False},
        lambda world, id_: world.client("ec2").describe_vpc_attribute(VpcId=id_, Attribute="enableDnsHostnames")[
            "EnableDnsHostnames"
        ],
        {"Value": False},
    ),
    "aws:ec2/subnet:Subnet": Case(
        lambda world: {
            "vpcId": world("aws:ec2/vpc:Vpc")["id"],
            "cidrBlock": f"10.0.{(number := world.number()) // 16}.{number % 16 * 16}/28",
            "availabilityZone": "us-east-1a",
            "mapPublicIpOnLaunch": False,
        },
        lambda world: {"mapPublicIpOnLaunch": True},
        "Subnets[0].MapPublicIpOnLaunch",
        True,
    ),
    "aws:ec2/routeTable:RouteTable": Case(lambda world: {"vpcId": world("aws:ec2/vpc:Vpc")["id"]}),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Case(
        lambda world: {
            "subnetId": world("aws:ec2/subnet:Subnet")["id"],
            "routeTableId": world.make("aws:ec2/routeTable:RouteTable")[1],
        }
    ),
    "aws:ec2/securityGroup:SecurityGroup": Case(
        lambda world: {"vpcId": world("aws:ec2/vpc:Vpc")["id"], "description": "d"}
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Case(
        lambda world: {"vpcId": world("aws:ec2/vpc:Vpc")["id"], "ingress": [], "egress": []},
        stays="a network always has its default group",
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Case(
        _rule, lambda world: {"description": "e"}, "SecurityGroupRules[0].Description", "e"
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Case(
        _rule, lambda world: {"toPort": 65001}, "SecurityGroupRules[0].ToPort", 65001
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Case(
        _interface,
        lambda world: {"subnetIds": [world.make("aws:ec2/subnet:Subnet")[1]]},
        "VpcEndpoints[0].SubnetIds",
        lambda inputs: inputs["subnetIds"],
    ),
    "aws:ec2/flowLog:FlowLog": Case(
        lambda world: {
            "vpcId": world.make("aws:ec2/vpc:Vpc")[1],
            "trafficType": "ALL",
            "iamRoleArn": world("aws:iam/role:Role")["arn"],
            "logDestinationType": "cloud-watch-logs",
            "logDestination": world("aws:cloudwatch/logGroup:LogGroup")["arn"],
        }
    ),
    "aws:ec2/placementGroup:PlacementGroup": Case(
        lambda world: {"strategy": "cluster"},
        lambda world: {"tags": {"more": "yes"}},
        "PlacementGroups[0].Strategy",
        "cluster",
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Case(
        _launch_template,
        lambda world: {"userData": "IyEvYmluL2Jhc2gK"},
        "LaunchTemplates[0].[LatestVersionNumber, DefaultVersionNumber]",
        [2, 2],
    ),
    "aws:iam/role:Role": Case(
        lambda world: {"assumeRolePolicy": trust("ec2.amazonaws.com"), "description": "d", "forceDetachPolicies": True},
        lambda world: {"description": "e", "assumeRolePolicy": trust("eks.amazonaws.com")},
        "[Role.Description, Role.AssumeRolePolicyDocument.Statement[0].Principal.Service]",
        ["e", "eks.amazonaws.com"],
    ),
    "aws:iam/rolePolicy:RolePolicy": Case(
        lambda world: {"role": world("aws:iam/role:Role")["id"], "policy": document("s3:GetObject")},
        lambda world: {"policy": document("s3:PutObject")},
        "PolicyDocument.Statement[0].Action[0]",
        "s3:PutObject",
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Case(
        lambda world: {"role": world("aws:iam/role:Role")["id"], "policyArn": world("aws:iam/policy:Policy")["arn"]}
    ),
    "aws:iam/policy:Policy": Case(
        lambda world: {"policy": document("s3:GetObject"), "description": "d"},
        lambda world: {"policy": document("s3:PutObject")},
        "Policy.DefaultVersionId",
        "v2",
    ),
    "aws:iam/instanceProfile:InstanceProfile": Case(
        lambda world: {"role": world("aws:iam/role:Role")["id"]},
        lambda world: {"role": world.make("aws:iam/role:Role")[1]},
        "length(InstanceProfile.Roles)",
        1,
    ),
    "aws:s3/bucket:Bucket": Case(lambda world: {"forceDestroy": True}, lambda world: {"forceDestroy": False}),
    "aws:s3/bucketVersioning:BucketVersioning": Case(
        _in_bucket(versioningConfiguration={"status": "Enabled"}),
        lambda world: {"versioningConfiguration": {"status": "Suspended"}},
        "Status",
        "Suspended",
        stays="a bucket that had versions once can only stop to make new ones",
    ),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": Case(
        lambda world: {
            "bucket": world.locked_bucket(),
            "rule": {"defaultRetention": {"mode": "GOVERNANCE", "years": 1}},
        },
        lambda world: {"rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 30}}},
        "ObjectLockConfiguration.Rule.DefaultRetention.Days",
        30,
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": Case(
        _in_bucket(rule={"objectOwnership": "BucketOwnerEnforced"}),
        lambda world: {"rule": {"objectOwnership": "BucketOwnerPreferred"}},
        "OwnershipControls.Rules[0].ObjectOwnership",
        "BucketOwnerPreferred",
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Case(
        _in_bucket(blockPublicAcls=True, blockPublicPolicy=True, ignorePublicAcls=True, restrictPublicBuckets=True),
        lambda world: {"blockPublicAcls": False},
        "PublicAccessBlockConfiguration.BlockPublicAcls",
        False,
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Case(
        _in_bucket(**_encryption(True)),
        lambda world: _encryption(False),
        "ServerSideEncryptionConfiguration.Rules[0].BucketKeyEnabled",
        False,
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Case(
        _in_bucket(**_lifecycle(30)), lambda world: _lifecycle(60), "Rules[0].Expiration.Days", 60
    ),
    "aws:s3/bucketLogging:BucketLogging": Case(
        lambda world: {
            "bucket": (bucket := world.make("aws:s3/bucket:Bucket")[1]),
            "targetBucket": world.log_bucket(bucket),
            "targetPrefix": "a/",
        },
        lambda world: {"targetPrefix": "b/"},
        "LoggingEnabled.TargetPrefix",
        "b/",
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Case(
        _in_bucket(key="a/b.txt", contentBase64="Zmlyc3Q="),
        lambda world: {"contentBase64": "c2Vjb25kIQ=="},
        "ContentLength",
        7,
    ),
    "aws:s3/bucketNotification:BucketNotification": Case(_in_bucket(eventbridge=True)),
    "aws:s3/bucketPolicy:BucketPolicy": Case(
        _in_bucket(policy=document("s3:GetObject", Principal="*", Resource="arn:aws:s3:::b/*")),
        lambda world: {"policy": document("s3:PutObject", Principal="*", Resource="arn:aws:s3:::b/*")},
        "contains(Policy, 's3:PutObject')",
        True,
    ),
    "aws:cloudwatch/logGroup:LogGroup": Case(
        lambda world: {"retentionInDays": 7, "kmsKeyId": world("aws:kms/key:Key")["arn"]},
        lambda world: {"retentionInDays": None},
        "logGroups[0].retentionInDays",
        None,
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Case(
        _alarm, lambda world: {"threshold": 2.5}, "MetricAlarms[0].Threshold", 2.5
    ),
    "aws:cloudwatch/dashboard:Dashboard": Case(
        lambda world: {"dashboardName": f"board-{world.number()}", "dashboardBody": '{"widgets": []}'},
        lambda world: {"dashboardBody": '{"widgets": [], "start": "-PT1H"}'},
        "contains(DashboardBody, 'PT1H')",
        True,
    ),
    "aws:cloudwatch/eventRule:EventRule": Case(
        lambda world: {"eventPattern": '{"source": ["aws.sagemaker"]}', "description": "d"},
        lambda world: {"eventPattern": '{"source": ["aws.s3"]}', "state": "DISABLED"},
        "[EventPattern, State]",
        ['{"source": ["aws.s3"]}', "DISABLED"],
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Case(
        lambda world: {
            "rule": world("aws:cloudwatch/eventRule:EventRule")["id"],
            "arn": world("aws:sns/topic:Topic")["arn"],
            "retryPolicy": {"maximumRetryAttempts": 10, "maximumEventAgeInSeconds": 3600},
            "deadLetterConfig": {"arn": world("aws:sqs/queue:Queue")["arn"]},
            "inputTransformer": {"inputPaths": {"a": "$.detail"}, "inputTemplate": '"<a>"'},
        },
        lambda world: {"retryPolicy": {"maximumRetryAttempts": 3, "maximumEventAgeInSeconds": 3600}},
        "Targets[0].RetryPolicy.MaximumRetryAttempts",
        3,
    ),
    "aws:scheduler/scheduleGroup:ScheduleGroup": Case(lambda world: {}),
    "aws:scheduler/schedule:Schedule": Case(
        _schedule,
        lambda world: {"scheduleExpression": "rate(2 hours)", "state": "DISABLED"},
        "[ScheduleExpression, State, Target.Input]",
        ["rate(2 hours)", "DISABLED", "{}"],
    ),
    "aws:sns/topic:Topic": Case(
        lambda world: {"kmsMasterKeyId": world("aws:kms/key:Key")["arn"], "displayName": "d"},
        lambda world: {"displayName": "e", "kmsMasterKeyId": None},
        "Attributes.[DisplayName, KmsMasterKeyId || '']",
        ["e", ""],
    ),
    "aws:sns/topicPolicy:TopicPolicy": Case(
        lambda world: {
            "arn": (arn := world.make("aws:sns/topic:Topic")[1]),
            "policy": document("sns:Publish", Principal="*", Resource=arn),
        },
        lambda world: {"policy": document("sns:Subscribe", Principal="*", Resource="*")},
        "contains(Attributes.Policy, 'sns:Subscribe')",
        True,
    ),
    "aws:sns/topicSubscription:TopicSubscription": Case(
        lambda world: {
            "topic": world("aws:sns/topic:Topic")["arn"],
            "protocol": "sqs",
            "endpoint": world("aws:sqs/queue:Queue")["arn"],
            "rawMessageDelivery": True,
        },
        lambda world: {"rawMessageDelivery": False},
        "Attributes.RawMessageDelivery",
        "false",
    ),
    "aws:sqs/queue:Queue": Case(
        lambda world: {
            "kmsMasterKeyId": world("aws:kms/key:Key")["arn"],
            "messageRetentionSeconds": 1209600,
            "visibilityTimeoutSeconds": 60,
        },
        lambda world: {"messageRetentionSeconds": 60, "visibilityTimeoutSeconds": None},
        lambda world, id_: world.client("sqs").get_queue_attributes(
            QueueUrl=id_, AttributeNames=["MessageRetentionPeriod", "VisibilityTimeout"]
        )["Attributes"],
        {"MessageRetentionPeriod": "60", "VisibilityTimeout": "30"},
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Case(
        lambda world: {
            "queueUrl": world.make("aws:sqs/queue:Queue")[1],
            "policy": document("sqs:SendMessage", Principal="*", Resource="*"),
        },
        lambda world: {"policy": document("sqs:ReceiveMessage", Principal="*", Resource="*")},
        "contains(Attributes.Policy, 'sqs:ReceiveMessage')",
        True,
    ),
    "aws:eks/cluster:Cluster": Case(
        _cluster,
        lambda world: {"enabledClusterLogTypes": ["audit"], "deletionProtection": False},
        "cluster.logging.clusterLogging[?enabled].types | []",
        ["audit"],
    ),
    "aws:eks/nodeGroup:NodeGroup": Case(
        _node_group,
        lambda world: {
            "scalingConfig": {"minSize": 0, "maxSize": 4, "desiredSize": 1},
            "labels": {"pool": "serve"},
            "taints": None,
        },
        "nodegroup.[scalingConfig.maxSize, labels, taints]",
        [4, {"pool": "serve"}, []],
    ),
    "aws:eks/addon:Addon": Case(
        lambda world: {
            "clusterName": world("aws:eks/cluster:Cluster")["id"],
            "addonName": f"addon-{world.number()}",
            "configurationValues": "{}",
            "resolveConflictsOnUpdate": "OVERWRITE",
        },
        lambda world: {"configurationValues": '{"a": 1}'},
        "addon.configurationValues",
        '{"a": 1}',
    ),
    "aws:eks/accessEntry:AccessEntry": Case(
        _entry, lambda world: {"kubernetesGroups": ["ops"]}, "accessEntry.kubernetesGroups", ["ops"]
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": Case(
        lambda world: {
            **{name: world("aws:eks/accessEntry:AccessEntry")[name] for name in ("clusterName", "principalArn")},
            "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
            "accessScope": {"type": "namespace", "namespaces": ["team"]},
        }
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Case(
        lambda world: {
            "clusterName": world("aws:eks/cluster:Cluster")["id"],
            "namespace": "kube-system",
            "serviceAccount": f"account-{world.number()}",
            "roleArn": world("aws:iam/role:Role")["arn"],
        },
        lambda world: {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/other"},
        "association.roleArn",
        f"arn:aws:iam::{ACCOUNT}:role/other",
    ),
    "aws:ecr/repository:Repository": Case(
        lambda world: {
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": world("aws:kms/key:Key")["arn"]}],
            "forceDelete": True,
        },
        lambda world: {"imageTagMutability": None, "imageScanningConfiguration": {"scanOnPush": False}},
        "repositories[0].[imageTagMutability, imageScanningConfiguration.scanOnPush]",
        ["MUTABLE", False],
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Case(
        lambda world: {"repository": world("aws:ecr/repository:Repository")["id"], "policy": _expire(14)},
        lambda world: {"policy": _expire(7)},
        "contains(lifecyclePolicyText, '7')",
        True,
    ),
    "aws:budgets/budget:Budget": Case(
        _budget,
        lambda world: {"limitAmount": "200.00", "notifications": _budget(world)["notifications"][:1]},
        lambda world, id_: _budget_now(world, id_.partition(":")[2]),
        ("200.00", [80]),
    ),
    "aws:costexplorer/anomalyMonitor:AnomalyMonitor": Case(
        lambda world: {
            "monitorType": "CUSTOM",
            "monitorSpecification": json.dumps({"Tags": {"Key": "product", "Values": ["p"]}}),
        },
        lambda world: {"name": f"renamed-{world.number()}"},
        "starts_with(AnomalyMonitors[0].MonitorName, 'renamed')",
        True,
    ),
    "aws:costexplorer/anomalySubscription:AnomalySubscription": Case(
        _anomalies_told,
        lambda world: {"thresholdExpression": _impact("200")},
        "AnomalySubscriptions[0].ThresholdExpression.Dimensions.Values",
        ["200"],
    ),
    "aws:sagemaker/featureGroup:FeatureGroup": Case(_feature_group),
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": Case(
        lambda world: {"modelPackageGroupName": f"group-{world.number()}", "modelPackageGroupDescription": "d"}
    ),
    "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy": Case(
        lambda world: {
            "modelPackageGroupName": world("aws:sagemaker/modelPackageGroup:ModelPackageGroup")["id"],
            "resourcePolicy": document("sagemaker:DescribeModelPackage", Principal="*", Resource="*"),
        },
        lambda world: {"resourcePolicy": document("sagemaker:ListModelPackages", Principal="*", Resource="*")},
        "contains(ResourcePolicy, 'ListModelPackages')",
        True,
    ),
    "aws:sagemaker/pipeline:Pipeline": Case(
        lambda world: {
            "pipelineName": f"pipeline-{world.number()}",
            "pipelineDisplayName": "d",
            "pipelineDescription": "what it is for",
            "pipelineDefinition": _pipeline("first"),
            "roleArn": world("aws:iam/role:Role")["arn"],
        },
        lambda world: {"pipelineDefinition": _pipeline("second"), "pipelineDescription": "another"},
        "[contains(PipelineDefinition, 'second'), PipelineDescription]",
        [True, "another"],
    ),
    "aws:sagemaker/mlflowApp:MlflowApp": Case(
        lambda world: {
            "name": f"app-{world.number()}",
            "artifactStoreUri": f"s3://{world('aws:s3/bucket:Bucket')['id']}/mlflow",
            "roleArn": world("aws:iam/role:Role")["arn"],
        },
        lambda world: {"weeklyMaintenanceWindowStart": "Sun:03:00"},
        "WeeklyMaintenanceWindowStart",
        "Sun:03:00",
    ),
    "aws:sagemaker/model:Model": Case(_model),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": Case(_endpoint_configuration),
    "aws:sagemaker/endpoint:Endpoint": Case(
        _endpoint,
        lambda world: {"endpointConfigName": world.configuration(), "deploymentConfig": _rollout(2)},
        "[EndpointStatus, EndpointConfigName]",
        lambda inputs: ["InService", inputs["endpointConfigName"]],
    ),
    "aws:appautoscaling/target:Target": Case(
        lambda world: {**_scalable(world), "minCapacity": 1, "maxCapacity": 2},
        lambda world: {"maxCapacity": 4},
        "ScalableTargets[0].MaxCapacity",
        4,
    ),
    "aws:appautoscaling/policy:Policy": Case(
        _scaling_policy,
        lambda world: _tracking(200),
        "ScalingPolicies[0].TargetTrackingScalingPolicyConfiguration.TargetValue",
        200,
    ),
    "aws:appautoscaling/scheduledAction:ScheduledAction": Case(
        _scheduled_action,
        lambda world: {"scalableTargetAction": {"minCapacity": 2, "maxCapacity": 4}},
        "ScheduledActions[0].ScalableTargetAction.MaxCapacity",
        4,
    ),
    "aws:cloudcontrol/resource:Resource": Case(
        _component,
        lambda world: {"desiredState": _desired(world, f"component-{world._count}", 2048)},
        "Specification.ComputeResourceRequirements.MinMemoryRequiredInMb",
        2048,
    ),
    "aws:sfn/stateMachine:StateMachine": Case(
        lambda world: {
            "definition": _machine("a"),
            "roleArn": world("aws:iam/role:Role")["arn"],
            "encryptionConfiguration": {
                "type": "CUSTOMER_MANAGED_KMS_KEY",
                "kmsKeyId": world("aws:kms/key:Key")["arn"],
                "kmsDataKeyReusePeriodSeconds": 300,
            },
        },
        lambda world: {"definition": _machine("b"), "encryptionConfiguration": None},
        "[definition, encryptionConfiguration.type]",
        lambda inputs: [inputs["definition"], "AWS_OWNED_KEY"],
    ),
    "aws:lambda/function:Function": Case(
        _function,
        lambda world: {
            "code": code("def handler(event, context):\n    return 2\n"),
            "timeout": 20,
            "environment": None,
            "reservedConcurrentExecutions": 2,
        },
        "[Configuration.[Timeout, Environment.Variables || `{}`], Concurrency.ReservedConcurrentExecutions]",
        [[20, {}], 2],
    ),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Case(
        lambda world: {
            "functionName": world("aws:lambda/function:Function")["id"],
            "maximumRetryAttempts": 1,
            "maximumEventAgeInSeconds": 3600,
        },
        lambda world: {"maximumRetryAttempts": 2},
        "MaximumRetryAttempts",
        2,
        unseen="moto 5.2.5 tells a function's first configuration, whatever is put after it",
    ),
    "aws:lambda/invocation:Invocation": Case(
        lambda world: {
            "functionName": world("aws:lambda/function:Function")["id"],
            "input": json.dumps({"number": world.number()}),
        },
        stays="what was done is done",
    ),
    "aws:lambda/permission:Permission": Case(
        lambda world: {
            "function": world("aws:lambda/function:Function")["id"],
            "action": "lambda:InvokeFunction",
            "principal": "events.amazonaws.com",
            "sourceArn": world("aws:cloudwatch/eventRule:EventRule")["arn"],
        }
    ),
    "aws:apigateway/restApi:RestApi": Case(
        lambda world: {"name": f"api-{world.number()}", "body": _api_document("one"), **SECURE},
        lambda world: {"body": _api_document("two"), "description": "d", "policy": document("execute-api:Invoke")},
        lambda world, id_: _api_now(world, id_),
        (["/two"], "d", True, SECURE["securityPolicy"]),
    ),
    "aws:apigateway/deployment:Deployment": Case(
        lambda world: {"restApi": world(REST_API)["id"], "triggers": {"document": str(world.number())}}
    ),
    "aws:apigateway/stage:Stage": Case(
        lambda world: {
            **_deployed(world),
            "stageName": f"stage{world.number()}",
            "accessLogSettings": _access_log("a"),
        },
        lambda world: {
            "deployment": _deployed(world)["deployment"],
            "accessLogSettings": _access_log("b"),
            "xrayTracingEnabled": True,
        },
        "[deploymentId, accessLogSettings.format, tracingEnabled]",
        lambda inputs: [inputs["deployment"], "b", True],
    ),
    "aws:apigateway/methodSettings:MethodSettings": Case(
        lambda world: {
            "restApi": world(STAGE)["restApi"],
            "stageName": world(STAGE)["stageName"],
            "methodPath": "*/*",
            "settings": {"metricsEnabled": True, "throttlingRateLimit": 10, "throttlingBurstLimit": 20},
        },
        lambda world: {"settings": {"throttlingRateLimit": 2.5}},
        'methodSettings."*/*".throttlingRateLimit',
        2.5,
    ),
    "aws:apigateway/usagePlan:UsagePlan": Case(
        lambda world: {
            "name": f"plan-{world.number()}",
            "apiStages": [{"apiId": world(STAGE)["restApi"], "stage": world(STAGE)["stageName"]}],
            "throttleSettings": {"rateLimit": 5, "burstLimit": 10},
            "quotaSettings": {"limit": 100, "period": "DAY"},
        },
        lambda world: {
            "throttleSettings": {"rateLimit": 2.5, "burstLimit": 4},
            "quotaSettings": {"limit": 50, "period": "DAY"},
        },
        "[throttle.rateLimit, quota.limit]",
        [2.5, 50],
    ),
    "aws:apigateway/usagePlanKey:UsagePlanKey": Case(
        lambda world: {
            "usagePlanId": world("aws:apigateway/usagePlan:UsagePlan")["id"],
            "keyId": world.make("aws:apigateway/apiKey:ApiKey")[1],
            "keyType": "API_KEY",
        }
    ),
    "aws:apigateway/apiKey:ApiKey": Case(
        lambda world: {"name": f"key-{world.number()}", "description": "d"},
        lambda world: {"description": "e", "enabled": False},
        "[description, enabled]",
        ["e", False],
    ),
    "aws:apigateway/account:Account": Case(
        lambda world: {"cloudwatchRoleArn": world("aws:iam/role:Role")["arn"]},
        lambda world: {"cloudwatchRoleArn": world.make("aws:iam/role:Role")[2]["arn"]},
        "cloudwatchRoleArn",
        lambda inputs: inputs["cloudwatchRoleArn"],
    ),
    "aws:cognito/userPool:UserPool": Case(
        lambda world: {
            "name": f"pool-{world.number()}",
            "adminCreateUserConfig": {"allowAdminCreateUserOnly": True},
            "deletionProtection": "ACTIVE",
        },
        lambda world: {"deletionProtection": "INACTIVE"},
        "UserPool.[DeletionProtection, AdminCreateUserConfig.AllowAdminCreateUserOnly]",
        ["INACTIVE", True],
    ),
    "aws:cognito/userPoolClient:UserPoolClient": Case(
        lambda world: {
            "name": "web",
            "userPoolId": world("aws:cognito/userPool:UserPool")["id"],
            "generateSecret": True,
            "allowedOauthFlows": ["client_credentials"],
            "allowedOauthFlowsUserPoolClient": True,
            "allowedOauthScopes": ["api/predict"],
            "accessTokenValidity": 60,
            "tokenValidityUnits": {"accessToken": "minutes"},
        },
        lambda world: {"accessTokenValidity": 30},
        "UserPoolClient.[AccessTokenValidity, AllowedOAuthScopes]",
        [30, ["api/predict"]],
    ),
    "aws:cognito/resourceServer:ResourceServer": Case(
        lambda world: {
            "userPoolId": world("aws:cognito/userPool:UserPool")["id"],
            "identifier": f"api-{world.number()}",
            "name": "api",
            "scopes": [{"scopeName": "predict", "scopeDescription": "d"}],
        },
        lambda world: {"scopes": [{"scopeName": "predict", "scopeDescription": "e"}]},
        "ResourceServer.Scopes[0].ScopeDescription",
        "e",
    ),
    "aws:cognito/userPoolDomain:UserPoolDomain": Case(
        lambda world: {
            "userPoolId": world("aws:cognito/userPool:UserPool")["id"],
            "domain": f"domain-{world.number()}",
        }
    ),
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": Case(
        lambda world: {
            "name": f"filter-{world.number()}",
            "logGroupName": world("aws:cloudwatch/logGroup:LogGroup")["id"],
            "pattern": "THROTTLED",
            "metricTransformation": {"namespace": "Tests", "name": "throttled", "value": "1"},
        },
        lambda world: {"pattern": "?THROTTLED ?QUOTA_EXCEEDED"},
        "metricFilters[0].filterPattern",
        "?THROTTLED ?QUOTA_EXCEEDED",
    ),
    "aws:ssm/parameter:Parameter": Case(
        lambda world: {"type": "SecureString", "value": "a", "description": "d"},
        lambda world: {"value": "b"},
        "Parameter.[Value != 'a', Version]",
        [True, 2],
    ),
}


def _api_document(path: str) -> str:
    uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
    integration = {"type": "aws_proxy", "httpMethod": "POST", "uri": f"{uri}/invocations"}
    method = {"responses": {}, "x-amazon-apigateway-integration": integration}
    info = {"title": "api", "version": "1", "description": "d"}
    return json.dumps({"openapi": "3.0.3", "info": info, "paths": {f"/{path}": {"get": method}}})


def _api_now(world: World, id_: str) -> tuple[list[str], str, bool, str]:
    client = world.client("apigateway")
    api, resources = client.get_rest_api(restApiId=id_), client.get_resources(restApiId=id_)["items"]
    served = sorted(each["path"] for each in resources if each.get("resourceMethods"))
    return served, api["description"], "execute-api:Invoke" in api.get("policy", ""), api["securityPolicy"]


def _deployed(world: World) -> Props:
    """A new deployment of the API that others share."""
    return {"restApi": world(REST_API)["id"], "deployment": world.make("aws:apigateway/deployment:Deployment")[1]}


def _access_log(text: str) -> Props:
    return {"destinationArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:access", "format": text}


def _budget_now(world: World, name: str) -> tuple[str, list[float]]:
    which, budgets = {"AccountId": ACCOUNT, "BudgetName": name}, world.client("budgets")
    limit = budgets.describe_budget(**which)["Budget"]["BudgetLimit"]["Amount"]
    return limit, [each["Threshold"] for each in budgets.describe_notifications_for_budget(**which)["Notifications"]]


def _expire(days: int) -> str:
    selection = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}
    return json.dumps({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]})


def _arn(call: str, parameter: str, tags: str) -> Callable[[Any, Props], Any]:
    return lambda client, outputs: find(tags, getattr(client, call)(**{parameter: outputs["arn"]}))


def _of(call: str, parameter: str, output: str, tags: str) -> Callable[[Any, Props], Any]:
    return lambda client, outputs: find(tags, getattr(client, call)(**{parameter: outputs[output]}))


TAGS_OF: Mapping[str, Callable[[Any, Props], Any]] = {
    "application-autoscaling": _arn("list_tags_for_resource", "ResourceARN", "Tags"),
    "apigateway": lambda client, outputs: client.get_tags(resourceArn=outputs["arn"])["tags"],
    "budgets": _arn("list_tags_for_resource", "ResourceARN", "ResourceTags"),
    "ce": _arn("list_tags_for_resource", "ResourceArn", "ResourceTags"),
    "cloudwatch": _arn("list_tags_for_resource", "ResourceARN", "Tags"),
    "cognito-idp": _arn("list_tags_for_resource", "ResourceArn", "Tags"),
    "ec2": lambda client, outputs: client.describe_tags(Filters=[{"Name": "resource-id", "Values": [outputs["id"]]}])[
        "Tags"
    ],
    "aws:ec2/placementGroup:PlacementGroup": lambda client, outputs: client.describe_placement_groups(
        GroupNames=[outputs["name"]]
    )["PlacementGroups"][0]["Tags"],
    "ecr": _arn("list_tags_for_resource", "resourceArn", "tags"),
    "eks": lambda client, outputs: client.list_tags_for_resource(
        resourceArn=next(outputs[name] for name in ("arn", "accessEntryArn", "associationArn") if name in outputs)
    )["tags"],
    "events": _arn("list_tags_for_resource", "ResourceARN", "Tags"),
    "kms": _of("list_resource_tags", "KeyId", "id", "Tags[].{Key: TagKey, Value: TagValue}"),
    "lambda": _arn("list_tags", "Resource", "Tags"),
    "logs": _arn("list_tags_for_resource", "resourceArn", "tags"),
    "s3": _of("get_bucket_tagging", "Bucket", "id", "TagSet"),
    "aws:s3/bucketObjectv2:BucketObjectv2": lambda client, outputs: client.get_object_tagging(
        Bucket=outputs["bucket"], Key=outputs["key"]
    )["TagSet"],
    "sagemaker": _arn("list_tags", "ResourceArn", "Tags"),
    "scheduler": _arn("list_tags_for_resource", "ResourceArn", "Tags"),
    "sns": _arn("list_tags_for_resource", "ResourceArn", "Tags"),
    "sqs": _of("list_queue_tags", "QueueUrl", "id", "Tags"),
    "ssm": lambda client, outputs: client.list_tags_for_resource(ResourceType="Parameter", ResourceId=outputs["name"])[
        "TagList"
    ],
    "aws:iam/role:Role": _of("list_role_tags", "RoleName", "name", "Tags"),
    "aws:iam/policy:Policy": _of("list_policy_tags", "PolicyArn", "arn", "Tags"),
    "aws:iam/instanceProfile:InstanceProfile": _of(
        "get_instance_profile", "InstanceProfileName", "name", "InstanceProfile.Tags"
    ),
    "stepfunctions": lambda client, outputs: {
        tag["key"]: tag["value"] for tag in client.list_tags_for_resource(resourceArn=outputs["arn"])["tags"]
    },
}
"""How each service tells a resource's tags."""


def tags_of(world: World, type_: str, outputs: Props) -> dict[str, str]:
    """A resource's tags as its service tells them."""
    service = TYPES[type_].service
    told = (TAGS_OF.get(type_) or TAGS_OF[service])(world.client(service), outputs)
    return dict(told) if isinstance(told, Mapping) else {tag["Key"]: tag["Value"] for tag in told or ()}
