"""An endpoint's predictions over HTTPS, for applications: who may ask, how often, and what.

It is a REST API of API Gateway (v1). An HTTP API (v2) would be cheaper, but it has no request validation, no API keys
and usage plans, and no private endpoints: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-vs-rest.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pulumi
import pulumi_aws as aws
from pydantic import Field, PositiveInt, StringConstraints, model_validator

from components.alarms import Alarms
from components.dashboard import Chart
from components.function import Function
from components.iam import RoleArn, account_id, allow, attach, document, local_arn, region, trust
from components.logs import RetentionDays
from components.openapi import PATHS, SCOPE, Auth, RefusedBy, Shape, deployed, scope_of
from components.runbook import Guide
from components.spec import Spec
from functions.features import FeatureSchema
from functions.prediction.core import NAMESPACE

STAGE: Final = "live"
TLS: Final = {"1.2": "SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09", "1.3": "SecurityPolicy_TLS13_1_3_2025_09"}
"""The oldest TLS that a client may speak, and AWS's name for that; both with forward secrecy.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-security-policies-list.html"""
DOMAIN_LIMIT: Final = 63
NOT_IN_DOMAIN: Final = ("aws", "amazon", "cognito")
"""https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html"""
ENVIRONMENT_BYTES: Final = 3500
"""What the clients' identities may take of the 4 KB that Lambda has for all variables of a function.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
IDENTITY_BYTES: Final = 26
"""Of a Cognito client id."""
ACCESS_LOG: Final = {
    "request_id": "$context.requestId",
    "time": "$context.requestTime",
    "key": "$context.identity.apiKeyId",
    "client": "$context.authorizer.claims.client_id",
    "role": "$context.identity.userArn",
    "method": "$context.httpMethod",
    "path": "$context.resourcePath",
    "status": "$context.status",
    "refused": "$context.error.responseType",
    "milliseconds": "$context.responseLatency",
    "function_milliseconds": "$context.integrationLatency",
    "bytes": "$context.responseLength",
}
"""No payload, and no address: neither says anything of how well the API works."""

ClientName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class ApiClientSpec(Spec):
    """An application or service that asks, and how often it may."""

    auth: Auth = "jwt"
    """jwt: an application anywhere, with a token of the API's user pool. iam: something in AWS, with its role."""
    roles: list[RoleArn] = Field(default_factory=list)
    """For iam: the roles it runs as, of this account or another."""
    rate: float = Field(default=10, gt=0, le=10_000)
    """Requests a second, lasting."""
    burst: int = Field(default=20, ge=1, le=5_000)
    """Requests at once."""
    quota_per_day: PositiveInt = 100_000
    """Requests a day."""
    token_minutes: int = Field(default=60, ge=5, le=1440)
    """How long a token works; a client that keeps it until then asks for, and pays for, few."""

    @model_validator(mode="after")
    def _has_an_identity(self) -> ApiClientSpec:
        if self.auth == "iam" and not self.roles:
            raise ValueError("auth is iam: set roles, the ARNs of the roles this client runs as")
        if self.auth == "jwt" and self.roles:
            raise ValueError("roles are for auth: iam; this client has a token, so take roles away or set auth: iam")
        return self


class CacheSpec(Spec):
    """Answers kept for requests that repeat, in the memory of the function's own instances."""

    seconds: int = Field(ge=1, le=300)
    """How long an answer may be told again: as long may one of a version that was just rolled back."""
    answers: int = Field(default=1000, ge=1, le=10_000)
    """How many each instance keeps."""


class PredictionApiSpec(Spec):
    """Who may ask for predictions, what they may ask, and when something is wrong."""

    clients: dict[ClientName, ApiClientSpec] = Field(min_length=1, max_length=100)
    """Who may ask, by name."""
    rate: float = Field(default=100, gt=0, le=10_000)
    """Requests a second of all clients together: about what the endpoint can take at its largest."""
    burst: int = Field(default=200, ge=1, le=5_000)
    """Requests of all clients at once."""
    max_rows: int = Field(default=100, ge=1, le=1000)
    """Rows of one request."""
    max_kib: int = Field(default=256, ge=1, le=5 * 1024)
    """Size of one request; Lambda takes 6 MB."""
    model_seconds: int = Field(default=10, ge=1, le=25)
    """How long the model may take; API Gateway gives up after 29 s."""
    refused_by: RefusedBy = "function"
    """Who refuses a value that the schema does not allow. function: it says in which row, and of which feature.
    gateway: such a request costs nothing more, and is told only what the rule was. Unknown and missing features are
    always refused by the gateway."""
    tls: Literal["1.2", "1.3"] = "1.2"
    """The oldest version that a client may speak."""
    cache: CacheSpec | None = None
    """For requests that repeat. What is answered from it does not reach data capture, so monitors see it once.

    API Gateway's own cache is not used: its key has no place for a body, and it would go on telling the answers of a
    version that was rolled back, also to other clients."""
    tracing: bool = False
    """Whether X-Ray traces requests."""
    memory_mib: int = Field(default=512, ge=128, le=10_240)
    """Memory of the API's function; processors come with it."""
    concurrency: PositiveInt | None = None
    """How many requests run at once; reserved for this API out of what the account has."""
    protect: bool = True
    """Whether the user pool refuses to be deleted: with it go the credentials of every client."""
    max_error_percent: float = Field(default=1, gt=0, le=100)
    """Requests that fail (5xx) of all, above which someone is called."""
    max_latency_ms: PositiveInt = 2000
    """For 99 % of requests."""
    max_refused_percent: float = Field(default=20, gt=0, le=100)
    """Requests refused for their values, of all: beyond, a client is broken or probes the model."""
    max_throttled: PositiveInt = 100
    """Requests in five minutes that a client's rate or quota turns away."""
    log_days: RetentionDays = 90
    """How long its logs are kept."""

    @model_validator(mode="after")
    def _roles_tell_clients_apart(self) -> PredictionApiSpec:
        owners: dict[str, str] = {}
        for name, client in self.clients.items():
            for role in client.roles:
                if owners.setdefault(role, name) != name:
                    raise ValueError(f"{role} is a role of {owners[role]} and of {name}: give each client its own")
            if client.rate > self.rate:
                raise ValueError(
                    f"{name} may send {client.rate:g} requests a second and all clients together {self.rate:g}: raise"
                    " rate, or lower the client's"
                )
        return self

    @model_validator(mode="after")
    def _clients_fit(self) -> PredictionApiSpec:
        size = sum(
            # The key's id, the name, and what stands between them in JSON.
            60 + len(name) + sum(len(role) + 4 for role in client.roles or ["x" * IDENTITY_BYTES])
            for name, client in self.clients.items()
        )
        if size > ENVIRONMENT_BYTES:
            raise ValueError(
                f"{len(self.clients)} clients and their roles take {size} bytes, and the function's environment has"
                f" {ENVIRONMENT_BYTES} for them: give some clients one role, or make a second API"
            )
        return self

    @property
    def auths(self) -> list[Auth]:
        """The kinds of authentication that some client uses."""
        used = {client.auth for client in self.clients.values()}
        return [auth for auth in PATHS if auth in used]


def shape(name: str, spec: PredictionApiSpec) -> Shape:
    """What applications see of the API `name`, for its OpenAPI document and its client."""
    return Shape(name=name, auths=spec.auths, max_rows=spec.max_rows)


class PredictionApi(pulumi.ComponentResource):
    """`POST /predictions` and `GET /health` in front of one endpoint, made from the schema of its features.

    Every request is signed with a client's role (`/iam/predictions`), or has a token of its user pool (`/predictions`);
    requests for predictions bring the client's API key too, by which its rate and quota are counted. A key works with
    its own client's role or token only.
    """

    api_id: pulumi.Output[str]
    url: pulumi.Output[str]
    token_url: pulumi.Output[str]
    """Where a client gets a token; empty where all clients sign."""
    clients: pulumi.Output[dict[str, Any]]
    """What each client needs, by its name: api_key, and client_id, client_secret and scope. A secret."""
    function_name: pulumi.Output[str]
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: PredictionApiSpec,
        *,
        schema: FeatureSchema,
        endpoint_name: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        inference_component_name: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The API is called `name`. The account needs an `ApiGatewayAccount` before it can write access logs."""
        super().__init__("slipway:index:PredictionApi", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        pool = _UserPool(name, spec, child) if "jwt" in spec.auths else None
        keys = {
            client: aws.apigateway.ApiKey(
                f"{name}-{client}", name=f"{name}-{client}", description=f"{client}, a client of {name}", opts=child
            )
            for client in spec.clients
        }
        function = _function(
            name, spec, schema, endpoint_name, inference_component_name, kms_key_arn, _callers(spec, keys, pool), child
        )
        described = deployed(
            schema,
            shape(name, spec),
            refused_by=spec.refused_by,
            function_invoke_arn=pulumi.Output.concat(
                f"arn:aws:apigateway:{region()}:lambda:path/2015-03-31/functions/", function.arn, "/invocations"
            ),
            user_pool_arn=pool.arn if pool else None,
        )
        policy = _policy(spec)
        api = aws.apigateway.RestApi(
            name,
            name=name,
            description=f"Predictions of {name}",
            body=described,
            policy=policy,
            endpoint_configuration={"types": "REGIONAL"},
            security_policy=TLS[spec.tls],
            endpoint_access_mode="STRICT",
            api_key_source="HEADER",
            opts=child,
        )
        stage = _stage(name, spec, api, pulumi.Output.concat(described, policy), kms_key_arn, child)
        for client, key in keys.items():
            _usage_plan(f"{name}-{client}", spec.clients[client], key, api, stage, child)
        aws.lambda_.Permission(
            name,
            function=function.name,
            action="lambda:InvokeFunction",
            principal="apigateway.amazonaws.com",
            source_arn=pulumi.Output.concat(local_arn("execute-api", ""), api.id, f"/{STAGE}/*"),
            opts=child,
        )
        self.guides = _alarms(name, spec, alerts_topic_arn, child)
        self.charts = _charts(name, spec)
        self.api_id, self.url, self.function_name = api.id, stage.invoke_url, function.name
        self.token_url = pulumi.Output.from_input(pool.token_url if pool else "")
        self.clients = pulumi.Output.secret(
            pulumi.Output.all(
                **{
                    client: {"api_key": key.value, **(pool.login(client) if pool else {})}
                    for client, key in keys.items()
                }
            )
        )
        self.register_outputs(
            {
                "api_id": self.api_id,
                "url": self.url,
                "token_url": self.token_url,
                "clients": self.clients,
                "function_name": self.function_name,
            }
        )


class ApiGatewayAccount(pulumi.ComponentResource):
    """Lets API Gateway write access logs: one setting for an account and region, so it is the platform's."""

    def __init__(self, name: str, *, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:index:ApiGatewayAccount", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        role = aws.iam.Role(f"{name}-api-logs", assume_role_policy=trust("apigateway.amazonaws.com"), opts=child)
        # AWS refuses the setting for a role that lacks any of what this policy of its own allows.
        granted = attach(role, f"{name}-api-logs", ["service-role/AmazonAPIGatewayPushToCloudWatchLogs"], child)
        aws.apigateway.Account(
            f"{name}-api-logs",
            cloudwatch_role_arn=role.arn,
            opts=child.merge(pulumi.ResourceOptions(depends_on=granted)),
        )
        self.register_outputs({})


class _UserPool:
    """A user pool without users: each application that has a token is a client of it, with a secret."""

    def __init__(self, name: str, spec: PredictionApiSpec, opts: pulumi.ResourceOptions) -> None:
        self._name = name
        pool = aws.cognito.UserPool(
            name,
            name=name,
            admin_create_user_config={"allow_admin_create_user_only": True},
            deletion_protection="ACTIVE" if spec.protect else "INACTIVE",
            opts=opts.merge(pulumi.ResourceOptions(protect=spec.protect)),
        )
        server = aws.cognito.ResourceServer(
            name,
            user_pool_id=pool.id,
            identifier=name,
            name=name,
            scopes=[{"scope_name": SCOPE, "scope_description": f"Ask {name} for predictions"}],
            opts=opts,
        )
        domain = aws.cognito.UserPoolDomain(name, user_pool_id=pool.id, domain=domain_prefix(name), opts=opts)
        self.clients = {
            client: aws.cognito.UserPoolClient(
                f"{name}-{client}",
                name=client,
                user_pool_id=pool.id,
                generate_secret=True,
                allowed_oauth_flows_user_pool_client=True,
                allowed_oauth_flows=["client_credentials"],
                allowed_oauth_scopes=[scope_of(name)],
                explicit_auth_flows=["ALLOW_REFRESH_TOKEN_AUTH"],
                prevent_user_existence_errors="ENABLED",
                enable_token_revocation=True,
                access_token_validity=each.token_minutes,
                token_validity_units={"access_token": "minutes"},
                opts=opts.merge(pulumi.ResourceOptions(depends_on=[server])),
            )
            for client, each in spec.clients.items()
            if each.auth == "jwt"
        }
        self.arn = pool.arn
        self.token_url = pulumi.Output.concat(
            "https://", domain.domain, f".auth.{region()}.amazoncognito.com/oauth2/token"
        )

    def login(self, client: str) -> dict[str, pulumi.Input[str]]:
        """What a client gets tokens with; nothing for one that signs."""
        known = self.clients.get(client)
        if known is None:
            return {}
        return {"client_id": known.id, "client_secret": known.client_secret, "scope": scope_of(self._name)}


def domain_prefix(name: str) -> str:
    """The user pool's own domain, unlike any other in the region. Raises ValueError for one that Cognito refuses."""
    prefix = f"{name}-{account_id()}"
    if len(prefix) > DOMAIN_LIMIT or not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", prefix):
        raise ValueError(f"{name}: a user pool's domain {prefix} has at most 63 of a-z, 0-9 and -: choose another name")
    if taken := next((word for word in NOT_IN_DOMAIN if word in prefix), None):
        raise ValueError(f"{name}: Cognito takes no domain with {taken!r} in it: choose another name for the API")
    return prefix


def _callers(
    spec: PredictionApiSpec, keys: Mapping[str, aws.apigateway.ApiKey], pool: _UserPool | None
) -> pulumi.Output[str]:
    """Whose each API key is, for the function."""
    identities: dict[str, Any] = {
        name: [_without_path(role) for role in client.roles] for name, client in spec.clients.items()
    } | {name: [client.id] for name, client in (pool.clients.items() if pool else ())}
    told = [
        pulumi.Output.all(key=keys[name].id, name=name, identities=pulumi.Output.from_input(identities[name]))
        for name in spec.clients
    ]
    return pulumi.Output.all(*told).apply(
        lambda each: json.dumps(
            {one["key"]: {"name": one["name"], "identities": one["identities"]} for one in each}, sort_keys=True
        )
    )


def _without_path(role_arn: str) -> str:
    """A session's ARN has its role's name without the path."""
    return re.sub(r":role/.*/", ":role/", role_arn)


def _function(
    name: str,
    spec: PredictionApiSpec,
    schema: FeatureSchema,
    endpoint_name: pulumi.Input[str],
    inference_component_name: pulumi.Input[str] | None,
    kms_key_arn: pulumi.Input[str],
    callers: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> Function:
    asked = [pulumi.Output.concat(local_arn("sagemaker", "endpoint/"), endpoint_name)]
    component: dict[str, pulumi.Input[str]] = {}
    if inference_component_name is not None:
        asked.append(pulumi.Output.concat(local_arn("sagemaker", "inference-component/"), inference_component_name))
        component = {"COMPONENT": inference_component_name}
    return Function(
        f"{name}-predictions",
        handler="functions.prediction.handler.handler",
        access=[allow(["sagemaker:InvokeEndpoint"], *asked), allow(["sagemaker:DescribeEndpoint"], asked[0])],
        kms_key_arn=kms_key_arn,
        files={"schema.json": schema.to_json()},
        environment={
            "API": name,
            "ENDPOINT": endpoint_name,
            **component,
            "CALLERS": callers,
            "MOST_ROWS": str(spec.max_rows),
            "MOST_BYTES": str(spec.max_kib * 1024),
            "MODEL_SECONDS": str(spec.model_seconds),
            "CACHE_SECONDS": str(spec.cache.seconds if spec.cache else 0),
            "CACHE_SIZE": str(spec.cache.answers if spec.cache else 0),
        },
        memory_mib=spec.memory_mib,
        # The model's time, and two seconds to reach it, leave the function time to say what went wrong.
        timeout_seconds=spec.model_seconds + 4,
        log_days=spec.log_days,
        concurrency=spec.concurrency,
        tracing=spec.tracing,
        opts=opts,
    )


def _policy(spec: PredictionApiSpec) -> pulumi.Output[str]:
    """Who reaches which method. With such a policy API Gateway also wants one word for those who have a token.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-authorization-flow.html
    """
    statements: list[dict[str, Any]] = []
    for auth in spec.auths:
        roles = sorted(role for client in spec.clients.values() for role in client.roles)
        methods = [f"execute-api:/{STAGE}/{each}" for each in _methods(auth)]
        statements.append(
            {
                "Sid": "SignedByAClientsRole" if auth == "iam" else "TheTokenDecides",
                "Effect": "Allow",
                "Principal": {"AWS": roles} if auth == "iam" else "*",
                "Action": "execute-api:Invoke",
                "Resource": methods,
            }
        )
    return document(*statements)


def _methods(auth: Auth) -> list[str]:
    return [f"POST{PATHS[auth]}/predictions", f"GET{PATHS[auth]}/health"]


def _stage(
    name: str,
    spec: PredictionApiSpec,
    api: aws.apigateway.RestApi,
    described: pulumi.Output[str],
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> aws.apigateway.Stage:
    """What is deployed follows the document and the policy, `described`: neither is in force before it is deployed.

    Another text is another deployment, to which the stage moves before the old one goes.
    """
    deployment = aws.apigateway.Deployment(
        name,
        rest_api=api.id,
        triggers={"content": described.apply(lambda text: hashlib.sha256(text.encode()).hexdigest())},
        opts=opts,
    )
    logs = aws.cloudwatch.LogGroup(
        f"{name}-api",
        name=f"/aws/apigateway/{name}",
        retention_in_days=spec.log_days,
        kms_key_id=kms_key_arn,
        opts=opts,
    )
    stage = aws.apigateway.Stage(
        name,
        rest_api=api.id,
        deployment=deployment.id,
        stage_name=STAGE,
        access_log_settings={"destination_arn": logs.arn, "format": json.dumps(ACCESS_LOG)},
        xray_tracing_enabled=spec.tracing,
        opts=opts,
    )
    aws.apigateway.MethodSettings(
        name,
        rest_api=api.id,
        stage_name=stage.stage_name,
        method_path="*/*",
        settings={
            "metrics_enabled": True,
            # Execution logs go to a group that AWS makes, without our key: the access log says what happened.
            "logging_level": "OFF",
            "data_trace_enabled": False,
            "throttling_rate_limit": spec.rate,
            "throttling_burst_limit": spec.burst,
        },
        opts=opts,
    )
    for what, pattern in (("throttled", "?THROTTLED ?QUOTA_EXCEEDED"), ("misshapen", "BAD_REQUEST_BODY")):
        aws.cloudwatch.LogMetricFilter(
            f"{name}-{what}",
            name=what,
            log_group_name=logs.name,
            pattern=pattern,
            metric_transformation={"namespace": NAMESPACE, "name": f"{what}-{name}", "value": "1"},
            opts=opts,
        )
    return stage


def _usage_plan(
    name: str,
    client: ApiClientSpec,
    key: aws.apigateway.ApiKey,
    api: aws.apigateway.RestApi,
    stage: aws.apigateway.Stage,
    opts: pulumi.ResourceOptions,
) -> None:
    plan = aws.apigateway.UsagePlan(
        name,
        name=name,
        api_stages=[{"api_id": api.id, "stage": stage.stage_name}],
        throttle_settings={"rate_limit": client.rate, "burst_limit": client.burst},
        quota_settings={"limit": client.quota_per_day, "period": "DAY"},
        opts=opts,
    )
    aws.apigateway.UsagePlanKey(name, key_id=key.id, key_type="API_KEY", usage_plan_id=plan.id, opts=opts)


def _alarms(
    name: str,
    spec: PredictionApiSpec,
    alerts_topic_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> list[Guide]:
    api = {"ApiName": name, "Stage": STAGE}
    logs = f"$ aws logs tail /aws/apigateway/{name} --since 1h"
    function_logs = f"$ aws logs tail /aws/lambda/{name}-predictions --since 1h"

    def metric(id_: str, namespace: str, metric_name: str, dimensions: Any, stat: str = "Sum") -> dict[str, Any]:
        found = {"namespace": namespace, "metric_name": metric_name, "dimensions": dimensions}
        return {"id": id_, "metric": {**found, "period": 60, "stat": stat}, "return_data": False}

    def share(id_: str, label: str, expression: str) -> dict[str, Any]:
        return {"id": id_, "label": label, "expression": expression, "return_data": True}

    requests = metric("requests", "AWS/ApiGateway", "Count", api)
    often = {"evaluation_periods": 5, "datapoints_to_alarm": 3, "comparison_operator": "GreaterThanThreshold"}
    alarms = Alarms(name, alerts_topic_arn, opts)
    alarms.add(
        "api-errors",
        means=f"More than {spec.max_error_percent:g} % of the requests to the API {name} fail.",
        look=[function_logs, logs, "Is the endpoint's own alarm for errors on too? Then the model fails, not the API."],
        act=[
            "A release just before: roll the endpoint back.",
            "SageMaker's code in the function's log says why: AccessDeniedException is a right that is missing.",
        ],
        metric_queries=[
            requests,
            metric("errors", "AWS/ApiGateway", "5XXError", api),
            share("percent", "Failed requests, %", "IF(requests >= 20, 100 * errors / requests, 0)"),
        ],
        threshold=spec.max_error_percent,
        **often,
    )
    alarms.add(
        "api-latency",
        means=f"1 % of the requests to the API {name} take longer than {spec.max_latency_ms} ms.",
        look=["The chart of latency: the function's share, and the model's.", function_logs],
        act=[
            "The model is slow: let the endpoint have more instances.",
            "The function is: give it more memory_mib, with which it gets more of a processor.",
        ],
        namespace="AWS/ApiGateway",
        metric_name="Latency",
        dimensions=api,
        extended_statistic="p99",
        period=60,
        threshold=spec.max_latency_ms,
        **often,
    )
    alarms.add(
        "api-throttled",
        means=f"Clients of {name} are turned away for their rate or quota, {spec.max_throttled} times in five minutes.",
        look=[logs, "The lines with THROTTLED or QUOTA_EXCEEDED: `key` says whose they are."],
        act=[
            "A client that repeats without waiting: have it honour Retry-After, as the generated client does.",
            "One that has grown: raise its rate, burst or quota_per_day in the stack's YAML.",
        ],
        namespace=NAMESPACE,
        metric_name=f"throttled-{name}",
        statistic="Sum",
        period=300,
        evaluation_periods=1,
        comparison_operator="GreaterThanThreshold",
        threshold=spec.max_throttled,
    )
    alarms.add(
        "api-refused",
        means=f"More than {spec.max_refused_percent:g} % of the requests to {name} have values that its model refuses.",
        look=[function_logs, f"The chart of refused requests by client, in the dashboard of {name}."],
        act=[
            "One client alone, since a release of its own: tell its owner what the log says.",
            "All clients, since a change of the schema: bring the schema back, or tell them of it.",
            "One client that tries values one after the other probes the model: take its key away, and ask.",
        ],
        metric_queries=[
            requests,
            metric("misshapen", NAMESPACE, f"misshapen-{name}", {}),
            metric("refused", NAMESPACE, "refusals", {"api": name, "reason": "invalid-input"}),
            share(
                "percent",
                "Refused requests, %",
                "IF(requests >= 20, 100 * (FILL(misshapen, 0) + FILL(refused, 0)) / requests, 0)",
            ),
        ],
        threshold=spec.max_refused_percent,
        **often,
    )
    return alarms.guides


def _charts(name: str, spec: PredictionApiSpec) -> list[Chart]:
    api = ("ApiName", name, "Stage", STAGE)
    clients = [("api", name, "client", client) for client in spec.clients]
    return [
        Chart(
            "Requests and failures of the API",
            [("AWS/ApiGateway", each, *api) for each in ("Count", "4XXError", "5XXError")],
        ),
        Chart(
            "Latency of the API, and of the function",
            [("AWS/ApiGateway", each, *api) for each in ("Latency", "IntegrationLatency")],
            "p99",
            "ms",
        ),
        Chart("Requests by client", [(NAMESPACE, "requests", *client) for client in clients]),
        Chart("Refused requests by client", [(NAMESPACE, "refused", *client) for client in clients]),
    ]
