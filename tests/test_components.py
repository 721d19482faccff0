"""What each component asks AWS for, seen on a pretend AWS."""

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from pretend_aws import ACCOUNT, KEY, REGION, TOPIC, PretendAws, up
from pydantic import ValidationError

from components import (
    Alerts,
    AlertsSpec,
    Budget,
    BudgetSpec,
    Cluster,
    ClusterSpec,
    DataLake,
    DataLakeSpec,
    DataMonitor,
    DataMonitorSpec,
    GpuPool,
    Key,
    KeySpec,
    ModelRole,
    Network,
    NetworkSpec,
    NodePool,
)
from components.function import source
from components.monitor import Monitor, MonitorSpec

ADMIN = f"arn:aws:iam::{ACCOUNT}:role/admin"
PACKAGE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/churn/7"
LAKE = "arn:aws:s3:::lake"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:churn-local-data"

Statement = dict[str, Any]


def actions(statements: list[Statement], effect: str = "Allow") -> set[str]:
    """Every action that the statements allow (or deny)."""
    named = [each["Action"] for each in statements if each["Effect"] == effect]
    return {action for each in named for action in ([each] if isinstance(each, str) else each)}


def about(statements: list[Statement], action: str) -> Statement:
    """The one statement that allows an action."""
    [found] = [each for each in statements if each["Effect"] == "Allow" and action in each["Action"]]
    return found


class TestNetwork:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        spec = NetworkSpec.model_validate({"cidr": "10.1.0.0/16", "zones": ["a", "c"]})
        return up(lambda: Network("net", spec, kms_key_arn=KEY))

    def test_has_one_private_subnet_in_each_zone(self, made: PretendAws) -> None:
        subnets = made.inputs(aws.ec2.Subnet)

        assert {name: each["availabilityZone"] for name, each in subnets.items()} == {
            "net-a": "us-east-1a",
            "net-c": "us-east-1c",
        }
        assert [each["cidrBlock"] for each in subnets.values()] == ["10.1.0.0/19", "10.1.32.0/19"]
        assert not any(each["mapPublicIpOnLaunch"] for each in subnets.values())
        assert len(made.inputs(aws.ec2.RouteTableAssociation)) == 2

    def test_takes_every_rule_from_the_default_security_group(self, made: PretendAws) -> None:
        closed = made.only(aws.ec2.DefaultSecurityGroup)

        assert (closed.get("ingress", []), closed.get("egress", [])) == ([], [])

    def test_reaches_aws_without_the_internet(self, made: PretendAws) -> None:
        endpoints = made.inputs(aws.ec2.VpcEndpoint).values()

        services = {each["serviceName"].removeprefix("com.amazonaws.us-east-1.") for each in endpoints}
        assert services >= {"s3", "ecr.api", "ecr.dkr", "sts", "logs", "kms", "eks-auth", "sagemaker.runtime"}
        assert all(each["privateDnsEnabled"] for each in endpoints if each["vpcEndpointType"] == "Interface")

    def test_endpoints_serve_this_account_only(self, made: PretendAws) -> None:
        for name in made.inputs(aws.ec2.VpcEndpoint):
            for statement in made.statements(aws.ec2.VpcEndpoint, name):
                ours = statement.get("Condition", {}).get("StringEquals", {}).get("aws:PrincipalAccount") == ACCOUNT
                assert ours or statement["Resource"] == ["arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*"]

    def test_data_cannot_leave_for_a_foreign_bucket(self, made: PretendAws) -> None:
        write = about(made.statements(aws.ec2.VpcEndpoint, "net-s3"), "s3:PutObject")

        assert write["Condition"]["StringEquals"]["aws:ResourceAccount"] == ACCOUNT

    def test_workloads_call_aws_and_nothing_else(self, made: PretendAws) -> None:
        rules = made.inputs(aws.vpc.SecurityGroupEgressRule)

        assert set(rules) == {"net-workload-services", "net-workload-s3"}
        assert {each["toPort"] for each in rules.values()} == {443}
        assert not any("cidrIpv4" in each for each in rules.values())
        assert {each["securityGroupId"] for each in rules.values()} == {"net-workload-id"}

    def test_only_its_own_addresses_reach_the_endpoints(self, made: PretendAws) -> None:
        assert made.only(aws.vpc.SecurityGroupIngressRule)["cidrIpv4"] == "10.1.0.0/16"

    def test_logs_every_flow_encrypted(self, made: PretendAws) -> None:
        flows, group = made.only(aws.ec2.FlowLog), made.only(aws.cloudwatch.LogGroup)

        assert (flows["trafficType"], flows["logDestination"]) == ("ALL", "arn:aws:pretend:::net-flows")
        assert (group["kmsKeyId"], group["retentionInDays"]) == (KEY, 90)

    def test_adding_a_zone_renumbers_no_other(self) -> None:
        def cidrs(zones: list[str]) -> list[str]:
            spec = NetworkSpec.model_validate({"cidr": "10.1.0.0/16", "zones": zones})
            made = up(lambda: Network("net", spec, kms_key_arn=KEY))
            return [each["cidrBlock"] for each in made.inputs(aws.ec2.Subnet).values()]

        assert cidrs(["a", "b", "c", "d", "e", "f"])[:2] == cidrs(["a", "b"])


class TestKey:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        return up(lambda: Key("ours", KeySpec(deletion_days=14)))

    def test_is_rotated_and_can_be_had_back(self, made: PretendAws) -> None:
        key = made.only(aws.kms.Key)

        assert key["enableKeyRotation"] is True
        assert key["deletionWindowInDays"] == 14

    def test_names_every_service_and_for_whom_it_acts(self, made: PretendAws) -> None:
        statements = made.statements(aws.kms.Key, "ours-data")
        services = {
            service: each["Condition"]
            for each in statements
            if "Service" in each["Principal"]
            for service in (lambda named: [named] if isinstance(named, str) else named)(each["Principal"]["Service"])
        }

        assert services.keys() >= {
            "cloudwatch.amazonaws.com",
            "events.amazonaws.com",
            "sns.amazonaws.com",
            "logs.us-east-1.amazonaws.com",
        }
        assert all(ACCOUNT in json.dumps(condition) for condition in services.values())

    def test_nobody_but_the_account_has_every_right(self, made: PretendAws) -> None:
        [everything] = [each for each in made.statements(aws.kms.Key, "ours-data") if each["Action"] == "kms:*"]

        assert everything["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}

    def test_lets_auto_scaling_start_nodes_with_encrypted_disks(self, made: PretendAws) -> None:
        grant = about(made.statements(aws.kms.Key, "ours-data"), "kms:CreateGrant")

        role = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
        assert grant["Condition"]["StringEquals"]["aws:PrincipalArn"] == role
        assert grant["Condition"]["Bool"] == {"kms:GrantIsForAWSResource": "true"}


class TestDataLake:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        return up(lambda: DataLake("lake", DataLakeSpec(access_log_days=30), kms_key_arn=KEY))

    def test_both_buckets_are_closed(self, made: PretendAws) -> None:
        blocks = made.inputs(aws.s3.BucketPublicAccessBlock)

        assert set(blocks) == {"lake-data", "lake-access-logs"}
        assert all(
            block[flag]
            for block in blocks.values()
            for flag in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        )
        owners = made.inputs(aws.s3.BucketOwnershipControls).values()
        assert [each["rule"]["objectOwnership"] for each in owners] == ["BucketOwnerEnforced"] * 2

    @pytest.mark.parametrize("name", ["lake-data", "lake-access-logs"])
    def test_cleartext_is_refused(self, made: PretendAws, name: str) -> None:
        deny = made.statements(aws.s3.BucketPolicy, name)[0]

        assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert len(deny["Resource"]) == 2

    def test_data_is_encrypted_with_our_key_and_with_no_other(self, made: PretendAws) -> None:
        [rule] = made.inputs(aws.s3.BucketServerSideEncryptionConfiguration)["lake-data"]["rules"]
        denied = {each["Sid"]: each["Condition"] for each in made.statements(aws.s3.BucketPolicy, "lake-data")}

        assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY}
        assert KEY in denied["NoOtherKey"]["StringNotEquals"].values()
        assert "AES256" in denied["NoOtherEncryption"]["StringEquals"].values()

    def test_versions_are_kept_for_a_while(self, made: PretendAws) -> None:
        [rule] = made.inputs(aws.s3.BucketLifecycleConfiguration)["lake-data"]["rules"]

        versioning = made.inputs(aws.s3.BucketVersioning)["lake-data"]
        assert versioning["versioningConfiguration"] == {"status": "Enabled"}
        assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 90}
        assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}

    def test_who_read_what_is_logged_by_s3_for_buckets_of_this_stack_alone(self, made: PretendAws) -> None:
        write = about(made.statements(aws.s3.BucketPolicy, "lake-access-logs"), "s3:PutObject")

        assert made.only(aws.s3.BucketLogging)["targetBucket"] == "lake-access-logs-id"
        assert write["Principal"] == {"Service": "logging.s3.amazonaws.com"}
        assert write["Condition"]["ArnLike"] == {"aws:SourceArn": ["arn:aws:s3:::lake-*"]}

    def test_data_outlives_the_stack_unless_told_otherwise(self, made: PretendAws) -> None:
        gone = up(lambda: DataLake("lake", DataLakeSpec(protect=False), kms_key_arn=KEY))

        assert not any(each["forceDestroy"] for each in made.inputs(aws.s3.Bucket).values())
        assert all(each["forceDestroy"] for each in gone.inputs(aws.s3.Bucket).values())


def test_alerts_are_encrypted_and_only_this_accounts_services_publish() -> None:
    made = up(lambda: Alerts("ops", AlertsSpec(emails=["a@example.com", "b@example.com"]), kms_key_arn=KEY))

    publish = about(made.statements(aws.sns.TopicPolicy, "ops-alerts"), "sns:Publish")
    assert made.only(aws.sns.Topic)["kmsMasterKeyId"] == KEY
    assert publish["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    assert "cloudwatch.amazonaws.com" in publish["Principal"]["Service"]
    subscribed = made.inputs(aws.sns.TopicSubscription).values()
    assert [each["endpoint"] for each in subscribed] == ["a@example.com", "b@example.com"]


def test_a_budget_counts_this_stacks_tags_and_warns_before_and_after() -> None:
    made = up(lambda: Budget("churn", BudgetSpec(), usd_per_month=1234.5, alerts_topic_arn=TOPIC))

    budget = made.only(aws.budgets.Budget)
    assert (budget["limitAmount"], budget["timeUnit"]) == ("1234.50", "MONTHLY")
    assert budget["costFilters"] == [
        {"name": "TagKeyValue", "values": ["user:owner$team", "user:product$churn", "user:environment$local"]}
    ]
    warned = [(each["notificationType"], each["threshold"]) for each in budget["notifications"]]
    assert warned == [("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)]
    assert all(each["subscriberSnsTopicArns"] == [TOPIC] for each in budget["notifications"])


def test_unusual_costs_of_a_product_are_told_and_large_ones_ask_the_kill_switch() -> None:
    def program() -> None:
        Budget("churn", BudgetSpec(), usd_per_month=1, alerts_topic_arn=TOPIC, stop_topic_arn=f"{TOPIC}-stop")

    made = up(program)
    watched = json.loads(made.only(aws.costexplorer.AnomalyMonitor)["monitorSpecification"])
    assert watched == {"Tags": {"Key": "product", "Values": ["churn"]}}
    told = made.inputs(aws.costexplorer.AnomalySubscription).values()
    assert [
        (each["subscribers"][0]["address"], each["thresholdExpression"]["dimension"]["values"]) for each in told
    ] == [(TOPIC, ["100"]), (f"{TOPIC}-stop", ["1000"])]


class TestCluster:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        def program() -> None:
            Cluster(
                "ml",
                ClusterSpec(admins=[ADMIN]),
                subnet_ids=["subnet-a", "subnet-b"],
                kms_key_arn=KEY,
                developers={f"arn:aws:iam::{ACCOUNT}:role/dev": ["churn"]},
            )

        return up(program)

    def test_is_reached_from_inside_only_and_by_iam_only(self, made: PretendAws) -> None:
        cluster = made.only(aws.eks.Cluster)

        assert cluster["vpcConfig"]["endpointPublicAccess"] is False
        assert cluster["vpcConfig"]["endpointPrivateAccess"] is True
        assert cluster["accessConfig"] == {
            "authenticationMode": "API",
            "bootstrapClusterCreatorAdminPermissions": False,
        }

    def test_encrypts_secrets_and_logs_with_our_key(self, made: PretendAws) -> None:
        cluster, group = made.only(aws.eks.Cluster), made.only(aws.cloudwatch.LogGroup)

        assert cluster["encryptionConfig"] == {"provider": {"keyArn": KEY}, "resources": ["secrets"]}
        assert len(cluster["enabledClusterLogTypes"]) == 5
        assert (group["name"], group["kmsKeyId"]) == (f"/aws/eks/{cluster['name']}/cluster", KEY)

    def test_administrators_and_developers_have_what_they_need(self, made: PretendAws) -> None:
        granted = made.inputs(aws.eks.AccessPolicyAssociation)

        assert granted["admin"]["policyArn"].endswith("/AmazonEKSClusterAdminPolicy")
        assert granted["admin"]["accessScope"] == {"type": "cluster"}
        assert granted["dev"]["accessScope"] == {"type": "namespace", "namespaces": ["churn"]}

    def test_has_nodes_of_its_own_that_take_any_pod(self, made: PretendAws) -> None:
        nodes = made.only(aws.eks.NodeGroup)

        assert (nodes["amiType"], nodes.get("taints", [])) == ("AL2023_x86_64_STANDARD", [])

    def test_runs_the_addons_that_its_nodes_need(self, made: PretendAws) -> None:
        addons = {each["addonName"]: each for each in made.inputs(aws.eks.Addon).values()}

        assert addons.keys() == {
            "coredns",
            "eks-node-monitoring-agent",
            "eks-pod-identity-agent",
            "kube-proxy",
            "vpc-cni",
        }
        assert json.loads(addons["vpc-cni"]["configurationValues"]) == {"enableNetworkPolicy": "true"}

    def test_the_network_plugin_acts_under_its_own_role_not_the_nodes(self, made: PretendAws) -> None:
        identity = made.only(aws.eks.PodIdentityAssociation)
        attached = {
            each["role"]: each["policyArn"]
            for each in made.inputs(aws.iam.RolePolicyAttachment).values()
            if each["policyArn"].endswith("AmazonEKS_CNI_Policy")
        }

        assert (identity["namespace"], identity["serviceAccount"]) == ("kube-system", "aws-node")
        assert list(attached) == ["ml-pod-network"]


class TestModelRole:
    @pytest.fixture(scope="class")
    def statements(self) -> list[Statement]:
        def program() -> None:
            ModelRole(
                "churn",
                bucket_arn=LAKE,
                prefix="churn",
                image_repository_arn="arn:aws:ecr:us-east-1:1:repository/images",
                vpc_id="vpc-1",
                kms_key_arn=KEY,
            )

        return up(program).statements(aws.iam.RolePolicy, "churn-model")

    def test_reads_and_writes_its_own_prefix_only(self, statements: list[Statement]) -> None:
        assert about(statements, "s3:GetObject")["Resource"] == [f"{LAKE}/churn/*"]
        assert about(statements, "s3:ListBucket")["Condition"] == {"StringLike": {"s3:prefix": "churn/*"}}

    def test_names_a_resource_wherever_aws_lets_it(self, statements: list[Statement]) -> None:
        everywhere = {action for each in statements if "*" in each["Resource"] for action in each["Action"]}

        assert {action for action in everywhere if not action.startswith("ec2:Describe")} == {
            "ecr:GetAuthorizationToken",
            "cloudwatch:PutMetricData",
        }

    def test_opens_interfaces_in_our_network_only(self, statements: list[Statement]) -> None:
        condition = about(statements, "ec2:CreateNetworkInterface")["Condition"]

        assert condition == {"ArnEquals": {"ec2:Vpc": f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc/vpc-1"}}


class TestDataMonitor:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        def program() -> None:
            DataMonitor(
                "churn-local",
                DataMonitorSpec(schedule="rate(15 minutes)"),
                endpoint_name="churn-local",
                model_package_arn=PACKAGE,
                bucket="lake",
                bucket_arn=LAKE,
                prefix="churn",
                kms_key_arn=KEY,
                alerts_topic_arn=TOPIC,
            )

        return up(program)

    def test_imports_from_a_layer_where_it_is_given_one(self) -> None:
        layer = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:slipway-monitors:3"

        def program() -> None:
            for name, given in (("churn", {"layer_arn": layer}), ("plain", {})):
                spec = MonitorSpec.model_validate(given)
                about = {"handler": "functions.data_monitor.handler.handler", "access": [], "event": {}}
                Monitor(name, "data", spec, **about, kms_key_arn=KEY, alerts_topic_arn=TOPIC)

        functions = up(program).inputs(aws.lambda_.Function)
        assert functions["churn-data"]["layers"] == [layer]
        assert "layers" not in functions["plain-data"]
        with pytest.raises(ValidationError, match="layer_arn"):
            MonitorSpec(layer_arn=layer.rpartition(":")[0])

    def test_runs_on_schedule_with_what_the_function_expects(self, made: PretendAws) -> None:
        schedule = made.only(aws.scheduler.Schedule)

        assert schedule["scheduleExpression"] == "rate(15 minutes)"
        assert json.loads(schedule["target"]["input"]) == {
            "endpoint": "churn-local",
            "variant": "live",
            "captures": "s3://lake/churn/captures/",
            "reports": "s3://lake/churn/monitors/data/churn-local/",
            "windows": 3,
            "drifting_windows": 2,
            "broken_windows": 2,
            "large_bytes": 1 << 30,
            "part_bytes": 1 << 28,
            "machine_arn": MACHINE,
        }

    @pytest.mark.parametrize("alarm, metric", [("drift", "drifting"), ("broken-data", "broken_data")])
    def test_rings_as_long_as_the_function_says_so(self, made: PretendAws, alarm: str, metric: str) -> None:
        declared = made.inputs(aws.cloudwatch.MetricAlarm)[f"churn-local-{alarm}"]

        assert (declared["namespace"], declared["metricName"]) == ("Slipway/Monitors", metric)
        assert declared["dimensions"] == {"endpoint": "churn-local"}
        assert (declared["period"], declared["evaluationPeriods"], declared["threshold"]) == (900, 1, 0)
        assert declared["alarmActions"] == [TOPIC]

    def test_someone_hears_when_nobody_watches(self, made: PretendAws) -> None:
        alarms = made.inputs(aws.cloudwatch.MetricAlarm)
        silent = alarms["churn-local-data-silent"]

        assert alarms["churn-local-data-failed"]["dimensions"] == {"FunctionName": "churn-local-data"}
        assert alarms["churn-local-data-lost"]["metricName"] == "ApproximateNumberOfMessagesVisible"
        assert (silent["metricName"], silent["treatMissingData"]) == ("Invocations", "breaching")
        assert (silent["period"], silent["evaluationPeriods"]) == (900, 2)

    def test_failed_calls_are_kept(self, made: PretendAws) -> None:
        queue = "arn:aws:pretend:::churn-local-data-lost"

        assert made.only(aws.lambda_.Function)["deadLetterConfig"] == {"targetArn": queue}
        assert made.only(aws.scheduler.Schedule)["target"]["deadLetterConfig"] == {"arn": queue}

    def test_reads_captures_and_models_writes_reports_and_nothing_else(self, made: PretendAws) -> None:
        statements = made.statements(aws.iam.RolePolicy, "churn-local-data")
        own = f"{LAKE}/churn/monitors/data/churn-local"

        read = [f"{LAKE}/churn/captures/churn-local/*", f"{LAKE}/churn/models/*", f"{own}/*"]
        assert about(statements, "s3:GetObject")["Resource"] == read
        assert about(statements, "s3:PutObject")["Resource"] == [f"{own}/*"]
        assert about(statements, "s3:DeleteObject")["Resource"] == [f"{own}/parts/*"]
        assert about(statements, "sagemaker:DescribeModelPackage")["Resource"] == [PACKAGE.replace("/7", "/*")]
        assert about(statements, "states:StartExecution")["Resource"] == [MACHINE]
        assert not any("*" in each["Resource"] for each in statements)

    def test_its_machine_may_call_it_and_start_its_own_parts(self, made: PretendAws) -> None:
        statements = made.statements(aws.iam.RolePolicy, "churn-local-data-machine")

        assert about(statements, "lambda:InvokeFunction")["Resource"] == ["arn:aws:pretend:::churn-local-data"]
        assert about(statements, "states:StartExecution")["Resource"] == [MACHINE]
        assert not any("*" in each["Resource"] for each in statements)

    def test_the_scheduler_may_call_this_function_only(self, made: PretendAws) -> None:
        statements = made.statements(aws.iam.RolePolicy, "churn-local-data-run-schedule")

        assert about(statements, "lambda:InvokeFunction")["Resource"] == ["arn:aws:pretend:::churn-local-data"]

    def test_its_log_group_is_encrypted_and_there_first(self, made: PretendAws) -> None:
        group, function = made.only(aws.cloudwatch.LogGroup), made.only(aws.lambda_.Function)

        assert (group["name"], group["kmsKeyId"]) == (f"/aws/lambda/{function['name']}", KEY)

    def test_ships_python_files_under_the_paths_they_are_imported_by(self) -> None:
        shipped = source("functions/employment").assets

        assert {"functions/__init__.py", "functions/features.py", "functions/employment/features.py"} <= set(shipped)
        assert all(name.endswith(".py") for name in shipped)


@pytest.mark.parametrize(
    "role, service",
    [
        ("churn-local-data", "lambda.amazonaws.com"),
        ("churn-local-data-run-schedule", "scheduler.amazonaws.com"),
    ],
)
def test_services_take_a_role_for_this_account_only(role: str, service: str) -> None:
    made = up(
        lambda: DataMonitor(
            "churn-local",
            DataMonitorSpec(),
            endpoint_name="churn-local",
            model_package_arn=PACKAGE,
            bucket="lake",
            bucket_arn=LAKE,
            prefix="churn",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
        )
    )

    [trust] = made.statements(aws.iam.Role, role, "assumeRolePolicy")
    assert trust["Principal"] == {"Service": service}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: GpuPool(instance_types=["g6.xlarge"], max_sise=8), "max_sise"),
        (lambda: GpuPool(instance_types=["inf2.xlarge"], max_size=1), "no instance with NVIDIA GPUs"),
        (lambda: GpuPool(instance_types=["g6"], max_size=1), "unknown instance size: set one of g6.xlarge"),
        (lambda: NodePool(instance_types=["m7i.large"], min_size=3, max_size=2), "min_size 3 is above max_size 2"),
        (lambda: NetworkSpec(cidr="8.8.0.0/16", zones=["a", "b"]), "set a private network"),
        (lambda: NetworkSpec(cidr="10.0.0.0/16", zones=["a", "a"]), "each zone counts once"),
        (lambda: DataMonitorSpec(schedule="rate(0 minutes)"), "from a minute to an hour"),
        (lambda: DataMonitorSpec(schedule="rate(1 day)"), "from a minute to an hour"),
        (lambda: DataMonitorSpec(schedule="cron(0 * * * ? *)"), "from a minute to an hour"),
        (lambda: BudgetSpec(spent_percents=[10, 20, 30, 40]), "at most 3 items"),
    ],
)
def test_what_aws_would_refuse_is_refused_before(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make()


def test_no_component_names_an_environment() -> None:
    """Two stacks of the same settings differ in names only."""

    def lake(stack: str) -> list[str]:
        made = up(lambda: DataLake(pulumi.get_stack(), DataLakeSpec(), kms_key_arn=KEY), stack=stack)
        asked = [json.dumps([each.typ, each.name, each.inputs], sort_keys=True) for each in made.resources]
        return sorted(each.replace(stack, "STACK") for each in asked)

    assert lake("churn-local") == lake("churn-prod")
