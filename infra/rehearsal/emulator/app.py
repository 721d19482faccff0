"""What answers on the emulator's port: moto, behind what makes it safe to repeat, to watch and to fail fast."""

import json
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from infra.rehearsal.emulator.calls import Call, Trail, body_of, describe, joined

StartResponse = Callable[..., Any]
Admin = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Answers one request to `/_slipway/…`: JSON in, JSON out. Raises LookupError for what is not there."""

TOKEN: Final = "HTTP_X_SLIPWAY_TOKEN"
REPEATED_REQUEST_SECONDS: Final = 120.0
"""How long a repeated request waits for the answer to the first."""


@dataclass
class Answer:
    """What was answered to a request."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Once:
    """A creation that was asked for with a token: who asks again gets the same answer."""

    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None


class Application:
    """The WSGI application. `admin` maps paths below `/_slipway/` to what answers them."""

    def __init__(self, trail: Trail, admin: Mapping[str, Admin]) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._trail, self._admin = trail, admin
        self._once: dict[str, Once] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_slipway/"):
            answer = self._administer(path.removeprefix("/_slipway/"), environ)
        else:
            answer = self._repeatable(environ)
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _administer(self, path: str, environ: dict[str, Any]) -> Answer:
        handler = self._admin.get(path)
        if handler is None:
            return _json("404 Not Found", {"error": f"/_slipway/{path} is not one of {', '.join(self._admin)}"})
        body = body_of(environ)
        try:
            return _json("200 OK", handler(json.loads(body) if body else {}))
        except LookupError as error:
            return _json("404 Not Found", {"error": str(error.args[0] if error.args else error)})

    def _repeatable(self, environ: dict[str, Any]) -> Answer:
        """Answer a request; one whose token was seen before gets the answer that was given then."""
        token = environ.get(TOKEN)
        if not token:
            return self._answer(environ)
        with self._lock:
            first = token not in self._once
            once = self._once.setdefault(token, Once())
        if not first:
            once.done.wait(REPEATED_REQUEST_SECONDS)
            if once.answer:
                return once.answer
        try:
            answer = self._answer(environ)
            if answer.status < "3":  # What failed made nothing, and may be tried again.
                once.answer = answer
            else:
                with self._lock:
                    self._once.pop(token, None)
            return answer
        finally:
            once.done.set()

    def _answer(self, environ: dict[str, Any]) -> Answer:
        call = describe(environ, body_of(environ))
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
            started.append((status, headers))
            return lambda chunk: None

        try:
            body = joined(self._moto(environ, start))
            answer = Answer(*started[-1], body)
            if answer.status.startswith("500") and body.startswith(b"<!doctype html>"):
                answer = _error(environ, call, "500 Internal Server Error", "InternalFailure", "the emulator failed")
        except NotImplementedError:
            sentence = f"{call.service}.{call.action} is not emulated: neither moto nor the rehearsal implements it"
            answer = _error(environ, call, "501 Not Implemented", "NotImplemented", sentence)
        except Exception as error:
            traceback.print_exc()
            sentence = f"{call.service}.{call.action} broke the emulator: {type(error).__name__}: {error}"
            answer = _error(environ, call, "501 Not Implemented", "EmulatorFailure", sentence)
        self._trail.add(call, int(answer.status.split()[0]))
        return answer


def _json(status: str, value: Mapping[str, Any]) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(value).encode())


def _error(environ: Mapping[str, Any], call: Call, status: str, code: str, sentence: str) -> Answer:
    """An error as the SDKs read it. They do not retry 501, so that the user sees it at once."""
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if form or call.service in ("s3", "route53", "cloudfront"):
        error = f"<Error><Code>{code}</Code><Message>{escape(sentence)}</Message></Error>"
        body = error if call.service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
        return Answer(status, [("Content-Type", "text/xml")], body.encode())
    answer = _json(status, {"__type": code, "message": sentence})
    answer.headers.append(("x-amzn-ErrorType", code))
    return answer
