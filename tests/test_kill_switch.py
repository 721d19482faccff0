"""The kill-switch: what it stops when it is asked, what it leaves alone, and how all of it comes back."""

import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest
from pretend_aws import CONFIG, KEY, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError
from typer.testing import CliRunner

from components.budget import Budget, BudgetSpec
from components.kill_switch import Held, KillSwitch, KillSwitchSpec
from functions.kill_switch.cluster import Api, ClusterError, token
from functions.kill_switch.core import Found, NotAnAlarm, alarm, decide, restore
from functions.kill_switch.spending import PROTECTED
from functions.kill_switch.spending import Product as Spending
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.engine import Engine
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.state import StateStore
from infra.settings import load
from tests.emulated import ACCOUNT, REGION, User, new, until
from tests.served_models import ECHO, archive
from tests.test_emulator_jobs import Jobs
from tests.test_emulator_pipelines import Pipelines

PRODUCT = "employment-local"
EVERYTHING = [f"{kind}/*" for kind in ("endpoint", "pipeline", "training-job", "processing-job", "transform-job")]
TAGS = {"owner": "team", "product": "churn", "environment": "local"}
BUDGET = """AWS Budget Notification November 21, 2026
AWS Account 123456789012

Dear AWS Customer,

You requested that we alert you when the ACTUAL Cost associated with your employment-local-monthly budget is greater \
than $600.00 for the current month. The ACTUAL Cost associated with this budget is $612.40.

Budget Name: employment-local-monthly
Budget Type: Cost
Budgeted Amount: $500.00
Alert Type: ACTUAL
Alert Threshold: > $600.00
ACTUAL Amount: $612.40

Go to the AWS Budgets dashboard
"""
RINGS = {"AlarmName": "gpu-hours", "NewStateValue": "ALARM", "NewStateReason": "Threshold Crossed: 1 datapoint"}
ANOMALY = {
    "accountId": ACCOUNT,
    "monitorName": "training",
    "anomalyId": "1b2c",
    "impact": {"maxImpact": 200.0, "totalImpact": 412.5},
}
LONG = "import time\nprint('begun', flush=True)\ntime.sleep(900)\n"


# --- what is an alarm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "source", "name", "reason"),
    [
        (BUDGET, "budget", "employment-local-monthly", "$612.40"),
        (json.dumps(RINGS), "alarm", "gpu-hours", "Threshold Crossed"),
        (json.dumps(ANOMALY), "anomaly", "training", "412.5 USD"),
    ],
)
def test_each_kind_of_alarm_is_understood(message: str, source: str, name: str, reason: str) -> None:
    found = alarm(message)
    assert (found.source, found.name) == (source, name)
    assert reason in found.reason


@pytest.mark.parametrize(
    "message",
    [
        json.dumps({**RINGS, "NewStateValue": "OK"}),
        json.dumps({**RINGS, "NewStateValue": "INSUFFICIENT_DATA"}),
        json.dumps({"hello": "world"}),
        "[]",
        "This message confirms that AWS Budgets may publish to this topic.",
        "",
    ],
)
def test_what_is_no_alarm_stops_nothing(message: str) -> None:
    with pytest.raises(NotAnAlarm):
        alarm(message)


# --- what is decided ------------------------------------------------------------------------------------------------


def capacity(now: int, least: int = 1, **more: Any) -> Found:
    return Found(
        kind="capacity",
        name="endpoint/e/variant/live",
        now={"capacity": now},
        stopped={"capacity": min(now, least)},
        **more,
    )


def test_only_what_is_allowed_spends_and_is_not_protected_is_stopped() -> None:
    job = Found(kind="job", name="training-job/j", now={"runs": True}, stopped={"runs": False})
    found = [
        job,
        replace(job, name="training-job/kept", protected=True),
        replace(job, name="transform-job/t"),
        capacity(1),
    ]
    decided = {each.name: (each.change, each.why) for each in decide(found, ["training-job/*", "endpoint/*"])}

    assert decided["training-job/j"] == (True, "it spends")
    assert decided["training-job/kept"] == (False, "it is protected by its tag")
    assert decided["transform-job/t"] == (False, "kill_switch.allow does not name it")
    assert decided["endpoint/e/variant/live"] == (False, "it is at its least already")


def test_scale_out_is_held_before_capacity_is_taken_away_and_given_back_after_it_is_restored() -> None:
    held = Found(kind="scale-out", name="endpoint/e/variant/live", now={"out": False}, stopped={"out": True})
    stopped = decide([capacity(3), held], ["endpoint/*"])
    assert [each.kind for each in stopped] == ["scale-out", "capacity"]
    after = {each.kind: each.after for each in stopped}
    undone = restore([each.to_dict() for each in stopped], lambda kind, name: after[kind], overwrite=False)
    assert [(each.kind, each.after) for each in undone] == [
        ("capacity", {"capacity": 3}),
        ("scale-out", {"out": False}),
    ]


@pytest.mark.parametrize(
    ("now", "overwrite", "change", "why"),
    [
        (1, False, True, "put back"),
        (4, False, False, "as it was before"),
        (2, False, False, '{"capacity": 2}: --overwrite'),
        (2, True, True, "put back"),
        (None, True, False, "gone"),
    ],
)
def test_an_undo_takes_only_its_own_change_back(now: int | None, overwrite: bool, change: bool, why: str) -> None:
    [stopped] = decide([capacity(4)], ["endpoint/*"])
    present = None if now is None else {"capacity": now}
    [undone] = restore([stopped.to_dict()], lambda kind, name: present, overwrite=overwrite)
    assert undone.change == change
    assert why in undone.why
    assert undone.after == {"capacity": 4}


# --- what it may do -------------------------------------------------------------------------------------------------


def statements(**more: Any) -> list[dict[str, Any]]:
    def build() -> None:
        KillSwitch(
            "churn-local",
            KillSwitchSpec(),
            ledger_bucket="ledger",
            ledger_bucket_arn="arn:aws:s3:::ledger",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
            **more,
        )

    made: PretendAws = up(build)
    policy = made.inputs(aws.iam.RolePolicy)["churn-local-stop"]["policy"]
    assert len(policy) < 10_240, "IAM's limit for the policies in a role"
    return list(json.loads(policy)["Statement"])


def test_it_changes_only_what_carries_the_product_s_tags_and_not_the_one_that_protects() -> None:
    changing = "Stop", "Update", "Register"
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/churn-local"
    for each in statements(pipeline_names=["churn-local"]):
        actions = [action for action in each["Action"] if action.partition(":")[2].startswith(changing)]
        if actions == ["sagemaker:StopPipelineExecution"]:
            assert each["Resource"] == [f"{arn}/execution/*"]
        elif actions:
            wanted = {f"aws:ResourceTag/{tag}": TAGS[tag] for tag in TAGS}
            assert wanted.items() <= each["Condition"]["StringEquals"].items()
            assert each["Condition"]["Null"] == {f"aws:ResourceTag/{PROTECTED}": "true"}


def test_a_cluster_s_switch_has_no_right_to_anything_of_sagemaker() -> None:
    held = Held(
        cluster_name="platform-local",
        cluster_security_group_id="sg-cluster",
        queues=["vision"],
        pools=["burst"],
        vpc_id="vpc-1",
        subnet_ids=["subnet-a"],
        security_group_id="sg-workload",
    )
    actions = {action for each in statements(held=held) for action in each["Action"] if each["Effect"] == "Allow"}
    assert not [action for action in actions if action.startswith(("sagemaker", "application-autoscaling"))]
    assert [action for action in actions if action.startswith("eks")] == ["eks:DescribeCluster"]


def test_nothing_is_allowed_unless_it_is_named_and_everything_cannot_be() -> None:
    assert (KillSwitchSpec().allow, KillSwitchSpec().mode) == ([], "dry-run")
    with pytest.raises(ValidationError, match="pattern"):
        KillSwitchSpec(allow=["*"])


def test_a_budget_tells_the_switch_beside_those_who_hear_of_it() -> None:
    made = up(
        lambda: Budget("churn", BudgetSpec(), usd_per_month=100, alerts_topic_arn=TOPIC, stop_topic_arn="arn:stop")
    )
    told = [
        (each["notificationType"], each["threshold"], each["subscriberSnsTopicArns"])
        for each in made.only(aws.budgets.Budget)["notifications"]
    ]
    assert [each for each in told if each[2] == ["arn:stop"]] == [("ACTUAL", 120, ["arn:stop"])]
    with pytest.raises(ValidationError, match="each share once"):
        BudgetSpec(spent_percents=[80, 120])


# --- in the rehearsal -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(emulator: Emulator, emulator_work: Path) -> Engine:
    return Engine(
        emulator_work,
        {
            "aws": lambda told: AwsProvider(told.region, told.account_id, told.tags, emulator.endpoint),
            "kubernetes": lambda _: KubernetesProvider(emulator_work),
        },
        state=StateStore(emulator_work),
    )


@pytest.fixture(scope="module")
def platform(engine: Engine) -> Mapping[str, Any]:
    """What the platform's own stack exports, with a cluster, queues, and a pool of Karpenter's."""
    return engine.up(load("platform-local")).outputs


@dataclass
class Product:
    """A product with a switch, and what a user does with both."""

    user: User
    engine: Engine
    platform: Mapping[str, Any]
    inbox: str
    alerts: str

    def deploy(self, **spec: Any) -> Mapping[str, Any]:
        def build() -> dict[str, Any]:
            switch = KillSwitch(
                PRODUCT,
                KillSwitchSpec.model_validate({"mode": "act", "allow": EVERYTHING, **spec}),
                ledger_bucket=self.platform["ledger_bucket"],
                ledger_bucket_arn=self.platform["ledger_bucket_arn"],
                kms_key_arn=self.platform["kms_key_arn"],
                alerts_topic_arn=self.alerts,
            )
            return {"stop_function_name": switch.function_name, "stop_topic_arn": switch.topic_arn}

        told = replace(settings(build, PRODUCT), region=REGION, config=CONFIG, tags={**TAGS, "cost-center": "7"})
        return self.engine.up(told).outputs

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """All that was written down, by name."""
        prefix = f"kill-switch/{PRODUCT}/"
        found = self.user.s3.list_objects_v2(Bucket=self.platform["ledger_bucket"], Prefix=prefix)
        return {
            each["Key"].removeprefix(prefix).removesuffix(".json"): json.load(
                self.user.s3.get_object(Bucket=self.platform["ledger_bucket"], Key=each["Key"])["Body"]
            )
            for each in found.get("Contents", ())
        }

    def told(self, words: str) -> str:
        """The next message on the alerts topic with these words; alarms send theirs, too."""
        while words not in (body := str(self.user.message(self.inbox, 60)["Body"])):
            pass
        return body

    def ring(self, topic: str, expected: str) -> str:
        """Have a budget ring, and wait for the message about what came of it."""
        self.user.sns.publish(TopicArn=topic, Message=BUDGET)
        return self.told(f"{PRODUCT} {expected}: budget employment-local-monthly")

    def train(self, jobs: Jobs, **tags: str) -> str:
        carried = [{"Key": key, "Value": value} for key, value in {**TAGS, **tags}.items()]
        return jobs.train(LONG, Tags=carried, StoppingCondition={"MaxRuntimeInSeconds": 900})

    def status(self, job: str) -> str:
        return str(self.user.sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"])


@pytest.fixture(scope="module")
def product(user: User, engine: Engine, platform: Mapping[str, Any]) -> Product:
    topic, inbox = user.topic()
    return Product(user, engine, platform, inbox, topic)


@pytest.fixture(scope="module")
def pipelines(user: User) -> Pipelines:
    return Pipelines(user)


@pytest.fixture(scope="module")
def jobs(pipelines: Pipelines) -> Jobs:
    return pipelines.jobs


@dataclass
class Served:
    """An endpoint that scales from 1 to 3, and what is asked of it."""

    user: User
    name: str

    def __post_init__(self) -> None:
        self.target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{self.name}/variant/live",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }

    def instances(self) -> int:
        [variant] = self.user.sagemaker.describe_endpoint(EndpointName=self.name)["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    def suspended(self) -> dict[str, bool]:
        scaling = self.user.client("application-autoscaling")
        found = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[self.target["ResourceId"]])
        return dict(found["ScalableTargets"][0].get("SuspendedState") or {})

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Asked more than its instances are there for."""
        over, runtime = threading.Event(), self.user.client("sagemaker-runtime")

        def ask() -> None:
            while not over.wait(0.05):
                runtime.invoke_endpoint(EndpointName=self.name, Body=b"1")

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def served(user: User) -> Served:
    bucket, name = new("models"), new("served")
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    user.s3.create_bucket(Bucket=bucket)
    user.s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=archive(ECHO.format(name="v1")))
    container = {"Image": "sklearn:1", "ModelDataUrl": f"s3://{bucket}/model.tar.gz"}
    user.sagemaker.create_model(ModelName=name, ExecutionRoleArn=user.role, PrimaryContainer=container)
    variant = {"VariantName": "live", "ModelName": name, "InstanceType": "ml.m7i.large", "InitialInstanceCount": 1}
    user.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    user.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=tags)
    until(lambda: user.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService", "it serves")
    served = Served(user, name)
    scaling = user.client("application-autoscaling")
    scaling.register_scalable_target(**served.target, MinCapacity=1, MaxCapacity=3, Tags=TAGS)
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    scaling.put_scaling_policy(
        **served.target,
        PolicyName="traffic",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 2, "PredefinedMetricSpecification": metric},
    )
    return served


@pytest.fixture
def slipway(emulator_work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """`slipway("stop", …)`: the exit code, and the JSON or text."""
    from infra.cli import app

    monkeypatch.setattr("infra.rehearsal.session.WORK", emulator_work)

    def run(*words: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, [*words])
        return done.exit_code, json.loads(done.stdout) if "--json" in words else done.stdout + done.stderr

    return run


def changed(stopped: Mapping[str, Any]) -> list[str]:
    return [each["name"] for each in stopped["items"] if each["change"]]


def test_a_budget_s_alarm_stops_what_spends_and_an_undo_brings_it_back(
    product: Product, served: Served, jobs: Jobs, slipway: Callable[..., tuple[int, Any]]
) -> None:
    outputs = product.deploy()
    spends, kept = product.train(jobs), product.train(jobs, **{PROTECTED: "nightly"})
    others = product.train(jobs, product="another")
    before = served.suspended()
    with served.busy():
        until(lambda: served.instances() == 3, "it scaled out")

        code, looked = slipway("stop", PRODUCT, "--json")
        assert looked[PRODUCT]["problems"] == []
        assert (code, looked[PRODUCT]["act"]) == (0, False)
        assert sorted(changed(looked[PRODUCT])) == sorted(
            [served.target["ResourceId"]] * 2 + [f"training-job/{spends}"]
        )
        assert (served.instances(), served.suspended(), product.status(spends)) == (3, before, "InProgress")
        assert product.records == {}, "a look leaves no trace"

        told = product.ring(outputs["stop_topic_arn"], "was stopped")
        assert served.instances() == 1
        assert (
            served.suspended()["DynamicScalingOutSuspended"] is served.suspended()["ScheduledScalingSuspended"] is True
        )
        assert served.suspended()["DynamicScalingInSuspended"] is False
        assert product.status(spends) in ("Stopping", "Stopped")
        assert (product.status(kept), product.status(others)) == ("InProgress", "InProgress")

        # Under the same load it scaled out within seconds.
        waited = threading.Event()
        threading.Timer(8, waited.set).start()
        while not waited.wait(0.5):
            assert served.instances() == 1, "it may not scale out"

        [record] = [name for name in product.records if "." not in name]
        kept_record = product.records[record]
        assert kept_record["alarm"]["source"] == "budget"
        assert {each["name"]: each["why"] for each in kept_record["decisions"]}[f"training-job/{kept}"] == (
            "it is protected by its tag"
        )
        was = {each["kind"]: each["before"] for each in kept_record["decisions"] if each["change"]}
        assert was["capacity"] == {"capacity": 3}
        assert {each["outcome"] for each in product.records[f"{record}.done"]["decisions"] if each["change"]} == {
            "done"
        }
        assert f"slipway stop {PRODUCT} --undo {record} --act" in told

        again = product.ring(outputs["stop_topic_arn"], "was stopped")
        assert " -> " not in again, "all is stopped already"

        code, undone = slipway("stop", PRODUCT, "--undo", record, "--json")
        assert (code, undone[PRODUCT]["act"], served.instances()) == (0, False, 1)
        code, undone = slipway("stop", PRODUCT, "--undo", record, "--act", "--json")
        assert code == 0
        assert changed(undone[PRODUCT]) == [served.target["ResourceId"]] * 2
        assert (served.instances(), served.suspended()["DynamicScalingOutSuspended"]) == (3, False)
        assert record in product.told(f"{PRODUCT} was put back: person")
        code, undone = slipway("stop", PRODUCT, "--undo", record, "--act", "--json")
        assert (code, changed(undone[PRODUCT])) == (0, []), "nothing is left to undo"
    for job in (kept, others):
        product.user.sagemaker.stop_training_job(TrainingJobName=job)


def test_an_undo_leaves_what_somebody_changed_since(
    product: Product, served: Served, slipway: Callable[..., tuple[int, Any]]
) -> None:
    product.deploy()
    weights = {"VariantName": "live", "DesiredInstanceCount": 3}
    scaling = product.user.client("application-autoscaling")

    def set_instances(count: int) -> None:
        product.user.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=served.name, DesiredWeightsAndCapacities=[{**weights, "DesiredInstanceCount": count}]
        )

    set_instances(3)
    _, stopped = slipway("stop", PRODUCT, "--act", "--reason", "exercise", "--json")
    record = stopped[PRODUCT]["record"]
    assert served.instances() == 1
    # At most 2, so that what the alarms of earlier requests ask for, once they may, adds none.
    scaling.register_scalable_target(**served.target, MinCapacity=2, MaxCapacity=2)
    set_instances(2)
    code, shown = slipway("stop", PRODUCT, "--undo", record, "--act")
    assert code == 0
    assert "--overwrite" in shown
    assert served.instances() == 2
    slipway("stop", PRODUCT, "--undo", record, "--act", "--overwrite", "--json")
    assert served.instances() == 3
    scaling.register_scalable_target(**served.target, MinCapacity=1, MaxCapacity=3)


def test_in_production_only_what_is_named_is_stopped_and_alarms_only_say_so(
    product: Product, served: Served, jobs: Jobs, slipway: Callable[..., tuple[int, Any]]
) -> None:
    outputs = product.deploy(mode="dry-run", allow=["training-job/*"])
    product.user.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=served.name, DesiredWeightsAndCapacities=[{"VariantName": "live", "DesiredInstanceCount": 3}]
    )
    job = product.train(jobs)
    told = product.ring(outputs["stop_topic_arn"], "would be stopped (dry run)")
    assert f"training-job/{job}" in told
    assert served.target["ResourceId"] not in told
    assert (product.status(job), served.instances()) == ("InProgress", 3)
    dry = max(name for name in product.records if "." not in name)
    assert product.records[dry]["act"] is False
    code, shown = slipway("stop", PRODUCT, "--undo", dry, "--act", "--json")
    assert (code, "of a dry run" in shown["error"]) == (1, True)

    code, stopped = slipway("stop", PRODUCT, "--act", "--json")
    assert (code, changed(stopped[PRODUCT])) == (0, [f"training-job/{job}"])
    assert product.status(job) in ("Stopping", "Stopped")
    assert served.instances() == 3


def ended(spending: Spending, found: Found) -> bool:
    return spending.read(found.kind, found.name) == found.stopped


def test_an_execution_is_stopped_with_its_jobs_unless_one_of_them_is_protected(
    pipelines: Pipelines, user: User
) -> None:
    kept = {"Tags": [{"Key": PROTECTED, "Value": "yes"}]}
    for arguments, protected in (({}, False), (kept, True)):
        name = pipelines.create([pipelines.training("train", LONG, Arguments=arguments)])
        execution = pipelines.start(name)
        until(lambda execution=execution: pipelines.steps(execution).get("train", {}).get("Metadata"), "it trains", 60)
        job = pipelines.steps(execution)["train"]["Metadata"]["TrainingJob"]["Arn"].rpartition("/")[2]
        scaling = user.client("application-autoscaling")
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{name}"
        spending = Spending(user.sagemaker, scaling, tags={"product": "no such"}, pipelines=[arn])
        [found] = spending.find()
        assert (found.kind, f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{found.name}") == ("execution", execution)
        assert (found.protected, found.note) == (protected, f"with its training-job/{job}")
        spending.change(found.kind, found.name, found.stopped)
        until(partial(ended, spending, found), "it ends", 60)
        assert pipelines.jobs.trained(job)["TrainingJobStatus"] == "Stopped"


def test_what_is_no_alarm_is_logged_and_told_to_nobody(product: Product) -> None:
    outputs = product.deploy()
    before = product.records.keys()
    product.user.sns.publish(TopicArn=outputs["stop_topic_arn"], Message=json.dumps({**RINGS, "NewStateValue": "OK"}))
    log = outputs["stop_function_name"]
    until(lambda: any("gpu-hours is OK" in line for line in product.user.logged(log)), "it says so in its log")
    assert product.records.keys() == before


def test_an_alarm_holds_the_queues_and_stops_new_nodes_and_an_undo_lets_them_go(
    platform: Mapping[str, Any], user: User, emulator_work: Path, slipway: Callable[..., tuple[int, Any]]
) -> None:
    cluster = KubernetesProvider(emulator_work)

    def stored() -> dict[str, Any]:
        queue = cluster.found("kueue.x-k8s.io/v1beta2", "ClusterQueue", "employment")
        pool = cluster.found("karpenter.sh/v1", "NodePool", "burst")
        assert queue and pool
        return {"stopPolicy": queue["spec"].get("stopPolicy"), "limits": pool["spec"]["limits"]}

    before = stored()
    assert before == {"stopPolicy": None, "limits": {"nvidia.com/gpu": 2}}
    name = user.alarm("gpu_hours", AlarmActions=[platform["stop_topic_arn"]])
    user.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="by hand")
    until(lambda: stored() != before, "it is stopped", 60)
    until(lambda: stored()["limits"] == {"cpu": "0", "nvidia.com/gpu": "0"}, "no node is started any more")
    assert stored()["stopPolicy"] == "Hold"

    prefix = "kill-switch/platform-local/"
    listed = user.s3.list_objects_v2(Bucket=platform["ledger_bucket"], Prefix=prefix)["Contents"]
    names = [each["Key"].removeprefix(prefix).removesuffix(".json") for each in listed]
    [record] = [name for name in names if "." not in name]
    code, undone = slipway("stop", "platform-local", "--undo", record, "--act", "--json")
    assert (code, sorted(changed(undone["platform-local"]))) == (0, ["node-pool/burst", "queue/employment"])
    assert stored() == {**before, "stopPolicy": "None"}


# --- the way to the cluster -----------------------------------------------------------------------------------------


@pytest.fixture
def as_switch(
    platform: Mapping[str, Any], user: User, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """`as_switch(role)`: what is asked from then on is asked as this role, or the switch's own."""

    def become(role: str = "") -> None:
        function = user.lambda_.get_function_configuration(FunctionName=platform["stop_function_name"])
        got = user.sts.assume_role(RoleArn=role or function["Role"], RoleSessionName="test")["Credentials"]
        for name, value in {
            "AWS_ENDPOINT_URL": emulator.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
            "AWS_SESSION_TOKEN": got["SessionToken"],
        }.items():
            monkeypatch.setenv(name, value)

    return become


QUEUE = "apis/kueue.x-k8s.io/v1beta2/clusterqueues/employment"


def test_the_cluster_lets_it_change_its_queues_and_pools_and_nothing_else(as_switch: Callable[..., None]) -> None:
    as_switch()
    api = Api("platform-local")
    queue = api.get(QUEUE)
    assert queue is not None and queue["spec"]["queueingStrategy"] == "BestEffortFIFO"
    with pytest.raises(ClusterError, match=r"403 .*cannot get resource"):
        api.get("apis/kueue.x-k8s.io/v1beta2/clusterqueues/another")
    with pytest.raises(ClusterError, match=r"403 .*cannot patch resource"):
        api.patch("apis/kueue.x-k8s.io/v1beta2/resourceflavors/burst", {"spec": {}})
    with pytest.raises(ClusterError, match=r"422 .*stopPolicy"):
        api.patch(QUEUE, {"spec": {"stopPolicy": "Halt"}})


def test_the_cluster_knows_nobody_else(as_switch: Callable[..., None], user: User, platform: Mapping[str, Any]) -> None:
    as_switch(user.role)
    with pytest.raises(ClusterError, match="401"):
        Api("platform-local").get(QUEUE)
    as_switch()
    api = Api("platform-local")
    described = user.eks.describe_cluster(name="platform-local")["cluster"]
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"{described['endpoint']}/{QUEUE}")
    assert api.get(QUEUE) is not None


def test_a_token_is_a_request_to_sts_that_names_the_cluster(as_switch: Callable[..., None]) -> None:
    as_switch()
    text = token("platform-local").removeprefix("k8s-aws-v1.")
    url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    assert url.startswith(f"https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&")
    assert "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id" in url
    assert "X-Amz-Expires=60" in url
    assert "platform-local" not in url, "the cluster's name is signed, and sent by the cluster itself"
