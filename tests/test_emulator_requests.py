"""How the emulator answers any request: once for a token, at once for what it lacks, and on the record."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.emulated import ACCOUNT, REGION, User, new

ALLOWED = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": [ALLOWED]})


def with_token(user: User, service: str, token: str):
    """A client whose calls that change something carry a token, as the provider's do."""
    client = user.client(service)
    client.meta.events.register(
        "before-sign.*.*", lambda request, **_: request.headers.add_header("x-slipway-token", token)
    )
    return client


@pytest.mark.parametrize(
    "service, create, count",
    [
        (
            "ec2",
            lambda c: c.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"],
            lambda c: len(c.describe_vpcs()["Vpcs"]),
        ),
        ("kms", lambda c: c.create_key()["KeyMetadata"]["KeyId"], lambda c: len(c.list_keys()["Keys"])),
        (
            "scheduler",
            lambda c: c.create_schedule_group(Name="tokens")["ScheduleGroupArn"],
            lambda c: len(c.list_schedule_groups()["ScheduleGroups"]),
        ),
        (
            "iam",
            lambda c: c.create_policy(PolicyName="tokens", PolicyDocument=DOCUMENT)["Policy"]["PolicyId"],
            lambda c: len(c.list_policies(Scope="Local")["Policies"]),
        ),
        ("s3", lambda c: c.create_bucket(Bucket="tokens")["Location"], lambda c: len(c.list_buckets()["Buckets"])),
    ],
    ids=["query-ec2", "json", "rest-json", "query", "rest-xml"],
)
def test_a_creation_that_is_repeated_with_its_token_is_made_once(user, service, create, count):
    before = count(user.client(service))
    first, again = (create(with_token(user, service, f"{service}/1")) for _ in range(2))
    assert first == again
    assert count(user.client(service)) == before + 1


def test_another_token_makes_another(user):
    made = {with_token(user, "kms", token).create_key()["KeyMetadata"]["KeyId"] for token in (new("t"), new("t"))}
    assert len(made) == 2


def test_a_token_of_one_operation_is_not_the_answer_to_another(user):
    kms = with_token(user, "kms", new("token"))
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{new('a')}", TargetKeyId=key)
    assert len(kms.list_aliases(KeyId=key)["Aliases"]) == 1


def test_repetitions_at_the_same_time_get_the_one_answer(user):
    function = user.function(
        "import time\ndef handler(event, context):\n    time.sleep(1)\n    return str(time.time())"
    )
    client = with_token(user, "lambda", new("token"))
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: client.invoke(FunctionName=function)["Payload"].read(), range(3)))
    assert len(set(answers)) == 1


def test_what_failed_may_be_tried_again_with_its_token(user):
    iam, name = with_token(user, "iam", new("token")), new("role")
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=DOCUMENT)
    user.iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=DOCUMENT)
    assert user.iam.list_role_policies(RoleName=name)["PolicyNames"] == ["p"]


def test_a_token_does_not_freeze_what_is_read(user):
    sqs = with_token(user, "sqs", new("token"))
    before = sqs.list_queues().get("QueueUrls", [])
    user.queue()
    assert len(sqs.list_queues()["QueueUrls"]) == len(before) + 1


@pytest.mark.parametrize(
    "service, call, operation",
    [
        ("kms", lambda c: c.create_custom_key_store(CustomKeyStoreName="a"), "kms.CreateCustomKeyStore"),
        (
            "cloudwatch",
            lambda c: c.put_composite_alarm(AlarmName="a", AlarmRule="TRUE"),
            "cloudwatch.PutCompositeAlarm",
        ),
        ("eks", lambda c: c.list_insights(clusterName="a"), "eks.ListInsights"),
        ("ec2", lambda c: c.create_ipam(), "ec2.CreateIpam"),
        ("iam", lambda c: c.generate_credential_report(), None),
        ("lambda", lambda c: c.list_provisioned_concurrency_configs(FunctionName="a"), "lambda.ListProvisioned"),
        ("xray", lambda c: c.get_sampling_rules(), "xray.GetSamplingRules"),
    ],
)
def test_an_operation_that_is_not_emulated_fails_at_once_by_name(user, service, call, operation):
    """With the SDK's own retries on: they would take seconds."""
    client = user.client(service, retries={"mode": "standard", "total_max_attempts": 5})
    if operation is None:  # this one is, and shows that the others fail for the right reason
        call(client)
        return
    began = time.monotonic()
    with pytest.raises(ClientError, match=f"{operation}.* is not emulated") as error:
        call(client)
    assert error.value.response["Error"]["Code"] == "NotImplemented"
    assert error.value.response["ResponseMetadata"]["RetryAttempts"] == 0
    assert time.monotonic() - began < 5


def test_what_is_not_there_is_still_told_as_aws_tells_it(user):
    with pytest.raises(user.eks.exceptions.ResourceNotFoundException):
        user.eks.describe_cluster(name="none")
    with pytest.raises(user.lambda_.exceptions.ResourceNotFoundException):
        user.lambda_.get_function(FunctionName="none")
    with pytest.raises(ClientError, match=r"\(404\)"):
        user.s3.head_object(Bucket=new("none"), Key="a")


def test_calls_are_recorded_with_who_made_them_and_what_went_wrong(user):
    role = user.iam.create_role(RoleName=new("auditor"), AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    session = user.sts.assume_role(RoleArn=role, RoleSessionName="audit")["Credentials"]
    auditor = user.client("s3", session["AccessKeyId"], session["SecretAccessKey"])
    bucket = new("bucket")
    user.s3.create_bucket(Bucket=bucket)
    auditor.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with pytest.raises(auditor.exceptions.NoSuchKey):
        auditor.get_object(Bucket=bucket, Key="none")
    (versioning,) = user.calls("PutBucketVersioning")
    assert (versioning["service"], versioning["principal"]) == ("s3", role)
    (failed,) = user.calls("GetObject")
    assert (failed["principal"], failed["status"], failed["error"]) == (role, 404, "NoSuchKey")
    assert {call["principal"] for call in user.calls("CreateBucket")} == {f"arn:aws:iam::{ACCOUNT}:root"}


def test_a_users_calls_are_recorded_as_the_users(user):
    name = new("person")
    user.iam.create_user(UserName=name)
    key = user.iam.create_access_key(UserName=name)["AccessKey"]
    user.client("sns", key["AccessKeyId"], key["SecretAccessKey"]).list_topics()
    assert user.calls("ListTopics")[-1]["principal"] == f"arn:aws:iam::{ACCOUNT}:user/{name}"


def test_many_resources_made_side_by_side_are_all_made(user):
    vpc = user.ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    clients = {service: user.client(service, max_pool_connections=16) for service in ("ec2", "iam", "kms", "events")}

    def make(number: int) -> None:
        clients["ec2"].create_subnet(VpcId=vpc, CidrBlock=f"10.8.{number}.0/24")
        clients["iam"].create_role(RoleName=f"side-{number}", AssumeRolePolicyDocument="{}")
        clients["kms"].create_alias(
            AliasName=f"alias/side-{number}", TargetKeyId=clients["kms"].create_key()["KeyMetadata"]["KeyId"]
        )
        clients["events"].put_rule(Name=f"side-{number}", EventPattern='{"source": ["none"]}')
        clients["events"].put_events(Entries=[{"Source": "side", "DetailType": "d", "Detail": "{}"}])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(make, range(48)))
    subnets = user.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    assert len({subnet["SubnetId"] for subnet in subnets}) == 48


def test_a_node_group_can_have_the_policies_that_aws_manages(user):
    for policy in ("AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"):
        user.iam.attach_role_policy(RoleName="runner", PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    vpc = user.ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        user.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{i}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
            "SubnetId"
        ]
        for i, zone in enumerate("ab")
    ]
    user.eks.create_cluster(name="nodes", roleArn=user.role, resourcesVpcConfig={"subnetIds": subnets})
    user.eks.create_nodegroup(
        clusterName="nodes", nodegroupName="gpus", nodeRole=user.role, subnets=subnets, amiType="AL2023_x86_64_NVIDIA"
    )
    assert user.eks.describe_nodegroup(clusterName="nodes", nodegroupName="gpus")["nodegroup"]["status"] == "ACTIVE"
    assert len(user.iam.list_attached_role_policies(RoleName="runner")["AttachedPolicies"]) == 3


def test_a_body_that_is_sent_in_chunks_arrives_whole(user):
    bucket = new("bucket")
    user.s3.create_bucket(Bucket=bucket)
    url = user.s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a"})
    connection = http.client.HTTPConnection("127.0.0.1", user.emulator.port, timeout=10)
    connection.request("PUT", url.partition(f":{user.emulator.port}")[2], iter([b"one ", b"two"]), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert user.s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"one two"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://example.com"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example.com"}],
)
def test_web_pages_are_refused(user, headers):
    status, answer = user.ask("/_slipway/health", headers=headers)
    assert (status, answer) == (403, {"error": "the emulator serves programs on this machine, not web pages"})
    assert user.ask("/_slipway/health") == (200, {"instance": user.emulator.instance})


def test_a_path_of_its_own_that_is_not_there_is_named(user):
    assert user.ask("/_slipway/reset", {}) == (
        404,
        {"error": "/_slipway/reset is not one of health, fire, flush, interrupt, disturb, pace"},
    )


def test_after_motos_reset_nothing_is_left_and_tokens_make_anew(user):
    sqs = with_token(user, "sqs", new("token"))
    name = new("queue")
    sqs.create_queue(QueueName=name)
    assert user.ask("/moto-api/reset", {})[0] == 200
    assert sqs.list_queues().get("QueueUrls", []) == []
    sqs.create_queue(QueueName=name)
    assert len(sqs.list_queues()["QueueUrls"]) == 1
