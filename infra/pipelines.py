"""Training pipelines as code: what they run is packed, starts are idempotent, and what was made can be made again."""

import base64
import gzip
import hashlib
import io
import json
import os
import runpy
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from components.function import ROOT
from components.training_pipeline import Code
from functions import starting
from functions.starting import Started
from functions.training.schema import FILE, described, package_files

Clients = Callable[[str], Any]
"""Gives the boto3 client of a service."""
PARAMETER: Final = "param_"
"""How the registry calls a hyperparameter."""
ENTRY: Final = '''"""Runs {module} with the code that lies beside this file."""

import sys
import tarfile
import time
import tempfile
from pathlib import Path

archive = Path(__file__).with_name("sourcedir.tar.gz")
if archive.exists():  # in a processing job; a training container has unpacked it already
    folder = tempfile.mkdtemp()
    tarfile.open(archive).extractall(folder)
    sys.path.insert(0, folder)

from {module} import main  # noqa: E402

main({arguments})
'''
"""A step's script: SageMaker starts a file by its path, not a module."""
PROCESSING: Final = ("prepare", "evaluate", "newest", "challenge")
"""Scripts of processing jobs: steps of the pipeline, and of a retraining (functions/recovery/retraining.py)."""
UNKNOWN: Final = "unknown"
OFFLINE: Final = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_EC2_METADATA_DISABLED": "true",
    "SAGEMAKER_VALIDATE_ROLE": "false",
}
"""What the SDK wants to know of AWS before it does anything; nothing of it is in a definition."""
NOWHERE: Final = "no-bucket-was-named"


def pack(package: str) -> Code:
    """The code of a product's training: its package, such as `functions.employment`, and what all functions share.

    The same files make the same bytes. The feature schema travels as JSON, for SageMaker's containers have no pydantic.
    """
    files = {**sources(package), f"{package.replace('.', '/')}/{FILE}": described(package).encode()}
    whose = f'"{package}"'
    entries = {f"{step}.py": entry(f"functions.training.{step}", whose) for step in PROCESSING}
    entries["train.py"] = entry(f"{package}.train", "")
    everything = {**files, **entries}
    objects = {"sourcedir.tar.gz": packed(everything), **{f"{step}.py": entries[f"{step}.py"] for step in PROCESSING}}
    return Code(
        files={name: base64.b64encode(content).decode() for name, content in objects.items()},
        sha256=digest(everything),
        revision=revision(sorted(files)),
    )


def entry(module: str, arguments: str) -> bytes:
    """The script of a step, which calls a module's `main`."""
    return ENTRY.format(module=module, arguments=arguments).encode()


def sources(package: str) -> dict[str, bytes]:
    """Path → content of the modules that training runs: shared ones, the monitors' core, and the product's own."""
    patterns = ("functions/*.py", "functions/monitoring/*.py", "functions/training/*.py")
    shared = [path for pattern in patterns for path in ROOT.glob(pattern)]
    paths = sorted({*shared, *package_files(ROOT, package)})
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of these files. No times and no owners: the same files make the same bytes."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(written.getvalue(), mtime=0)


def digest(files: Mapping[str, bytes]) -> str:
    """The sha256 of files and their names, whatever packs them."""
    listed = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def revision(paths: list[str], root: Path = ROOT) -> str:
    """The commit that last changed any of these files; with `+` where they have changed since, or `unknown`."""
    known = [path for path in paths if (root / path).exists()]
    found = _git(root, "log", "-1", "--format=%H", "--", *known)
    if not found:
        return UNKNOWN
    return f"{found}+" if _git(root, "status", "--porcelain", "--", *known) else found


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def start(
    clients: Clients, pipeline: str, parameters: Mapping[str, str], token: str | None = None, *, go_on: bool = False
) -> Started:
    """Start a pipeline; the same start twice is one execution (functions/starting.py)."""
    return starting.start(clients("sagemaker"), pipeline, parameters, token, go_on=go_on)


class NotTrained(Exception):
    """An execution ended without a version: the text says at which step, and why."""


def follow(clients: Clients, execution: str, say: Callable[[str], None], *, poll: float = 2.0) -> int:
    """Wait for an execution's end, and say each step as it ends. Returns the version that it registered.

    `poll` is in seconds. Raises NotTrained.
    """
    sagemaker, told = clients("sagemaker"), set[str]()
    while True:
        status = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)
        pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=execution)
        steps = sorted(
            (step for page in pages for step in page["PipelineExecutionSteps"]), key=lambda s: s["StartTime"]
        )
        for step in steps:
            if step["StepStatus"] not in ("Starting", "Executing") and step["StepName"] not in told:
                told.add(step["StepName"])
                seconds = (step["EndTime"] - step["StartTime"]).total_seconds()
                say(f"{step['StepName']}: {step['StepStatus'].lower()} ({seconds:.0f} s)")
        if status["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            break
        time.sleep(poll)
    if status["PipelineExecutionStatus"] != "Succeeded":
        why = [f"{step['StepName']}: {step['FailureReason']}" for step in steps if "FailureReason" in step]
        said = "; ".join(why) or status.get("FailureReason", "no reason given")
        raise NotTrained(f"the training {status['PipelineExecutionStatus'].lower()}: {said}")
    registered = [step["Metadata"]["RegisterModel"]["Arn"] for step in steps if "RegisterModel" in step["Metadata"]]
    if not registered:
        raise NotTrained("the training registered nothing: the model did not pass its gate")
    return int(registered[0].rpartition("/")[2])


@dataclass(frozen=True)
class Reproduction:
    """How a version of the registry is made again: start `pipeline` with `parameters`."""

    package: str
    pipeline: str
    parameters: Mapping[str, str]
    caveats: Sequence[str]
    """What is no longer as it was, a sentence each."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "package": self.package,
            "pipeline": self.pipeline,
            "parameters": dict(self.parameters),
            "caveats": list(self.caveats),
        }


def reproduce(clients: Clients, package: str) -> Reproduction:
    """What to start, and with which parameters, to make a version of the registry again: its data set, code, image and
    hyperparameters. Raises ValueError for a version that a pipeline of ours did not register.
    """
    sagemaker = clients("sagemaker")
    described = sagemaker.describe_model_package(ModelPackageName=package)
    told: Mapping[str, str] = described.get("CustomerMetadataProperties", {})
    if lacking := [name for name in ("dataset", "dataset_sha256", "code", "image", "run") if not told.get(name)]:
        raise ValueError(f"{package} does not say its {', '.join(lacking)}: no pipeline of Slipway has registered it")
    pipeline = f"{described['ModelPackageGroupName']}-training"
    current = sagemaker.describe_pipeline(PipelineName=pipeline)
    definition = json.loads(current["PipelineDefinition"])
    defaults = {each["Name"]: each.get("DefaultValue") for each in definition["Parameters"]}
    dataset = told["dataset"].rstrip("/")
    was = {
        "Dataset": f"{dataset.rpartition('/')[2]}-again-{told['run']}",
        "Labels": f"{dataset}/",
        "Records": f"{dataset}/",
        "AsOf": str(defaults.get("AsOf", "all")),
        "Image": told["image"],
        "Code": told["code"],
        "CodeRevision": told.get("code_revision", UNKNOWN),
        "ReleaseNotes": f"Version {package.rpartition('/')[2]} again",
        **{name.removeprefix(PARAMETER): value for name, value in told.items() if name.startswith(PARAMETER)},
    }
    gone = [name for name in was if name not in defaults]
    caveats = [f"the pipeline has no parameter {name} any more: it was {was[name]}" for name in gone]
    caveats += [
        f"the pipeline's parameter {name} was not there then: it is {defaults[name]} now"
        for name in defaults
        if name not in was
    ]
    if told.get("configuration_hash") not in current["PipelineDefinition"]:
        caveats.append(
            "the pipeline's configuration (instances, gate, steps) has changed since; it was "
            f"{told.get('configuration_hash')}, and commit {was['CodeRevision'].partition('-')[0]} may still have it"
        )
    known = {name: value for name, value in was.items() if name in defaults}
    return Reproduction(package, pipeline, known, caveats)


class NoSdk(Exception):
    """The SageMaker SDK is not installed: the text says how to."""


def compile(path: Path) -> str:
    """The definition of the pipeline that a Python file's `pipeline(session)` makes with the SageMaker SDK 3, as JSON
    that is the same for the same pipeline.

    It asks nothing of AWS, and needs no credentials. Raises NoSdk, and ValueError for a file without a pipeline.
    """
    os.environ.update(OFFLINE)  # the SDK looks for a region while it is imported
    try:
        import boto3
        from sagemaker.core.workflow.pipeline_context import PipelineSession
    except ImportError as error:
        raise NoSdk(f"{error.name} is not installed: run `uv sync --group pipelines` (730 MB)") from error
    session = PipelineSession(
        boto_session=boto3.Session(),
        default_bucket=NOWHERE,
        sagemaker_config={"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}},
    )
    program = runpy.run_path(str(path))
    if "pipeline" not in program:
        raise ValueError(f"{path} has no function pipeline(session): it must return a sagemaker Pipeline")
    told = json.loads(program["pipeline"](session).definition())
    if NOWHERE in json.dumps(told):
        raise ValueError(f"{path} leaves it to the SDK where something lies in S3: say it, below the parameter LakeUri")
    return canonical(told)


def canonical(definition: Mapping[str, Any]) -> str:
    """A definition as it is committed: in one order, with what the SDK leaves out of its own accord left out."""
    kept = {name: value for name, value in definition.items() if name != "PipelineExperimentConfig"}
    return json.dumps(kept, indent=2, sort_keys=True) + "\n"
