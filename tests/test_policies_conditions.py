"""Actions whose resources say too little need a Condition that says the rest."""

import json
from typing import Any

import pytest
from judging import KEY, allow, document, judge, judge_stack, resource

ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
BUCKET = "arn:aws:s3:::data"
JOB = "arn:aws:sagemaker:us-east-1:123456789012:training-job/*"
GUARDED = {
    "ArnEquals": {"sagemaker:OutputKmsKeyArn": KEY},
    "Bool": {"sagemaker:NetworkIsolation": "true"},
    "ForAllValues:StringEquals": {
        "sagemaker:InstanceTypes": ["ml.m5.large"],
        "sagemaker:VpcSubnets": ["subnet-1"],
        "sagemaker:VpcSecurityGroupIds": ["sg-1"],
    },
    "Null": {"sagemaker:VpcSubnets": "false", "sagemaker:VpcSecurityGroupIds": "false"},
}


def said(**statement: Any) -> list[str]:
    return judge("iam-conditions", ROLE_POLICY, {"policy": allow(**statement)}).sentences


def test_who_lists_a_bucket_names_the_prefix() -> None:
    assert said(Action="s3:ListBucket", Resource=BUCKET, Condition={"StringLike": {"s3:prefix": "team/*"}}) == []
    [sentence] = said(Action="s3:ListBucket", Resource=BUCKET)
    assert sentence == (
        "policy, statement 1: allows s3:ListBucket without a Condition on s3:prefix: set one, "
        "or it reads the names of everything in the bucket"
    )


@pytest.mark.parametrize(
    "condition",
    [
        {"StringLike": {"s3:prefix": "*"}},
        {"StringLikeIfExists": {"s3:prefix": "team/*"}},
        {"ForAllValues:StringLike": {"s3:prefix": "team/*"}},
        {"StringNotLike": {"s3:prefix": "team/*"}},
    ],
)
def test_a_condition_that_holds_for_everyone_is_none(condition: dict[str, Any]) -> None:
    assert len(said(Action="s3:ListBucket", Resource=BUCKET, Condition=condition)) == 1


def test_a_wildcard_in_an_action_asks_for_what_its_actions_ask_for() -> None:
    assert "s3:prefix" in " ".join(said(Action="s3:List*", Resource=BUCKET))


def test_who_starts_training_says_where_with_what_and_encrypted_by_what() -> None:
    assert said(Action="sagemaker:CreateTrainingJob", Resource=JOB, Condition=GUARDED) == []


@pytest.mark.parametrize("key", ["Bool", "ArnEquals", "Null", "ForAllValues:StringEquals"])
def test_each_of_a_jobs_conditions_is_missed(key: str) -> None:
    condition = {name: tests for name, tests in GUARDED.items() if name != key}
    assert said(Action="sagemaker:CreateTrainingJob", Resource=JOB, Condition=condition)


def test_who_registers_versions_does_not_approve_them() -> None:
    package = "arn:aws:sagemaker:us-east-1:123456789012:model-package/it/*"
    for condition in (
        {"Null": {"sagemaker:ModelApprovalStatus": "true"}},
        {"StringEquals": {"sagemaker:ModelApprovalStatus": "Rejected"}},
    ):
        assert said(Action="sagemaker:UpdateModelPackage", Resource=package, Condition=condition) == []
    assert said(Action="sagemaker:UpdateModelPackage", Resource=package)


def test_machines_are_started_with_their_clusters_tag_and_images_need_none() -> None:
    machine, image = "arn:aws:ec2:us-east-1:*:instance/*", "arn:aws:ec2:us-east-1::image/*"
    ours = {"StringEquals": {"aws:RequestTag/kubernetes.io/cluster/it": "owned"}}
    assert said(Action="ec2:RunInstances", Resource=machine, Condition=ours) == []
    assert said(Action="ec2:RunInstances", Resource=image) == []
    assert said(Action="ec2:RunInstances", Resource=machine)


def function(trusted: str, **statement: Any) -> list[str]:
    role = resource(
        ROLE, "it", name="it", assumeRolePolicy=allow(Principal={"Service": trusted}, Action="sts:AssumeRole")
    )
    policy = resource(ROLE_POLICY, "it", uses={"role": [f"{ROLE}::it"]}, role="it", policy=allow(**statement))
    return judge_stack("kms-code-via-service", role, policy).sentences


def test_a_functions_code_decrypts_through_a_service_only() -> None:
    through = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    assert function("lambda.amazonaws.com", Action="kms:Decrypt", Resource=KEY, Condition=through) == []
    assert function("scheduler.amazonaws.com", Action="kms:Decrypt", Resource=KEY) == []
    [sentence] = function("lambda.amazonaws.com", Action="kms:Decrypt", Resource=KEY)
    assert "lets code of a function or a pod use a key for anything" in sentence


def test_what_is_known_after_the_deployment_only_is_not_decided() -> None:
    role = resource(
        ROLE, "it", name="it", assumeRolePolicy=json.dumps({"Statement": {"Principal": "lambda.amazonaws.com"}})
    )
    policy = resource(ROLE_POLICY, "it", uses={"role": [f"{ROLE}::it"]}, policy="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
    assert judge_stack("kms-code-via-service", role, policy).unknown == ["policy"]


def test_what_lambda_does_with_a_functions_role_needs_none_where_its_code_may_not() -> None:
    join = {
        "Effect": "Allow",
        "Action": "ec2:CreateNetworkInterface",
        "Resource": "arn:aws:ec2:us-east-1:1:network-interface/*",
    }
    not_by_code = {
        "Effect": "Deny",
        "Action": "ec2:CreateNetworkInterface",
        "Resource": "*",
        "Condition": {"ArnEquals": {"lambda:SourceFunctionArn": "arn:aws:lambda:us-east-1:1:function:it"}},
    }
    assert judge("iam-conditions", ROLE_POLICY, {"policy": document(join, not_by_code)}).sentences == []
    assert judge("iam-conditions", ROLE_POLICY, {"policy": document(join)}).sentences


@pytest.mark.parametrize("operator", ["StringEqualsIfExists", "ForAllValues:StringEquals"])
def test_a_condition_that_restricts_nobody_is_refused(operator: str) -> None:
    statement = {"Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:us-east-1:1:subnet/*"}
    for name, found in (("StringEquals", 0), (operator, 1)):
        policy = allow(**statement, Condition={name: {"aws:ResourceAccount": "123456789012"}})
        assert len(judge("iam-conditions-count", ROLE_POLICY, {"policy": policy}).sentences) == found


def test_who_stops_things_by_tags_names_the_product_and_leaves_what_is_protected() -> None:
    tags = {f"aws:ResourceTag/{each}": "it" for each in ("owner", "product", "environment")}
    whole = {"StringEquals": tags, "Null": {"aws:ResourceTag/slipway:protected": "true"}}
    stop = {"Action": "sagemaker:StopTrainingJob", "Resource": "arn:aws:sagemaker:us-east-1:1:training-job/*"}

    def judged(condition: dict[str, Any]) -> list[str]:
        return judge("iam-tags-whole", ROLE_POLICY, {"policy": allow(**stop, Condition=condition)}).sentences

    assert judged(whole) == []
    assert "also protected ones" in " ".join(judged({"StringEquals": tags}))
    some = {key: value for key, value in tags.items() if "owner" not in key}
    assert "not by aws:ResourceTag/owner" in " ".join(judged({**whole, "StringEquals": some}))


def test_a_role_for_pods_names_all_of_cluster_namespace_and_account() -> None:
    tags = {f"aws:RequestTag/{each}": "it" for each in ("eks-cluster-name", "kubernetes-namespace")}
    whole = {**tags, "aws:RequestTag/kubernetes-service-account": "it"}
    for condition, found in ((whole, 0), (tags, 1)):
        trust = allow(
            Principal={"Service": "pods.eks.amazonaws.com"},
            Action="sts:AssumeRole",
            Condition={"StringEquals": condition},
        )
        assert len(judge("iam-trust-pods", ROLE, {"assumeRolePolicy": trust}).sentences) == found
