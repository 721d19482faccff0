"""A version going live: what gets there, what does not, and what serves meanwhile."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pretend_aws import CONFIG
from pretend_cloud import settings

from components.endpoint import Endpoint
from components.endpoint_spec import AsyncSpec, EndpointSpec, RealTimeSpec, Rollout, ScaleToZeroSpec, ServerlessSpec
from components.ledger import Ledger, LedgerSpec
from components.release import Release, ReleaseSpec
from functions import ledger
from functions.ledger import Entry
from functions.live import NothingLive, live_package
from functions.registry import approvals, sign
from functions.release import keep, naming
from infra import releases
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine
from infra.releases import Result
from policies.cost import TAGS
from tests.emulated import ACCOUNT, REGION, User, new, until
from tests.served_models import archive

IMAGE = f"683313688378.dkr.ecr.{REGION}.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
REPOSITORY = f"arn:aws:ecr:{REGION}:683313688378:repository/sagemaker-scikit-learn"
EVALUATION = {
    "metrics": {"accuracy": 0.84, "auc": 0.9, "log_loss": 0.3, "rows_trained": 4000, "rows_held_out": 1000},
    "groups": [
        {"feature": "SEX", "value": "1", "label": "male", "rows": 480, "accuracy": 0.85, "selection_rate": 0.5},
        {"feature": "SEX", "value": "2", "label": "female", "rows": 520, "accuracy": 0.83, "selection_rate": 0.5},
    ],
    "attributions": [{"feature": "AGEP", "importance": 0.2, "deviation": 0.01}],
    "method": {"attributions": "Permutation importance.", "groups": "On held-out rows."},
}
GOOD = """
def model_fn(model_dir):
    return {name!r}

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    return model

def output_fn(prediction, accept):
    return prediction
"""
FAILING = GOOD.replace("    return model\n\ndef output", "    raise RuntimeError('no such feature')\n\ndef output")
SLOW = GOOD.replace(
    "def predict_fn(data, model):\n", "def predict_fn(data, model):\n    import time; time.sleep(0.8)\n"
)
SPEC = RealTimeSpec(
    instance_type="ml.m5.large",
    min_instances=2,
    max_instances=4,
    max_latency_ms=500,
    rollout=Rollout(kind="canary", step_percent=50, bake_minutes=1),
)
WATCHED = SPEC.model_copy(update={"rollout": Rollout(kind="canary", step_percent=50, bake_minutes=5)})
"""Long enough in the rehearsal (6 s a step) to see a candidate fail."""


@dataclass
class Product:
    """An endpoint with its releases, and people who train and approve."""

    user: User
    name: str
    outputs: Mapping[str, Any]
    lake: str
    key: str

    def __post_init__(self) -> None:
        # boto3 clients may be shared by threads; making one for every request costs more than the request.
        self._runtime = self.user.client("sagemaker-runtime")

    def __getattr__(self, service: str) -> Any:
        return getattr(self.user, service)

    def client(self, service: str) -> Any:
        return getattr(self.user, service)

    def as_(self, session: str) -> Any:
        got = self.user.sts.assume_role(RoleArn=self.user.role, RoleSessionName=session)["Credentials"]
        return self.user.client("sagemaker", got["AccessKeyId"], got["SecretAccessKey"])

    def arn_of(self, session: str) -> str:
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/runner/{session}"

    def register(self, program: str = GOOD, *, signed: bool = True) -> str:
        """A version that answers with its folder's name, as the pipeline registers and completes it."""
        run = new("run")
        folder = f"employment/models/{run}"
        files = {
            "model.tar.gz": archive(program.format(name=run)),
            "baseline.json": b'{"AGEP": {}}',
            "evaluation.json": json.dumps(EVALUATION).encode(),
        }
        for name, body in files.items():
            self.user.s3.put_object(Bucket=self.lake, Key=f"{folder}/{name}", Body=body)
        arn: str = self.user.sagemaker.create_model_package(
            ModelPackageGroupName=self.name,
            InferenceSpecification={
                "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{self.lake}/{folder}/model.tar.gz"}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            ModelApprovalStatus="PendingManualApproval",
            CustomerMetadataProperties={
                "run": run,
                "dataset": "s3://lake/people.csv",
                "dataset_sha256": "d" * 64,
                "code_revision": "27e4e3b",
                "author": self.arn_of("ann"),
            },
        )["ModelPackageArn"]
        if signed:
            self._sign(arn, f"s3://{self.lake}/{folder}/signature.json")
        return arn

    def _sign(self, arn: str, uri: str) -> None:
        """As the pipeline's last step does."""
        self.user.sagemaker.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties={sign.SIGNATURE: uri})
        described = self.user.sagemaker.describe_model_package(ModelPackageName=arn)
        statement = sign.observe(described, s3=self.user.s3, ecr=self.user.ecr)
        document = sign.sign(statement, kms=self.user.kms, key_arn=self.key)
        bucket, key = sign.location(uri)
        self.user.s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(document).encode())

    def approve(self, arn: str, who: str = "ben") -> str:
        """Someone approves, and CloudTrail tells the ledger."""
        self.as_(who).update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
        approvals.decide(
            {
                "eventName": "UpdateModelPackage",
                "eventID": new("event"),
                "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "userIdentity": {"type": "AssumedRole", "arn": self.arn_of(who)},
                "requestParameters": {"modelPackageArn": arn, "modelApprovalStatus": "Approved"},
            },
            sagemaker=self.user.sagemaker,
            s3=self.user.s3,
            states=None,
            myself=f"arn:aws:sts::{ACCOUNT}:assumed-role/approvals/approvals",
            ledger_bucket=self.outputs["ledger"],
            endpoint=self.name,
            release=None,
        )
        return arn

    def new_version(self, program: str = GOOD) -> str:
        return self.approve(self.register(program))

    def release(self, arn: str, **more: Any) -> Result:
        return releases.release(self.client, self.name, arn, **more)

    def rollback(self) -> Result:
        return releases.rollback(self.client, self.name)

    def answers_with(self, arn: str) -> str:
        """What a version of `GOOD` answers: the run it is from."""
        described = self.user.sagemaker.describe_model_package(ModelPackageName=arn)
        return str(described["CustomerMetadataProperties"]["run"])

    def ask(self, body: bytes = b"1", **named: str) -> str:
        answer = self._runtime.invoke_endpoint(EndpointName=self.name, Body=body, ContentType="text/csv", **named)
        told: bytes = answer["Body"].read()
        return told.decode()

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.user.sagemaker.describe_endpoint(EndpointName=self.name)
        return found

    def live(self) -> str:
        return live_package(self.user.sagemaker, self.name)

    def entries(self, kind: str) -> list[Entry]:
        found = ledger.entries(self.user.s3, self.outputs["ledger"], self.name)
        return [entry for entry in found if entry.kind == kind]

    def note(self, uri: str) -> str:
        return sign.read(self.user.s3, uri).decode()

    def quiet(self) -> None:
        """Wait until no alarm rings any more."""
        until(lambda: not self.ringing(), "no alarm rings", 240)

    def ringing(self) -> list[str]:
        found = self.user.cloudwatch.describe_alarms(AlarmNamePrefix=self.name, StateValue="ALARM")["MetricAlarms"]
        return [alarm["AlarmName"] for alarm in found]


Deploy = Callable[..., Product]


@pytest.fixture(scope="module")
def deploy(user: User, tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    """`deploy(spec)`: a product of its own with a first version; again with the same `like`: its stack is changed."""
    engines: dict[str, Engine] = {}
    key = user.kms.create_key()["KeyMetadata"]["Arn"]
    signing = user.kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    lake = new("lake")
    user.s3.create_bucket(Bucket=lake)
    topic, inbox = user.topic()

    def deploy(spec: EndpointSpec = SPEC, like: Product | None = None, first: str | None = None) -> Product:
        name = like.name if like else new("work")
        if like is None:
            user.sagemaker.create_model_package_group(ModelPackageGroupName=name)
        product = Product(user, name, {"inbox": inbox}, lake, signing)
        package = like.outputs["first"] if like else first or product.register()

        def build() -> dict[str, Any]:
            kept = Ledger(name, LedgerSpec(protect=False), kms_key_arn=key)
            endpoint = Endpoint(
                name,
                spec,
                model_package_arn=package,
                role_arn=user.role,
                captures_uri=f"s3://{lake}/employment/captures",
                answers_uri=f"s3://{lake}/employment/answers",
                subnet_ids=["subnet-a"],
                security_group_id="sg-1",
                kms_key_arn=key,
                alerts_topic_arn=topic,
            )
            release = Release(
                name,
                ReleaseSpec(gate={"accuracy": 0.8}, poll_seconds=1, keep_last=2, keep_days=1),
                endpoint_name=endpoint.endpoint_name,
                template=endpoint.template,
                first_names=endpoint.first_names,
                signing_key_arn=signing,
                role_arn=user.role,
                bucket=lake,
                bucket_arn=f"arn:aws:s3:::{lake}",
                prefix="employment",
                image_repository_arn=REPOSITORY,
                ledger_bucket=kept.bucket,
                ledger_bucket_arn=kept.arn,
                kms_key_arn=key,
                alerts_topic_arn=topic,
            )
            return {
                "ledger": kept.bucket,
                "machine": release.state_machine_arn,
                "template": endpoint.template,
                "keep": release.keep_function_name,
                "names": endpoint.first_names,
            }

        def cloud(_: Any) -> AwsProvider:
            return AwsProvider(REGION, ACCOUNT, dict.fromkeys(TAGS, "x"), user.emulator.endpoint)

        engine = engines.setdefault(name, Engine(tmp_path_factory.mktemp(name), {"aws": cloud}))
        told = replace(settings(build, name), region=REGION, config=CONFIG)
        outputs = engine.up(told).outputs
        return replace(product, outputs={**outputs, "inbox": inbox, "first": package})

    return deploy


@pytest.fixture(scope="module")
def product(deploy: Deploy) -> Product:
    """The product of those tests that leave it well."""
    return deploy()


class Traffic:
    """Requests all the time, from several callers; what each was answered, and what failed."""

    def __init__(self, product: Product, callers: int = 4) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._product, self._over = product, threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(callers)]

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self.answers.append(self._product.ask())
            except ClientError as error:
                self.failures.append(str(error))
            time.sleep(0.05)

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_an_approved_version_goes_live_and_the_ledger_says_on_what_evidence(product: Product) -> None:
    version, before = product.new_version(), product.live()
    with Traffic(product) as traffic:
        result = product.release(version, reason="better")

    assert (result.ok, result.live, product.live()) == (True, version, version), result
    assert traffic.failures == []
    assert set(traffic.answers) == {product.answers_with(before), product.answers_with(version)}
    assert product.ask() == product.answers_with(version)
    wanted = naming.configuration(json.loads(product.outputs["template"]), version)["EndpointConfigName"]
    assert product.described()["EndpointConfigName"] == wanted
    entry = product.entries("live")[-1]
    assert (entry.package_arn, entry.by) == (version, result.execution)
    assert entry.evidence["approved_by"] == product.arn_of("ben")
    assert (entry.evidence["metrics"]["accuracy"], entry.evidence["previous"]) == (0.84, before)
    assert entry.evidence["statement"]["package_arn"] == version


def test_what_is_live_already_is_recorded_and_left_alone(product: Product) -> None:
    version = product.new_version()
    assert product.release(version).ok
    before = product.described()["LastModifiedTime"]
    again = product.release(version)

    assert again.ok
    assert product.described()["LastModifiedTime"] == before


def test_an_unsigned_version_is_not_released(product: Product) -> None:
    version, before = product.approve(product.register(signed=False)), product.live()
    result = product.release(version)

    assert not result.ok
    assert "not signed" in result.reason
    assert (result.live, product.live()) == (before, before)
    failed = product.entries("failed")[-1]
    assert (failed.package_arn, failed.evidence["incident"]) == (version, result.incident)
    note = product.note(result.incident)
    assert "did not go live" in note and "not signed" in note and before in note


def test_an_altered_version_is_not_released(product: Product) -> None:
    version, before = product.new_version(), product.live()
    described = product.sagemaker.describe_model_package(ModelPackageName=version)
    bucket, key = sign.location(described["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
    product.s3.put_object(Bucket=bucket, Key=key, Body=archive(GOOD.format(name="evil")))
    result = product.release(version)

    assert not result.ok
    assert "model_sha256" in result.reason
    assert product.live() == before


def test_nobody_releases_what_nobody_approved(product: Product) -> None:
    result = product.release(product.register())
    assert "a second person has to approve it first" in result.reason


def test_the_author_cannot_approve(product: Product) -> None:
    result = product.release(product.approve(product.register(), who="ann"))
    assert "someone else has to approve it" in result.reason


def test_a_way_back_is_one_command_and_under_a_minute(product: Product) -> None:
    first, second = product.new_version(), product.new_version()
    assert product.release(first).ok and product.release(second).ok
    begun = time.monotonic()
    with Traffic(product) as traffic:
        result = product.rollback()

    assert result.ok, result
    assert time.monotonic() - begun < 60
    assert (product.live(), result.package_arn) == (first, first)
    assert traffic.failures == []
    entry = product.entries("live")[-1]
    assert (entry.evidence["rollback"], entry.evidence["approved_by"]) == (True, product.arn_of("ben"))


def test_a_second_way_back_does_not_return_to_what_was_left(product: Product) -> None:
    versions = [product.new_version() for _ in range(3)]
    for version in versions:
        assert product.release(version).ok
    assert product.rollback().package_arn == versions[1]
    assert product.rollback().package_arn == versions[0]


def test_nobody_goes_back_to_what_was_never_live(product: Product) -> None:
    never = product.new_version()
    asked = {"model_package_arn": never, "rollback": True}
    result = releases._run(product.client, product.name, "never", asked, lambda text: None)
    assert "was never live" in result.reason


def test_two_releases_at_once_do_not_collide(product: Product) -> None:
    versions = [product.new_version() for _ in range(2)]
    results: dict[str, Result] = {}
    said: list[str] = []

    def release(version: str) -> None:
        results[version] = product.release(version, say=said.append)

    threads = [threading.Thread(target=release, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
        time.sleep(0.3)  # the second is asked for later, and so has the last word
    for thread in threads:
        thread.join()

    assert results[versions[1]].ok
    assert product.live() == versions[1]
    assert any("waits for its turn" in line for line in said)
    updates = [call["time"] for call in product.user.calls("UpdateEndpoint") if call["status"] == 200]
    assert len(updates) == len(set(updates))
    assert not [call for call in product.user.calls("UpdateEndpoint") if call["status"] != 200]


def test_a_release_that_will_not_wait_says_who_has_the_lock(product: Product) -> None:
    first, second = product.new_version(), product.new_version()
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(product.release(first)))
    thread.start()
    until(lambda: product.described()["EndpointStatus"] == "Updating", "the first one is under way")
    refused = product.release(second, wait=False)
    thread.join()

    assert not refused.ok
    assert first in refused.reason and results[0].execution in refused.reason
    assert results[0].ok and product.live() == first


def test_capacity_and_weights_survive_a_release(product: Product) -> None:
    scaling = product.user.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": f"endpoint/{product.name}/variant/live",
    }
    # Nobody asks it for long enough that autoscaling would take the new instances away again.
    scaling.register_scalable_target(**target, SuspendedState={"DynamicScalingInSuspended": True})
    product.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=product.name,
        DesiredWeightsAndCapacities=[{"VariantName": "live", "DesiredInstanceCount": 4, "DesiredWeight": 0.5}],
    )
    until(lambda: product.described()["EndpointStatus"] == "InService", "the new capacity is in force")
    assert product.release(product.new_version()).ok

    [variant] = product.described()["ProductionVariants"]
    assert (variant["DesiredInstanceCount"], variant["DesiredWeight"]) == (4, 0.5)
    scaling.register_scalable_target(**target, SuspendedState={"DynamicScalingInSuspended": False})


def test_a_version_of_the_registry_may_be_named_by_its_number(product: Product) -> None:
    version = product.new_version()
    assert product.release(version.rpartition("/")[2]).live == version
    with pytest.raises(releases.NoRelease, match="give its number"):
        product.release("latest")
    with pytest.raises(releases.NoRelease, match="deploy the stack nowhere-local first"):
        releases.release(product.client, "nowhere-local", 1)


def test_who_has_the_alerts_hears_of_each_end(product: Product) -> None:
    version = product.new_version()
    assert product.release(version).ok

    def told() -> bool:
        return f"{version} since" in product.user.message(product.outputs["inbox"])["Body"]

    until(told, "the topic hears of it")


@pytest.mark.parametrize("program, alarm", [(FAILING, "error"), (SLOW, "latency")], ids=["errors", "slowness"])
def test_a_bad_candidate_is_rolled_back_and_no_request_to_the_old_version_fails(
    deploy: Deploy, program: str, alarm: str
) -> None:
    product = deploy(WATCHED)
    good = product.live()
    bad = product.new_version(program)
    with Traffic(product, callers=6) as traffic:
        time.sleep(1)
        result = product.release(bad)
        during = len(traffic.failures)
        time.sleep(2)

    assert not result.ok
    assert alarm in result.reason, result.reason
    assert (result.live, product.live(), product.ask()) == (good, good, product.answers_with(good))
    # What failed was the candidate's own answers; the version before never failed, and nothing does any more.
    assert all("no such feature" in failure for failure in traffic.failures)
    assert (during > 0) == (program == FAILING)
    assert len(traffic.failures) == during
    failed = product.entries("failed")[-1]
    assert (failed.package_arn, failed.evidence["serves"]) == (bad, good)
    assert any(alarm in name for name in failed.evidence["alarms"])
    note = product.note(result.incident)
    assert alarm in note.split("## Timeline")[1].split("## Evidence")[0] and alarm in note.split("## Evidence")[1]
    assert f"slipway release {product.name} {bad.rpartition('/')[2]}" in note
    assert product.entries("live")[-1].package_arn == good


def test_no_release_begins_while_an_alarm_rings_but_a_forced_one(product: Product) -> None:
    version, before = product.new_version(), product.live()
    alarm = f"{product.name}-latency"
    product.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="by hand")
    try:
        refused = product.release(version)
        assert (refused.ok, product.live()) == (False, before)
        assert alarm in refused.reason
        assert product.release(version, force=True).ok
    finally:
        product.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="by hand")


def test_a_version_that_cannot_start_leaves_the_one_before(product: Product) -> None:
    before = product.live()
    result = product.release(product.new_version("raise ImportError('no module named torch')\n# {name}"))

    assert not result.ok
    assert "no module named torch" in result.reason
    assert product.live() == before
    assert product.described()["EndpointStatus"] == "InService"


def test_a_change_of_the_stack_is_released_with_the_version_that_is_live(deploy: Deploy) -> None:
    product = deploy()
    version = product.new_version()
    assert product.release(version).ok
    scaling = product.user.client("application-autoscaling")
    changed = deploy(
        RealTimeSpec.model_validate({**SPEC.model_dump(), "instance_type": "ml.m5.xlarge", "capture_percent": 30}),
        like=product,
    )
    wanted = naming.configuration(json.loads(changed.outputs["template"]), version)["EndpointConfigName"]
    until(lambda: changed.described()["EndpointConfigName"] == wanted, "the new configuration is live", 120)

    assert changed.live() == version
    configured = changed.sagemaker.describe_endpoint_config(EndpointConfigName=wanted)
    assert configured["ProductionVariants"][0]["InstanceType"] == "ml.m5.xlarge"

    # SageMaker changes no instance type of what autoscaling holds: it was let go of, and is back.
    def target() -> Any:
        found = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
        return [each for each in found if each["ResourceId"] == f"endpoint/{product.name}/variant/live"]

    [restored] = until(target, "autoscaling holds it again")
    assert (restored["MinCapacity"], restored["MaxCapacity"]) == (2, 4)
    [policy] = scaling.describe_scaling_policies(
        ServiceNamespace="sagemaker", ResourceId=f"endpoint/{product.name}/variant/live"
    )["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 600
    until(
        lambda: changed.entries("live")[-1].evidence["reason"] == "the stack's endpoint was changed",
        "the ledger has it",
    )
    # What comes back is there already, and is taken.
    back = deploy(SPEC, like=product)
    wanted = naming.configuration(json.loads(back.outputs["template"]), version)["EndpointConfigName"]
    until(lambda: back.described()["EndpointConfigName"] == wanted, "the setting is as it was", 120)
    assert back.live() == version


AT_ONCE = Rollout(kind="all-at-once", bake_minutes=0)
KINDS: dict[str, EndpointSpec] = {
    "serverless": ServerlessSpec(memory_mib=1024, max_concurrency=5, rollout=AT_ONCE),
    "async": AsyncSpec(instance_type="ml.m5.large", max_instances=2, rollout=AT_ONCE),
    "scale-to-zero": ScaleToZeroSpec(
        instance_type="ml.m5.large", max_instances=1, max_copies=2, memory_mib=512, rollout=AT_ONCE
    ),
}


def stay_awake(product: Product) -> None:
    """Nobody asks a test's endpoint for a while: it is not to fall asleep, for what is asleep is replaced untried."""
    product.user.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"inference-component/{product.name}",
        ScalableDimension="sagemaker:inference-component:DesiredCopyCount",
        SuspendedState={"DynamicScalingInSuspended": True},
    )

    def in_service() -> Any:
        found = product.sagemaker.describe_inference_component(InferenceComponentName=product.name)
        return found["RuntimeConfig"] if found["InferenceComponentStatus"] == "InService" else None

    if not until(in_service, "it is in service", 120)["CurrentCopyCount"]:  # on a slow machine, it sleeps by now
        product.sagemaker.update_inference_component_runtime_config(
            InferenceComponentName=product.name, DesiredRuntimeConfig={"CopyCount": 1}
        )
        until(lambda: (in_service() or {}).get("CurrentCopyCount"), "it is awake", 120)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_endpoint_is_released_and_keeps_what_works(deploy: Deploy, kind: str) -> None:
    product = deploy(KINDS[kind])
    if kind == "scale-to-zero":
        stay_awake(product)
    version = product.new_version()
    result = product.release(version)
    assert result.ok, result
    assert product.live() == version
    if kind != "async":
        named = {"InferenceComponentName": product.name} if kind == "scale-to-zero" else {}
        assert product.ask(**named) == product.answers_with(version)

    broken = product.release(product.new_version("raise ImportError('no module named torch')\n# {name}"))
    assert not broken.ok
    assert "no module named torch" in broken.reason
    assert product.live() == version
    if kind != "async":
        assert product.ask(**named) == product.answers_with(version)
    assert product.rollback().ok
    assert product.live() == product.outputs["first"]


class TestCollector:
    def collect(self, product: Product, **more: Any) -> keep.Collected:
        told: dict[str, Any] = {"keep_last": 1, "keep": timedelta(0), "always": product.outputs["names"], **more}
        return keep.collect(product.sagemaker, product.name, **told)

    def configurations(self, product: Product) -> set[str]:
        found = product.sagemaker.list_endpoint_configs(NameContains=product.name)["EndpointConfigs"]
        return {each["EndpointConfigName"] for each in found}

    def test_what_is_superseded_goes_and_what_is_live_never(self, deploy: Deploy) -> None:
        product = deploy()
        for _ in range(3):
            assert product.release(product.new_version()).ok
        live, before = product.described()["EndpointConfigName"], self.configurations(product)
        assert self.collect(product, keep=timedelta(days=1)).configurations == []
        assert self.collect(product, keep_last=9).configurations == []
        done = self.collect(product)

        assert len(done.configurations) == len(done.models) == 2
        assert live not in done.configurations
        assert self.configurations(product) == before - set(done.configurations)
        assert {live, *product.outputs["names"][-1:]} <= self.configurations(product)
        assert product.ask()

    def test_an_old_configuration_that_is_live_is_kept_however_many_came_after(self, product: Product) -> None:
        """A rollback makes an old one live again."""
        old = product.live()
        assert product.release(product.new_version()).ok
        assert product.rollback().package_arn == old
        live = product.described()["EndpointConfigName"]

        done = self.collect(product, keep_last=0, always=[])
        assert live not in done.configurations
        assert live in self.configurations(product)
        assert product.ask() == product.answers_with(old)
        [variant] = product.sagemaker.describe_endpoint_config(EndpointConfigName=live)["ProductionVariants"]
        assert product.sagemaker.describe_model(ModelName=variant["ModelName"])

    def test_what_is_about_to_be_live_is_kept(self, product: Product) -> None:
        results: list[Result] = []
        version = product.new_version()
        thread = threading.Thread(target=lambda: results.append(product.release(version)))
        thread.start()
        until(lambda: product.described().get("PendingDeploymentSummary"), "a candidate is on its way")
        pending = product.described()["PendingDeploymentSummary"]["EndpointConfigName"]
        done = self.collect(product, keep_last=0, always=[])
        thread.join()

        assert pending not in done.configurations
        assert results[0].ok and product.live() == version

    def test_another_endpoints_are_left_alone(self, product: Product) -> None:
        other = f"{product.name}-2"
        model = naming.named(other, "arn/v/1", "{}")
        product.sagemaker.create_model(
            ModelName=model, ExecutionRoleArn=product.user.role, PrimaryContainer={"Image": "x"}
        )
        self.collect(product, keep_last=0, always=[])
        assert product.sagemaker.describe_model(ModelName=model)

    def test_the_schedule_starts_it(self, product: Product) -> None:
        answer, error = product.user.invoke(product.outputs["keep"], {"do": "collect"})
        assert error is None, answer
        assert set(answer) == {"configurations", "models", "kept"}


def test_a_stopped_release_is_recorded_and_frees_the_endpoint(product: Product) -> None:
    version = product.new_version()
    name, asked = new("stopped"), {"model_package_arn": version, "by": "ben", "reason": "test"}
    execution = product.stepfunctions.start_execution(
        stateMachineArn=product.outputs["machine"], name=name, input=json.dumps(asked)
    )["executionArn"]
    until(lambda: product.described()["EndpointStatus"] == "Updating", "it is under way")
    product.stepfunctions.stop_execution(executionArn=execution, cause="someone pressed the button")

    def recorded() -> Entry | None:
        return next((entry for entry in product.entries("failed") if entry.id == name), None)

    entry = until(recorded, "the ledger has it")
    assert "someone pressed the button" in entry.evidence["reason"]
    until(lambda: product.described()["EndpointStatus"] == "InService", "what had begun has ended")
    assert product.release(product.new_version()).ok


def test_an_endpoint_that_is_not_there_serves_nothing(user: User) -> None:
    with pytest.raises(NothingLive, match="there is no endpoint nowhere"):
        live_package(user.sagemaker, "nowhere")
