"""Each control on exposure accepts what is needed, refuses what is open, and defers what is not known yet."""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from judging import ACCOUNT, judge, judge_stack, resource
from pulumi.runtime.config import set_all_config
from test_cases import RESOURCES

from policies.access import exposure, network
from policies.access.exposure import ACCESS_ENTRY, MODEL, PUBLIC_ACCESS_BLOCK
from policies.access.network import DEFAULT_GROUP, EGRESS_RULE, FLOW_LOG, GROUP, GROUP_RULE, INGRESS_RULE, VPC
from policies.resource_types import (
    ACCESS_POLICY,
    BUCKET,
    CLUSTER,
    DATA_QUALITY_JOB,
    DOMAIN,
    ENDPOINT_CONFIGURATION,
    INSTANCE,
    LAUNCH_TEMPLATE,
    MONITORING_SCHEDULE,
    NODE_CLASS,
    NODE_GROUP,
    NOTEBOOK,
    PIPELINE,
    REST_API,
    SUBNET,
    TRAINING_JOB,
    VPC_ENDPOINT,
)
from policies.rules import UNKNOWN

BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
FUNCTION = "aws:lambda/function:Function"
SERVICE = "aws:ec2/vpcEndpointService:VpcEndpointService"

BLOCKED = dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)
PLACED = {"Subnets": ["subnet-a"], "SecurityGroupIds": ["sg-a"]}
IN_VPC = {"subnets": ["subnet-a"], "securityGroupIds": ["sg-a"]}
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/platform-admin"
TEAM = f"arn:aws:iam::{ACCOUNT}:role/churn"
ACCESS_POLICIES = "arn:aws:eks::aws:cluster-access-policy/"
OUR_IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/churn"
AWS_KEY = "AKIA" + "Z2QWERTYUIOP1234"
TOKEN = "ghp_" + "a1B2" * 9


def config(environment: str) -> dict[str, str]:
    return {
        "aws:defaultTags": json.dumps({"tags": {"environment": environment}}),
        "aws:allowedAccountIds": json.dumps([ACCOUNT]),
    }


@pytest.fixture(autouse=True)
def production() -> Iterator[None]:
    set_all_config(config("prod"))
    yield
    set_all_config({})


def of_cluster(**network):
    return {"vpcConfig": {"endpointPublicAccess": False, "endpointPrivateAccess": True, **network}}


def api(security):
    """An API with one method, whose `security` this is."""
    header = {"type": "apiKey", "in": "header", "name": "Authorization"}
    schemes = {"iam": {**header, "x-amazon-apigateway-authtype": "awsSigv4"}, "key": {**header, "name": "x-api-key"}}
    paths = {"/predictions": {"post": {"security": security}}}
    return {"body": json.dumps({"paths": paths, "components": {"securitySchemes": schemes}})}


def granted(who, policy, scope="cluster", namespaces=None):
    named = {"namespaces": namespaces} if namespaces is not None else {}
    return {
        "principalArn": who,
        "policyArn": f"{ACCESS_POLICIES}{policy}",
        "accessScope": {"type": scope, **named},
    }


def step(kind, **arguments):
    return {"Name": kind, "Type": kind, "Arguments": arguments}


def pipeline(*steps):
    return {"pipelineDefinition": json.dumps({"Steps": steps})}


def packed(text):
    return base64.b64encode(gzip.compress(text.encode())).decode()


def world(first, last, **more):
    return {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": first, "toPort": last, **more}


def deny(**statement):
    return {"policy": json.dumps({"Statement": [{"Effect": "Deny", "Principal": "*", **statement}]})}


ACCEPTED = [
    ("s3-no-acl-public", OWNERSHIP, {"rule": {"objectOwnership": "BucketOwnerEnforced"}}),
    (
        "s3-no-lockout",
        BUCKET_POLICY,
        deny(Action="s3:*", Resource=["*"], Condition={"Bool": {"aws:SecureTransport": "false"}}),
    ),
    ("s3-no-lockout", BUCKET_POLICY, deny(Action="s3:DeleteObject", Resource="*")),
    ("eks-endpoint-private", CLUSTER, of_cluster()),
    ("eks-endpoint-reachable", CLUSTER, of_cluster()),
    ("eks-endpoint-cidr", CLUSTER, of_cluster()),
    ("eks-endpoint-cidr", CLUSTER, of_cluster(endpointPublicAccess=True, publicAccessCidrs=["203.0.113.0/24"])),
    (
        "eks-access-mode",
        CLUSTER,
        {"accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}},
    ),
    ("eks-access-scope", ACCESS_ENTRY, {"kubernetesGroups": ["team"]}),
    ("eks-access-scope", ACCESS_POLICY, granted(ADMIN, "AmazonEKSClusterAdminPolicy")),
    ("eks-access-scope", ACCESS_POLICY, granted(TEAM, "AmazonEKSEditPolicy", "namespace", ["churn"])),
    ("eks-ng-remote-access", NODE_GROUP, {}),
    ("ec2-imdsv2", LAUNCH_TEMPLATE, {"metadataOptions": {"httpEndpoint": "disabled"}}),
    ("lt-hop-limit", LAUNCH_TEMPLATE, {"metadataOptions": {"httpPutResponseHopLimit": 1}}),
    ("sm-notebook-vpc", NOTEBOOK, {"subnetId": "subnet-a", "securityGroups": UNKNOWN}),
    ("sm-model-image-source", MODEL, {"primaryContainer": {"modelPackageName": "arn"}}),
    ("sm-model-image-source", MODEL, {"primaryContainer": {"image": f"{OUR_IMAGE}:1.0"}}),
    (
        "sm-model-image-source",
        MODEL,
        {"containers": [{"image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch@sha256:00"}]},
    ),
    ("sm-model-data-source", MODEL, {"primaryContainer": {"modelPackageName": UNKNOWN}}),
    (
        "sm-model-data-source",
        MODEL,
        {
            "primaryContainer": {
                "modelPackageName": "arn",
                "modelDataUrl": "s3://platform-prod-data-1a2b3c4/churn/model",
            }
        },
    ),
    ("sm-training-vpc", TRAINING_JOB, {"vpcConfig": IN_VPC}),
    ("sm-training-vpc", TRAINING_JOB, {"vpcConfig": UNKNOWN}),
    (
        "sm-job-isolation",
        DATA_QUALITY_JOB,
        {"networkConfig": {"enableNetworkIsolation": True, "vpcConfig": IN_VPC}},
    ),
    ("sm-job-isolation", MONITORING_SCHEDULE, {"monitoringScheduleConfig": {"monitoringJobDefinitionName": "quality"}}),
    (
        "sm-domain-vpc-only",
        DOMAIN,
        {"appNetworkAccessType": "VpcOnly", "defaultUserSettings": {"securityGroups": ["sg-a"]}},
    ),
    (
        "sm-pipeline-isolation",
        PIPELINE,
        pipeline(
            step("Training", EnableNetworkIsolation=True, VpcConfig=PLACED),
            step("Processing", NetworkConfig={"EnableNetworkIsolation": True, "VpcConfig": PLACED}),
            step("Lambda"),
        ),
    ),
    ("ec2-imdsv2", NODE_CLASS, {"spec": {}}),
    ("lt-hop-limit", NODE_CLASS, {"spec": {"metadataOptions": {"httpPutResponseHopLimit": 1}}}),
    ("sm-domain-sso", DOMAIN, {"authMode": "SSO"}),
    ("sm-domain-docker", DOMAIN, {}),
    (
        "sm-domain-docker",
        DOMAIN,
        {"domainSettings": {"dockerSettings": {"enableDockerAccess": "ENABLED", "vpcOnlyTrustedAccounts": [ACCOUNT]}}},
    ),
    ("sm-endpoint-no-ssm", ENDPOINT_CONFIGURATION, {"productionVariants": [{"variantName": "live"}]}),
    (
        "no-secrets-in-env",
        FUNCTION,
        {"environment": {"variables": {"API_KEY": "arn:aws:secretsmanager:us-east-1:1:secret:a", "MAX_TOKENS": "512"}}},
    ),
    (
        "no-secrets-in-env",
        "kubernetes:core/v1:Pod",
        {
            "spec": {
                "containers": [
                    {"env": [{"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "a"}}}, {"name": "A"}]}
                ]
            }
        },
    ),
    ("no-secrets-in-userdata", LAUNCH_TEMPLATE, {"userData": packed("#!/bin/sh\necho hello")}),
    ("apis-know-their-callers", REST_API, api([{"iam": [], "key": []}])),
    ("apis-know-their-callers", REST_API, api([{"iam": []}, {"iam": []}])),
    ("net-sg-22", INGRESS_RULE, world(443, 443)),
    ("net-sg-22", INGRESS_RULE, {"cidrIpv4": "10.0.0.0/8", "ipProtocol": "-1"}),
    ("net-sg-22", INGRESS_RULE, {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "icmp", "fromPort": -1, "toPort": -1}),
    ("net-sg-22", GROUP_RULE, {"type": "egress", "cidrBlocks": ["0.0.0.0/0"], "protocol": "-1"}),
    ("net-sg-any-open", INGRESS_RULE, {"cidrIpv4": "10.0.0.0/16", "ipProtocol": "tcp", "fromPort": 22}),
    ("net-sg-any-open", GROUP, {"ingress": [], "egress": []}),
    ("net-sg-egress-all", EGRESS_RULE, world(443, 443)),
    ("net-sg-description", GROUP, {"description": "What calls AWS", "ingress": []}),
    ("net-subnet-no-public", SUBNET, {}),
    ("vpce-service-acceptance", SERVICE, {"acceptanceRequired": True}),
]

REFUSED = [
    ("s3-no-acl-public", OWNERSHIP, {"rule": {"objectOwnership": "ObjectWriter"}}, "set 'BucketOwnerEnforced'"),
    ("s3-no-acl-public", "aws:s3/bucketV2:BucketV2", {"acl": "public-read-write"}, "acl is public-read-write"),
    ("s3-no-lockout", BUCKET_POLICY, deny(Action="*", Resource="arn:aws:s3:::data"), "denies every action"),
    ("eks-endpoint-reachable", CLUSTER, of_cluster(endpointPrivateAccess=False), "endpointPrivateAccess is False"),
    (
        "eks-endpoint-cidr",
        CLUSTER,
        of_cluster(endpointPublicAccess=True, publicAccessCidrs=["203.0.113.0/24", "0.0.0.0/0"]),
        "names the whole Internet",
    ),
    (
        "eks-access-mode",
        CLUSTER,
        {"accessConfig": {"authenticationMode": "CONFIG_MAP", "bootstrapClusterCreatorAdminPermissions": False}},
        "set 'API'",
    ),
    ("eks-access-mode", CLUSTER, {"accessConfig": {"authenticationMode": "API"}}, "administrator for ever"),
    ("eks-access-scope", ACCESS_ENTRY, {"kubernetesGroups": ["system:masters"]}, "system:masters"),
    ("eks-access-scope", ACCESS_POLICY, granted(TEAM, "AmazonEKSClusterAdminPolicy"), "cluster_admins"),
    ("eks-access-scope", ACCESS_POLICY, granted(TEAM, "AmazonEKSViewPolicy"), "accessScope.type is 'cluster'"),
    (
        "eks-access-scope",
        ACCESS_POLICY,
        granted(TEAM, "AmazonEKSEditPolicy", "namespace", ["churn", "kube-system"]),
        "names kube-system",
    ),
    ("eks-access-scope", ACCESS_POLICY, granted(TEAM, "AmazonEKSEditPolicy", "namespace", []), "name the team's"),
    ("eks-ng-remote-access", NODE_GROUP, {"remoteAccess": {"ec2SshKey": "key"}}, "opens SSH on every node"),
    ("ec2-imdsv2", INSTANCE, {}, "httpTokens is not set"),
    ("lt-hop-limit", LAUNCH_TEMPLATE, {"metadataOptions": {"httpPutResponseHopLimit": 2}}, "HopLimit is 2"),
    ("ec2-no-public-ip", INSTANCE, {"associatePublicIpAddress": True}, "the Internet can reach it"),
    (
        "ec2-no-public-ip",
        LAUNCH_TEMPLATE,
        {"networkInterfaces": [{}, {"associatePublicIpAddress": "true"}]},
        "networkInterfaces.1.associatePublicIpAddress is 'true'",
    ),
    ("sm-notebook-imdsv2", NOTEBOOK, {}, "set '2'"),
    ("sm-notebook-no-root", NOTEBOOK, {"rootAccess": "Enabled"}, "rootAccess is 'Enabled'"),
    ("sm-notebook-vpc", NOTEBOOK, {"subnetId": "subnet-a"}, "securityGroups is not set"),
    ("sm-model-image-source", MODEL, {"primaryContainer": {"image": f"{OUR_IMAGE}:latest"}}, "whose tag may move"),
    (
        "sm-model-image-source",
        MODEL,
        {"containers": [{"image": "999999999999.dkr.ecr.us-east-1.amazonaws.com/a@sha256:00"}]},
        "containers.0.image comes from 999999999999",
    ),
    (
        "sm-model-data-source",
        MODEL,
        {"primaryContainer": {"modelPackageName": "arn", "modelDataUrl": "s3://somebody-elses/model"}},
        "model_data of policies/limits.yaml",
    ),
    ("sm-model-data-source", MODEL, {"primaryContainer": {"image": OUR_IMAGE}}, "comes from the registry"),
    ("sm-training-isolation", TRAINING_JOB, {}, "enableNetworkIsolation is not set"),
    ("sm-training-vpc", TRAINING_JOB, {"vpcConfig": {**IN_VPC, "subnets": []}}, "vpcConfig.subnets is not set"),
    (
        "sm-training-vpc",
        TRAINING_JOB,
        {"vpcConfig": IN_VPC, "remoteDebugConfig": {"enableRemoteDebug": True}},
        "log in to a job",
    ),
    (
        "sm-job-isolation",
        MONITORING_SCHEDULE,
        {"monitoringScheduleConfig": {"monitoringJobDefinition": {"networkConfig": {"vpcConfig": IN_VPC}}}},
        "enableNetworkIsolation is not set",
    ),
    (
        "sm-pipeline-isolation",
        PIPELINE,
        pipeline(step("Condition", IfSteps=[step("Processing", NetworkConfig={"VpcConfig": PLACED})])),
        "step Processing: Arguments.NetworkConfig.EnableNetworkIsolation is not true",
    ),
    (
        "sm-pipeline-isolation",
        PIPELINE,
        pipeline(step("Training", EnableNetworkIsolation=True, VpcConfig={**PLACED, "Subnets": []})),
        "step Training: Arguments.VpcConfig.Subnets is not set",
    ),
    ("ec2-imdsv2", NODE_CLASS, {"spec": {"metadataOptions": {"httpTokens": "optional"}}}, "set 'required'"),
    ("lt-hop-limit", NODE_CLASS, {"spec": {"metadataOptions": {"httpPutResponseHopLimit": 2}}}, "HopLimit is 2"),
    ("ec2-no-public-ip", NODE_CLASS, {"spec": {"associatePublicIPAddress": True}}, "the Internet can reach it"),
    ("sm-domain-vpc-only", DOMAIN, {"defaultUserSettings": {"securityGroups": ["sg-a"]}}, "set 'VpcOnly'"),
    ("sm-domain-vpc-only", DOMAIN, {"appNetworkAccessType": "VpcOnly"}, "securityGroups is not set"),
    (
        "sm-domain-docker",
        DOMAIN,
        {"domainSettings": {"dockerSettings": {"enableDockerAccess": "ENABLED"}}},
        "set 'DISABLED'",
    ),
    (
        "sm-endpoint-no-ssm",
        ENDPOINT_CONFIGURATION,
        {"productionVariants": [{"variantName": "live", "enableSsmAccess": True}]},
        "productionVariants.0.enableSsmAccess is True",
    ),
    ("no-secrets-in-env", FUNCTION, {"environment": {"variables": {"A": "1", "B": f"key={AWS_KEY}"}}}, "variables.B"),
    ("no-secrets-in-env", FUNCTION, {"environment": {"variables": {"DB_PASSWORD": "correct-horse"}}}, "DB_PASSWORD"),
    (
        "no-secrets-in-env",
        FUNCTION,
        {"environment": {"variables": {"DATABASE": "postgresql://app:battery@db.internal/app"}}},
        "variables.DATABASE holds a credential",
    ),
    ("no-secrets-in-env", TRAINING_JOB, {"hyperParameters": {"hub": TOKEN}}, "hyperParameters.hub"),
    (
        "no-secrets-in-env",
        "kubernetes:apps/v1:Deployment",
        {"spec": {"template": {"spec": {"initContainers": [{"env": [{"name": "HUB", "value": TOKEN}]}]}}}},
        "initContainers.0.env.0.HUB holds a credential",
    ),
    ("no-secrets-in-userdata", INSTANCE, {"userData": f"export AWS_ACCESS_KEY_ID={AWS_KEY}"}, "userData holds"),
    ("no-secrets-in-userdata", LAUNCH_TEMPLATE, {"userData": packed(f"curl -H {TOKEN}")}, "userData holds"),
    ("apis-know-their-callers", REST_API, api([]), "POST /predictions answers everyone"),
    ("apis-know-their-callers", REST_API, api([{"key": []}]), "answers everyone"),
    ("apis-know-their-callers", REST_API, api([{"iam": []}, {}]), "answers everyone"),
    ("apis-know-their-callers", REST_API, api([{"unknown": []}]), "can read"),
    ("apis-know-their-callers", REST_API, {"body": "openapi: 3.0.3"}, "can read"),
    ("apis-know-their-callers", REST_API, {"name": "api"}, "body is not set"),
    ("net-sg-22", INGRESS_RULE, world(20, 25), "lets 0.0.0.0/0 in on port 22 (SSH)"),
    ("net-sg-22", INGRESS_RULE, {"cidrIpv6": "::/0", "ipProtocol": "-1"}, "cidrIpv6 lets ::/0 in"),
    ("net-sg-3389", INGRESS_RULE, world(0, 65535), "port 3389"),
    ("net-sg-all", GROUP, {"ingress": [{"protocol": "-1", "cidrBlocks": ["0.0.0.0/0"]}]}, "on every port"),
    ("net-sg-any-open", INGRESS_RULE, world(443, 443), "lets 0.0.0.0/0 in"),
    ("net-sg-any-open", INGRESS_RULE, {**world(443, 443), "cidrIpv4": "128.0.0.0/1"}, "lets 128.0.0.0/1 in"),
    (
        "net-sg-any-open",
        GROUP,
        {"ingress": [{"protocol": "tcp", "cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]}]},
        "ingress.0.cidrBlocks.1 lets 0.0.0.0/0 in",
    ),
    ("net-sg-egress-all", EGRESS_RULE, {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "-1"}, "lets everything out"),
    ("net-sg-description", GROUP, {"description": "Managed by Pulumi"}, "say what the group is for"),
    ("vpce-service-acceptance", SERVICE, {"acceptanceRequired": False}, "without being asked"),
]

UNDECIDED = [
    ("eks-endpoint-private", CLUSTER, {"vpcConfig": UNKNOWN}, "vpcConfig"),
    (
        "eks-endpoint-cidr",
        CLUSTER,
        of_cluster(endpointPublicAccess=True, publicAccessCidrs=UNKNOWN),
        "publicAccessCidrs",
    ),
    ("eks-access-scope", ACCESS_POLICY, {**granted(TEAM, "AmazonEKSEditPolicy"), "principalArn": UNKNOWN}, "principal"),
    ("ec2-imdsv2", LAUNCH_TEMPLATE, {"metadataOptions": UNKNOWN}, "metadataOptions"),
    ("sm-model-image-source", MODEL, {"primaryContainer": {"image": UNKNOWN}}, "primaryContainer.image"),
    ("no-secrets-in-env", FUNCTION, {"environment": {"variables": {"A": UNKNOWN}}}, "environment.variables.A"),
    ("apis-know-their-callers", REST_API, {"body": UNKNOWN}, "body"),
    ("net-sg-22", INGRESS_RULE, {"cidrIpv4": UNKNOWN, "ipProtocol": "-1"}, "cidrIpv4"),
    ("net-sg-any-open", INGRESS_RULE, {"cidrIpv4": UNKNOWN, "ipProtocol": "tcp"}, "cidrIpv4"),
    ("net-sg-any-open", GROUP, {"ingress": UNKNOWN}, "ingress"),
]


@pytest.mark.parametrize("rule, kind, inputs", ACCEPTED)
def test_what_is_needed_is_accepted(rule, kind, inputs):
    verdict = judge(rule, kind, inputs)
    assert (verdict.sentences, verdict.unknown) == ([], [])


@pytest.mark.parametrize("rule, kind, inputs, words", REFUSED)
def test_what_is_open_is_refused_with_what_to_set(rule, kind, inputs, words):
    [sentence] = judge(rule, kind, inputs).sentences
    assert words in sentence


@pytest.mark.parametrize("rule, kind, inputs, path", UNDECIDED)
def test_what_only_a_deployment_will_know_is_deferred_not_passed(rule, kind, inputs, path):
    verdict = judge(rule, kind, inputs)
    assert verdict.sentences == []
    assert any(path in each for each in verdict.unknown)


@pytest.mark.parametrize(
    "rule, kind, inputs",
    [
        ("sm-model-data-source", MODEL, {"primaryContainer": {"modelDataUrl": "s3://platform-dev-data-1a2b3c4/model"}}),
        ("sm-training-vpc", TRAINING_JOB, {"vpcConfig": IN_VPC, "remoteDebugConfig": {"enableRemoteDebug": True}}),
        ("sm-endpoint-no-ssm", ENDPOINT_CONFIGURATION, {"productionVariants": [{"enableSsmAccess": True}]}),
    ],
)
def test_what_only_production_forbids_is_accepted_elsewhere(rule, kind, inputs):
    assert judge(rule, kind, inputs).sentences
    set_all_config(config("dev"))
    assert judge(rule, kind, inputs).sentences == []


def test_every_bucket_has_a_public_access_block():
    data, logs = resource(BUCKET, "data", bucket="data-1"), resource(BUCKET, "logs", bucket="logs-1")
    block = resource(PUBLIC_ACCESS_BLOCK, "data", uses={"bucket": [f"{BUCKET}::data"]}, **BLOCKED)
    assert judge_stack("s3-pab-all", data, block).sentences == []
    verdict = judge_stack("s3-pab-all", data, logs, block)
    assert verdict.about == [logs.urn]
    assert "bucket logs can be made public" in verdict.sentences[0]


def test_a_public_access_block_blocks_all():
    data = resource(BUCKET, "data", bucket="data-1")
    block = resource(PUBLIC_ACCESS_BLOCK, **{**BLOCKED, "bucket": "data-1", "blockPublicPolicy": False})
    [sentence] = judge_stack("s3-pab-all", data, block).sentences
    assert sentence.startswith("blockPublicPolicy is False")
    unknown = resource(PUBLIC_ACCESS_BLOCK, **{**BLOCKED, "bucket": "data-1", "blockPublicPolicy": UNKNOWN})
    assert judge_stack("s3-pab-all", data, unknown).unknown == ["blockPublicPolicy"]


def served(**variant):
    """A model without isolation, and the configuration that serves it."""
    model = resource(MODEL, "model", name="employment-1")
    used = {"uses": {"productionVariants": [f"{MODEL}::model"]}}
    return model, resource(
        ENDPOINT_CONFIGURATION, "serves", **used, productionVariants=[{"variantName": "live", **variant}]
    )


MISSING = {
    "sm-model-isolation": ["enableNetworkIsolation"],
    "sm-model-vpc": ["vpcConfig.subnets", "vpcConfig.securityGroupIds"],
}


@pytest.mark.parametrize("rule", MISSING)
def test_a_model_on_instances_is_isolated_in_our_network(rule):
    model, configuration = served(instanceType="ml.m5.large")
    assert [each.split()[0] for each in judge_stack(rule, model, configuration).sentences] == MISSING[rule]
    assert judge_stack(rule, model).sentences, "a model that nothing serves yet is held to it as well"
    isolated = resource(MODEL, "model", name="employment-1", enableNetworkIsolation=True, vpcConfig=IN_VPC)
    assert judge_stack(rule, isolated, configuration).sentences == []


@pytest.mark.parametrize("rule", MISSING)
def test_a_model_that_only_serverless_variants_run_cannot_be_isolated(rule):
    model, serverless = served(serverlessConfig={"memorySizeInMb": 2048, "maxConcurrency": 5})
    assert judge_stack(rule, model, serverless).sentences == []
    _, instances = served(instanceType="ml.m5.large")
    assert judge_stack(rule, model, serverless, replace(instances, urn="another")).sentences


def in_vpc(kind, name="it", **inputs):
    return resource(kind, name, uses={"vpcId": [f"{VPC}::net"]}, vpcId="vpc-1", **inputs)


NET = resource(VPC, "net", cidrBlock="10.0.0.0/16")


def test_the_security_group_that_comes_with_a_network_has_no_rules():
    closed = in_vpc(DEFAULT_GROUP, "closed", ingress=[], egress=[])
    assert judge_stack("net-default-sg", NET, closed).sentences == []
    verdict = judge_stack("net-default-sg", NET)
    assert (verdict.about, "add a DefaultSecurityGroup" in verdict.sentences[0]) == ([NET.urn], True)
    [sentence] = judge_stack("net-default-sg", NET, in_vpc(DEFAULT_GROUP, egress=[{"protocol": "-1"}])).sentences
    assert "has egress rules" in sentence
    opened = resource(INGRESS_RULE, "ssh", uses={"securityGroupId": [f"{DEFAULT_GROUP}::closed"]})
    [sentence] = judge_stack("net-default-sg", NET, closed, opened).sentences
    assert sentence.startswith("ssh opens the default security group")


def test_a_network_keeps_a_record_of_who_tried_to_connect():
    assert judge_stack("net-flow-logs", NET, in_vpc(FLOW_LOG, trafficType="REJECT")).sentences == []
    for kept in ([], [in_vpc(FLOW_LOG, trafficType="ACCEPT")]):
        [sentence] = judge_stack("net-flow-logs", NET, *kept).sentences
        assert "add a FlowLog" in sentence


SAGEMAKER = ["sagemaker.api", "sagemaker.runtime", "sagemaker.featurestore-runtime"]
SERVICES = [*SAGEMAKER, "s3", "ecr.api", "ecr.dkr", "sts", "logs", "kms"]


def endpoints(*services, **inputs):
    return [in_vpc(VPC_ENDPOINT, each, serviceName=f"com.amazonaws.us-east-1.{each}", **inputs) for each in services]


def test_a_network_reaches_aws_without_the_internet():
    assert judge_stack("net-vpce-required", NET, *endpoints(*SERVICES)).sentences == []
    verdict = judge_stack("net-vpce-required", NET, *endpoints(*SERVICES[:-2]))
    assert (verdict.about, "no VPC endpoint for logs, kms" in verdict.sentences[0]) == ([NET.urn], True)
    public = endpoints("kms", vpcEndpointType="Interface", privateDnsEnabled=False)
    [sentence] = judge_stack("net-vpce-required", NET, *endpoints(*SERVICES[:-1]), *public).sentences
    assert "privateDnsEnabled is not set" in sentence


def test_an_input_that_a_rule_cannot_read_is_a_violation_and_not_a_crash():
    [sentence] = judge("net-sg-22", GROUP, {"ingress": ["nonsense"]}).sentences
    assert "this rule could not read it" in sentence


def test_every_control_has_something_that_passes_and_something_that_fails():
    of_stacks = {each.name for each in exposure.CONTROLS if each.stack_rule}
    controls = {each.name for each in exposure.CONTROLS} - of_stacks
    assert {each.name for each in network.CONTROLS} <= controls | of_stacks
    passes = {case[0] for case in ACCEPTED} | {each["control"] for each in RESOURCES if each["expect"] == "pass"}
    fails = {case[0] for case in REFUSED} | {each["control"] for each in RESOURCES if each["expect"] == "fail"}
    assert controls - passes == set() == controls - fails
