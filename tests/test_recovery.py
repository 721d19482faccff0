"""What an alarm of an endpoint leads to: what is decided on which evidence, what is done, and what is written down."""

import base64
import contextlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pulumi_aws as aws
import pytest
from botocore.exceptions import ClientError
from pretend_aws import CONFIG
from pretend_cloud import settings

from components.budget import Budget, BudgetSpec
from components.endpoint import Endpoint
from components.kill_switch import KillSwitch, KillSwitchSpec
from components.ledger import Ledger, LedgerSpec
from components.recovery import Recovery, RecoverySpec, RetrainingSpec
from components.release import Release, ReleaseSpec
from components.training_pipeline import Code, GateSpec, PipelineSpec, TrainingPipeline
from functions.incidents import store
from functions.incidents.core import Incident
from infra.pipelines import packed
from infra.reach import Deployed
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine
from infra.retraining import NotRetrained, retrain
from tests.emulated import ACCOUNT, REGION, User, new, until
from tests.test_release import GOOD, IMAGE, REPOSITORY, SPEC
from tests.test_release import Product as Released

PICKY = GOOD.replace(
    "    return model\n\ndef output",
    "    if 'x' in data:\n        raise RuntimeError('no such feature')\n    return model\n\ndef output",
)
"""A version that fails what its predecessors could answer, once it is asked that."""
METRICS = {"drift": "drifting", "quality": "quality_drop", "broken-data": "broken_data", "stale": "stale"}
METRICS |= {"spending": "runaway", "data-silent": "lost"}
TRAINED_UNTIL = "2026-01-01T00:00:00Z"

PREPARE = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
(folder / "train").mkdir(parents=True, exist_ok=True)
(folder / "train" / "rows.csv").write_text("rows")
(folder / "dataset.json").write_text(json.dumps({"sha256": "d" * 64, "last": "2026-06-01T00:00:00Z"}))
"""
EVALUATE = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
(folder / "evaluation.json").write_text(json.dumps({"metrics": {"accuracy": 0.9}}))
(folder / "baseline.json").write_text("{}")
"""
TRAIN = """
import os, pathlib
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.joblib").write_text("a model")
"""
DICTATED = """
import json, pathlib, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
told = json.loads(pathlib.Path(words[{where!r}], {file!r}).read_text())
folder = pathlib.Path(words["--output"])
(folder / "recent").mkdir(parents=True, exist_ok=True)
(folder / "recent" / "dictated.json").write_text(json.dumps(told))
(folder / "{script}.json").write_text(json.dumps(told[{script!r}]))
"""
"""The two jobs of a retraining, which say what the test has put among the labels."""
SCRIPTS = {
    "prepare.py": PREPARE,
    "evaluate.py": EVALUATE,
    "newest.py": DICTATED.format(where="--labels", file="dictated.json", script="newest"),
    "challenge.py": DICTATED.format(where="--recent", file="dictated.json", script="challenge"),
}
CODE = Code(
    files={
        "sourcedir.tar.gz": base64.b64encode(packed({"train.py": TRAIN.encode()})).decode(),
        **{name: base64.b64encode(text.encode()).decode() for name, text in SCRIPTS.items()},
    },
    sha256="c" * 64,
    revision="27e4e3b",
)
TRUSTED: dict[str, Any] = {
    "new": {"labels": 900, "positives": 0.5},
    "old": {"labels": 9000, "positives": 0.47},
    "sources": {"new": {"": 900}, "old": {"": 9000}},
    "deliveries": [{"name": "a.csv", "labels": 900, "positives": 0.5}],
    "asked": {"rows": 5000, "distances": [{"name": "AGEP", "distance": 0.08}]},
}
BETTER: dict[str, Any] = {
    "rows": 400,
    "champion": {"accuracy": 0.7, "log_loss": 0.6},
    "challenger": {"accuracy": 0.8, "log_loss": 0.4},
    "gain": {"mean": 0.2, "standard_error": 0.01, "accuracy_standard_error": 0.01},
}
WORSE = {**BETTER, "gain": {**BETTER["gain"], "mean": 0.01}}


class Product(Released):
    """An endpoint whose alarms are acted upon."""

    def rings(self, what: str, value: float = 1) -> str:
        """Something makes a monitor say so."""
        metric = {"Namespace": "Slipway/Monitors", "MetricData": []}
        datum = {"MetricName": METRICS[what], "Dimensions": [{"Name": "endpoint", "Value": self.name}], "Value": value}
        self.user.cloudwatch.put_metric_data(**{**metric, "MetricData": [datum]})
        return f"{self.name}-{what}"

    @property
    def uri(self) -> str:
        return f"s3://{self.lake}/employment/incidents/{self.name}"

    def incident(self, kind: str, ready: Callable[[Incident], Any], seconds: float = 300) -> Incident:
        """The newest incident of a kind, once it is as wanted."""

        def look() -> Incident | None:
            found = [each for each in store.incidents(self.user.s3, self.uri) if each.kind == kind]
            return found[0] if found and ready(found[0]) else None

        try:
            known: Incident = until(look, f"an incident {kind}", seconds)
        except AssertionError as error:
            told = [json.dumps(each.to_dict(), indent=1) for each in store.incidents(self.user.s3, self.uri)]
            raise AssertionError("\n".join([str(error), *told, *self.failures()])) from None
        return known

    def failures(self) -> list[str]:
        machine = self.outputs["recovery"]
        found = self.user.stepfunctions.list_executions(stateMachineArn=machine)["executions"]
        told = [self.user.stepfunctions.describe_execution(executionArn=each["executionArn"]) for each in found]
        return [f"{each['status']} {each.get('error')} {each.get('cause')} {each['input'][:300]}" for each in told]

    def ended_with(self) -> str:
        """What came of the retraining that ended last, once none runs any more."""
        machine, states = self.outputs["recovery"], self.user.stepfunctions

        def outcome() -> str | None:
            found = states.list_executions(stateMachineArn=machine)["executions"]
            if any(each["status"] == "RUNNING" for each in found):
                return None
            told = [states.describe_execution(executionArn=each["executionArn"]) for each in found]
            ends = {each["stopDate"]: json.loads(each.get("output", "{}")).get("outcome") for each in told}
            return next((str(ends[at]) for at in sorted(ends, reverse=True) if ends[at]), None)

        return str(until(outcome, "no recovery runs any more", 300))

    def dictate(self, newest: Mapping[str, Any], challenge: Mapping[str, Any] = BETTER, labels: int = 900) -> None:
        """New labels come, and what the jobs say of them."""
        rows = "".join(f"{number},2026-06-01T00:00:00Z,1\n" for number in range(labels))
        files = {"labels/dictated.json": json.dumps({"newest": newest, "challenge": challenge})}
        if rows:
            files[f"labels/{new('delivery')}.csv"] = f"id,event_time,employed\n{rows}"
        for name, text in files.items():
            self.user.s3.put_object(Bucket=self.lake, Key=f"employment/{name}", Body=text.encode())

    def runs(self) -> list[dict[str, Any]]:
        """Every training."""
        found = self.user.sagemaker.list_pipeline_executions(PipelineName=f"{self.name}-training")
        return list(found["PipelineExecutionSummaries"])

    def version(self) -> str:
        """The number of the version that a training has registered."""
        run = self.runs()[0]["PipelineExecutionArn"]
        steps = self.user.sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=run)["PipelineExecutionSteps"]
        [arn] = [each["Metadata"]["RegisterModel"]["Arn"] for each in steps if each["StepName"] == "register"]
        return str(arn.rpartition("/")[2])

    def package(self) -> dict[str, Any]:
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/{self.name}/{self.version()}"
        found: dict[str, Any] = self.user.sagemaker.describe_model_package(ModelPackageName=arn)
        return found

    def deployed(self) -> Deployed:
        """The product as the command line has it."""
        outputs = {"recovery_state_machine_arn": self.outputs["recovery"], "incidents_uri": self.uri.rpartition("/")[0]}
        return Deployed(settings(dict, self.name), outputs, self.client)


@pytest.fixture(scope="module")
def product(user: User, tmp_path_factory: pytest.TempPathFactory) -> Product:
    key = user.kms.create_key()["KeyMetadata"]["Arn"]
    signing = user.kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    lake, name = new("lake"), new("work")
    for bucket in (lake, "lake"):
        user.s3.create_bucket(Bucket=bucket)
    told = json.dumps({"last": TRAINED_UNTIL, "rows": {"train": 9000}})
    user.s3.put_object(Bucket="lake", Key="people.csv/dataset.json", Body=told.encode())
    user.s3.put_object(Bucket=lake, Key="employment/features/data/a.jsonl", Body=b"{}")
    user.s3.put_object(Bucket=lake, Key="employment/labels/dictated.json", Body=b"{}")
    user.sagemaker.create_model_package_group(ModelPackageGroupName=name)
    topic, inbox = user.topic()
    product = Product(user, name, {"inbox": inbox}, lake, signing)
    first = product.register()
    complete = user.function("def handler(event, context):\n    return {}\n")
    where: dict[str, Any] = {"bucket": lake, "bucket_arn": f"arn:aws:s3:::{lake}", "prefix": "employment"}
    shared: dict[str, Any] = {"kms_key_arn": key, "alerts_topic_arn": topic}
    network: dict[str, Any] = {"subnet_ids": ["subnet-a"], "security_group_id": "sg-1"}

    def build() -> dict[str, Any]:
        kept = Ledger(name, LedgerSpec(protect=False), kms_key_arn=key)
        books: dict[str, Any] = {"ledger_bucket": kept.bucket, "ledger_bucket_arn": kept.arn}
        endpoint = Endpoint(
            name,
            SPEC,
            model_package_arn=first,
            role_arn=user.role,
            captures_uri=f"s3://{lake}/employment/captures",
            **network,
            **shared,
        )
        release = Release(
            name,
            ReleaseSpec(gate={"accuracy": 0.8}, poll_seconds=1),
            endpoint_name=endpoint.endpoint_name,
            template=endpoint.template,
            first_names=endpoint.first_names,
            signing_key_arn=signing,
            role_arn=user.role,
            image_repository_arn=REPOSITORY,
            **where,
            **books,
            **shared,
        )
        training = TrainingPipeline(
            name,
            PipelineSpec(gate=GateSpec(at_least={"accuracy": 0.8}), retries=0),
            code=CODE,
            image=IMAGE,
            job_role_arn=user.role,
            records_uri=f"s3://{lake}/employment/features/",
            complete_function_arn=complete,
            mlflow_arn=None,
            **where,
            **network,
            **shared,
        )
        switch = KillSwitch(
            name,
            KillSwitchSpec(mode="act", allow=["endpoint/*"]),
            pipeline_names=[training.pipeline_name],
            **books,
            **shared,
        )
        budget = Budget(name, BudgetSpec(), usd_per_month=500, alerts_topic_arn=topic, stop_topic_arn=switch.topic_arn)
        recovery = Recovery(
            name,
            RecoverySpec(
                poll_seconds=1, settle_minutes=1, retraining=RetrainingSpec(debounce_hours=0, try_again_hours=0.002)
            ),
            training=training,
            budget_name=budget.budget_name,
            usd_per_month=500,
            label_time="event_time",
            release_machine_arn=release.state_machine_arn,
            stop_function_name=switch.function_name,
            **where,
            **books,
            **shared,
        )
        for what, metric in METRICS.items():
            aws.cloudwatch.MetricAlarm(
                f"{name}-{what}",
                name=f"{name}-{what}",
                namespace="Slipway/Monitors",
                metric_name=metric,
                dimensions={"endpoint": name},
                statistic="Maximum",
                period=60,
                evaluation_periods=1,
                comparison_operator="GreaterThanThreshold",
                threshold=0,
                treat_missing_data="notBreaching",
            )
        return {"ledger": kept.bucket, "recovery": recovery.state_machine_arn, "template": endpoint.template}

    tags = json.loads(CONFIG["aws:defaultTags"])["tags"]

    def cloud(_: Any) -> AwsProvider:
        return AwsProvider(REGION, ACCOUNT, tags, user.emulator.endpoint)

    engine = Engine(tmp_path_factory.mktemp(name), {"aws": cloud})
    outputs = engine.up(replace(settings(build, name), region=REGION, config=CONFIG)).outputs
    return replace(product, outputs={**outputs, "inbox": inbox, "first": first})


@pytest.fixture(autouse=True, scope="module")
def quickly(user: User) -> None:
    """An alarm's minute takes 1.2 seconds."""
    assert user.ask("/_slipway/pace", {"second": 0.02})[0] == 200


def test_broken_data_call_a_person_and_ringing_again_is_the_same_incident(product: Product) -> None:
    product.rings("broken-data")
    incident = product.incident("data", lambda known: known.needs)
    assert incident.decision == "page"
    assert "the data are broken upstream" in incident.why
    recovered = product.incident("data", lambda known: known.status == "recovered")
    assert (recovered.id, recovered.recovered > recovered.opened) == (incident.id, True)


def test_a_young_release_that_is_worse_than_its_predecessor_is_taken_back(product: Product) -> None:
    before = product.live()
    for _ in range(60):
        product.ask()
    picky = product.new_version(PICKY)
    assert product.release(picky).ok
    asked = 0
    while product.live() == picky and asked < 4000:
        product.ask()
        with contextlib.suppress(ClientError):
            product.ask(body=b"x")
        asked += 1
    incident = product.incident("service", lambda known: known.done and known.status == "recovered")

    assert product.live() == before
    assert (incident.decision, incident.serves) == ("roll-back", before)
    assert "is worse than its predecessor" in incident.why
    assert any("went back to version" in each for each in incident.done)
    entry = product.entries("live")[-1]
    assert (entry.package_arn, entry.evidence["rollback"]) == (before, True)
    assert incident.id in entry.evidence["reason"]


def test_what_runs_away_is_stopped(product: Product) -> None:
    product.rings("spending")
    incident = product.incident("cost", lambda known: known.needs)
    assert incident.decision == "stop"
    assert incident.done[0].startswith(f"stopped endpoint/{product.name}/variant/live")
    [target] = product.user.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert target["SuspendedState"]["DynamicScalingOutSuspended"]
    assert f"slipway stop {product.name} --undo" in incident.needs[0]


def test_without_new_labels_it_is_tried_again_for_as_long_as_the_alarm_rings(product: Product) -> None:
    product.rings("drift")
    incident = product.incident("world", lambda known: known.needs)
    assert incident.decision == "retrain"
    assert f"no retraining yet: 0 labels are newer than {TRAINED_UNTIL}" in incident.needs[0]
    product.incident("world", lambda known: any("people are told" in event.what for event in known.timeline))
    assert product.ended_with() == "needs no retraining any more"
    assert product.runs() == []


def test_data_that_look_poisoned_are_held_until_a_person_lets_them_pass_and_are_learnt_once(product: Product) -> None:
    product.dictate({**TRUSTED, "new": {"labels": 900, "positives": 0.95}})
    product.rings("drift")
    held = product.incident("world", lambda known: known.evidence.get("held"))
    assert held.decision == "retrain"
    assert "95% of the new labels are positive" in held.needs[0]
    assert f"slipway retrain {product.name} --confirm {held.id}" in held.needs[-1]
    assert product.runs() == []

    said: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            retrain, product.deployed(), confirm=held.id, why="a campaign, I asked them", say=said.append
        )
        until(product.runs, "a training is started", 300)
        product.rings("quality")
        result = asked.result()
    incident = product.incident("world", lambda known: known.done)
    joined = product.incident("quality", lambda known: known.done)
    assert (result.incident, result.offered, result.outcome) == (held.id, True, f"offers version {product.version()}")
    assert f"{product.name} trains" in said
    assert incident.id == held.id
    assert any("a campaign, I asked them" in event.what for event in incident.timeline)
    assert joined.done[0].startswith(f"a retraining runs already, for incident {held.id}")
    assert "it beats the champion" in incident.done[0]
    assert f"slipway approve {product.name} {product.version()}" in incident.needs[0]
    assert product.package()["ModelApprovalStatus"] == "PendingManualApproval"
    assert len(product.runs()) == 1


def test_what_is_not_held_cannot_be_let_go_on_and_a_recovery_that_fails_rings(product: Product) -> None:
    with pytest.raises(NotRetrained, match="there is no incident world-99"):
        retrain(product.deployed(), confirm="world-99", why="I trust them")
    with pytest.raises(NotRetrained, match="say why"):
        retrain(product.deployed(), confirm="world-99")
    until(lambda: f"{product.name}-recovery-failed" in product.ringing(), "it rings", 60)


def test_the_same_labels_are_trained_on_once_and_a_challenger_that_loses_is_rejected(product: Product) -> None:
    earlier = product.incident("world", lambda known: known.status == "recovered")
    product.dictate(TRUSTED, WORSE, labels=0)
    product.rings("drift")
    incident = product.incident("world", lambda known: known.id != earlier.id and known.done)

    assert "not better than the champion for certain" in incident.done[0]
    assert "a retraining alone does not mend it" in incident.needs[0]
    package = product.package()
    assert package["ModelApprovalStatus"] == "Rejected"
    assert "not better than the champion for certain" in package["ApprovalDescription"]
    assert len(product.runs()) == 1
