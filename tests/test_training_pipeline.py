"""Training pipelines: what is declared, what their steps do, and a whole run in the rehearsal to a signed version."""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it brings no types
import pulumi_aws as aws
import pytest
from judging import NOT_WITHOUT_A_STACK, planned
from pretend_aws import CONFIG, KEY, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components import Ledger, LedgerSpec
from components.batch_prediction import BatchPrediction, BatchSpec
from components.experiments import Experiments, ExperimentsSpec
from components.model_registry import ModelRegistry, RegistrySpec
from components.training_pipeline import MOST_HYPERPARAMETERS, Code, PipelineSpec, TrainingPipeline
from functions.employment.features import LABEL, SCHEMA
from functions.monitoring.baseline import from_json
from functions.starting import token
from infra.check import check
from infra.pipelines import pack, packed, reproduce, revision, start
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine, Plan
from policies.cost import TAGS
from policies.local_disks import has_local_disks
from stacks.samples.employment import census
from tests.emulated import ACCOUNT, REGION, User, until

IMAGE = f"683313688378.dkr.ecr.{REGION}.amazonaws.com/sagemaker-scikit-learn:1.4-2-cpu-py312"
REPOSITORY = f"arn:aws:ecr:{REGION}:683313688378:repository/sagemaker-scikit-learn"
HYPERPARAMETERS: dict[str, Any] = {"learning-rate": 0.15, "max-iter": 30, "held-out": 0, "seed": 7}
SPEC: dict[str, Any] = {
    "gate": {"at_least": {"accuracy": 0.75, "auc": 0.8}, "at_most": {"log_loss": 0.6}},
    "hyperparameters": HYPERPARAMETERS,
}
CARD = {
    "owner": "employment team",
    "purpose": "Tell whether a person has work.",
    "intended_uses": "Planning of advice centres, by area.",
    "risk_rating": "Medium",
    "risk_explanation": "Nobody is judged by it alone.",
    "caveats": "Trained on Massachusetts: do not use it elsewhere.",
}
PEOPLE = 3000


def people(count: int = PEOPLE) -> pd.DataFrame:
    return pd.DataFrame(list(census("reference", count)))


def labels_of(table: pd.DataFrame, at: str = "2015-12-31T00:00:00Z") -> bytes:
    told = pd.DataFrame({"id": table["id"], "event_time": at, LABEL: table[LABEL]})
    return told.to_csv(index=False).encode()


def records_of(table: pd.DataFrame, at: str = "2015-07-01T00:00:00Z") -> pd.DataFrame:
    """Rows as the offline store has them: features in their own types, and the columns that it adds."""
    told = table[["id", *SCHEMA.names]].copy()
    for feature in SCHEMA.features:
        if feature.kind == "Fractional":
            told[feature.name] = told[feature.name].astype(float)
    stamp = pd.Timestamp("2016-01-01T00:00:00", tz="UTC")
    return told.assign(event_time=at, write_time=stamp, api_invocation_time=stamp, is_deleted=False)


def parquet(table: pd.DataFrame) -> bytes:
    written = io.BytesIO()
    table.to_parquet(written, index=False)
    return written.getvalue()


# --- what is declared -------------------------------------------------------------------------------------------------


CODE = Code({"sourcedir.tar.gz": "eA==", "prepare.py": "eA==", "evaluate.py": "eA=="}, "c0de", "c0mm1t")


def declared(**spec: Any) -> PretendAws:
    return up(
        lambda: TrainingPipeline(
            "churn",
            PipelineSpec.model_validate({**SPEC, **spec} if "definition" not in spec else spec),
            code=CODE,
            image=IMAGE,
            job_role_arn=f"arn:aws:iam::{ACCOUNT}:role/churn-model",
            bucket="lake",
            bucket_arn="arn:aws:s3:::lake",
            prefix="churn",
            records_uri="s3://lake/churn/features/data/",
            subnet_ids=["subnet-a"],
            security_group_id="sg-a",
            complete_function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:churn-registry-complete",
            mlflow_arn=f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:mlflow-app/app-1",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
        )
    )


def steps_of(made: PretendAws) -> dict[str, dict[str, Any]]:
    told = json.loads(made.only(aws.sagemaker.Pipeline)["pipelineDefinition"])
    every = [*told["Steps"]]
    for step in told["Steps"]:
        every += [inner for branch in ("IfSteps", "ElseSteps") for inner in step["Arguments"].get(branch, ())]
    return {step["Name"]: step for step in every}


def allowing(made: PretendAws, action: str) -> list[dict[str, Any]]:
    statements = made.statements(aws.iam.RolePolicy, "churn-training")
    return [each for each in statements if each["Effect"] == "Allow" and action in each["Action"]]


def test_jobs_are_isolated_encrypted_and_in_our_network() -> None:
    steps = steps_of(declared())
    vpc = {"SecurityGroupIds": ["sg-a"], "Subnets": ["subnet-a"]}
    train = steps["train"]["Arguments"]

    assert train["EnableNetworkIsolation"] and train["VpcConfig"] == vpc
    assert train["OutputDataConfig"]["KmsKeyId"] == train["ResourceConfig"]["VolumeKmsKeyId"] == KEY
    for name in ("prepare", "evaluate"):
        arguments = steps[name]["Arguments"]
        assert arguments["NetworkConfig"] == {
            "EnableNetworkIsolation": True,
            "EnableInterContainerTrafficEncryption": False,
            "VpcConfig": vpc,
        }
        assert arguments["ProcessingOutputConfig"]["KmsKeyId"] == KEY


def test_disks_that_are_encrypted_already_get_no_key_and_instances_talk_in_secret() -> None:
    train = steps_of(declared(train={"instance_type": "ml.g5.xlarge", "instance_count": 2}))["train"]["Arguments"]

    assert "VolumeKmsKeyId" not in train["ResourceConfig"]
    assert train["EnableInterContainerTrafficEncryption"] is True


def test_the_families_with_disks_of_their_own_are_those_that_ec2_tells_of() -> None:
    import botocore.session
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    sagemaker = botocore.session.get_session().get_service_model("sagemaker")
    shapes = ("TrainingInstanceType", "ProcessingInstanceType", "TransformInstanceType")
    known = {each for shape in shapes for each in sagemaker.shape_for(shape).enum} & {f"ml.{n}" for n in INSTANCE_TYPES}
    wrong = [
        each
        for each in sorted(known)
        if has_local_disks(each) != bool(INSTANCE_TYPES[each.removeprefix("ml.")].get("InstanceStorageSupported"))
    ]

    assert len(known) > 100
    assert wrong == []


def test_spot_is_one_switch_for_all_that_it_needs() -> None:
    spot = steps_of(declared(train={"spot": True, "max_runtime_minutes": 30}))["train"]["Arguments"]
    plain = steps_of(declared())["train"]["Arguments"]

    assert spot["EnableManagedSpotTraining"] is True
    assert spot["StoppingCondition"] == {"MaxRuntimeInSeconds": 1800, "MaxWaitTimeInSeconds": 3600}
    assert spot["CheckpointConfig"]["LocalPath"] == spot["Environment"]["SM_CHECKPOINT_DIR"] == "/opt/ml/checkpoints"
    assert {"Get": "Execution.PipelineExecutionId"} in spot["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"]
    assert not {"EnableManagedSpotTraining", "CheckpointConfig"} & plain.keys()


def test_what_fails_on_awss_side_is_tried_again_and_what_is_known_is_not_made_again() -> None:
    steps = steps_of(declared(retries=2, cache_days=7, train={"keep_alive_minutes": 30}))

    kinds = [kind for policy in steps["train"]["RetryPolicies"] for kind in policy["ExceptionType"]]
    assert "SageMaker.CAPACITY_ERROR" in kinds and "Step.THROTTLING" in kinds
    assert steps["train"]["CacheConfig"] == {"Enabled": True, "ExpireAfter": "P7D"}
    assert steps["train"]["Arguments"]["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 1800
    assert not {"RetryPolicies", "CacheConfig"} & steps_of(declared(retries=0))["train"].keys()


def test_its_role_starts_only_jobs_of_this_kind_and_never_approves() -> None:
    made = declared(train={"instance_type": "ml.g5.xlarge"})
    [train] = allowing(made, "sagemaker:CreateTrainingJob")
    [register] = allowing(made, "sagemaker:CreateModelPackage")
    [passed] = allowing(made, "iam:PassRole")

    assert train["Condition"]["Bool"] == {"sagemaker:NetworkIsolation": "true"}
    assert train["Condition"]["ArnEquals"] == {"sagemaker:OutputKmsKeyArn": KEY}
    assert train["Condition"]["ForAllValues:StringEquals"] == {
        "sagemaker:VpcSubnets": ["subnet-a"],
        "sagemaker:VpcSecurityGroupIds": ["sg-a"],
        "sagemaker:InstanceTypes": ["ml.g5.xlarge"],
    }
    assert register["Condition"] == {"StringEquals": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}}
    assert passed["Resource"] == [f"arn:aws:iam::{ACCOUNT}:role/churn-model"]
    assert not allowing(made, "sagemaker:UpdateModelPackage") and not allowing(made, "s3:PutObject")


def test_the_definition_names_the_exact_code_which_stays() -> None:
    made = declared()
    keys = {each["key"] for each in made.inputs(aws.s3.BucketObjectv2).values()}
    told = json.loads(made.only(aws.sagemaker.Pipeline)["pipelineDefinition"])
    defaults = {each["Name"]: each.get("DefaultValue") for each in told["Parameters"]}

    assert keys == {f"churn/pipelines/c0de/{name}" for name in ("sourcedir.tar.gz", "prepare.py", "evaluate.py")}
    assert defaults["Code"] == "s3://lake/churn/pipelines/c0de/"
    assert defaults["CodeRevision"] == "c0mm1t-c0de"
    assert defaults["Dataset"] is None


def test_the_packs_pass() -> None:
    made = declared(train={"spot": True})
    tags = dict.fromkeys(TAGS, "x")
    resources = planned(made, tags=tags)
    told = replace(
        settings(lambda: None, "churn-local"),
        region=REGION,
        usd_per_month=150.0,
        config={**CONFIG, "slipway:usd_per_month": "150"},
    )
    report = check([(told, Plan("churn-local", resources, (), {}))])

    found = [f"{each.resource}: {each.sentence}" for each in report.violations if each.rule not in NOT_WITHOUT_A_STACK]
    assert found == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"train": {"max_wait_minutes": 90}}, "set spot: true"),
        ({"train": {"spot": True, "max_wait_minutes": 30}}, "is less than max_runtime_minutes"),
        ({"train": {"spot": True, "keep_alive_minutes": 5}}, "not kept alive"),
        ({"train": {"instance_type": "g5.xlarge"}}, "should match pattern"),
        ({"train": {"keep_alive_minutes": 361}}, "less than or equal to 360"),
        ({"prepare": {"max_runtime_minutes": 7201}}, "less than or equal to 7200"),
        ({"gate": {}}, "stops nothing"),
        ({"gate": None}, "set gate"),
        ({"hyperparameters": {"Dataset": "x"}}, "call the hyperparameter something else"),
        ({"hyperparameters": {f"h{n}": n for n in range(MOST_HYPERPARAMETERS + 1)}}, "the registry keeps 25"),
        ({"hyperparameters": {"sagemaker_program": "x"}}, "are SageMaker's"),
        ({"definition": "stacks/pipelines/none.json"}, "leave it or definition out"),
    ],
)
def test_a_mistake_is_told_when_the_yaml_is_read(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PipelineSpec.model_validate({**SPEC, **wrong})


# --- code, and what the steps do --------------------------------------------------------------------------------------


def test_the_same_code_is_the_same_bytes_and_any_change_another_key() -> None:
    one, two = pack("functions.employment"), pack("functions.employment")

    assert one == two
    assert packed({"a": b"1", "b": b"2"}) == packed({"b": b"2", "a": b"1"}) != packed({"a": b"1", "b": b"3"})
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(one.files["sourcedir.tar.gz"]))) as archive:
        names = archive.getnames()
    assert {"train.py", "prepare.py", "evaluate.py", "functions/employment/schema.json"} <= {*names}


def test_the_revision_is_the_commit_that_last_changed_the_code(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        told = subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True, text=True)
        return told.stdout.strip()

    assert revision(["a.py"], tmp_path) == "unknown"
    git("init", "-q")
    git("config", "user.email", "a@b")
    git("config", "user.name", "a")
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name)
        git("add", name)
        git("commit", "-qm", name)
    first = git("log", "-1", "--format=%H", "--", "a.py")
    assert revision(["a.py"], tmp_path) == first != git("log", "-1", "--format=%H")
    (tmp_path / "a.py").write_text("changed")
    assert revision(["a.py"], tmp_path) == f"{first}+"


WITHOUT_PYDANTIC = "import sys; sys.modules['pydantic'] = None; import runpy; sys.argv = sys.argv[1:]; "


def script(folder: Path, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as its container does: with the packed code beside it, and without pydantic."""
    code = folder / "code"
    code.mkdir(exist_ok=True)
    for file, content in pack("functions.employment").files.items():
        (code / file).write_bytes(base64.b64decode(content))
    if name == "train":
        with tarfile.open(code / "sourcedir.tar.gz") as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later have it
            archive.extractall(code)
        (code / "sourcedir.tar.gz").unlink()
    run = f"sys.path.insert(0, {str(code)!r}); runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_PYDANTIC + run, str(code / f"{name}.py"), *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )


def lake(folder: Path, table: pd.DataFrame, records: pd.DataFrame) -> list[str]:
    """Labels and records in folders; the arguments that name them."""
    for name in ("labels", "records"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "labels/a.csv").write_bytes(labels_of(table))
    (folder / "records/a.parquet").write_bytes(parquet(records))
    return ["--labels", str(folder / "labels"), "--records", str(folder / "records")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a set was made: of 600 people, 20 of whom have an age that the schema refuses, 10 no record."""
    folder = tmp_path_factory.mktemp("prepared")
    table = people(600)
    records = records_of(table).iloc[10:]
    records.iloc[:20, records.columns.get_loc("AGEP")] = 250.0
    done = script(folder, "prepare", *lake(folder, table, records), "--output", str(folder / "set"))
    assert done.returncode == 0, done.stderr
    return folder


def test_rows_that_the_schema_refuses_are_counted_and_not_trained_on(prepared: Path) -> None:
    told = json.loads((prepared / "set/dataset.json").read_text())
    train, test = (pd.read_csv(prepared / f"set/{part}/rows.csv") for part in ("train", "test"))

    assert told["dropped"] == {"no record at the time": 10, "AGEP: range": 20}
    assert (len(train), len(test)) == (told["rows"]["train"], told["rows"]["test"])
    assert len(train) + len(test) == 570
    assert 0.1 < len(test) / 570 < 0.3
    assert not {*train["id"]} & {*test["id"]}
    assert (prepared / "set/baseline.json").exists()


def test_who_tests_does_not_depend_on_who_else_is_there(prepared: Path, tmp_path: Path) -> None:
    table = people(900).sample(frac=1, random_state=1)
    done = script(tmp_path, "prepare", *lake(tmp_path, table, records_of(table)), "--output", str(tmp_path / "set"))
    assert done.returncode == 0, done.stderr

    before = {*pd.read_csv(prepared / "set/test/rows.csv")["id"]}
    trained = {*pd.read_csv(prepared / "set/train/rows.csv")["id"]}
    now = {*pd.read_csv(tmp_path / "set/test/rows.csv")["id"]}
    assert before <= now and not trained & now


def test_a_set_that_was_made_before_is_taken_as_it_is_or_not_at_all(prepared: Path, tmp_path: Path) -> None:
    given = ["--labels", str(prepared / "set"), "--records", str(prepared / "set")]
    done = script(tmp_path, "prepare", *given, "--output", str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr
    for name in ("dataset.json", "train/rows.csv", "test/rows.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (prepared / "set" / name).read_bytes()

    rows = tmp_path / "again/train/rows.csv"
    rows.write_text(rows.read_text() + rows.read_text().splitlines()[-1] + "\n")
    given = ["--labels", str(tmp_path / "again"), "--records", str(tmp_path / "again")]
    done = script(tmp_path, "prepare", *given, "--output", str(tmp_path / "other"))
    assert done.returncode != 0 and "its files have changed since" in done.stderr


def test_what_was_written_later_is_not_looked_at(tmp_path: Path) -> None:
    table = people(200)
    early, late = records_of(table), records_of(table).assign(AGEP=99.0)
    late["write_time"] = pd.Timestamp("2016-06-01", tz="UTC")
    words = lake(tmp_path, table, pd.concat([early, late]))
    for name, more in (("then", ["--as-of", "2016-02-01T00:00:00Z"]), ("now", [])):
        done = script(tmp_path, "prepare", *words, "--output", str(tmp_path / name), *more)
        assert done.returncode == 0, done.stderr

    assert set(pd.read_csv(tmp_path / "now/train/rows.csv")["AGEP"]) == {99}
    assert set(pd.read_csv(tmp_path / "then/train/rows.csv")["AGEP"]) != {99}


def test_too_few_rows_stop_the_run(tmp_path: Path) -> None:
    table = people(200)
    done = script(tmp_path, "prepare", *lake(tmp_path, table, records_of(table).iloc[50:]), "--output", "set")

    assert done.returncode != 0
    assert "only 150 of 200 labels are of use, less than 90%; lost: {'no record at the time': 50}" in done.stderr


def trained(folder: Path, prepared: Path, *words: str, **more: str) -> Path:
    """Train in `folder` as SageMaker does; the folder of the model."""
    model, output = folder / "model", folder / "output"
    model.mkdir()
    output.mkdir()
    environment = {
        "SM_CHANNEL_TRAIN": str(prepared / "set/train"),
        "SM_MODEL_DIR": str(model),
        "SM_OUTPUT_DATA_DIR": str(output),
        "SM_USER_ENTRY_POINT": "train.py",
    }
    done = script(folder, "train", "--held-out", "0", "--max-iter", "60", *words, **environment, **more)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return model


def test_training_goes_on_from_its_checkpoint_to_the_same_model(prepared: Path, tmp_path: Path) -> None:
    import joblib

    for name in ("whole", "first", "second"):
        (tmp_path / name).mkdir()
    kept = {"SM_CHECKPOINT_DIR": str(tmp_path / "checkpoints")}
    whole = trained(tmp_path / "whole", prepared)
    trained(tmp_path / "first", prepared, "--max-iter", "40", **kept)
    second = trained(tmp_path / "second", prepared, **kept)

    assert "going on after 40 of 60 trees" in (tmp_path / "second/said").read_text()
    values = pd.read_csv(prepared / "set/test/rows.csv")[list(SCHEMA.names)].to_numpy(float)
    one, two = (joblib.load(model / "model.joblib").predict_proba(values) for model in (whole, second))
    assert np.allclose(one, two)


def test_a_model_brings_what_serves_it_and_is_measured_for_each_group(prepared: Path, tmp_path: Path) -> None:
    model = trained(tmp_path, prepared)
    assert (model / "code/inference.py").exists()
    assert (model / "code/functions/employment/schema.json").exists()
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed/model.tar.gz", "w:gz") as archive:
        archive.add(model / "model.joblib", arcname="model.joblib")
    words = ["--model", str(tmp_path / "packed"), "--dataset", str(prepared / "set"), "--output", str(tmp_path / "e")]
    done = script(tmp_path, "evaluate", *words)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "e/evaluation.json").read_text())

    assert told["metrics"]["rows_held_out"] == json.loads((prepared / "set/dataset.json").read_text())["rows"]["test"]
    by_sex = [group for group in told["groups"] if group["feature"] == "SEX"]
    assert [group["label"] for group in by_sex] == ["male", "female"]
    assert sum(group["rows"] for group in by_sex) == told["metrics"]["rows_held_out"]
    accuracy = sum(group["accuracy"] * group["rows"] for group in by_sex) / told["metrics"]["rows_held_out"]
    assert accuracy == pytest.approx(told["metrics"]["accuracy"])
    assert told["attributions"][0]["feature"] in ("AGEP", "SCHL", "DIS", "RELP", "ESP")
    assert {each["feature"] for each in told["attributions"]} == {*SCHEMA.names}
    rows = json.loads((prepared / "set/dataset.json").read_text())["rows"]
    baseline = from_json((tmp_path / "e/baseline.json").read_text())
    assert (baseline.rows, baseline.profile.outputs["prediction"].total) == (rows["train"], rows["test"])
    assert baseline.quality is not None and baseline.quality["accuracy"] == pytest.approx(told["metrics"]["accuracy"])
    for name in ("statistics", "constraints"):
        described = json.loads((tmp_path / f"e/{name}.json").read_text())["features"]
        assert {*SCHEMA.names} <= {each["name"] for each in described}


# --- a whole run ------------------------------------------------------------------------------------------------------


@dataclass
class Deployed:
    """A product's training in the rehearsal, and how a user works with it."""

    user: User
    outputs: Mapping[str, Any]
    topic: str

    def clients(self, service: str) -> Any:
        return self.user.client(service)

    def put(self, key: str, body: bytes) -> None:
        self.user.s3.put_object(Bucket="training-lake", Key=f"employment/{key}", Body=body)

    def read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body: bytes = self.user.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def run(self, parameters: Mapping[str, str], wanted: str = "Succeeded") -> tuple[str, dict[str, dict[str, Any]]]:
        """Start the pipeline and wait; the execution, and its steps by name."""
        started = start(self.clients, self.outputs["pipeline"], parameters)
        ended = self.ended(started.arn)
        steps = self.steps(started.arn)
        why = {name: step.get("FailureReason") for name, step in steps.items()}
        assert ended["PipelineExecutionStatus"] == wanted, (ended.get("FailureReason"), why)
        return started.arn, steps

    def ended(self, arn: str) -> dict[str, Any]:
        def look() -> Any:
            told = self.user.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
            return None if told["PipelineExecutionStatus"] in ("Executing", "Stopping") else told

        told: dict[str, Any] = until(look, f"{arn} ends", 180)
        return told

    def steps(self, arn: str) -> dict[str, dict[str, Any]]:
        listed = self.user.sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)
        return {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}

    def package(self, steps: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        arn = steps["register"]["Metadata"]["RegisterModel"]["Arn"]
        described: dict[str, Any] = self.user.sagemaker.describe_model_package(ModelPackageName=arn)
        return described


@pytest.fixture(scope="module")
def deployed(user: User, tmp_path_factory: pytest.TempPathFactory) -> Any:
    topic, key = user.topic()[0], user.kms.create_key()["KeyMetadata"]["Arn"]
    user.s3.create_bucket(Bucket="training-lake")
    user.iam.create_role(RoleName="reviewers", AssumeRolePolicyDocument="{}")
    lake = {"bucket": "training-lake", "bucket_arn": "arn:aws:s3:::training-lake"}

    def build() -> dict[str, Any]:
        kept = Ledger("training", LedgerSpec(protect=False), kms_key_arn=key)
        experiments = Experiments("training", ExperimentsSpec(), prefix="platform/experiments", kms_key_arn=key, **lake)
        registry = ModelRegistry(
            "training-local",
            RegistrySpec.model_validate(
                {
                    "description": "whether a person has work",
                    "card": CARD,
                    "approvers": [f"arn:aws:iam::{ACCOUNT}:role/reviewers"],
                    "protect": False,
                }
            ),
            bucket_arn=lake["bucket_arn"],
            prefix="employment",
            image_repository_arn=REPOSITORY,
            ledger_bucket=kept.bucket,
            ledger_bucket_arn=kept.arn,
            release_state_machine_arn=None,
            kms_key_arn=key,
            alerts_topic_arn=topic,
        )
        training = TrainingPipeline(
            "training-local",
            PipelineSpec.model_validate({**SPEC, "train": {"spot": True, "max_runtime_minutes": 10}, "retries": 1}),
            code=pack("functions.employment"),
            image=IMAGE,
            job_role_arn=user.role,
            prefix="employment",
            records_uri="s3://training-lake/employment/features/",
            subnet_ids=["subnet-0a"],
            security_group_id="sg-0a",
            complete_function_arn=registry.complete_function_arn,
            mlflow_arn=experiments.arn,
            kms_key_arn=key,
            alerts_topic_arn=topic,
            **lake,
        )
        batch = BatchPrediction(
            "training-local",
            BatchSpec(gate={"accuracy": 0.75}),
            role_arn=user.role,
            signing_key_arn=registry.signing_key_arn,
            image_repository_arn=REPOSITORY,
            ledger_bucket=kept.bucket,
            ledger_bucket_arn=kept.arn,
            prefix="employment",
            subnet_ids=["subnet-0a"],
            security_group_id="sg-0a",
            kms_key_arn=key,
            alerts_topic_arn=topic,
            **lake,
        )
        return {
            "approver": registry.approver_role_arn,
            "batch": batch.function_name,
            "ledger": kept.bucket,
            "pipeline": training.pipeline_name,
            "mlflow": experiments.arn,
            "code": training.code_uri,
        }

    def cloud(_: Any) -> AwsProvider:
        return AwsProvider(REGION, ACCOUNT, dict.fromkeys(TAGS, "x"), user.emulator.endpoint)

    engine, told = Engine(tmp_path_factory.mktemp("training"), {"aws": cloud}), settings(build, "training-local")
    told = replace(told, region=REGION, config=CONFIG)
    made = Deployed(user, engine.up(told).outputs, topic)
    table = people()
    made.put("labels/people.csv", labels_of(table))
    made.put("features/2015/07/people.parquet", parquet(records_of(table)))
    return made


@pytest.fixture(scope="module")
def ran(deployed: Deployed) -> tuple[str, dict[str, dict[str, Any]]]:
    return deployed.run({"Dataset": "people-2015", "ReleaseNotes": "First."})


def test_a_run_ends_with_a_signed_version_that_waits_for_a_person(
    deployed: Deployed, ran: tuple[str, dict[str, dict[str, Any]]]
) -> None:
    _, steps = ran
    package = deployed.package(steps)

    assert set(steps) == {"prepare", "train", "evaluate", "record", "gate", "register", "complete", "link"}
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["ModelPackageGroupName"] == "training-local"
    told = package["CustomerMetadataProperties"]
    signed = json.loads(deployed.read(told["signature"]))["statement"]
    assert (signed["dataset_sha256"], signed["code_revision"]) == (told["dataset_sha256"], told["code_revision"])
    assert {f"param_{name}": str(value) for name, value in HYPERPARAMETERS.items()}.items() <= told.items()
    assert told["author"] == signed["author"] == f"arn:aws:iam::{ACCOUNT}:root"
    assert float(told["accuracy"]) > 0.75
    assert told["code"] == deployed.outputs["code"]
    dataset = json.loads(deployed.read(f"{told['dataset']}/dataset.json"))
    assert dataset["sha256"] == told["dataset_sha256"]
    assert dataset["rows"]["train"] + dataset["rows"]["test"] == PEOPLE
    baseline = deployed.read(package["DriftCheckBaselines"]["ModelDataQuality"]["Statistics"]["S3Uri"])
    assert from_json(baseline).rows == dataset["rows"]["train"]
    assert hashlib.sha256(baseline).hexdigest() == signed["baseline_sha256"]
    measured = package["ModelMetrics"]["ModelDataQuality"]
    assert json.loads(deployed.read(measured["Statistics"]["S3Uri"]))["dataset"]["item_count"] > 0
    assert json.loads(deployed.read(measured["Constraints"]["S3Uri"]))["features"]


def test_the_run_is_among_the_experiments(deployed: Deployed, ran: tuple[str, dict[str, dict[str, Any]]]) -> None:
    execution, steps = ran
    told = deployed.package(steps)["CustomerMetadataProperties"]
    work = deployed.user.work / "mlflow"
    [run] = [path for path in work.rglob(told["tracked_run"]) if path.is_dir()]

    assert (run / "tags/pipeline_execution").read_text() == execution
    assert (run / "tags/model_package_arn").read_text() == steps["register"]["Metadata"]["RegisterModel"]["Arn"]
    assert (run / "tags/dataset_sha256").read_text() == told["dataset_sha256"]
    assert (run / "params/max-iter").read_text() == "30"
    assert float((run / "metrics/accuracy").read_text().split()[1]) == pytest.approx(float(told["accuracy"]), abs=1e-5)
    assert (run / "metrics/SEX.2.accuracy").exists()


def test_the_same_start_is_the_same_run(deployed: Deployed, ran: tuple[str, dict[str, dict[str, Any]]]) -> None:
    execution, _ = ran
    name, same = deployed.outputs["pipeline"], {"Dataset": "people-2015", "ReleaseNotes": "Other words."}

    assert start(deployed.clients, name, same).arn == execution
    with pytest.raises(ValueError, match="no parameter Data;"):
        start(deployed.clients, name, {"Data": "x"})
    with pytest.raises(ValueError, match="needs Dataset"):
        start(deployed.clients, name, {})
    assert token(name, "d", "c", "x") != token(name, "d", "c", "y")


def test_a_version_can_be_made_again_from_its_registry_entry_alone(
    deployed: Deployed, ran: tuple[str, dict[str, dict[str, Any]]]
) -> None:
    _, steps = ran
    first = deployed.package(steps)
    # What has come to the lake since changes nothing.
    deployed.put("labels/later.csv", labels_of(people(50)))

    again = reproduce(deployed.clients, first["ModelPackageArn"])
    _, steps = deployed.run(again.parameters)
    second = deployed.package(steps)

    assert again.caveats == []
    was, now = first["CustomerMetadataProperties"], second["CustomerMetadataProperties"]
    assert now["dataset_sha256"] == was["dataset_sha256"]
    data = [each["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] for each in (first, second)]
    assert deployed.read(data[0]) == deployed.read(data[1])
    same = ("accuracy", "auc", "log_loss", "code", "code_revision", "configuration_hash", "param_seed")
    assert {name: now[name] for name in same} == {name: was[name] for name in same}


def test_a_model_that_is_not_good_enough_is_not_registered(deployed: Deployed) -> None:
    execution, steps = deployed.run({"Dataset": "too-few-trees", "max-iter": "1", "learning-rate": "0.0001"}, "Failed")

    assert "register" not in steps
    why = deployed.user.sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)["FailureReason"]
    assert why.startswith("The model does not pass its gate (accuracy ≥ 0.75, auc ≥ 0.8, log_loss ≤ 0.6): see s3://")
    assert steps["record"]["StepStatus"] == "Succeeded"


def test_files_are_predicted_with_the_approved_version(
    deployed: Deployed, ran: tuple[str, dict[str, dict[str, Any]]]
) -> None:
    arn = ran[1]["register"]["Metadata"]["RegisterModel"]["Arn"]
    deployed.put("batch/incoming/2016/people.csv", rows_of(census("analysis", 40)))
    answer, error = deployed.user.invoke(deployed.outputs["batch"], {})
    assert error and "no version of training-local is approved" in answer["errorMessage"]
    given = deployed.user.sts.assume_role(RoleArn=deployed.outputs["approver"], RoleSessionName="ann")["Credentials"]
    ann = deployed.user.client(
        "sagemaker", given["AccessKeyId"], given["SecretAccessKey"], **{"user_agent_extra": "reviewer"}
    )
    ann.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="read the card")
    where = {"Bucket": deployed.outputs["ledger"], "Prefix": "ledger/training-local/"}
    until(lambda: deployed.user.s3.list_objects_v2(**where).get("Contents"), "it is recorded")

    said: list[Any] = []

    def started() -> Any:
        """The schedule asks again, too: between the approval and its last trace in the registry nothing verifies."""
        answer, error = deployed.user.invoke(deployed.outputs["batch"], {})
        said.append(answer)
        return None if error else answer["started"]

    try:
        [job] = until(started, "the version verifies", 60)
    except AssertionError:
        raise AssertionError(said[-1]["errorMessage"]) from None
    again, _ = deployed.user.invoke(deployed.outputs["batch"], {})
    assert again["started"] == []

    def ended() -> Any:
        told = deployed.user.sagemaker.describe_transform_job(TransformJobName=job)
        return told if told["TransformJobStatus"] not in ("InProgress", "Stopping") else None

    told = until(ended, "the job ends", 90)
    assert told["TransformJobStatus"] == "Completed", told
    answers = deployed.read("s3://training-lake/employment/batch/answers/2016/people.csv.out").decode().split()
    asked = [row["id"] for row in census("analysis", 40)]
    assert [line.split(",")[0] for line in answers] == asked
    assert all(0 <= float(line.split(",")[1]) <= 1 for line in answers)
    assert deployed.user.invoke(deployed.outputs["batch"], {})[0]["waiting"] == 0
    until(lambda: any("completed_jobs" in line for line in deployed.user.logged(deployed.outputs["batch"])), "counted")


def rows_of(rows: Iterable[Mapping[str, str]]) -> bytes:
    return "".join(",".join([row["id"], *(row[name] for name in SCHEMA.names)]) + "\n" for row in rows).encode()
