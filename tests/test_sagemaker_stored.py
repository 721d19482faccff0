"""What the platform's stacks store in EKS, Budgets and Application Auto Scaling, through boto3."""

import pytest
from botocore.exceptions import ClientError

from tests.served_models import ROLE, Serving

ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def aws(emulator):
    return Serving(emulator.endpoint)


@pytest.fixture(scope="module")
def eks(aws):
    return aws.client("eks")


@pytest.fixture
def cluster(aws, eks):
    name = aws.name("cluster")
    eks.create_cluster(
        name=name,
        roleArn=ROLE,
        resourcesVpcConfig={"subnetIds": ["subnet-1"], "endpointPublicAccess": False},
        accessConfig={"authenticationMode": "API"},
        upgradePolicy={"supportType": "STANDARD"},
        deletionProtection=True,
    )
    return name


def test_a_cluster_keeps_what_moto_drops(eks, cluster):
    described = eks.describe_cluster(name=cluster)["cluster"]
    assert described["accessConfig"]["authenticationMode"] == "API"
    assert described["upgradePolicy"] == {"supportType": "STANDARD"}
    assert described["deletionProtection"] is True
    update = eks.update_cluster_config(name=cluster, accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"})
    assert update["update"]["status"] == "Successful"
    described = eks.describe_cluster(name=cluster)["cluster"]
    assert described["accessConfig"]["authenticationMode"] == "API_AND_CONFIG_MAP"
    assert described["upgradePolicy"] == {"supportType": "STANDARD"}


def test_a_cluster_and_its_nodes_get_another_version(eks, cluster):
    eks.update_cluster_version(name=cluster, version="1.34")
    assert eks.describe_cluster(name=cluster)["cluster"]["version"] == "1.34"
    group = {"clusterName": cluster, "nodegroupName": "gpu"}
    eks.create_nodegroup(
        **group, subnets=["subnet-1"], nodeRole=ROLE, updateConfig={"maxUnavailable": 1}, tags={"owner": "a"}
    )
    eks.update_nodegroup_version(**group, version="1.34")
    described = eks.describe_nodegroup(**group)["nodegroup"]
    assert (described["version"], described["updateConfig"]) == ("1.34", {"maxUnavailable": 1})
    eks.tag_resource(resourceArn=described["nodegroupArn"], tags={"tier": "1"})
    assert eks.list_tags_for_resource(resourceArn=described["nodegroupArn"])["tags"] == {"owner": "a", "tier": "1"}


def test_an_addon_is_created_changed_and_deleted(eks, cluster):
    addon = {"clusterName": cluster, "addonName": "vpc-cni"}
    created = eks.create_addon(**addon, addonVersion="v1", configurationValues='{"a": 1}', tags={"owner": "a"})["addon"]
    assert created["status"] == "ACTIVE"
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.create_addon(**addon)
    eks.update_addon(**addon, addonVersion="v2")
    described = eks.describe_addon(**addon)["addon"]
    assert (described["addonVersion"], described["configurationValues"]) == ("v2", '{"a": 1}')
    assert eks.list_addons(clusterName=cluster)["addons"] == ["vpc-cni"]
    eks.untag_resource(resourceArn=described["addonArn"], tagKeys=["owner"])
    assert eks.list_tags_for_resource(resourceArn=described["addonArn"])["tags"] == {}
    eks.delete_addon(**addon)
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.describe_addon(**addon)


def test_an_addon_of_no_cluster_is_an_error(eks):
    with pytest.raises(eks.exceptions.ResourceNotFoundException, match="nowhere"):
        eks.create_addon(clusterName="nowhere", addonName="vpc-cni")


def test_an_access_entry_has_policies(eks, cluster):
    entry = {"clusterName": cluster, "principalArn": "arn:aws:iam::123456789012:role/team/churn"}
    created = eks.create_access_entry(**entry, kubernetesGroups=["readers"])["accessEntry"]
    assert (created["type"], created["kubernetesGroups"]) == ("STANDARD", ["readers"])
    policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
    scope = {"type": "namespace", "namespaces": ["churn"]}
    eks.associate_access_policy(**entry, policyArn=policy, accessScope=scope)
    [associated] = eks.list_associated_access_policies(**entry)["associatedAccessPolicies"]
    assert (associated["policyArn"], associated["accessScope"]) == (policy, scope)
    assert eks.list_access_entries(clusterName=cluster)["accessEntries"] == [entry["principalArn"]]
    eks.update_access_entry(**entry, kubernetesGroups=["writers"])
    assert eks.describe_access_entry(**entry)["accessEntry"]["kubernetesGroups"] == ["writers"]
    eks.disassociate_access_policy(**entry, policyArn=policy)
    assert eks.list_associated_access_policies(**entry)["associatedAccessPolicies"] == []
    eks.delete_access_entry(**entry)
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.describe_access_entry(**entry)


def test_a_service_account_has_one_pod_identity(eks, cluster):
    account = {"clusterName": cluster, "namespace": "churn", "serviceAccount": "trainer"}
    made = eks.create_pod_identity_association(**account, roleArn=ROLE, tags={"owner": "a"})["association"]
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.create_pod_identity_association(**account, roleArn=ROLE)
    place = {"clusterName": cluster, "associationId": made["associationId"]}
    eks.update_pod_identity_association(**place, roleArn=f"{ROLE}-2")
    assert eks.describe_pod_identity_association(**place)["association"]["roleArn"] == f"{ROLE}-2"
    [listed] = eks.list_pod_identity_associations(**account)["associations"]
    assert listed["associationId"] == made["associationId"]
    assert eks.list_pod_identity_associations(clusterName=cluster, namespace="other")["associations"] == []
    eks.delete_pod_identity_association(**place)
    assert eks.list_pod_identity_associations(clusterName=cluster)["associations"] == []


def test_a_budget_is_changed_tagged_and_asked_for_its_subscribers(aws):
    budgets, name = aws.client("budgets"), aws.name("budget")
    notification = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80.0}
    subscribers = [{"SubscriptionType": "SNS", "Address": "arn:aws:sns:eu-central-1:123456789012:costs"}]
    budget = {
        "BudgetName": name,
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": "100", "Unit": "USD"},
    }
    budgets.create_budget(
        AccountId=ACCOUNT,
        Budget=budget,
        NotificationsWithSubscribers=[{"Notification": notification, "Subscribers": subscribers}],
        ResourceTags=[{"Key": "owner", "Value": "a"}],
    )
    budgets.update_budget(AccountId=ACCOUNT, NewBudget={**budget, "BudgetLimit": {"Amount": "250", "Unit": "USD"}})
    described = budgets.describe_budget(AccountId=ACCOUNT, BudgetName=name)["Budget"]
    assert described["BudgetLimit"]["Amount"] == "250"
    [kept] = budgets.describe_notifications_for_budget(AccountId=ACCOUNT, BudgetName=name)["Notifications"]
    found = budgets.describe_subscribers_for_notification(AccountId=ACCOUNT, BudgetName=name, Notification=kept)
    assert found["Subscribers"] == subscribers
    arn = f"arn:aws:budgets::{ACCOUNT}:budget/{name}"
    budgets.tag_resource(ResourceARN=arn, ResourceTags=[{"Key": "owner", "Value": "b"}, {"Key": "tier", "Value": "1"}])
    budgets.untag_resource(ResourceARN=arn, ResourceTagKeys=["tier"])
    assert budgets.list_tags_for_resource(ResourceARN=arn)["ResourceTags"] == [{"Key": "owner", "Value": "b"}]
    with pytest.raises(ClientError, match="doesn't exist"):
        budgets.update_budget(AccountId=ACCOUNT, NewBudget={**budget, "BudgetName": "none"})


def test_a_scalable_target_has_tags(aws):
    autoscaling = aws.client("application-autoscaling")
    endpoint = aws.serve(aws.config(aws.model("def model_fn(d): pass\n")))
    arn = autoscaling.register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{endpoint}/variant/all",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=4,
        Tags={"owner": "a"},
    )["ScalableTargetARN"]
    autoscaling.tag_resource(ResourceARN=arn, Tags={"tier": "1"})
    autoscaling.untag_resource(ResourceARN=arn, TagKeys=["owner"])
    assert autoscaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"tier": "1"}
    aws.sagemaker.delete_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize(
    "service, operation, arguments",
    [
        ("eks", "create_eks_anywhere_subscription", {"name": "a", "term": {"duration": 1, "unit": "MONTHS"}}),
        ("budgets", "describe_budget_actions_for_account", {"AccountId": ACCOUNT}),
        ("sagemaker", "create_monitoring_schedule", {"MonitoringScheduleName": "a", "MonitoringScheduleConfig": {}}),
        ("sagemaker-featurestore-runtime", "list_records", {"FeatureGroupName": "a"}),
    ],
)
def test_an_operation_nobody_needs_is_an_error_that_names_it(aws, service, operation, arguments):
    client = aws.client(service)
    with pytest.raises(ClientError, match=client.meta.method_to_api_mapping[operation]):
        getattr(client, operation)(**arguments)
