import json

import pytest
from botocore.exceptions import ClientError

from tests.served_models import ROLE, Serving, wait_until

SPECIFICATION = {
    "Containers": [{"Image": "sklearn:1", "ModelDataUrl": "s3://models/model.tar.gz"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["text/csv"],
}


@pytest.fixture(scope="module")
def aws(emulator):
    return Serving(emulator.endpoint)


@pytest.fixture
def group(aws):
    name = aws.name("group")
    aws.sagemaker.create_model_package_group(ModelPackageGroupName=name, ModelPackageGroupDescription="who works")
    return name


@pytest.fixture
def register(aws, group):
    def register(**more):
        more = {"InferenceSpecification": SPECIFICATION, **more}
        return aws.sagemaker.create_model_package(ModelPackageGroupName=group, **more)["ModelPackageArn"]

    return register


@pytest.fixture
def events(aws):
    """`events()`: the SageMaker events of this test, once one has come."""
    sqs, rules, name = aws.client("sqs"), aws.client("events"), aws.name("events")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    # CloudTrail's events of SageMaker's calls have the same source.
    pattern = {"source": ["aws.sagemaker"], "detail-type": [{"prefix": "SageMaker "}]}
    rules.put_rule(Name=name, EventPattern=json.dumps(pattern))
    rules.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    seen = []

    def receive():
        def look():
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            seen.extend(json.loads(message["Body"]) for message in messages)
            return messages

        wait_until(look, "an event comes")
        while look():
            pass
        return seen

    yield receive
    rules.remove_targets(Rule=name, Ids=["queue"])
    rules.delete_rule(Name=name)


def test_a_package_keeps_everything_it_was_registered_with(aws, register):
    told = {
        "ModelPackageDescription": "logistic",
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://models/metrics.json"}}
        },
        "DriftCheckBaselines": {
            "ModelDataQuality": {
                "Statistics": {"ContentType": "application/json", "S3Uri": "s3://models/baseline.json"}
            }
        },
        "CustomerMetadataProperties": {"auc": "0.9"},
        "MetadataProperties": {"CommitId": "abc"},
        "SkipModelValidation": "All",
        "SourceUri": "s3://source",
    }
    described = aws.sagemaker.describe_model_package(ModelPackageName=register(**told))
    assert {key: described.get(key) for key in told} == told
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["ModelPackageVersion"] == 1


def test_an_update_changes_what_it_names_and_nothing_else(aws, register):
    arn = register(CustomerMetadataProperties={"auc": "0.9", "rows": "10"})
    aws.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="good")
    aws.sagemaker.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"f1": "0.8"}, CustomerMetadataPropertiesToRemove=["rows"]
    )
    described = aws.sagemaker.describe_model_package(ModelPackageName=arn)
    assert (described["ModelApprovalStatus"], described["ApprovalDescription"]) == ("Approved", "good")
    assert described["CustomerMetadataProperties"] == {"auc": "0.9", "f1": "0.8"}


def test_the_number_of_a_deleted_version_is_not_given_again(aws, group, register):
    first, second = register(), register()
    aws.sagemaker.delete_model_package(ModelPackageName=second)
    third = register(ModelPackageDescription="third")
    assert [arn.rpartition("/")[2] for arn in (first, second, third)] == ["1", "2", "3"]
    assert aws.sagemaker.describe_model_package(ModelPackageName=third)["ModelPackageDescription"] == "third"
    listed = aws.sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    assert sorted(package["ModelPackageVersion"] for package in listed) == [1, 3]
    with pytest.raises(ClientError, match="not found"):
        aws.sagemaker.describe_model_package(ModelPackageName=second)


def test_an_approval_is_an_event(aws, group, register, events):
    arn = register()
    [created] = events()
    assert created["detail"]["ModelApprovalStatus"] == "PendingManualApproval"
    aws.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    event = events()[-1]
    assert (event["source"], event["detail-type"]) == ("aws.sagemaker", "SageMaker Model Package State Change")
    assert event["resources"] == [arn]
    detail = event["detail"]
    assert detail["ModelApprovalStatus"] == "Approved"
    assert detail["UpdatedModelPackageFields"] == ["ModelApprovalStatus"]
    assert (detail["ModelPackageGroupName"], detail["ModelPackageVersion"]) == (group, 1)
    assert detail["InferenceSpecification"]["Containers"][0]["Image"] == "sklearn:1"


def test_an_endpoint_tells_what_it_goes_through(aws, events):
    program = "def model_fn(d): pass\n"
    config = aws.config(aws.model(program))
    endpoint = aws.serve(config)
    aws.sagemaker.delete_endpoint(EndpointName=endpoint)

    def statuses():
        return [event["detail"]["EndpointStatus"] for event in events() if event["detail"]["EndpointName"] == endpoint]

    seen = wait_until(lambda: (found := statuses())[-1] == "DELETING" and found, "it says that it is deleted")
    assert seen == ["CREATING", "IN_SERVICE", "DELETING"]


def test_a_group_that_holds_packages_cannot_be_deleted(aws, group, register):
    arn = register()
    with pytest.raises(ClientError, match="still contains model packages"):
        aws.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    aws.sagemaker.delete_model_package(ModelPackageName=arn)
    aws.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        aws.sagemaker.describe_model_package_group(ModelPackageGroupName=group)


def test_a_group_has_a_policy_until_it_is_deleted(aws, group):
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    for name in (
        group,
        aws.sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"],
    ):
        aws.sagemaker.put_model_package_group_policy(ModelPackageGroupName=name, ResourcePolicy=policy)
        assert aws.sagemaker.get_model_package_group_policy(ModelPackageGroupName=name)["ResourcePolicy"] == policy
        aws.sagemaker.delete_model_package_group_policy(ModelPackageGroupName=name)
        with pytest.raises(ClientError, match="Cannot find resource policy"):
            aws.sagemaker.get_model_package_group_policy(ModelPackageGroupName=name)


def test_a_group_that_exists_is_not_replaced(aws, group):
    with pytest.raises(ClientError, match="already existing"):
        aws.sagemaker.create_model_package_group(ModelPackageGroupName=group)


def test_tags_are_put_over_each_other(aws, group, register):
    feature_group = aws.name("features")
    aws.sagemaker.create_feature_group(
        FeatureGroupName=feature_group,
        RecordIdentifierFeatureName="id",
        EventTimeFeatureName="at",
        FeatureDefinitions=[{"FeatureName": name, "FeatureType": "String"} for name in ("id", "at")],
        OnlineStoreConfig={"EnableOnlineStore": True},
        Tags=[{"Key": "owner", "Value": "a"}],
    )
    arns = [
        register(),
        aws.sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"],
        aws.sagemaker.describe_feature_group(FeatureGroupName=feature_group)["FeatureGroupArn"],
    ]
    for arn in arns:
        aws.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "owner", "Value": "b"}, {"Key": "tier", "Value": "1"}])
        aws.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "owner", "Value": "c"}])
        aws.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["tier"])
        assert aws.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "owner", "Value": "c"}]


@pytest.mark.parametrize("kind", ["endpoint", "feature-group", "model-package", "model", "hub"])
def test_tags_of_what_is_not_there_are_an_error(aws, kind):
    arn = f"arn:aws:sagemaker:eu-central-1:123456789012:{kind}/nothing"
    with pytest.raises(ClientError, match="Could not find"):
        aws.sagemaker.list_tags(ResourceArn=arn)


def test_a_model_and_an_endpoint_configuration_keep_what_moto_drops(aws):
    name = aws.name("model")
    aws.sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "sklearn:1", "ModelDataUrl": "s3://models/model.tar.gz"},
        EnableNetworkIsolation=True,
    )
    described = aws.sagemaker.describe_model(ModelName=name)
    assert described["EnableNetworkIsolation"] is True
    assert "VpcConfig" not in described
    variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.g6.xlarge", "InitialInstanceCount": 1}
    config = aws.config(name, ShadowProductionVariants=[{**variant, "VariantName": "shadow"}])
    described = aws.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    assert described["ShadowProductionVariants"] == [{**variant, "VariantName": "shadow"}]
    assert "DataCaptureConfig" not in described


def test_an_instance_type_that_sagemaker_does_not_have_is_refused(aws):
    name = aws.name("model")
    aws.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "a"})
    variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.g99.huge", "InitialInstanceCount": 1}
    with pytest.raises(ClientError, match="enum value set"):
        aws.sagemaker.create_endpoint_config(EndpointConfigName=aws.name("config"), ProductionVariants=[variant])
