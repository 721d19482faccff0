"""The client of a prediction API, as `infra.prediction` copies it: with other constants, and other features in Row."""

import base64
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NotRequired, Protocol, TypedDict

API: Final = "example"
MOST_ROWS: Final = 100
"""Of one request."""
SCOPE: Final = "example/predict"
PATHS: Final[Mapping[str, str]] = {"jwt": "", "iam": "/iam"}


class Row(TypedDict):
    """The features of one row."""

    quantity: float
    """An example; 0 to 10."""
    code: NotRequired[Literal["a", "b"]]
    """An example: a one, b two."""


class Feature(TypedDict):
    """What a value may be."""

    kind: Literal["integer", "number", "string"]
    categories: list[str] | list[int]
    minimum: float | None
    maximum: float | None
    required: bool


FEATURES: Final[Mapping[str, Feature]] = {}


@dataclass(frozen=True)
class Fault:
    """What is wrong with one value. `row` counts from 1, and is None for what concerns the whole request."""

    row: int | None
    feature: str | None
    reason: str


@dataclass(frozen=True)
class Predictions:
    """What the model says of each row, in their order."""

    predictions: tuple[float, ...]
    model: str | None
    """The model version that answered, where it says so."""
    variant: str
    request_id: str
    """Tells this request from all others in the API's logs."""


class ApiError(Exception):
    """A request that was not answered with predictions."""

    def __init__(
        self, status: int | None, code: str, title: str, request_id: str | None = None, faults: Sequence[Fault] = ()
    ) -> None:
        where = "; ".join(f"row {fault.row}: {fault.reason}" if fault.row else fault.reason for fault in faults)
        super().__init__(f"{title}: {where}" if where else title)
        self.status, self.code, self.title, self.request_id, self.faults = status, code, title, request_id, faults


class InvalidInput(ApiError):
    """The rows are not what the model takes: `faults` says where. Sending them again does not help."""


class NotAllowed(ApiError):
    """The signature, token or API key is not valid."""


class Throttled(ApiError):
    """The client's rate (code `throttled`) or its quota for today (code `quota`) is used up."""


class Unavailable(ApiError):
    """The model cannot answer at the moment, or nobody can be reached."""


class Auth(Protocol):
    """Says who asks."""

    @property
    def kind(self) -> Literal["jwt", "iam"]:
        """Which of the API's paths it is for."""

    def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """What to send along with a request."""


class Bearer:
    """A token, from whatever gives one."""

    kind: Literal["jwt"] = "jwt"

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The token."""
        return {"Authorization": f"Bearer {self._token()}"}


class ClientCredentials(Bearer):
    """Tokens for a client's id and secret. Each is kept until it is about to expire: every request for one costs."""

    def __init__(self, token_url: str, client_id: str, client_secret: str, *, timeout: float = 10.0) -> None:
        """`timeout` in seconds. Raises ApiError at the first request where no token is to be had."""
        super().__init__(self._current)
        _refuse_plain_http(token_url)
        self._url, self._timeout, self._kept, self._until = token_url, timeout, "", 0.0
        self._login = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()

    def _current(self) -> str:
        if time.monotonic() >= self._until:
            form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": SCOPE}).encode()
            kind = "application/x-www-form-urlencoded"
            headers = {"Authorization": f"Basic {self._login}", "Content-Type": kind}
            status, _, body = _send("POST", self._url, headers, form, self._timeout)
            told = _json(body)
            if status != 200 or "access_token" not in told:
                raise NotAllowed(status, str(told.get("error", "no-token")), "No token for this client")
            self._kept = str(told["access_token"])
            self._until = time.monotonic() + max(0.0, float(told.get("expires_in", 0)) - 60)
        return self._kept


class SigV4:
    """The credentials of an AWS role, as botocore finds them."""

    kind: Literal["iam"] = "iam"

    def __init__(self, region: str, credentials: Any = None) -> None:
        """`credentials`: botocore's; without them, those of the environment."""
        self._region, self._credentials = region, credentials

    def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The signature."""
        from botocore.auth import SigV4Auth  # type: ignore[import-untyped, unused-ignore]  # only who signs needs it
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped, unused-ignore]
        from botocore.session import get_session  # type: ignore[import-untyped, unused-ignore]

        if self._credentials is None:
            self._credentials = get_session().get_credentials()
        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
        SigV4Auth(self._credentials, "execute-api", self._region).add_auth(request)
        return dict(request.headers.items())


class Client:
    """Asks the API. One may be used by several threads."""

    def __init__(
        self,
        url: str,
        *,
        auth: Auth,
        api_key: str,
        timeout: float = 30.0,
        retries: int = 2,
        longest_wait: float = 10.0,
    ) -> None:
        """`timeout` in seconds for one attempt.

        What is refused for its rate, or because the model is busy, is sent again up to `retries` times, after as long
        as the API asks for; where that is more than `longest_wait` seconds, the error is raised at once.
        """
        _refuse_plain_http(url)
        if auth.kind not in PATHS:
            raise ValueError(f"no client of {API} uses {auth.kind}: use {' or '.join(PATHS)}")
        self._url, self._auth, self._key = url.rstrip("/") + PATHS[auth.kind], auth, api_key
        self._timeout, self._retries, self._longest_wait = timeout, retries, longest_wait

    def predict(self, rows: Sequence[Row]) -> Predictions:
        """The predictions of 1 to MOST_ROWS rows.

        Raises InvalidInput (before anything is sent, for what the schema tells), NotAllowed, Throttled, Unavailable.
        """
        if not 1 <= len(rows) <= MOST_ROWS:
            raise InvalidInput(None, "invalid-input", f"{len(rows)} rows: send 1 to {MOST_ROWS}")
        if faults := problems(rows):
            raise InvalidInput(
                None, "invalid-input", "The rows have values that the model does not take", faults=faults
            )
        told = self._ask("POST", "/predictions", json.dumps({"instances": list(rows)}).encode())
        return Predictions(tuple(told["predictions"]), told["model"], told["variant"], told["request_id"])

    def healthy(self) -> bool:
        """Whether predictions are to be had."""
        try:
            return bool(self._ask("GET", "/health", b"", retries=0)["status"] == "ok")
        except Unavailable:
            return False

    def _ask(self, method: str, path: str, body: bytes, retries: int | None = None) -> dict[str, Any]:
        left = self._retries if retries is None else retries
        url = self._url + path
        while True:
            headers = {"Accept": "application/json", "x-api-key": self._key}
            if body:
                headers["Content-Type"] = "application/json"
            headers |= self._auth.headers(method, url, headers, body)
            status, received, answer = _send(method, url, headers, body, self._timeout)
            if status == 200:
                return _json(answer)
            error = _error(status, received, _json(answer))
            wait = _wait(received, self._retries - left)
            if status not in (429, 503) or left <= 0 or wait > self._longest_wait:
                raise error
            left -= 1
            time.sleep(wait)


def problems(rows: Sequence[Row]) -> list[Fault]:
    """What the schema does not allow in these rows, without asking anybody."""
    return [fault for number, row in enumerate(rows, 1) for fault in _faults(number, dict(row))]


def _faults(number: int, row: Mapping[str, Any]) -> list[Fault]:
    unknown = [Fault(number, name, f"{name} is no feature of {API}") for name in row if name not in FEATURES]
    known = [(name, _reason(feature, row.get(name))) for name, feature in FEATURES.items()]
    return [*unknown, *(Fault(number, name, f"{name} {reason}") for name, reason in known if reason)]


def _reason(feature: Feature, value: Any) -> str | None:
    if value is None:
        return "is missing" if feature["required"] else None
    types: dict[str, Any] = {"integer": int, "number": int | float, "string": str}
    if isinstance(value, bool) or not isinstance(value, types[feature["kind"]]):
        return f"is {value!r}, which is no {feature['kind']}"
    if feature["categories"]:
        return None if value in feature["categories"] else f"is {value!r}, which is none of its categories"
    if isinstance(value, str):
        return None
    least = -math.inf if feature["minimum"] is None else feature["minimum"]
    most = math.inf if feature["maximum"] is None else feature["maximum"]
    if not (math.isfinite(value) and least <= value <= most):
        return f"is {value!r}, which is not within {least:g} to {most:g}"
    return None


def _refuse_plain_http(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise ValueError(f"{url} is not https: credentials and values would be readable on the way")


def _send(
    method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float
) -> tuple[int, Mapping[str, str], bytes]:
    request = urllib.request.Request(url, body or None, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, dict(answer.headers.items()), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers.items()), error.read()
    except OSError as error:
        raise Unavailable(
            None, "unreachable", f"{urllib.parse.urlsplit(url).netloc} does not answer: {error}"
        ) from None


def _json(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _wait(headers: Mapping[str, str], attempt: int) -> float:
    given = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    return float(given) if given.isdigit() else 0.5 * 2.0**attempt


def _error(status: int, headers: Mapping[str, str], told: Mapping[str, Any]) -> ApiError:
    kinds: dict[int, type[ApiError]] = {400: InvalidInput, 413: InvalidInput, 415: InvalidInput, 422: InvalidInput}
    kinds |= {401: NotAllowed, 403: NotAllowed, 429: Throttled, 502: Unavailable, 503: Unavailable, 504: Unavailable}
    found = [Fault(each.get("row"), each.get("feature"), str(each.get("reason"))) for each in told.get("errors") or ()]
    if told.get("detail"):
        found.append(Fault(None, None, str(told["detail"])))
    title = str(told.get("title") or told.get("message") or f"The API answered {status}")
    return kinds.get(status, ApiError)(status, str(told.get("code") or status), title, told.get("request_id"), found)
