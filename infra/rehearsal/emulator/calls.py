"""Who called what: every request to the emulator as a line of JSON, like a trail of CloudTrail."""

import io
import json
import re
import threading
import urllib.parse
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

import botocore.session

ACCOUNT: Final = "123456789012"
"""moto's own account, which every local stack names in `aws:allowedAccountIds`."""
DEPLOYER: Final = f"arn:aws:iam::{ACCOUNT}:root"

SIGNED_AS: Final = {"monitoring": "cloudwatch", "states": "stepfunctions"}
"""Signing names that are not the name of the service in botocore."""

_roles: dict[str, str] = {}


@dataclass(frozen=True)
class Call:
    """One request, as far as its signature, path and body tell."""

    time: str
    service: str
    action: str
    principal: str
    """The ARN of the role that called; the account's root for what is not a role."""
    region: str


def key_of(role: str) -> str:
    """An access key that stands for a role, so that its calls are known as its own."""
    key = "ASIA" + re.sub(r"\W", "", role.rpartition("/")[2].upper())[:12].ljust(12, "X")
    while _roles.setdefault(key, role) != role:
        key = key[:-1] + chr(65 + (ord(key[-1]) - 64) % 26)
    return key


def describe(environ: dict[str, Any], body: bytes) -> Call:
    """What a request asks for, and on whose behalf."""
    scope = re.search(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    key, region, signed = scope.groups() if scope else ("", "us-east-1", "s3")
    service = SIGNED_AS.get(signed, signed)
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    action = target or _in_form(environ, body) or _by_path(service, environ["REQUEST_METHOD"], environ["PATH_INFO"])
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Call(now, service, action, _roles.get(key, DEPLOYER), region)


def _in_form(environ: dict[str, Any], body: bytes) -> str:
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return ""
    return urllib.parse.parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]


@cache
def _paths(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    """The method and path of each operation of a REST service, the most specific first."""
    session = botocore.session.get_session()
    if service not in session.get_available_services():
        return []
    found = []
    for model in [
        service,
        *(["sagemaker-runtime", "sagemaker-featurestore-runtime"] if service == "sagemaker" else []),
    ]:
        described = session.get_service_model(model)
        for name in described.operation_names:
            http = described.operation_model(name).http
            path = http["requestUri"].split("?")[0]
            pattern = re.sub(r"\\\{[^}]+\\\+\\\}", ".+", re.escape(path))
            pattern = re.sub(r"\\\{[^}]+\\\}", "[^/]+", pattern)
            found.append((http["method"], re.compile(f"{pattern}/?$"), name))
    return sorted(found, key=lambda each: -len(each[1].pattern))


def _by_path(service: str, method: str, path: str) -> str:
    for candidate, pattern, name in _paths(service):
        if candidate == method and pattern.match(path):
            return name
    return f"{method} {path}"


class Trail:
    """Appends calls to a file."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, call: Call, status: int) -> None:
        line = json.dumps({**asdict(call), "status": status})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()


def body_of(environ: dict[str, Any]) -> bytes:
    """The request's body, which is put back for whoever reads it next."""
    length = environ.get("CONTENT_LENGTH")
    body: bytes = environ["wsgi.input"].read(int(length)) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def joined(chunks: Iterable[bytes]) -> bytes:
    """A response's body, its source closed."""
    try:
        return b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close:
            close()
