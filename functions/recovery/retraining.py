"""Retraining, step by step: may it be, on what, is that to be trusted, train, is it better, and then offer it.

As in functions/recovery/steps.py, each step takes the recovery and returns it, and may run twice.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from functions import ledger, starting
from functions.live import live_package
from functions.monitoring.windows import place
from functions.recovery.evidence import ringing
from functions.recovery.guard import Facts, Limits, refusals, suspicions, verdict
from functions.recovery.steps import NotPossible, Place, Recovery
from functions.release import locks

RECOVERY: Final = "Recovery of "
"""How the description begins of an execution that a recovery has started."""
NAME_LENGTH: Final = 63
ASKED_HOURS: Final = 3
"""From how many of the newest hours with captures it is learnt what the endpoint is asked."""
RUNS: Final = ("InProgress", "Stopping")
MOUNTED: Final = "/opt/ml/processing"
INPUT, OUTPUT = f"{MOUNTED}/input", f"{MOUNTED}/output"
LONGEST_PAUSE_SECONDS: Final = 900
LOOKS: Final = 50
"""It is looked after a training again once that has taken so much (one part in 50) longer."""
EXECUTIONS: Final = 20
"""How many of a pipeline's newest executions are looked at."""
REASON_LENGTH: Final = 1024
"""Of an ApprovalDescription."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a retraining needs to know. Clients are boto3's."""

    at: Place
    pipeline: str
    labels_uri: str
    """`s3://bucket/product/labels/`: folders below it are sources."""
    label_time: str
    """The column of label files with the time from which a label was known."""
    captures_uri: str
    """`s3://bucket/product/captures`."""
    data_uri: str
    """Where the sets are kept: `s3://bucket/product/retraining`."""
    job: Mapping[str, Any]
    """What every processing job is made with; its `Code` is the URI of the product's code."""
    limits: Limits
    poll_seconds: int
    training_usd: float
    budget_usd: float
    budget_name: str
    account: str
    budgets: Any

    @property
    def s3(self) -> Any:
        """The client of S3."""
        return self.at.sources.s3

    @property
    def sagemaker(self) -> Any:
        """The client of SageMaker."""
        return self.at.sources.sagemaker


# --- may it be --------------------------------------------------------------------------------------------------------


def guard(recovery: Recovery, of: Training) -> Recovery:
    """May a training be started at all? `go` says so; where it may not, people are told why."""
    at = of.at
    holder = {"execution": at.execution, "incident": recovery["incident"], "since": ledger.now()}
    # A lock of its own beside the releases': it is held for as long as this execution runs.
    other = locks.take(of.s3, at.states, at.sources.ledger_bucket, _turn(of), holder)
    if other:
        told = f"a retraining runs already, for incident {other.get('incident', 'unknown')}: this one is left to it"
        at.say(recovery, event=told, done=[told])
        return {**recovery, "go": False, "again": False, "outcome": "is retrained already"}
    if recovery.get("told") and not any(each.name == recovery["alarm"]["name"] for each in ringing(at.sources)):
        return {**recovery, "go": False, "again": False, "outcome": "needs no retraining any more"}
    champion = live_package(of.sagemaker, at.endpoint)
    trained = _trained(champion, of)
    facts = _facts(trained, of)
    reasons = refusals(facts, of.limits)
    if reasons:
        # As long as its alarm rings it is tried again, such as until there are labels; a person asks again by hand.
        again = "alarm" in recovery
        needs = [f"no retraining {'yet' if again else 'now'}: {each}" for each in reasons]
        # It may be hours until it is tried again: whoever has what this one lacks must not wait for it.
        locks.give_back(of.s3, at.sources.ledger_bucket, _turn(of), at.execution)
        event = "" if recovery.get("told") else f"no retraining: {'; '.join(reasons)}"
        at.say(recovery, event=event, needs=needs, evidence={"guard": vars(facts)})
        return {**recovery, "go": False, "again": again, "outcome": "is not retrained yet"}
    at.say(
        recovery,
        event=f"{facts.new_labels:,} new labels are there: a data set is made of them",
        evidence={"guard": vars(facts)},
    )
    found = {"champion": champion, "trained_until": trained["last"], "labels": _labels_digest(of)}
    return {**recovery, "go": True, "again": False, **found}


def _turn(of: Training) -> str:
    """The name of the lock that a retraining holds."""
    return f"{of.at.endpoint}-retraining"


def _trained(package: str, of: Training) -> dict[str, Any]:
    """What a version was trained on, as its data set's dataset.json tells. Raises NotPossible."""
    described = of.sagemaker.describe_model_package(ModelPackageName=package)
    uri = described.get("CustomerMetadataProperties", {}).get("dataset")
    if not uri:
        raise NotPossible(f"{package} does not say what it was trained on: what is new since cannot be told")
    told: dict[str, Any] = _read(of.s3, f"{uri.rstrip('/')}/dataset.json")
    return told


def _facts(trained: Mapping[str, Any], of: Training) -> Facts:
    pages = of.sagemaker.list_pipeline_executions(
        PipelineName=of.pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=EXECUTIONS
    )
    runs = pages["PipelineExecutionSummaries"]
    ours = [each for each in runs if each.get("PipelineExecutionDescription", "").startswith(RECOVERY)]
    return Facts(
        now=ledger.now(),
        running=[each["PipelineExecutionArn"] for each in runs if each["PipelineExecutionStatus"] == "Executing"],
        last=ledger.stamp(max(each["StartTime"] for each in ours)) if ours else None,
        trained_until=str(trained["last"]),
        new_labels=sum(_newer(_lines(of, key), of.label_time, str(trained["last"])) for key in _label_files(of)),
        spent_usd=_spent(of),
        training_usd=of.training_usd,
        budget_usd=of.budget_usd,
    )


def _newer(lines: Iterator[str], column: str, than: str) -> int:
    """How many rows of a CSV file are of a later time."""
    bound = ledger.moment(than)
    return sum(ledger.moment(row[column]) > bound for row in csv.DictReader(lines))


def _lines(of: Training, key: str) -> Iterator[str]:
    body = of.s3.get_object(Bucket=place(of.labels_uri)["Bucket"], Key=key)["Body"]
    for line in body.iter_lines(chunk_size=1 << 16):
        yield line.decode("utf-8")


def _label_files(of: Training) -> list[str]:
    return [each["Key"] for each in _objects(of.s3, of.labels_uri) if _is_label_file(each["Key"])]


def _is_label_file(key: str) -> bool:
    return key.endswith(".csv")


def _labels_digest(of: Training) -> str:
    """What tells these labels from others: the same ones make the same data set, and that is trained on once."""
    told = [(each["Key"], each["ETag"]) for each in _objects(of.s3, of.labels_uri) if _is_label_file(each["Key"])]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def _spent(of: Training) -> float | None:
    """What the product has cost this month, in USD: the budget's own figure, up to a day old."""
    found = of.budgets.describe_budget(AccountId=of.account, BudgetName=of.budget_name)["Budget"]
    spent = found.get("CalculatedSpend", {}).get("ActualSpend")
    return float(spent["Amount"]) if spent else None


# --- on what ----------------------------------------------------------------------------------------------------------


def newest(recovery: Recovery, of: Training) -> Recovery:
    """Start the job that makes a set of the newest labelled data, and describes them."""
    set_name = f"{of.at.endpoint}-{recovery['labels']}-{recovery['memory']}"
    target = f"{of.data_uri}/{set_name}"
    found = {"set": set_name, "set_uri": target, "ended": False}
    if recovery.get("confirmed") == set_name:  # what a person has looked at is what is learnt from
        return {**recovery, **found, "job": None}
    definition = json.loads(of.sagemaker.describe_pipeline(PipelineName=of.pipeline)["PipelineDefinition"])
    known = {each["Name"]: each.get("DefaultValue") for each in definition["Parameters"]}
    inputs = {"labels": of.labels_uri, "records": str(known["Records"])}
    inputs |= {f"asked-{number}": uri for number, uri in enumerate(_captured_hours(of))}
    asked = [word for name in inputs if name.startswith("asked-") for word in ("--asked", f"{INPUT}/{name}")]
    words = ["--after", recovery["trained_until"], "--memory", recovery["memory"], *asked]
    job = _start_job(recovery, of, "newest", inputs=inputs, words=words, to=target)
    return {**recovery, **found, "job": job}


def _captured_hours(of: Training) -> list[str]:
    """The newest hours of captures, as S3 prefixes."""
    uri = f"{of.captures_uri}/{of.at.endpoint}/{of.at.sources.variant}/"
    hours = sorted({each["Key"].rpartition("/")[0] for each in _objects(of.s3, uri)})
    bucket = place(uri)["Bucket"]
    return [f"s3://{bucket}/{hour}/" for hour in hours[-ASKED_HOURS:]]


def _start_job(
    recovery: Recovery, of: Training, script: str, *, inputs: Mapping[str, str], words: Sequence[str], to: str
) -> str:
    """Start a processing job with the product's image and code. Returns its name: one job for each execution."""
    told = f"{of.at.execution} {script}"
    name = f"{of.at.endpoint[:36]}-{script}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"[:NAME_LENGTH]
    template = of.job
    folders = [word for each in inputs if "-" not in each for word in (f"--{each}", f"{INPUT}/{each}")]
    sources = {"code": template["Code"], **inputs}
    try:
        of.sagemaker.create_processing_job(
            ProcessingJobName=name,
            RoleArn=template["RoleArn"],
            AppSpecification={
                "ImageUri": template["ImageUri"],
                "ContainerEntrypoint": ["python3", f"{INPUT}/code/{script}.py"],
                "ContainerArguments": [*folders, *words, "--output", f"{OUTPUT}/{script}"],
            },
            ProcessingInputs=[
                {
                    "InputName": each,
                    "S3Input": {
                        "S3Uri": uri,
                        "LocalPath": f"{INPUT}/{each}",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
                for each, uri in sources.items()
            ],
            ProcessingOutputConfig={
                "Outputs": [
                    {
                        "OutputName": script,
                        "S3Output": {"S3Uri": to, "LocalPath": f"{OUTPUT}/{script}", "S3UploadMode": "EndOfJob"},
                    }
                ],
                "KmsKeyId": template["KmsKeyId"],
            },
            ProcessingResources=template["ProcessingResources"],
            NetworkConfig=template["NetworkConfig"],
            StoppingCondition=template["StoppingCondition"],
            Tags=[{"Key": key, "Value": value} for key, value in sorted(template["Tags"].items())],
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUse":
            raise  # otherwise this step has run before
    return name


def look_job(recovery: Recovery, of: Training) -> Recovery:
    """Has the job ended? Raises NotPossible where it failed."""
    if recovery["job"] is None:
        return {**recovery, "ended": True}
    described = of.sagemaker.describe_processing_job(ProcessingJobName=recovery["job"])
    status = described["ProcessingJobStatus"]
    if status in RUNS:
        return {**recovery, "ended": False}
    if status != "Completed":
        raise NotPossible(f"job {recovery['job']} is {status}: {described.get('FailureReason') or 'no reason given'}")
    return {**recovery, "ended": True}


# --- is it to be trusted ----------------------------------------------------------------------------------------------


def inspect(recovery: Recovery, of: Training) -> Recovery:
    """May anything learn from these data? Where they look poisoned, they are held until a person has looked."""
    at = of.at
    data = _read(of.s3, f"{recovery['set_uri']}/newest.json")
    found = suspicions(data, of.limits)
    if recovery.get("confirmed") == recovery["set"]:
        at.say(recovery, event="a person has let these data pass", evidence={"held": None})
        found = []
    if found:
        command = f"slipway retrain {at.endpoint} --confirm {recovery['incident']} --why '…'"
        needs = [f"look at the new labelled data: {each}" for each in found]
        needs.append(f"if they are right, let the retraining go on: `{command}`")
        # What lets them pass is another execution, and this one may watch its alarm for hours.
        locks.give_back(of.s3, at.sources.ledger_bucket, _turn(of), at.execution)
        at.say(
            recovery,
            event=f"the new data are held: {'; '.join(found)}",
            needs=needs,
            evidence={"held": recovery["set"], "memory": recovery["memory"], "newest": data},
        )
        return {**recovery, "go": False, "held": True, "outcome": "holds data that look poisoned"}
    at.say(recovery, event="nothing speaks against the new data", evidence={"newest": data})
    return {**recovery, "go": True}


# --- train ------------------------------------------------------------------------------------------------------------


def train(recovery: Recovery, of: Training) -> Recovery:
    """Start the pipeline on the set. The same set is trained on once, whoever asks again."""
    started = starting.start(
        of.sagemaker,
        of.pipeline,
        {
            "Dataset": recovery["set"],
            "Labels": f"{recovery['set_uri']}/",
            "Records": f"{recovery['set_uri']}/",
            "ReleaseNotes": f"Retrained for incident {recovery['incident']}",
        },
        description=f"{RECOVERY}{of.at.endpoint}, incident {recovery['incident']}",
        go_on=True,
    )
    of.at.say(recovery, event=f"training is started: {started.arn}")
    return {**recovery, "run": started.arn, "trained": False, "pause": of.poll_seconds}


def look_train(recovery: Recovery, of: Training) -> Recovery:
    """Has the pipeline ended? Raises NotPossible where it failed, or registered nothing."""
    described = of.sagemaker.describe_pipeline_execution(PipelineExecutionArn=recovery["run"])
    status = described["PipelineExecutionStatus"]
    if status in ("Executing", "Stopping"):
        # Step Functions keeps 25,000 events of an execution: whoever waits for days must not look all the time.
        waited = (datetime.now(UTC) - described["CreationTime"]).total_seconds()
        pause = min(LONGEST_PAUSE_SECONDS, max(of.poll_seconds, int(waited / LOOKS)))
        return {**recovery, "trained": False, "pause": pause}
    steps = of.sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=recovery["run"])["PipelineExecutionSteps"]
    if status != "Succeeded":
        why = [f"{step['StepName']}: {step['FailureReason']}" for step in steps if step.get("FailureReason")]
        told = "; ".join(why) or described.get("FailureReason") or "no reason given"
        raise NotPossible(f"the training is {status.lower()}: {told}")
    packages = [
        step["Metadata"]["RegisterModel"]["Arn"] for step in steps if "RegisterModel" in step.get("Metadata", {})
    ]
    if not packages:
        raise NotPossible("the training has registered no version")
    return {**recovery, "trained": True, "challenger": packages[0]}


# --- is it better -----------------------------------------------------------------------------------------------------


def challenge(recovery: Recovery, of: Training) -> Recovery:
    """Start the job that compares both versions on the newest held-out rows."""
    inputs = {
        "champion": _model(recovery["champion"], of),
        "challenger": _model(recovery["challenger"], of),
        "recent": f"{recovery['set_uri']}/recent/",
    }
    target = f"{recovery['set_uri']}/challenge/{of.at.id}"
    job = _start_job(recovery, of, "challenge", inputs=inputs, words=[], to=target)
    return {**recovery, "job": job, "ended": False, "compared": f"{target}/challenge.json"}


def _model(package: str, of: Training) -> str:
    described = of.sagemaker.describe_model_package(ModelPackageName=package)
    return str(described["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])


def judge(recovery: Recovery, of: Training) -> Recovery:
    """A challenger that does not beat the champion is rejected, with the reason; one that does is offered."""
    at, challenger = of.at, recovery["challenger"]
    compared = _read(of.s3, recovery["compared"])
    better, why = verdict(compared, of.limits)
    version = challenger.rpartition("/")[2]
    if not better:
        of.sagemaker.update_model_package(
            ModelPackageArn=challenger, ModelApprovalStatus="Rejected", ApprovalDescription=why[:REASON_LENGTH]
        )
        told: dict[str, Any] = {
            "done": [f"trained version {version}, and rejected it: {why}"],
            "needs": ["a retraining alone does not mend it: find out what else the model would have to know"],
        }
        outcome = f"rejects version {version}"
    else:
        command = f"slipway approve {at.endpoint} {version} --as YOU --why '…'"
        told = {
            "done": [f"trained version {version}: {why}"],
            "needs": [f"approve version {version}, if its evaluation convinces you: `{command}`"],
        }
        outcome = f"offers version {version}"
    at.say(recovery, event=f"version {version}: {why}", evidence={"compared": compared}, **told)
    return {**recovery, "better": better, "outcome": outcome}


# --- what is in S3 ----------------------------------------------------------------------------------------------------


def _objects(s3: Any, uri: str) -> Iterator[dict[str, Any]]:
    where = place(uri)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=where["Bucket"], Prefix=where["Key"]):
        yield from page.get("Contents", [])


def _read(s3: Any, uri: str) -> dict[str, Any]:
    url = urlsplit(uri)
    found: dict[str, Any] = json.load(s3.get_object(Bucket=url.netloc, Key=url.path.lstrip("/"))["Body"])
    return found
