"""Releases of Slipway as they were deployed, so that a test can update them to what the repository is now.

A recording is one compressed file: the states of the local stacks with the code of their functions, what they had
written to the ledger and the lake, the registered versions of models, and the plans of all other stacks. `replay`
deploys it anew, into an emulator, without the release's own program. After each release, and from its commit:

    python -m tests.upgrades record v0.2.0
"""

import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from infra.rehearsal.aws import AwsError, AwsProvider
from infra.rehearsal.aws.assets import is_archive
from infra.rehearsal.deployment import REFERENCE_TYPE
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.properties import opened, with_secrets_of
from infra.rehearsal.provider import Props, Provider, ProviderError
from infra.rehearsal.state import Record, State, StateStore, exported, imported
from infra.settings import load

FOLDER: Final = Path(__file__).parent
DEPLOYED: Final = ("platform-local", "employment-local")
"""In the order in which they are deployed."""
ROOT: Final = "{root}"
"""Stands in a recording for the folder of the repository."""
EMULATOR: Final = "{emulator}"
"""Stands in a recording for the emulator's host and port."""
ATTEMPTS: Final = 3
PLANNED: Final = ("dev", "prod")
"""The environments whose plans are kept."""
WRITTEN: Final = re.compile(r"(.*/models/|ledger/|locks/).*\.(json|md|gz)|.*/(state|latest)\.json")
"""The keys of objects that are kept: what later code has to read. Data for training and logs are not."""
NAME: Final = re.compile(r"(?=[^{]*\d)[^{]{8,}")
"""What may be a name: neither a word of a language nor a document."""
GROUP: Final = "aws:sagemaker/modelPackageGroup:ModelPackageGroup"
BUCKET: Final = "aws:s3/bucket:Bucket"
PACKAGE: Final = (
    *("ModelPackageGroupName", "ModelPackageDescription", "InferenceSpecification", "ModelApprovalStatus"),
    *("ModelMetrics", "DriftCheckBaselines", "ModelCard", "CustomerMetadataProperties"),
)
"""What a version was registered with."""


@dataclass(frozen=True)
class Recording:
    """A release as it was deployed."""

    files: Mapping[str, bytes]
    """By path: `states/`, `plans/`, `code/`, `objects/<bucket>/<key>`, and `versions.json`."""

    def states(self, folder: str) -> dict[str, Any]:
        """The states of a folder by stack, as `pulumi stack export` writes them."""
        found = {Path(path).stem: text for path, text in self.files.items() if path.startswith(f"{folder}/")}
        return {stack: json.loads(text) for stack, text in sorted(found.items())}

    def under(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """The files below a folder, by what follows its name."""
        for path, contents in self.files.items():
            if path.startswith(f"{folder}/"):
                yield path.removeprefix(f"{folder}/"), contents

    @property
    def versions(self) -> list[dict[str, Any]]:
        """The registered versions of models, as they were registered, the oldest first."""
        found: list[dict[str, Any]] = json.loads(self.files["versions.json"])
        return found


def read(path: Path) -> Recording:
    """A recording that `write` wrote."""
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(path.read_bytes()))) as archive:
        members = {each.name: archive.extractfile(each) for each in archive.getmembers()}
        return Recording({name: file.read() for name, file in members.items() if file})


def write(recording: Recording, path: Path, *, preset: int = 9 | lzma.PRESET_EXTREME) -> None:
    """Write a recording; the same bytes for the same contents. `preset` is lzma's: how hard it is compressed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, contents in sorted(recording.files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(contents)
            archive.addfile(entry, io.BytesIO(contents))
    path.write_bytes(lzma.compress(packed.getvalue(), preset=preset))


# --- recording --------------------------------------------------------------------------------------------------------


def record(root: Path, work: Path, plans: Path) -> Recording:
    """What runs in the rehearsal of the release in the folder `root`, and what its `slipway plan --export` wrote."""
    store = StateStore(work)
    states = {stack: store.load(stack) for stack in DEPLOYED}
    port = json.loads((work / "emulator.json").read_text("utf-8"))["port"]
    places = {str(root): ROOT, f"127.0.0.1:{port}": EMULATOR}
    files = {f"states/{stack}.json": _anywhere(exported(state), places) for stack, state in states.items()}
    files |= {
        f"plans/{path.name}": _anywhere(json.loads(path.read_text("utf-8")), places)
        for path in plans.glob("*.json")
        if path.stem.rpartition("-")[2] in PLANNED
    }
    code = {path for state in states.values() for each in state.resources.values() for path in _code(each, root)}
    files |= {f"code/{path.relative_to(root).as_posix()}": path.read_bytes() for path in sorted(code)}
    client = clients(f"http://127.0.0.1:{port}")
    files |= {f"objects/{name}": body for state in states.values() for name, body in _objects(state, client)}
    versions = [each for state in states.values() for each in _versions(state, client)]
    files["versions.json"] = json.dumps(versions, indent=1).encode()
    return Recording(files)


def _anywhere(document: Any, places: Mapping[str, str]) -> bytes:
    """A document as it would be in any folder and with any emulator."""
    text = json.dumps(document, indent=0)
    for place, stands in places.items():
        text = text.replace(place, stands)
    return text.encode()


def _code(record: Record, root: Path) -> Iterator[Path]:
    """The files of the repository that a function's code is made of."""
    for value in record.inputs.values():
        for asset in value.get("assets", {}).values() if is_archive(value) else ():
            if (path := Path(asset.get("path", ""))).is_relative_to(root):
                yield path


def _objects(state: State, client: Any) -> Iterator[tuple[str, bytes]]:
    for bucket in (each.id for each in state.resources.values() if each.type == BUCKET):
        for page in client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for key in (each["Key"] for each in page.get("Contents", ())):
                if WRITTEN.fullmatch(key):
                    yield f"{bucket}/{key}", client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def _versions(state: State, client: Any) -> Iterator[dict[str, Any]]:
    for group in (each.id for each in state.resources.values() if each.type == GROUP):
        listed = client("sagemaker").list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
        for each in sorted(listed, key=lambda one: one["ModelPackageVersion"]):
            told = client("sagemaker").describe_model_package(ModelPackageName=each["ModelPackageArn"])
            yield {key: told[key] for key in PACKAGE if key in told}


def clients(endpoint: str) -> Any:
    """`clients(endpoint)("s3")`: a client of the emulator, which does not repeat what fails."""
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in made:
            made[service] = boto3.client(
                service,  # type: ignore[call-overload]  # chosen at run time
                region_name="us-east-1",
                endpoint_url=endpoint,
                aws_access_key_id="slipway",
                aws_secret_access_key="rehearsal",
                config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            )
        return made[service]

    return client


# --- replaying --------------------------------------------------------------------------------------------------------


def replay(recording: Recording, work: Path, endpoint: str) -> None:
    """Deploy a recording: make each resource as it was, what it needs before it, and keep the states in `work`.

    What the emulator names anew (ids, ARNs, addresses) is put in the place of what it was called in what follows.
    """
    root = work / "release"
    for path, contents in recording.under("code"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(contents)
    replaying = _Replay(recording, work, endpoint)
    for stack in DEPLOYED:
        text = recording.files[f"states/{stack}.json"].decode()
        placed = text.replace(ROOT, str(root)).replace(EMULATOR, endpoint.partition("//")[2])
        replaying.deploy(stack, json.loads(placed))


class _Replay:
    """Deploys the states of a recording, one after the other."""

    def __init__(self, recording: Recording, work: Path, endpoint: str) -> None:
        self._recording, self._work, self._endpoint = recording, work, endpoint
        self._renamed: dict[str, str] = {}
        """What was called how in the recording, and what it is called now."""
        self._client = clients(endpoint)

    def deploy(self, stack: str, document: Any) -> None:
        settings = load(stack)
        providers: dict[str, Provider] = {
            "aws": AwsProvider(settings.region, settings.account_id, settings.tags, self._endpoint),
            "kubernetes": KubernetesProvider(self._work),
        }
        recorded = imported(document, lambda sealed: "").ordered()
        left = {each.urn: each for each in recorded}
        with StateStore(self._work).open(stack) as state, ThreadPoolExecutor(8) as pool:
            running: dict[Future[Record], str] = {}
            while left or running:
                waiting = left.keys() | {*running.values()}
                for urn in [urn for urn, each in left.items() if not each.needs() & waiting - {urn}]:
                    running[pool.submit(self._make, left.pop(urn), providers)] = urn
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    del running[each]
                    state.put(each.result())
            for was in recorded:  # components, and the stack, came before what their outputs tell of
                if not was.custom:
                    state.put(replace(was, outputs=self._now(was.outputs)))

    def _make(self, was: Record, providers: Mapping[str, Provider]) -> Record:
        inputs, outputs = self._now(was.inputs), self._now(was.outputs)
        record = replace(was, id=self._now(was.id), inputs=inputs, outputs=outputs)
        if not was.custom or was.type == REFERENCE_TYPE or was.type.startswith("pulumi:"):
            return record
        provider = providers[was.type.partition(":")[0]]
        id_, told = self._create(provider, was, opened(inputs))
        self._learn({"id": was.id, **opened(was.outputs)}, {"id": id_, **told})
        if was.type == BUCKET:
            self._put_objects(id_)
        if was.type == GROUP:
            self._register(id_)
        return replace(record, id=id_, outputs=with_secrets_of(told, was.outputs))

    def _create(self, provider: Provider, was: Record, inputs: Props) -> tuple[str, Props]:
        """Make it; where the machine is too busy to answer in time, ask again: with one token it is made once."""
        for _ in range(ATTEMPTS - 1):
            try:
                return provider.create(was.type, inputs, f"replay:{was.urn}")
            except AwsError:
                raise
            except ProviderError:
                continue
        return provider.create(was.type, inputs, f"replay:{was.urn}")

    def _now(self, value: Any) -> Any:
        text = json.dumps(value)
        for old in sorted((each for each in list(self._renamed) if each in text), key=len, reverse=True):
            text = text.replace(old, json.dumps(self._renamed[old])[1:-1])
        return json.loads(text)

    def _learn(self, was: Any, now: Any) -> None:
        """Remember what is called otherwise now."""
        if isinstance(was, dict) and isinstance(now, dict):
            for key in was.keys() & now.keys():
                self._learn(was[key], now[key])
        elif isinstance(was, list) and isinstance(now, list):
            for old, new in zip(was, now, strict=False):
                self._learn(old, new)
        elif isinstance(was, str) and isinstance(now, str) and was != now and NAME.fullmatch(was):
            self._renamed.setdefault(was, now)

    def _put_objects(self, bucket: str) -> None:
        for key, body in self._recording.under(f"objects/{bucket}"):
            self._client("s3").put_object(Bucket=bucket, Key=key, Body=body)

    def _register(self, group: str) -> None:
        for version in self._recording.versions:
            if version["ModelPackageGroupName"] == group:
                self._client("sagemaker").create_model_package(**version)


def recordings() -> Sequence[Path]:
    """Every recording, the oldest release first."""
    return sorted(FOLDER.glob("*.tar.xz"), key=lambda path: [int(each) for each in path.name.split(".")[:3]])
