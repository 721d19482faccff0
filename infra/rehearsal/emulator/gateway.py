"""API Gateway (REST) and Cognito's token endpoint, live: a deployed API answers as AWS's would.

moto stores both. `install` makes it keep the documents that APIs are imported from, so that they can be served:

* `http://127.0.0.1:<port>/_api/<id>/<stage>/…` for `https://<id>.execute-api.<region>.amazonaws.com/<stage>/…`; and so
  does `http://<id>.execute-api.localhost:<port>/<stage>/…`.
* `http://127.0.0.1:<port>/_auth/<domain>/oauth2/token` for
  `https://<domain>.auth.<region>.amazoncognito.com/oauth2/token`.

A request goes the way it goes on AWS: method, signature or token, API key, rate and quota of its usage plan, rate of
the stage, the request's schema, the function; then the access log and the metrics. What is not as on AWS: whether IAM
or the API's policy allows a role to invoke is not looked at (the call is recorded), buckets of tokens are exact, and
there is no cache.
"""

import base64
import copy
import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from joserfc import jwt
from joserfc.errors import JoseError
from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError
from moto.apigateway.exceptions import BadRequestException, DeploymentNotFoundException
from moto.apigateway.models import APIGatewayBackend, Deployment, RestAPI, Stage, apigateway_backends
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.cognitoidp.models import CognitoIdpUserPool, cognitoidp_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.sts.models import sts_backends

from infra.rehearsal.emulator import gateway_stored, lambdas
from infra.rehearsal.emulator.calls import ACCOUNT, Call, principal_of
from infra.rehearsal.emulator.metrics import put_metric

Json = dict[str, Any]

API: Final = "/_api/"
AUTH: Final = "/_auth/"
MOST_BYTES: Final = 10 * 1024 * 1024
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
SIGNATURE_SECONDS: Final = 300
EXTENSION: Final = "x-amazon-apigateway-"
ROOT_KEYS: Final[Mapping[str, str]] = {"test": "test", "slipway": "rehearsal"}
"""Access keys of the account's root in the emulator, and their secrets."""
OWN_SECRET: Final = "rehearsal"
"""The secret of the keys that the emulator gives to functions and jobs."""
TOKEN_SECONDS: Final[Mapping[str, int]] = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
PERIOD_FORMATS: Final[Mapping[str, str]] = {"DAY": "%Y-%m-%d", "WEEK": "%G-%V", "MONTH": "%Y-%m"}

DEFAULTS: Final[Mapping[str, tuple[int, str, str]]] = {
    "ACCESS_DENIED": (403, "AccessDeniedException", "User is not authorized to access this resource"),
    "API_CONFIGURATION_ERROR": (500, "InternalServerErrorException", "Internal server error"),
    "BAD_REQUEST_BODY": (400, "BadRequestException", "Invalid request body"),
    "BAD_REQUEST_PARAMETERS": (400, "BadRequestException", "Missing required request parameters"),
    "DEFAULT_5XX": (502, "InternalServerErrorException", "Internal server error"),
    "EXPIRED_TOKEN": (403, "ExpiredTokenException", "The security token included in the request is expired"),
    "INTEGRATION_TIMEOUT": (504, "InternalServerErrorException", "Endpoint request timed out"),
    "INVALID_API_KEY": (403, "ForbiddenException", "Forbidden"),
    "INVALID_SIGNATURE": (
        403,
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided.",
    ),
    "MISSING_AUTHENTICATION_TOKEN": (403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
    "QUOTA_EXCEEDED": (429, "LimitExceededException", "Limit Exceeded"),
    "REQUEST_TOO_LARGE": (413, "RequestTooLargeException", "Request Too Long"),
    "THROTTLED": (429, "TooManyRequestsException", "Too Many Requests"),
    "UNAUTHORIZED": (401, "UnauthorizedException", "Unauthorized"),
}
"""Status, x-amzn-ErrorType and message of what API Gateway itself answers.
https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html"""

_lock = threading.Lock()
_buckets: dict[tuple[str, ...], "Bucket"] = {}
_used: dict[tuple[str, str, str], int] = {}
_runners = ThreadPoolExecutor(max_workers=32, thread_name_prefix="integration")


@dataclass(frozen=True)
class Reply:
    """What goes back to the caller."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Refused(Exception):
    """API Gateway answers itself: `kind` is one of its gateway responses."""

    def __init__(self, kind: str, words: str = "") -> None:
        super().__init__(words)
        self.kind, self.words = kind, words


@dataclass
class Bucket:
    """A bucket of tokens: it fills at `rate` a second, and holds `burst`."""

    tokens: float
    at: float

    def take(self, rate: float, burst: float, now: float) -> bool:
        """Take one token, if there is one."""
        self.tokens = min(burst, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class Exchange:
    """One request on its way through an API."""

    api: RestAPI
    stage: Stage
    document: Json
    method: str
    path: str
    """Below the stage."""
    headers: Mapping[str, str]
    """By their names in lower case."""
    query: str
    body: bytes
    url: str
    """As it was sent, for its signature."""
    began: float = field(default_factory=time.time)
    identity: Json = field(default_factory=dict)
    authorizer: Json = field(default_factory=dict)
    integration_seconds: float | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def operation(self) -> Json:
        """What the document says of it. Raises Refused where it says nothing."""
        found = self.document["paths"].get(self.path, {})
        operation = found.get(self.method.lower()) or found.get(f"{EXTENSION}any-method")
        if operation is None:
            raise Refused("MISSING_AUTHENTICATION_TOKEN")
        return operation  # type: ignore[no-any-return]  # the document is JSON


# --- what moto has to keep ------------------------------------------------------------------------------------------

_put_in_moto = APIGatewayBackend.put_rest_api
_create_in_moto = APIGatewayBackend.create_rest_api
_deploy_in_moto = RestAPI.create_deployment
_delete_in_moto = RestAPI.delete_deployment


def install() -> None:
    """Keep documents with their APIs and deployments; before moto's server answers."""
    gateway_stored.install()
    APIGatewayBackend.put_rest_api = _put  # type: ignore[assignment, method-assign]  # that is what is replaced
    RestAPI.create_deployment = _deploy  # type: ignore[assignment, method-assign]  # likewise
    RestAPI.get_deployment = _get_deployment  # type: ignore[assignment, method-assign]  # likewise
    RestAPI.delete_deployment = _delete_deployment  # type: ignore[assignment, method-assign]  # likewise


def _put(
    backend: APIGatewayBackend, function_id: str, api_doc: Json, fail_on_warnings: bool, mode: str = "merge"
) -> RestAPI:
    """As moto's, and the document is kept; a new one takes the place of the old, whichever the mode."""
    if strange := [path for path in api_doc.get("paths", {}) if "{" in path]:
        raise NotImplementedError(f"the rehearsal serves fixed paths, not {strange[0]}")
    api = _put_in_moto(backend, function_id, api_doc, fail_on_warnings, "overwrite")
    vars(api)["document"] = api_doc
    return api


def _deploy(api: RestAPI, name: str, description: str, stage_variables: Any = None) -> Deployment:
    """As moto's, with the document as it is now."""
    deployment = _deploy_in_moto(api, name, description, stage_variables)
    vars(deployment)["document"] = copy.deepcopy(vars(api).get("document"))
    return deployment


def _get_deployment(api: RestAPI, deployment_id: str) -> Deployment:
    """In the place of moto's method, which knows no word for a deployment that is not there."""
    if deployment_id not in api.deployments:
        raise DeploymentNotFoundException
    return api.deployments[deployment_id]


def _delete_deployment(api: RestAPI, deployment_id: str) -> Deployment:
    """In the place of moto's method, which also deletes what a stage serves."""
    if any(stage.deployment_id == deployment_id for stage in api.stages.values()):
        raise BadRequestException("Active stages pointing to this deployment must be moved or deleted")
    return _delete_in_moto(api, deployment_id)


# --- requests -------------------------------------------------------------------------------------------------------


def takes(environ: Mapping[str, Any]) -> bool:
    """Whether a request is for an API or for a token, not for AWS's own services."""
    host, path = environ.get("HTTP_HOST", "").partition(":")[0], environ.get("PATH_INFO", "")
    return bool(path.startswith((API, AUTH)) or host.endswith((".execute-api.localhost", ".auth.localhost")))


def serve(environ: Mapping[str, Any], body: bytes) -> tuple[Reply, Call]:
    """Answer a request that `takes` says is one of these; and what is to be recorded of it."""
    host, path = environ.get("HTTP_HOST", "").partition(":")[0], environ.get("PATH_INFO", "")
    headers = _headers(environ)
    if host.endswith(".auth.localhost") or path.startswith(AUTH):
        domain = host.partition(".")[0] if host.endswith(".auth.localhost") else path.removeprefix(AUTH).split("/")[0]
        reply = _token(domain, environ["REQUEST_METHOD"], path, headers, body)
        return reply, _call("cognito-idp", "Token_POST", "anonymous", "us-east-1")
    if host.endswith(".execute-api.localhost"):
        api_id, rest = host.partition(".")[0], path
    else:
        api_id, _, rest = path.removeprefix(API).partition("/")
    stage_name, _, below = rest.lstrip("/").partition("/")
    found = _find(api_id, stage_name)
    if found is None:
        return _json(403, {"message": "Forbidden"}), _call("execute-api", "Invoke", "anonymous", "us-east-1")
    api, stage, document = found
    raw = environ.get("REQUEST_URI") or environ.get("RAW_URI") or path
    exchange = Exchange(
        api=api,
        stage=stage,
        document=document,
        method=environ["REQUEST_METHOD"],
        path=f"/{below.rstrip('/')}",
        headers=headers,
        query=environ.get("QUERY_STRING", ""),
        body=body,
        url=f"http://{environ.get('HTTP_HOST', '')}{urlsplit(raw).path}",
    )
    reply, refused = _exchange(exchange)
    _measure(exchange, reply)
    _log(exchange, reply, refused)
    who = exchange.identity.get("principal") or exchange.authorizer.get("claims", {}).get("client_id") or "anonymous"
    return reply, _call("execute-api", f"Invoke {exchange.method} {exchange.path}", who, api.region_name)


def _call(service: str, action: str, who: str, region: str) -> Call:
    return Call(datetime.now(UTC).isoformat(timespec="milliseconds"), service, action, who, region)


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    found = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found[name.replace("_", "-").lower()] = environ[name]
    return found


def _find(api_id: str, stage_name: str) -> tuple[RestAPI, Stage, Json] | None:
    for backend in list(apigateway_backends[ACCOUNT].values()):
        api = backend.apis.get(api_id)
        stage = api.stages.get(stage_name) if api else None
        if api and stage:
            deployment = api.deployments.get(str(stage.deployment_id))
            document = vars(deployment).get("document") if deployment else None
            return (api, stage, document) if document else None
    return None


def _exchange(exchange: Exchange) -> tuple[Reply, Refused | None]:
    try:
        if len(exchange.body) > MOST_BYTES:
            raise Refused("REQUEST_TOO_LARGE")
        operation = exchange.operation
        demanded: Mapping[str, Any] = next(
            iter(operation.get("security") or exchange.document.get("security") or ()), {}
        )
        schemes = exchange.document.get("components", {}).get("securitySchemes", {})
        keyed = False
        for name, scopes in demanded.items():
            kind = schemes[name].get(f"{EXTENSION}authtype")
            if kind == "awsSigv4":
                _check_signature(exchange)
            elif kind == "cognito_user_pools":
                _check_token(exchange, schemes[name][f"{EXTENSION}authorizer"]["providerARNs"], scopes)
            elif schemes[name]["name"].lower() == "x-api-key":
                keyed = True
            else:
                raise NotImplementedError(f"the rehearsal knows no authorizer of type {kind}")
        if keyed:
            _count(exchange)
        _hold_to_stage(exchange)
        _check_request(exchange, operation)
        return _integrate(exchange, operation), None
    except Refused as refused:
        return _refuse(exchange, refused), refused
    except NotImplementedError as error:
        return _json(501, {"message": str(error)}), None


def _refuse(exchange: Exchange, refused: Refused) -> Reply:
    """What the API's own gateway response says, or else what AWS's does."""
    status, error, message = DEFAULTS[refused.kind]
    responses = exchange.document.get(f"{EXTENSION}gateway-responses", {})
    general = "DEFAULT_4XX" if status < 500 else "DEFAULT_5XX"
    response = responses.get(refused.kind) or responses.get(general) or {}
    status = int(response.get("statusCode") or status)
    template = next(iter(response.get("responseTemplates", {}).values()), '{"message":$context.error.messageString}')
    context = _context(exchange, status, refused)
    context["context.error.message"] = message
    context["context.error.messageString"] = json.dumps(message)
    body = _fill(template, context, quoted=True)
    headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", error), ("x-amzn-RequestId", exchange.id)]
    for name, value in response.get("responseParameters", {}).items():
        text = value[1:-1] if value.startswith("'") else context.get(value, "")
        headers.append((name.removeprefix("gatewayresponse.header."), text))
    return Reply(status, headers, body.encode())


def _json(status: int, value: Any) -> Reply:
    return Reply(status, [("Content-Type", "application/json")], json.dumps(value).encode())


# --- who asks -------------------------------------------------------------------------------------------------------


def _check_signature(exchange: Exchange) -> None:
    """Compute the signature of what arrived, and compare. Raises Refused."""
    given = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([\w-]+)/([\w-]+)/aws4_request, ?SignedHeaders=([\w;-]+), ?"
        r"Signature=([0-9a-f]{64})",
        exchange.headers.get("authorization", ""),
    )
    stamp = exchange.headers.get("x-amz-date", "")
    if not given or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        raise Refused("MISSING_AUTHENTICATION_TOKEN")
    key, day, region, service, names, signature = given.groups()
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if abs(exchange.began - at) > SIGNATURE_SECONDS:
        raise Refused("INVALID_SIGNATURE", "Signature expired")
    secret = _secret_of(key, exchange.headers.get("x-amz-security-token"))
    signed = {name: exchange.headers.get(name, "") for name in names.split(";")}
    right_place = (region, service, day) == (exchange.api.region_name, "execute-api", stamp[:8])
    if not secret or not right_place or not {"host", "x-amz-date"} <= signed.keys():
        raise Refused("INVALID_SIGNATURE")
    request = AWSRequest(
        method=exchange.method, url=exchange.url, data=exchange.body, headers=signed, params=_query_of(exchange.query)
    )
    # The body itself counts, not what a header says of it.
    request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(exchange.body).hexdigest()
    request.context["timestamp"] = stamp
    signer = _Signer(Credentials(key, secret), service, region, tuple(signed))
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected, signature):
        raise Refused("INVALID_SIGNATURE")
    principal = principal_of(key)
    exchange.identity |= {
        "accessKey": key,
        "accountId": principal.split(":")[4] if principal.count(":") > 4 else ACCOUNT,
        "userArn": _caller_of(key),
        "caller": key,
        "user": key,
        "principal": principal,
    }


class _Signer(SigV4Auth):
    """Signs the headers that the caller signed, and no others."""

    def __init__(self, credentials: Credentials, service: str, region: str, names: tuple[str, ...]) -> None:
        super().__init__(credentials, service, region)
        self._names = names

    def headers_to_sign(self, request: AWSRequest) -> Any:
        kept = super().headers_to_sign(request)
        for name in {*kept.keys()} - {*self._names}:
            del kept[name]
        for name in self._names:
            if name not in kept:  # such as user-agent, which botocore does not sign itself
                kept[name] = request.headers[name]
        return kept


def _query_of(text: str) -> dict[str, list[str]]:
    return parse_qs(text, keep_blank_values=True)


def _secret_of(key: str, token: str | None) -> str | None:
    """The secret of an access key; None where the key is unknown, or its session's token is not the one it has."""
    user_key = iam_backends[ACCOUNT]["aws"].access_keys.get(key)
    if user_key:
        return str(user_key.secret_access_key)
    session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(key)
    if session is None:
        return ROOT_KEYS.get(key)
    if token is None:
        return OWN_SECRET
    return str(session.secret_access_key) if hmac.compare_digest(token, str(session.session_token)) else None


def _caller_of(key: str) -> str:
    """The ARN of who has a key: of a role, its session's."""
    session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(key)
    return str(session.arn) if session else principal_of(key)


def _check_token(exchange: Exchange, pool_arns: list[str], scopes: list[str]) -> None:
    """Verify a token of a user pool: signature, issuer, expiry, use and scope. Raises Refused."""
    token = re.sub(r"^Bearer ", "", exchange.headers.get("authorization", ""))
    if not token:
        raise Refused("UNAUTHORIZED")
    for pool in _pools(pool_arns):
        try:
            claims = jwt.decode(token, pool.json_web_key, algorithms=["RS256"]).claims
        except (JoseError, ValueError, TypeError):
            continue
        issued_here = claims.get("iss") == _issuer(pool)
        alive = float(claims.get("exp", 0)) > time.time()
        allowed = not scopes or (
            claims.get("token_use") == "access" and {*scopes} & {*str(claims.get("scope", "")).split()}
        )
        if issued_here and alive and allowed:
            exchange.authorizer["claims"] = {name: str(value) for name, value in claims.items()}
            return
    raise Refused("UNAUTHORIZED")


def _pools(arns: list[str]) -> Iterator[CognitoIdpUserPool]:
    for arn in arns:
        pool = cognitoidp_backends[ACCOUNT][arn.split(":")[3]].user_pools.get(arn.rpartition("/")[2])
        if pool:
            yield pool


def _issuer(pool: CognitoIdpUserPool) -> str:
    return f"https://cognito-idp.{pool.region}.amazonaws.com/{pool.id}"


def _token(domain: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """Cognito's token endpoint, for client credentials.

    https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html
    """
    pool = next(
        (
            backend.user_pools[known.user_pool_id]
            for backend in list(cognitoidp_backends[ACCOUNT].values())
            if (known := backend.user_pool_domains.get(domain)) and known.user_pool_id in backend.user_pools
        ),
        None,
    )
    if pool is None or not path.endswith("/oauth2/token") or method != "POST":
        return _json(404, {"error": "not_found"})
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    basic = re.fullmatch(r"Basic ([\w+/=]+)", headers.get("authorization", ""))
    try:
        given = base64.b64decode(basic[1]).decode() if basic else f"{form.get('client_id')}:{form.get('client_secret')}"
    except ValueError:
        given = ":"
    client_id, _, secret = (unquote(each) for each in given.partition(":"))
    client = pool.clients.get(client_id)
    if client is None or not client.generate_secret or not hmac.compare_digest(secret.encode(), client.secret.encode()):
        return _json(400, {"error": "invalid_client"})
    told = client.extended_config
    if form.get("grant_type") != "client_credentials":
        return _json(400, {"error": "unsupported_grant_type"})
    if "client_credentials" not in (told.get("AllowedOAuthFlows") or ()):
        return _json(400, {"error": "unauthorized_client"})
    may = [*(told.get("AllowedOAuthScopes") or ())]
    asked = form["scope"].split() if form.get("scope") else may
    if not {*asked} <= {*may}:
        return _json(400, {"error": "invalid_scope"})
    unit = (told.get("TokenValidityUnits") or {}).get("AccessToken") or "hours"
    seconds = int(told.get("AccessTokenValidity") or 1) * TOKEN_SECONDS[unit]
    now = int(time.time())
    claims = {
        "sub": client_id,
        "token_use": "access",
        "scope": " ".join(asked),
        "auth_time": now,
        "iss": _issuer(pool),
        "exp": now + seconds,
        "iat": now,
        "version": 2,
        "jti": str(uuid.uuid4()),
        "client_id": client_id,
    }
    token = jwt.encode({"kid": "dummy", "alg": "RS256"}, claims, pool.json_web_key)
    return _json(200, {"access_token": token, "expires_in": seconds, "token_type": "Bearer"})


# --- how often ------------------------------------------------------------------------------------------------------


def _count(exchange: Exchange) -> None:
    """Find the API key's usage plan for this stage, and take from its rate and quota. Raises Refused."""
    backend = apigateway_backends[ACCOUNT][exchange.api.region_name]
    value = exchange.headers.get("x-api-key", "")
    key = next((each for each in list(backend.keys.values()) if each.enabled and each.value == value), None)
    plans = [
        plan
        for plan in list(backend.usage_plans.values())
        if key
        and key.id in backend.usage_plan_keys.get(plan.id, {})
        and any((each["apiId"], each["stage"]) == (exchange.api.id, exchange.stage.name) for each in plan.api_stages)
    ]
    if key is None or not plans:
        raise Refused("INVALID_API_KEY")
    exchange.identity |= {"apiKey": value, "apiKeyId": key.id}
    plan = plans[0]
    with _lock:
        period = plan.quota.get("period")
        if period:
            now = time.strftime(PERIOD_FORMATS[period], time.gmtime(exchange.began))
            used = _used.get((plan.id, key.id, now), 0)
            if used >= int(plan.quota["limit"]):
                raise Refused("QUOTA_EXCEEDED")
        if plan.throttle and not _take(("key", plan.id, key.id), plan.throttle, exchange.began):
            raise Refused("THROTTLED")
        if period:
            _used[plan.id, key.id, now] = used + 1


def _take(which: tuple[str, ...], limits: Mapping[str, Any], now: float) -> bool:
    rate, burst = float(limits.get("rateLimit") or 0), float(limits.get("burstLimit") or 0)
    bucket = _buckets.setdefault(which, Bucket(burst, now))
    return bucket.take(rate, burst, now)


def _hold_to_stage(exchange: Exchange) -> None:
    settings = exchange.stage.method_settings.get("*/*", {})
    limits = {
        "rateLimit": settings.get("throttlingRateLimit", 10_000),
        "burstLimit": settings.get("throttlingBurstLimit", 5_000),
    }
    with _lock:
        if not _take(("stage", exchange.api.id, str(exchange.stage.name)), limits, exchange.began):
            raise Refused("THROTTLED")


# --- what is asked --------------------------------------------------------------------------------------------------


def _check_request(exchange: Exchange, operation: Json) -> None:
    """Hold the body to its schema, as API Gateway's validator does. Raises Refused."""
    named = operation.get(f"{EXTENSION}request-validator") or exchange.document.get(f"{EXTENSION}request-validator")
    validator = exchange.document.get(f"{EXTENSION}request-validators", {}).get(named, {})
    if not validator.get("validateRequestBody"):
        return
    kind = exchange.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    content = operation.get("requestBody", {}).get("content", {}).get(kind)
    if not content:  # then AWS does not look at it either
        return
    try:
        body = json.loads(exchange.body, parse_constant=_no_number)
    except ValueError as error:
        raise Refused("BAD_REQUEST_BODY", f"Could not parse request body into json: {error}") from None
    errors = list(
        _validator(json.dumps([content["schema"], exchange.document.get("components", {})])).iter_errors(body)
    )
    if errors:
        raise Refused("BAD_REQUEST_BODY", f"[{', '.join(sorted({_words(each) for each in errors}))}]")


def _no_number(word: str) -> Any:
    raise ValueError(f"Non-standard token '{word}'")


@cache
def _validator(text: str) -> Draft4Validator:
    """A validator as API Gateway's is: of draft 4, and blind to the number of items."""
    schema, components = json.loads(text)
    return Draft4Validator(_seen({**schema, "components": components}))


def _seen(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_seen(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _seen(value) for name, value in schema.items() if name not in ("minItems", "maxItems", "nullable")}


def _words(error: ValidationError) -> str:
    """What is wrong, in the words of the library that API Gateway validates with; it does not say where."""
    rule = str(error.validator)
    asked: Any = error.validator_value
    found: Any = error.instance
    schema: Any = error.schema
    if rule == "type":
        allowed = asked if isinstance(asked, list) else [asked]
        allowed = [*allowed, *(["integer"] if "number" in allowed else [])]
        return (
            f"instance type ({_type_of(found)}) does not match any allowed primitive type "
            f"(allowed: {_list(sorted(allowed))})"
        )
    if rule == "enum":
        return f"instance value ({json.dumps(found)}) not found in enum (possible values: {_list(asked)})"
    if rule == "minimum":
        return f"numeric instance is lower than the required minimum (minimum: {asked}, found: {found})"
    if rule == "maximum":
        return f"numeric instance is greater than the required maximum (maximum: {asked}, found: {found})"
    if rule == "maxLength":
        return f'string "{found}" is too long (length: {len(found)}, maximum allowed: {asked})'
    if rule == "required":
        missing = [name for name in asked if name not in found]
        return f"object has missing required properties ({_list(sorted(missing))})"
    if rule == "additionalProperties":
        strange = sorted(found.keys() - schema.get("properties", {}).keys())
        return f"object instance has properties which are not allowed by the schema: {_list(strange)}"
    if rule == "anyOf":
        return f"instance failed to match at least one required schema among {len(asked)}"
    return f"instance does not match {rule}"


def _list(values: list[Any]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _type_of(value: Any) -> str:
    names = {bool: "boolean", str: "string", int: "integer", float: "number", dict: "object", list: "array"}
    return names.get(type(value), "null")


# --- what answers ---------------------------------------------------------------------------------------------------


def _integrate(exchange: Exchange, operation: Json) -> Reply:
    """Have the function answer. Raises Refused where it does not."""
    integration = operation.get(f"{EXTENSION}integration") or {}
    named = re.search(r"/functions/(arn:[^/]+)/invocations$", integration.get("uri", ""))
    if integration.get("type", "").lower() != "aws_proxy" or not named:
        raise NotImplementedError(f"the rehearsal integrates functions (aws_proxy), not {integration.get('type')}")
    function = _function(exchange, named[1])
    began = time.monotonic()
    running = _runners.submit(lambdas.invoke, function, _event(exchange))
    try:
        outcome = running.result(integration.get("timeoutInMillis", 29_000) / 1000)
    except Late:
        raise Refused("INTEGRATION_TIMEOUT") from None
    finally:
        exchange.integration_seconds = time.monotonic() - began
    try:
        answer = json.loads(outcome.payload)
        if outcome.failed:
            raise ValueError("the function failed")
        status, body = int(answer["statusCode"]), answer.get("body") or ""
        content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
        headers = [(name, str(value)) for name, value in (answer.get("headers") or {}).items()]
        headers += [
            (name, str(value)) for name, values in (answer.get("multiValueHeaders") or {}).items() for value in values
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused("DEFAULT_5XX") from None
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return Reply(status, [*headers, ("x-amzn-RequestId", exchange.id)], content)


def _function(exchange: Exchange, arn: str) -> LambdaFunction:
    """The function, which lets this API's method invoke it. Raises Refused where it does not."""
    api = exchange.api
    function = lambda_backends[ACCOUNT][api.region_name]._lambdas.get_function_by_name_or_arn_with_qualifier(arn)
    place = f"{api.id}/{exchange.stage.name}/{exchange.method}{exchange.path}"
    source = f"arn:aws:execute-api:{api.region_name}:{ACCOUNT}:{place}"
    for statement in function.policy.statements:
        sources = [
            value
            for each in (statement.get("Condition") or {}).values()
            for name, value in each.items()
            if name.lower() == "aws:sourcearn"
        ]
        if (statement.get("Principal") or {}).get("Service") == "apigateway.amazonaws.com" and all(
            fnmatchcase(source, each) for each in sources
        ):
            return function
    print(f"the policy of {arn} does not let API Gateway invoke it for {source}: add a Permission", flush=True)
    raise Refused("API_CONFIGURATION_ERROR")


def _event(exchange: Exchange) -> Json:
    """The request as a function gets it, format 1.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    query = parse_qs(exchange.query, keep_blank_values=True)
    moment = datetime.fromtimestamp(exchange.began, UTC)
    known = {name: value for name, value in exchange.identity.items() if name != "principal"}
    identity = dict.fromkeys(("accountId", "apiKey", "apiKeyId", "caller", "user", "userArn", "accessKey"))
    api = exchange.api
    try:
        body, encoded = exchange.body.decode(), False
    except UnicodeDecodeError:
        body, encoded = base64.b64encode(exchange.body).decode(), True
    return {
        "resource": exchange.path,
        "path": exchange.path,
        "httpMethod": exchange.method,
        "headers": dict(exchange.headers),
        "multiValueHeaders": {name: [value] for name, value in exchange.headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": exchange.stage.variables or None,
        "requestContext": {
            "resourcePath": exchange.path,
            "httpMethod": exchange.method,
            "path": f"/{exchange.stage.name}{exchange.path}",
            "accountId": ACCOUNT,
            "apiId": api.id,
            "stage": exchange.stage.name,
            "protocol": "HTTP/1.1",
            "domainName": f"{api.id}.execute-api.{api.region_name}.amazonaws.com",
            "domainPrefix": api.id,
            "requestId": exchange.id,
            "requestTime": moment.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(exchange.began * 1000),
            "identity": {**identity, "sourceIp": "127.0.0.1", **known},
            **({"authorizer": exchange.authorizer} if exchange.authorizer else {}),
        },
        "body": body or None,
        "isBase64Encoded": encoded,
    }


# --- what remains of it ---------------------------------------------------------------------------------------------


def _context(exchange: Exchange, status: int, refused: Refused | None) -> dict[str, str]:
    """The variables of API Gateway's templates, by their names without the dollar sign."""
    moment = datetime.fromtimestamp(exchange.began, UTC)
    integration = exchange.integration_seconds
    known: dict[str, Any] = {
        "apiId": exchange.api.id,
        "httpMethod": exchange.method,
        "path": f"/{exchange.stage.name}{exchange.path}",
        "resourcePath": exchange.path,
        "stage": exchange.stage.name,
        "status": status,
        "requestId": exchange.id,
        "extendedRequestId": exchange.id,
        "requestTime": moment.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "responseLatency": int((time.time() - exchange.began) * 1000),
        "integrationLatency": None if integration is None else int(integration * 1000),
        "error.responseType": refused.kind if refused else None,
        "error.validationErrorString": refused.words if refused else None,
        **{f"identity.{name}": value for name, value in exchange.identity.items()},
        **{f"authorizer.claims.{name}": value for name, value in exchange.authorizer.get("claims", {}).items()},
    }
    return {f"context.{name}": str(value) for name, value in known.items() if value is not None}


def _fill(template: str, context: Mapping[str, str], *, quoted: bool) -> str:
    """A template with its variables; `quoted` where values stand between quotes of JSON."""

    def value(found: re.Match[str]) -> str:
        text = context.get(found[1], "" if quoted else "-")
        return text if found[1].endswith("String") and text.startswith('"') else json.dumps(text)[1:-1]

    return re.sub(r"\$(context(?:\.\w+)+)", value, template)


def _measure(exchange: Exchange, reply: Reply) -> None:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html"""
    values = {
        "Count": 1.0,
        "4XXError": float(400 <= reply.status < 500),
        "5XXError": float(reply.status >= 500),
        "Latency": (time.time() - exchange.began) * 1000,
    }
    if exchange.integration_seconds is not None:
        values["IntegrationLatency"] = exchange.integration_seconds * 1000
    api = {"ApiName": exchange.api.name}
    for dimensions in (api, {**api, "Stage": str(exchange.stage.name)}):
        for name, value in values.items():
            put_metric(exchange.api.region_name, "AWS/ApiGateway", name, value, dimensions)


def _log(exchange: Exchange, reply: Reply, refused: Refused | None) -> None:
    """One line in the access log, where the stage has one."""
    settings = exchange.stage.access_log_settings or {}
    if not settings.get("destinationArn") or not settings.get("format"):
        return
    context = _context(exchange, reply.status, refused)
    context["context.responseLength"] = str(len(reply.body))
    line = _fill(settings["format"], context, quoted=False)
    group = settings["destinationArn"].partition(":log-group:")[2].removesuffix(":*")
    logs = logs_backends[ACCOUNT][exchange.api.region_name]
    stream = hashlib.md5(str(exchange.api.id).encode(), usedforsecurity=False).hexdigest()
    with _lock:
        logs.ensure_log_group(group)
        if stream not in logs.groups[group].streams:
            logs.create_log_stream(group, stream)
    logs.put_log_events(group, stream, [{"timestamp": int(time.time() * 1000), "message": line}])
