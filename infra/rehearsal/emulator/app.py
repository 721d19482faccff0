"""What answers on the emulator's port: moto, behind what makes it safe to repeat, to watch and to fail fast."""

import json
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from xml.sax.saxutils import escape

from moto.core.exceptions import ServiceException
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from infra.rehearsal.emulator import cloudtrail, feature_store, gateway, mlflow, rights
from infra.rehearsal.emulator.calls import ON_CONDITION, Call, Trail, body_of, describe, joined, turn_of

StartResponse = Callable[..., Any]
Admin = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Answers one request to `/_slipway/…`: JSON in, JSON out. Raises LookupError for what is not there."""

TOKEN: Final = "HTTP_X_SLIPWAY_TOKEN"
REPEATED_REQUEST_SECONDS: Final = 120.0
"""How long a repeated request waits for the answer to the first."""
BROWSER_SITES: Final = frozenset({"cross-site", "same-site"})


@dataclass(frozen=True)
class Answer:
    """What was answered to a request."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def code(self) -> int:
        """The status as a number."""
        return int(self.status.split()[0])


@dataclass
class Once:
    """A request that came with a token: who asks again gets the same answer."""

    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None


class Application:
    """The WSGI application. `admin` maps paths below `/_slipway/` to what answers them."""

    def __init__(self, trail: Trail, admin: Mapping[str, Admin]) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._trail, self._admin = trail, admin
        self._once: dict[tuple[str, str, str], Once] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        answer = self._refuse_browsers(environ) or self._serve(environ)
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _refuse_browsers(self, environ: Mapping[str, Any]) -> Answer | None:
        """Web pages must not reach what runs code on this machine, neither directly nor under a name of their own."""
        host = re.sub(r":\d+$", "", environ.get("HTTP_HOST", ""))
        local = host in ("127.0.0.1", "localhost") or host.endswith(".localhost")
        if local and "HTTP_ORIGIN" not in environ and environ.get("HTTP_SEC_FETCH_SITE") not in BROWSER_SITES:
            return None
        return _json("403 Forbidden", {"error": "the emulator serves programs on this machine, not web pages"})

    def _serve(self, environ: dict[str, Any]) -> Answer:
        path = environ.get("PATH_INFO", "")
        body = body_of(environ)
        if mlflow.is_for_a_server(environ):
            return self._track(environ, body)
        if path.startswith("/_slipway/"):
            return self._administer(path.removeprefix("/_slipway/"), body)
        if gateway.takes(environ):
            reply, call = gateway.serve(environ, body)
            answer = Answer(f"{reply.status} {HTTPStatus(reply.status).phrase}", reply.headers, reply.body)
            self._trail.add(call, answer.code, error_code(answer))
            return answer
        if path.startswith("/moto-api"):
            answer = self._ask_moto(environ)
            if path.startswith("/moto-api/reset"):
                with self._lock:
                    self._once.clear()  # What the answers tell of is gone.
            return answer
        call = describe(environ, body)
        token = environ.get(TOKEN)
        answer = self._repeatable(token, call, environ) if token and not call.reads else self._answer(call, environ)
        self._record(call, environ, body, answer)
        key = cloudtrail.key_in(environ.get("HTTP_AUTHORIZATION", ""))
        read = partial(rights.asked, call, environ, body)
        cloudtrail.tell(call, key, body, read, answer.body, error_code(answer))
        return answer

    def _track(self, environ: dict[str, Any], body: bytes) -> Answer:
        """Answer a request for MLflow, which is no AWS API."""
        status, text, call = mlflow.answer(environ, body, describe(environ, body))
        answer = Answer(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/json")], text)
        self._record(call, environ, body, answer)
        return answer

    def _record(self, call: Call, environ: Mapping[str, Any], body: bytes, answer: Answer) -> None:
        """Put down what was called, and which rights that took."""
        error = error_code(answer)
        self._trail.add(call, answer.code, error, rights.of(call, environ, body, answer.body, error))

    def _administer(self, path: str, body: bytes) -> Answer:
        handler = self._admin.get(path)
        if handler is None:
            return _json("404 Not Found", {"error": f"/_slipway/{path} is not one of {', '.join(self._admin)}"})
        try:
            return _json("200 OK", handler(json.loads(body) if body else {}))
        except LookupError as error:
            return _json("404 Not Found", {"error": str(error.args[0] if error.args else error)})

    def _repeatable(self, token: str, call: Call, environ: dict[str, Any]) -> Answer:
        """Answer a request; one whose token was seen before gets the answer that was given then.

        Only success is kept: what failed made nothing, and may be tried again.
        """
        key = (token, call.service, call.action)
        while True:
            with self._lock:
                first = key not in self._once
                once = self._once.setdefault(key, Once())
            if first:
                break
            if not once.done.wait(REPEATED_REQUEST_SECONDS):
                sentence = f"the first {call.service}.{call.action} with token {token} is still not answered"
                return _error(environ, call, "503 Service Unavailable", "RequestInProgress", sentence)
            if once.answer:
                return once.answer
        try:
            answer = self._answer(call, environ)
            if answer.code < 300:
                once.answer = answer
            return answer
        finally:
            if once.answer is None:
                with self._lock:
                    self._once.pop(key, None)
            once.done.set()

    def _answer(self, call: Call, environ: dict[str, Any]) -> Answer:
        try:
            on_condition = "HTTP_IF_MATCH" in environ or "HTTP_IF_NONE_MATCH" in environ
            with turn_of(ON_CONDITION if on_condition else call.service):
                answer = _directly(call, environ) or self._ask_moto(environ)
        except NotImplementedError as error:
            return _not_emulated(environ, call, str(error))
        except Exception as error:
            traceback.print_exc()
            sentence = f"{call.service}.{call.action} broke the emulator: {type(error).__name__}: {error}"
            return _error(environ, call, "501 Not Implemented", "EmulatorFailure", sentence)
        if answer.code in (404, 405) and call.service != "s3" and not _is_from_a_model(answer):
            return _not_emulated(environ, call)
        return answer

    def _ask_moto(self, environ: dict[str, Any]) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
            started.append((status, headers))
            return lambda chunk: None

        body = joined(self._moto(environ, start))
        return Answer(*started[-1], body)


DIRECT: Final = {("sagemaker-featurestore-runtime", "BatchWriteRecord"): feature_store.answer_batch}
"""Calls that come by the thousand, and that are read here in a tenth of the time that moto takes."""


def _directly(call: Call, environ: dict[str, Any]) -> Answer | None:
    """The answer to one of DIRECT; None for every other call."""
    answer = DIRECT.get((call.service, call.action))
    if answer is None:
        return None
    try:
        return _json("200 OK", answer(call.region, json.loads(body_of(environ))))
    except ServiceException as error:
        return _error(environ, call, "400 Bad Request", error.code, error.message)


def error_code(answer: Answer) -> str | None:
    """AWS's code of what went wrong, None where nothing did."""
    if answer.code < 400:
        return None
    for name, value in answer.headers:
        if name.lower() == "x-amzn-errortype":
            return value.split(":")[0]
    found = re.search(rb'"(?:__type|code|Code)": *"(?:[^"]*#)?([^"]+)"|<Code>([^<]+)</Code>', answer.body)
    return (found[1] or found[2]).decode() if found else answer.status


def _is_from_a_model(answer: Answer) -> bool:
    """Whether a "not found" speaks of a resource: where moto has no such path, its web framework answers instead."""
    return bool(answer.body) and not answer.body.lstrip().lower().startswith(b"<!doctype html")


def _not_emulated(environ: Mapping[str, Any], call: Call, detail: str = "") -> Answer:
    sentence = f"{call.service}.{call.action} is not emulated: neither moto nor the rehearsal implements it"
    if detail and "action has not been implemented" not in detail:
        sentence += f" ({detail})"
    return _error(environ, call, "501 Not Implemented", "NotImplemented", sentence)


def _json(status: str, value: Mapping[str, Any]) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(value).encode())


def _error(environ: Mapping[str, Any], call: Call, status: str, code: str, sentence: str) -> Answer:
    """An error as the SDKs read it. They do not retry 501, so that the user sees it at once."""
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if form or call.service in ("s3", "s3control", "route53", "cloudfront"):
        error = f"<Error><Code>{code}</Code><Message>{escape(sentence)}</Message></Error>"
        if call.service == "ec2":
            error = f"<Response><Errors>{error}</Errors></Response>"
        elif call.service != "s3":
            error = f"<ErrorResponse>{error}</ErrorResponse>"
        return Answer(status, [("Content-Type", "text/xml")], error.encode())
    answer = _json(status, {"__type": code, "message": sentence})
    answer.headers.append(("x-amzn-ErrorType", code))
    return answer
