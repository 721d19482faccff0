"""A new version whose model is the one that serves, and whose serving code somebody has changed for the worse.

It passes every gate: those measure the model. It is registered by hand, completed and signed by the registry's own
function, and approved by a second person, as a team does that packs its serving code itself.
"""

import io
import json
import tarfile
import uuid
from collections.abc import Mapping
from typing import Any, Final

from functions.registry import sign
from infra.gameday.stage import Stage

CODE: Final = "inference.py"
OTHER: Final = ("author", "run", "release_notes", "tracked_run", sign.SIGNATURE)
"""What the new version's metadata do not say as those of the one that it is made from do."""
REJECTED: Final = "Rejected"


class NotRegistered(Exception):
    """The registry's function has not completed a version: the text says why."""


def register(stage: Stage, program: str, author: str, notes: str) -> str:
    """Register and complete a version whose serving code has `program` at its end. Returns its ARN.

    `author` is a session's name in the model's role. Raises NotRegistered.
    """
    sagemaker = stage.clients("sagemaker")
    live = sagemaker.describe_model_package(ModelPackageName=stage.live())
    container = sign.container(live)
    folder = f"{stage.outputs['models_uri']}/by-hand-{uuid.uuid4().hex[:8]}"
    stage.write(f"{folder}/model.tar.gz", _with(stage.read(container["ModelDataUrl"]), program))
    metadata = {name: value for name, value in live["CustomerMetadataProperties"].items() if name not in OTHER}
    role = str(stage.outputs["model_role_arn"]).rpartition("/")[2]
    account = stage.live().split(":")[4]
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName=live["ModelPackageGroupName"],
        ModelPackageDescription=notes,
        InferenceSpecification={
            **_writable(live["InferenceSpecification"]),
            "Containers": [{"Image": container["Image"], "ModelDataUrl": f"{folder}/model.tar.gz"}],
        },
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataProperties={
            **metadata,
            "run": folder.rpartition("/")[2],
            "author": f"arn:aws:sts::{account}:assumed-role/{role}/{author}",
        },
    )["ModelPackageArn"]
    event = {
        "model_package_arn": arn,
        "evaluation": sign.beside(live, "evaluation.json"),
        "baseline": sign.baseline_uri(live),
        "release_notes": notes,
    }
    answer = stage.clients("lambda").invoke(
        FunctionName=f"{stage.endpoint}-registry-complete", Payload=json.dumps(event).encode()
    )
    if answer.get("FunctionError"):
        raise NotRegistered(answer["Payload"].read().decode())
    return arn


def reject(stage: Stage, arn: str, why: str) -> None:
    """Take a version's approval away, so that nobody releases it again."""
    stage.clients("sagemaker").update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus=REJECTED, ApprovalDescription=why
    )


def _with(archive: bytes, program: str) -> bytes:
    """A model's archive whose serving code goes on with `program`."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as old,
        tarfile.open(fileobj=packed, mode="w:gz") as new,
    ):
        for member in old:
            content = old.extractfile(member)
            body = content.read() if content else b""
            if member.name.removeprefix("./") in (CODE, f"code/{CODE}"):
                body += program.encode()
            member.size = len(body)
            new.addfile(member, io.BytesIO(body))
    return packed.getvalue()


def _writable(specification: Mapping[str, Any]) -> dict[str, Any]:
    """What CreateModelPackage takes of what DescribeModelPackage tells."""
    names = ("SupportedContentTypes", "SupportedResponseMIMETypes", "SupportedRealtimeInferenceInstanceTypes")
    return {name: specification[name] for name in names if specification.get(name)}
