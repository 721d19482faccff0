"""Who called what: every request to the emulator as a line of JSON, like a trail of CloudTrail."""

import io
import json
import re
import threading
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

import botocore.session
from moto.core.request import Request
from moto.core.routing import ServiceOperationRouter, get_service_router
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from werkzeug.exceptions import HTTPException

from infra.needs import Need, needs

ACCOUNT: Final = "123456789012"
"""moto's own account, which every local stack names in `aws:allowedAccountIds`."""
ROOT: Final = f"arn:aws:iam::{ACCOUNT}:root"
ROLE_SESSION_SECONDS: Final = 3600

SIGNED_AS: Final[Mapping[str, tuple[str, ...]]] = {
    "monitoring": ("cloudwatch",),
    "states": ("stepfunctions",),
    "elasticloadbalancing": ("elbv2", "elb"),
    "email": ("ses", "sesv2"),
    "sagemaker": ("sagemaker", "sagemaker-runtime", "sagemaker-featurestore-runtime", "sagemaker-metrics"),
    "s3": ("s3", "s3control"),
}
"""What botocore calls the services behind a signing name, where that is not the name itself."""

ONE_AT_A_TIME: Final = frozenset({"ec2", "ecr", "eks", "events", "iam", "kms"})
"""Services whose models in moto look through shared dictionaries while others are added to: two requests at once break
them. Those listed wait for nobody, so that none waits in a circle."""

ON_CONDITION: Final = "on condition"
"""The turn of what S3 writes on a condition: moto looks, and then writes, while others do."""

_turns: Final = {turn: threading.RLock() for turn in (*ONE_AT_A_TIME, ON_CONDITION)}
_keys: dict[tuple[str, str], str] = {}
_roles: dict[str, str] = {}
_lock = threading.Lock()
_trails: "list[Trail]" = []


@dataclass(frozen=True)
class Call:
    """One request, as far as its signature, path and body tell."""

    time: str
    service: str
    action: str
    principal: str
    """The ARN of the role or user that called, an AWS service's name, or the account's root for any other key."""
    region: str

    @property
    def reads(self) -> bool:
        """Whether it only looks."""
        return self.action.startswith(("Get", "List", "Describe", "Head", "Query", "Search", "Scan", "Select"))


def turn_of(service: str) -> AbstractContextManager[Any]:
    """Held while moto's models of a service are used, where they bear only one user at a time."""
    return _turns.get(service) or nullcontext()


def key_of(role: str, name: str = "rehearsal") -> str:
    """An access key of this role's (its ARN's) session `name`, so that what is done with it is known as theirs."""
    with _lock:
        if (role, name) not in _keys:
            session = sts_backends[ACCOUNT]["aws"].assume_role(
                region_name="us-east-1",
                role_session_name=name,
                role_arn=role,
                policy="",
                duration=ROLE_SESSION_SECONDS,
                external_id="",
            )
            _keys[role, name] = session.access_key_id
            _roles[session.access_key_id] = role
        return _keys[role, name]


def principal_of(key: str) -> str:
    """Who has this access key. The emulator's own services sign with their names."""
    if key.endswith(".amazonaws.com"):
        return key
    if key in _roles:
        return _roles[key]
    session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(key)
    if session:
        return str(session.role_arn)
    known = iam_backends[ACCOUNT]["aws"].access_keys.get(key)
    user = getattr(known, "user_name", None)
    return f"arn:aws:iam::{ACCOUNT}:user/{user}" if user else ROOT


def describe(environ: dict[str, Any], body: bytes) -> Call:
    """What a request asks for, and on whose behalf."""
    scope = re.search(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    key, region, signed = scope.groups() if scope else ("", "us-east-1", "s3")
    candidates = SIGNED_AS.get(signed, (signed,))
    action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2] or _in_form(environ, body)
    service = candidates[0]
    if not action:
        service, action = _routed(candidates, environ)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Call(now, service, action, principal_of(key), region)


def _in_form(environ: Mapping[str, Any], body: bytes) -> str:
    text: str = environ.get("QUERY_STRING", "")
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        text = body.decode("utf-8", "replace")
    return urllib.parse.parse_qs(text).get("Action", [""])[0]


def _routed(services: Iterable[str], environ: dict[str, Any]) -> tuple[str, str]:
    """The service and operation of a REST request, by its method, path and query."""
    for service in services:
        router = _router(service)
        if router:
            try:
                return service, router.match(Request(dict(environ)))[0].name
            except (HTTPException, NotImplementedError):
                continue
    return next(iter(services)), f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}"


@cache
def _router(service: str) -> ServiceOperationRouter | None:
    if service not in botocore.session.get_session().get_available_services():
        return None
    return get_service_router(service)


class Trail:
    """Appends calls to a file, a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._on_behalf: set[tuple[str, str, str]] = set()
        _trails.append(self)

    def add(self, call: Call, status: int, error: str | None, taken: Sequence[Need] = ()) -> None:
        """`error` is AWS's code of what went wrong, None where nothing did; `taken` the rights that the call took."""
        told = {"needs": [each.to_dict() for each in taken]} if taken else {}
        line = json.dumps({**asdict(call), "status": status, "error": error, **told})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def add_on_behalf(self, principal: str, region: str, service: str, action: str, taken: Sequence[Need]) -> None:
        """Put down what AWS does in a role's name without a request to the emulator; each thing once."""
        with self._lock:
            known = {(principal, each.action, each.resource.rpartition(":")[0]) for each in taken}
            if known <= self._on_behalf:
                return
            self._on_behalf |= known
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.add(Call(now, service, action, principal, region), 200, None, taken)


def on_behalf(principal: str, region: str, service: str, action: str, parameters: Mapping[str, Any]) -> None:
    """Tell the trail of what AWS does in a role's name, where the emulator does it without a request to itself."""
    taken = needs(service, action, parameters, region, ACCOUNT)
    for trail in _trails[-1:]:
        trail.add_on_behalf(principal, region, service, action, taken)


def body_of(environ: dict[str, Any]) -> bytes:
    """The request's body, which is put back for whoever reads it next."""
    if environ.get("wsgi.input_terminated"):  # sent in chunks, so that its length is not known before
        body: bytes = environ["wsgi.input"].read()
        environ["CONTENT_LENGTH"] = str(len(body))
    else:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
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
