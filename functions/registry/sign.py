"""What is signed of a model when it is registered, and the signature.

The statement names everything that decides what an endpoint will answer: the bytes of the model, the image that runs
it, the package as registered, and where it came from. A KMS key that never leaves KMS signs it; `openssl dgst -sha256
-verify` with the key's public half checks it without AWS.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

ALGORITHM: Final = "ECDSA_SHA_256"
CHUNK: Final = 1 << 20
SIGNATURE: Final = "signature"
"""The metadata property that says where the signature is: the one property that it does not cover."""
IMAGE: Final = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)(?::([^@]+))?")
MANIFESTS: Final = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]
COVERED: Final = (
    "AdditionalInferenceSpecifications",
    "CustomerMetadataProperties",
    "DriftCheckBaselines",
    "InferenceSpecification",
    "ModelMetrics",
    "ModelPackageDescription",
    "SourceUri",
)
"""What of a package's description is signed. The rest is its state (status, approval, card), or who changed it when."""
ADDED_BY_AWS: Final = frozenset({"ImageDigest", "ModelDataETag", "ETag", "ManifestEtag", "ModelRegistrationType"})


class CannotBeSigned(Exception):
    """Something that a signature has to cover is missing: the text says what to register it with."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a signature says about one package."""

    model_sha256: str
    image: str
    image_digest: str
    baseline_sha256: str
    evaluation_sha256: str
    dataset_sha256: str
    code_revision: str
    package_arn: str
    author: str
    """The ARN of who started the training."""
    package_sha256: str
    """Of the package's description: its containers with their variables, metadata, baselines, metrics."""

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        return canonical(asdict(self))


def canonical(value: Any) -> bytes:
    """One JSON text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def container(package: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one container that serves a package, as DescribeModelPackage tells of it."""
    containers = package.get("InferenceSpecification", {}).get("Containers", [])
    if len(containers) != 1 or "ModelDataUrl" not in containers[0]:
        raise CannotBeSigned("a package has one container with one ModelDataUrl: register the model as one archive")
    found: Mapping[str, Any] = containers[0]
    return found


def beside(package: Mapping[str, Any], name: str) -> str:
    """The URI of a file that is kept next to the model's archive."""
    return f"{container(package)['ModelDataUrl'].rpartition('/')[0]}/{name}"


def baseline_uri(package: Mapping[str, Any]) -> str:
    """Where the baseline is that the monitors compare with."""
    registered = package.get("DriftCheckBaselines", {}).get("ModelDataQuality", {}).get("Statistics", {})
    return str(registered.get("S3Uri") or beside(package, "baseline.json"))


def location(uri: str) -> tuple[str, str]:
    """The bucket and key of an S3 URI."""
    url = urlsplit(uri)
    return url.netloc, url.path.lstrip("/")


def read(s3: Any, uri: str) -> bytes:
    """What an S3 URI holds. Raises CannotBeSigned where there is nothing."""
    return b"".join(_chunks(s3, uri))


def digest(s3: Any, uri: str) -> str:
    """The SHA-256 of what an S3 URI holds, which need not fit in memory."""
    found = hashlib.sha256()
    for chunk in _chunks(s3, uri):
        found.update(chunk)
    return found.hexdigest()


def _chunks(s3: Any, uri: str) -> Any:
    bucket, key = location(uri)
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(CHUNK)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "NoSuchBucket", "404"):
            raise
        raise CannotBeSigned(f"{uri} does not exist") from error


def image_digest(ecr: Any, image: str) -> str:
    """The digest of an image, from its name or from ECR.

    It asks with BatchGetImage, which whoever may pull the image may call: AWS's own images give no other right.
    """
    _, _, pinned = image.partition("@")
    if pinned:
        return pinned
    found = IMAGE.fullmatch(image)
    if not found:
        raise CannotBeSigned(f"image {image} is not of ECR: name it with its digest, as name@sha256:…")
    registry, region, repository, tag = found.groups()
    if region != ecr.meta.region_name:
        raise CannotBeSigned(f"image {image} is in {region}: an endpoint takes images of its own region alone")
    try:
        answer = ecr.batch_get_image(
            registryId=registry,
            repositoryName=repository,
            imageIds=[{"imageTag": tag or "latest"}],
            acceptedMediaTypes=MANIFESTS,
        )
    except ClientError as error:
        raise CannotBeSigned(
            f"the digest of image {image} cannot be read ({error}): allow ecr:BatchGetImage on its repository, or "
            "register the model with the image's digest, as name@sha256:…"
        ) from error
    if not answer.get("images"):
        raise CannotBeSigned(f"image {image} does not exist: {answer.get('failures')}")
    return str(answer["images"][0]["imageId"]["imageDigest"])


def package_sha256(package: Mapping[str, Any]) -> str:
    """The digest of what a package was registered with."""
    covered = {key: _as_registered(package[key]) for key in COVERED if package.get(key)}
    metadata = dict(covered.get("CustomerMetadataProperties", {}))
    metadata.pop(SIGNATURE, None)
    return hashlib.sha256(canonical({**covered, "CustomerMetadataProperties": metadata})).hexdigest()


def _as_registered(value: Any) -> Any:
    """Without what AWS fills in by itself, and at a time of its own."""
    if isinstance(value, Mapping):
        return {key: _as_registered(each) for key, each in value.items() if key not in ADDED_BY_AWS}
    return [_as_registered(each) for each in value] if isinstance(value, list) else value


def observe(package: Mapping[str, Any], *, s3: Any, ecr: Any) -> Statement:
    """What can be said of a package as it is now. Raises CannotBeSigned where something is missing."""
    served, metadata = container(package), package.get("CustomerMetadataProperties", {})
    for name in ("dataset_sha256", "code_revision", "author"):
        if not metadata.get(name):
            raise CannotBeSigned(f"metadata property {name} is missing: register the model with it")
    if not metadata["author"].startswith("arn:"):
        raise CannotBeSigned(f"author is {metadata['author']!r}: register the model with the ARN of who had it trained")
    return Statement(
        model_sha256=digest(s3, served["ModelDataUrl"]),
        image=served["Image"],
        image_digest=image_digest(ecr, served["Image"]),
        baseline_sha256=digest(s3, baseline_uri(package)),
        evaluation_sha256=digest(s3, beside(package, "evaluation.json")),
        dataset_sha256=metadata["dataset_sha256"],
        code_revision=metadata["code_revision"],
        package_arn=package["ModelPackageArn"],
        author=metadata["author"],
        package_sha256=package_sha256(package),
    )


def sign(statement: Statement, *, kms: Any, key_arn: str) -> dict[str, Any]:
    """The signature as it is kept beside the model."""
    # RAW: KMS hashes the message itself; it takes up to 4096 bytes, and a statement has about 1200.
    answer = kms.sign(KeyId=key_arn, Message=statement.canonical(), MessageType="RAW", SigningAlgorithm=ALGORITHM)
    return {
        "statement": asdict(statement),
        "key_arn": key_arn,
        "algorithm": ALGORITHM,
        "signature": base64.b64encode(answer["Signature"]).decode(),
    }
