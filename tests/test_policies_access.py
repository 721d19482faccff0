"""Each rule of the access pack accepts what is needed, refuses what is too much, and defers what is not known yet."""

import json
from dataclasses import replace

import pytest
from judging import ACCOUNT, allow, document, judge, judge_stack, resource

from policies.access import POLICIES
from policies.access.exposure import BUCKET, PUBLIC_ACCESS_BLOCK
from policies.access.identity import DOCUMENTS, ROLE
from policies.rules import UNKNOWN

ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
QUEUE_POLICY = "aws:sqs/queuePolicy:QueuePolicy"
KEY = "aws:kms/key:Key"
VPC_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
PERMISSION = "aws:lambda/permission:Permission"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
MODEL = "aws:sagemaker/model:Model"
JOB = "aws:sagemaker/trainingJob:TrainingJob"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
CLUSTER = "aws:eks/cluster:Cluster"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
LOGS = "aws:cloudwatch/logGroup:LogGroup"
POD = "kubernetes:core/v1:Pod"
DAEMONS = "kubernetes:apps/v1:DaemonSet"
CLUSTER_ROLE = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole"
BINDING = "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"
NAMESPACE = "kubernetes:core/v1:Namespace"
REST_API = "aws:apigateway/restApi:RestApi"

ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
OURS = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
SERVICE = {"Service": "sagemaker.amazonaws.com"}
BUCKET_OBJECTS = "arn:aws:s3:::data/*"
OPEN = dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)
PRIVATE = {
    "vpcConfig": {"endpointPublicAccess": False, "endpointPrivateAccess": True},
    "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
}
IN_VPC = {"subnets": ["subnet-a"], "securityGroupIds": ["sg-a"]}


def policy(**statement):
    return {"policy": allow(**statement)}


def trust(principal, **rest):
    return {"assumeRolePolicy": allow(Principal=principal, Action="sts:AssumeRole", **rest)}


def metadata(tokens="required", hops=1):
    return {"metadataOptions": {"httpTokens": tokens, "httpPutResponseHopLimit": hops}}


def api(security):
    """An API with one method, whose `security` this is."""
    header = {"type": "apiKey", "in": "header", "name": "Authorization"}
    schemes = {"iam": {**header, "x-amazon-apigateway-authtype": "awsSigv4"}, "key": {**header, "name": "x-api-key"}}
    paths = {"/predictions": {"post": {"security": security}}}
    return {"body": json.dumps({"paths": paths, "components": {"securitySchemes": schemes}})}


def pod(context=None, **spec):
    container = {"name": "c", "securityContext": {"allowPrivilegeEscalation": False, **(context or {})}}
    return {"spec": {"containers": [container], **spec}}


ACCEPTED = [
    ("policies-are-documents", ROLE_POLICY, policy(Action="s3:GetObject", Resource=BUCKET_OBJECTS)),
    ("policies-are-documents", ROLE_POLICY, {"policy": json.loads(allow(Action="s3:GetObject"))}),
    ("no-wildcard-actions", ROLE_POLICY, policy(Action=["s3:GetObject", "s3:Get*"], Resource=BUCKET_OBJECTS)),
    (
        "no-wildcard-actions",
        QUEUE_POLICY,
        {"policy": document({"Effect": "Deny", "Principal": "*", "Action": "sqs:*"})},
    ),
    ("no-wildcard-actions", KEY, policy(Principal=ROOT, Action="kms:*", Resource="*")),
    ("no-wildcard-actions", ROLE, trust(SERVICE)),
    ("no-wildcard-resources", ROLE_POLICY, policy(Action="s3:GetObject", Resource=BUCKET_OBJECTS)),
    ("no-wildcard-resources", ROLE_POLICY, policy(Action=["ec2:DescribeSubnets"], Resource="*")),
    ("no-wildcard-resources", ROLE_POLICY, policy(Action="ecr:GetAuthorizationToken", Resource=["*"])),
    (
        "no-wildcard-resources",
        ROLE_POLICY,
        policy(Action="kms:Decrypt", Resource="*", Condition={"StringEquals": {"kms:ViaService": "s3.amazonaws.com"}}),
    ),
    ("no-wildcard-resources", ROLE_POLICY, policy(Action="s3:GetObject", Resource="(known after up: arn of data)")),
    ("no-wildcard-resources", KEY, policy(Principal=ROOT, Action="kms:*", Resource="*")),
    ("roles-are-passed-by-name", ROLE_POLICY, policy(Action="iam:PassRole", Resource=f"arn:aws:iam::{ACCOUNT}:role/a")),
    (
        "roles-are-passed-by-name",
        ROLE_POLICY,
        policy(
            Action="iam:PassRole",
            Resource=f"arn:aws:iam::{ACCOUNT}:role/churn-*",
            Condition={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        ),
    ),
    ("roles-are-passed-by-name", ROLE_POLICY, policy(Action="*", Resource=BUCKET_OBJECTS)),
    ("no-inverted-statements", ROLE_POLICY, {"policy": document({"Effect": "Deny", "NotAction": "s3:*"})}),
    ("no-wildcard-principals", QUEUE_POLICY, policy(Principal=ROOT, Action="sqs:SendMessage")),
    ("no-wildcard-principals", QUEUE_POLICY, policy(Principal="*", Action="sqs:SendMessage", Condition=OURS)),
    (
        "no-wildcard-principals",
        KEY,
        policy(
            Principal={"AWS": "*"},
            Action="kms:Decrypt",
            Condition={"StringEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/a"}},
        ),
    ),
    ("no-wildcard-principals", ROLE, trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/deployer"})),
    ("services-act-only-for-us", ROLE, trust(SERVICE, Condition=OURS)),
    ("services-act-only-for-us", ROLE, trust({"Service": "ec2.amazonaws.com"})),
    (
        "services-act-only-for-us",
        QUEUE_POLICY,
        policy(
            Principal={"Service": "events.amazonaws.com"},
            Action="sqs:SendMessage",
            Condition={"ArnEquals": {"aws:SourceArn": f"arn:aws:events:us-east-1:{ACCOUNT}:rule/a"}},
        ),
    ),
    (
        "federated-logins-are-pinned",
        ROLE,
        trust(
            {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/A"},
            Condition={
                "StringEquals": {"oidc.eks.us-east-1.amazonaws.com/id/A:sub": "system:serviceaccount:churn:trainer"}
            },
        ),
    ),
    (
        "endpoints-stay-in-the-account",
        VPC_ENDPOINT,
        policy(Principal="*", Action="*", Resource="*", Condition={"StringEquals": {"aws:ResourceAccount": ACCOUNT}}),
    ),
    (
        "endpoints-stay-in-the-account",
        VPC_ENDPOINT,
        policy(Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*"),
    ),
    ("no-admin-policies", ATTACHMENT, {"policyArn": "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"}),
    ("no-admin-policies", ROLE, {"managedPolicyArns": [f"arn:aws:iam::{ACCOUNT}:policy/OurFullAccess"]}),
    ("no-users", ROLE, {}),
    ("functions-know-their-callers", PERMISSION, {"principal": "events.amazonaws.com", "sourceArn": UNKNOWN}),
    ("apis-know-their-callers", REST_API, api([{"iam": [], "key": []}])),
    ("apis-know-their-callers", REST_API, api([{"iam": []}, {"iam": []}])),
    ("nothing-is-public", PUBLIC_ACCESS_BLOCK, OPEN),
    ("nothing-is-public", "aws:ec2/subnet:Subnet", {}),
    ("clusters-are-private", CLUSTER, PRIVATE),
    ("clusters-are-private", "aws:eks/accessEntry:AccessEntry", {"kubernetesGroups": ["team"]}),
    ("instance-metadata-is-guarded", TEMPLATE, metadata()),
    ("notebooks-are-isolated", JOB, {"enableNetworkIsolation": True, "vpcConfig": IN_VPC}),
    ("notebooks-are-isolated", JOB, {"enableNetworkIsolation": True, "vpcConfig": UNKNOWN}),
    ("security-groups-are-closed", INGRESS, {"cidrIpv4": "10.0.0.0/16", "ipProtocol": "tcp"}),
    ("security-groups-are-closed", EGRESS, {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": 443}),
    ("security-groups-are-closed", GROUP, {"ingress": [], "egress": []}),
    ("logs-are-kept-and-end", LOGS, {"retentionInDays": 30}),
    ("pods-are-confined", POD, pod()),
    (
        "pods-are-confined",
        DAEMONS,
        {"spec": {"template": pod(volumes=[{"hostPath": {"path": "/var/lib/kubelet/device-plugins"}}])}},
    ),
    ("cluster-roles-name-what-they-allow", CLUSTER_ROLE, {"rules": [{"verbs": ["get"], "resources": ["pods"]}]}),
    (
        "namespaces-enforce-pod-security",
        NAMESPACE,
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    ),
]

REFUSED = [
    ("policies-are-documents", ROLE_POLICY, {"policy": "{"}, "policy is no IAM document: not JSON"),
    ("policies-are-documents", ROLE_POLICY, {"policy": "{}"}, "it has no Statement"),
    ("no-wildcard-actions", ROLE_POLICY, policy(Action="*", Resource=BUCKET_OBJECTS), "allows *: name the actions"),
    ("no-wildcard-actions", ROLE_POLICY, policy(Action=["s3:GetObject", "s3:*"], Resource="a"), "allows s3:*"),
    ("no-wildcard-actions", ROLE, {"inlinePolicies": [{"policy": allow(Action="ec2:*")}]}, "inlinePolicies.0.policy"),
    ("no-wildcard-actions", KEY, policy(Principal={"AWS": "*"}, Action="kms:*"), "allows kms:*"),
    ("no-wildcard-actions", QUEUE_POLICY, policy(Principal=ROOT, Action="sqs:*"), "allows sqs:*"),
    ("no-wildcard-resources", ROLE_POLICY, policy(Action="s3:GetObject", Resource="*"), "s3:GetObject on everything"),
    ("no-wildcard-resources", ROLE_POLICY, policy(Action="s3:GetObject", Resource="arn:aws:s3:::*"), "on everything"),
    (
        "no-wildcard-resources",
        ROLE_POLICY,
        policy(Action="kms:Decrypt", Resource="arn:aws:kms:*:*:key/*"),
        "everything",
    ),
    (
        "no-wildcard-resources",
        ROLE_POLICY,
        policy(Action=["ec2:DescribeSubnets", "ec2:RunInstances"], Resource="*"),
        "allows ec2:RunInstances on everything",
    ),
    (
        "no-wildcard-resources",
        ROLE_POLICY,
        policy(Action="kms:Decrypt", Resource="*", Condition={"StringNotEquals": {"kms:ViaService": "s3"}}),
        "kms:Decrypt on everything",
    ),
    (
        "no-wildcard-resources",
        ROLE_POLICY,
        policy(Action="kms:Decrypt", Resource="*", Condition={"StringLike": {"kms:ViaService": "*"}}),
        "kms:Decrypt on everything",
    ),
    ("roles-are-passed-by-name", ROLE_POLICY, policy(Action="iam:Pass*", Resource="*"), "lets every role be passed"),
    (
        "roles-are-passed-by-name",
        ROLE_POLICY,
        policy(Action="iam:PassRole", Resource=f"arn:aws:iam::{ACCOUNT}:role/churn-*"),
        "iam:PassedToService",
    ),
    ("no-inverted-statements", ROLE_POLICY, policy(NotAction="iam:*", Resource="a"), "allows by NotAction"),
    ("no-inverted-statements", ROLE_POLICY, policy(Action="s3:Get*", NotResource="a"), "allows by NotResource"),
    ("no-wildcard-principals", QUEUE_POLICY, policy(Principal="*", Action="sqs:SendMessage"), "lets everyone in"),
    (
        "no-wildcard-principals",
        QUEUE_POLICY,
        policy(Principal="*", Action="sqs:SendMessage", Condition={"StringEqualsIfExists": {"aws:SourceAccount": "1"}}),
        "lets everyone in",
    ),
    (
        "no-wildcard-principals",
        QUEUE_POLICY,
        policy(Principal="*", Action="sqs:SendMessage", Condition={"ArnLike": {"aws:SourceArn": "arn:aws:*:*:*"}}),
        "lets everyone in",
    ),
    ("no-wildcard-principals", ROLE, trust({"AWS": "arn:aws:iam::*:role/admin"}), "lets everyone in"),
    ("no-wildcard-principals", ROLE, trust(ROOT), "everyone in an account"),
    ("services-act-only-for-us", ROLE, trust(SERVICE), "lets sagemaker.amazonaws.com in on anyone's behalf"),
    (
        "services-act-only-for-us",
        ROLE,
        trust({"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}),
        "lets lambda.amazonaws.com in",
    ),
    (
        "federated-logins-are-pinned",
        ROLE,
        trust(
            {"Federated": "arn:aws:iam::1:oidc-provider/token.actions.githubusercontent.com"},
            Condition={"StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}},
        ),
        "pins its :sub",
    ),
    *(
        (
            "federated-logins-are-pinned",
            ROLE,
            trust(
                {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"},
                Condition={"StringLike": {"token.actions.githubusercontent.com:sub": subject}},
            ),
            "pins its :sub",
        )
        for subject in ("repo:*", "repo:ours/*", "workflow:ci:repo:ours/churn:ref:refs/heads/main")
    ),
    ("no-wildcard-actions", ROLE_POLICY, {"policy": document({"Action": "*", "Resource": "a"})}, "allows *"),
    ("no-wildcard-principals", "aws:sqs/queue:Queue", policy(Principal="*", Action="sqs:SendMessage"), "everyone in"),
    (
        "no-wildcard-principals",
        "aws:s3/bucket:Bucket",
        policy(Principal="*", Action="s3:GetObject", Condition={"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*"}}),
        "lets everyone in",
    ),
    ("endpoints-stay-in-the-account", VPC_ENDPOINT, {}, "policy is not set"),
    ("endpoints-stay-in-the-account", VPC_ENDPOINT, policy(Principal="*", Action="*", Resource="*"), "any account"),
    ("no-admin-policies", ATTACHMENT, {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}, "Administrator"),
    ("no-admin-policies", ATTACHMENT, {"policyArn": "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"}, "FullAccess"),
    ("no-admin-policies", ROLE, {"managedPolicyArns": ["arn:aws:iam::aws:policy/PowerUserAccess"]}, "PowerUser"),
    ("no-users", "aws:iam/accessKey:AccessKey", {}, "use a role"),
    ("functions-know-their-callers", PERMISSION, {"principal": "events.amazonaws.com"}, "on anyone's behalf"),
    ("apis-know-their-callers", REST_API, api([]), "POST /predictions answers everyone"),
    ("apis-know-their-callers", REST_API, api([{"key": []}]), "answers everyone"),
    ("apis-know-their-callers", REST_API, api([{"iam": []}, {}]), "answers everyone"),
    ("apis-know-their-callers", REST_API, api([{"unknown": []}]), "can read"),
    ("apis-know-their-callers", REST_API, {"body": "openapi: 3.0.3"}, "can read"),
    ("apis-know-their-callers", REST_API, {"name": "api"}, "body is not set"),
    ("functions-know-their-callers", PERMISSION, {"principal": "*", "sourceArn": "a"}, "principal is *"),
    ("nothing-is-public", PUBLIC_ACCESS_BLOCK, {**OPEN, "blockPublicPolicy": False}, "blockPublicPolicy is False"),
    ("nothing-is-public", "aws:ec2/subnet:Subnet", {"mapPublicIpOnLaunch": True}, "from the Internet"),
    (
        "clusters-are-private",
        CLUSTER,
        {**PRIVATE, "vpcConfig": {"endpointPrivateAccess": True}},
        "endpointPublicAccess",
    ),
    ("clusters-are-private", "aws:eks/accessEntry:AccessEntry", {"kubernetesGroups": ["system:masters"]}, "masters"),
    ("instance-metadata-is-guarded", TEMPLATE, metadata(tokens="optional"), "set 'required'"),
    ("instance-metadata-is-guarded", TEMPLATE, metadata(hops=2), "httpPutResponseHopLimit is 2"),
    ("notebooks-are-isolated", JOB, {"vpcConfig": IN_VPC}, "enableNetworkIsolation is not set"),
    (
        "notebooks-are-isolated",
        JOB,
        {"enableNetworkIsolation": True, "vpcConfig": {**IN_VPC, "subnets": []}},
        "subnets",
    ),
    ("security-groups-are-closed", INGRESS, {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp"}, "lets 0.0.0.0/0 in"),
    ("security-groups-are-closed", INGRESS, {"cidrIpv4": "128.0.0.0/1", "ipProtocol": "tcp"}, "lets 128.0.0.0/1 in"),
    ("security-groups-are-closed", INGRESS, {"cidrIpv6": "::/0", "ipProtocol": "-1"}, "lets ::/0 in"),
    ("security-groups-are-closed", EGRESS, {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "-1"}, "lets everything out"),
    (
        "security-groups-are-closed",
        GROUP,
        {"ingress": [{"protocol": "tcp", "cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]}]},
        "ingress.0.cidrBlocks.1 lets 0.0.0.0/0 in",
    ),
    ("logs-are-kept-and-end", LOGS, {}, "kept for ever"),
    ("logs-are-kept-and-end", LOGS, {"retentionInDays": 1}, "keep at least 7"),
    ("pods-are-confined", POD, pod({"privileged": True}), "containers.0.securityContext.privileged is true"),
    ("pods-are-confined", POD, pod({"allowPrivilegeEscalation": None}), "allowPrivilegeEscalation is not false"),
    ("pods-are-confined", POD, pod(hostNetwork=True), "spec.hostNetwork is true"),
    ("pods-are-confined", POD, pod(volumes=[{"hostPath": {"path": "/"}}]), "mounts the node's /"),
    ("cluster-roles-name-what-they-allow", CLUSTER_ROLE, {"rules": [{"verbs": ["*"]}]}, "rules.0.verbs is *"),
    ("cluster-roles-name-what-they-allow", BINDING, {"roleRef": {"name": "cluster-admin"}}, "is cluster-admin"),
    ("namespaces-enforce-pod-security", NAMESPACE, {"metadata": {"name": "team"}}, "metadata.labels: set pod-security"),
]

UNDECIDED = [
    ("no-wildcard-actions", ROLE_POLICY, {"policy": UNKNOWN}, "policy"),
    ("no-wildcard-resources", ROLE, {"inlinePolicies": [{"policy": UNKNOWN}]}, "inlinePolicies.0.policy"),
    ("no-admin-policies", ATTACHMENT, {"policyArn": UNKNOWN}, "policyArn"),
    ("nothing-is-public", PUBLIC_ACCESS_BLOCK, {**OPEN, "blockPublicPolicy": UNKNOWN}, "blockPublicPolicy"),
    ("clusters-are-private", CLUSTER, {**PRIVATE, "vpcConfig": UNKNOWN}, "vpcConfig"),
    ("security-groups-are-closed", INGRESS, {"cidrIpv4": UNKNOWN, "ipProtocol": "tcp"}, "cidrIpv4"),
    ("logs-are-kept-and-end", LOGS, {"retentionInDays": UNKNOWN}, "retentionInDays"),
    ("pods-are-confined", POD, {"spec": UNKNOWN}, "spec"),
]


@pytest.mark.parametrize("rule, kind, inputs", ACCEPTED)
def test_what_is_needed_is_accepted(rule, kind, inputs):
    verdict = judge(rule, kind, inputs)
    assert (verdict.sentences, verdict.unknown) == ([], [])


@pytest.mark.parametrize("rule, kind, inputs, words", REFUSED)
def test_what_is_too_much_is_refused_with_what_to_set(rule, kind, inputs, words):
    [sentence] = judge(rule, kind, inputs).sentences
    assert words in sentence


@pytest.mark.parametrize("rule, kind, inputs, path", UNDECIDED)
def test_what_only_a_deployment_will_know_is_deferred_not_passed(rule, kind, inputs, path):
    verdict = judge(rule, kind, inputs)
    assert verdict.sentences == []
    assert path in verdict.unknown


def test_a_violation_names_the_statement_it_is_in():
    good = {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": BUCKET_OBJECTS}
    inputs = {"policy": document(good, {**good, "Sid": "Everything", "Action": "s3:*"})}
    [sentence] = judge("no-wildcard-actions", ROLE_POLICY, inputs).sentences
    assert sentence.startswith("policy, Everything: ")


def test_every_bucket_has_a_public_access_block():
    data, logs = resource(BUCKET, "data", bucket="data-1"), resource(BUCKET, "logs", bucket="logs-1")
    block = resource(PUBLIC_ACCESS_BLOCK, "data", uses={"bucket": [f"{BUCKET}::data"]})
    assert judge_stack("buckets-block-public-access", data, block).sentences == []
    verdict = judge_stack("buckets-block-public-access", data, logs, block)
    assert verdict.about == [logs.urn]
    assert "bucket logs can be made public" in verdict.sentences[0]


def served(**variant):
    """A model without isolation, and the configuration that serves it."""
    model = resource(MODEL, "model", name="employment-1")
    used = {"uses": {"productionVariants": [f"{MODEL}::model"]}}
    return model, resource(CONFIGURATION, "serves", **used, productionVariants=[{"variantName": "live", **variant}])


def test_a_model_on_instances_is_isolated_in_our_network():
    model, configuration = served(instanceType="ml.m5.large")
    verdict = judge_stack("models-are-isolated", model, configuration)
    assert {"enableNetworkIsolation", "vpcConfig.subnets", "vpcConfig.securityGroupIds"} == {
        sentence.split()[0] for sentence in verdict.sentences
    }
    assert judge_stack("models-are-isolated", model).sentences, "a model that nothing serves yet is held to it as well"
    isolated = resource(MODEL, "model", name="employment-1", enableNetworkIsolation=True, vpcConfig=IN_VPC)
    assert judge_stack("models-are-isolated", isolated, configuration).sentences == []


def test_a_model_that_only_serverless_variants_run_cannot_be_isolated():
    model, serverless = served(serverlessConfig={"memorySizeInMb": 2048, "maxConcurrency": 5})
    assert judge_stack("models-are-isolated", model, serverless).sentences == []
    _, instances = served(instanceType="ml.m5.large")
    assert judge_stack("models-are-isolated", model, serverless, replace(instances, urn="another")).sentences


def test_an_input_that_a_rule_cannot_read_is_a_violation_and_not_a_crash():
    [sentence] = judge("security-groups-are-closed", GROUP, {"ingress": ["nonsense"]}).sentences
    assert "this rule could not read it" in sentence


@pytest.mark.parametrize("kind", [kind for kind in DOCUMENTS if kind != VPC_ENDPOINT])
def test_every_document_is_read(kind):
    path = DOCUMENTS[kind][-1].removesuffix("?")
    assert judge("policies-are-documents", kind, {path: "nonsense"}).sentences


def test_every_rule_has_a_case_that_passes_and_one_that_fails():
    rules = {each.name for each in POLICIES} - {"buckets-block-public-access", "models-are-isolated"}
    assert rules == {case[0] for case in ACCEPTED} == {case[0] for case in REFUSED}
