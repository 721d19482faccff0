"""API Gateway and Cognito in the emulator, as a user sees them: through boto3, and over HTTP."""

import inspect
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from joserfc import jwk, jwt
from moto.apigateway import urls as apigateway_urls
from moto.apigateway.models import APIGatewayBackend, RestAPI, Stage, UsagePlan
from moto.apigateway.responses import APIGatewayResponse
from moto.cognitoidp import urls as cognito_urls
from moto.cognitoidp.models import CognitoIdpUserPool
from moto.cognitoidp.responses import CognitoIdpResponse
from moto.utilities.utils import load_resource

from infra.rehearsal.emulator.gateway import Bucket
from tests.emulated import ACCOUNT, REGION, User, new, until

ECHO = """
import time
def handler(event, context):
    asked = event["body"] or ""
    if "sleep" in asked:
        time.sleep(2)
    if "raise" in asked:
        raise ValueError("secret words")
    if "strange" in asked:
        return "no response of a proxy"
    import json
    return {"statusCode": 200, "headers": {"x-mine": "yes"}, "body": json.dumps(event)}
"""
SCHEMA = {
    "type": "object",
    "required": ["age", "code"],
    "additionalProperties": False,
    "properties": {
        "age": {"type": "number", "minimum": 0, "maximum": 99},
        "code": {"type": "string", "enum": ["a", "b"]},
        "many": {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
    },
}
GOOD = {"age": 46, "code": "a"}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Api:
    """An API whose paths are open, signed, with a token, and keyed; all go to one function."""

    user: User
    id: str = ""
    function: str = ""
    pool: str = ""
    domain: str = ""
    logins: dict[str, dict[str, str]] = field(default_factory=dict)

    def document(self, **more: Any) -> dict[str, Any]:
        uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{self.function}/invocations"
        integration = {"type": "aws_proxy", "httpMethod": "POST", "uri": uri, "timeoutInMillis": 1000}
        pools = [f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/{self.pool}"]

        def method(*demanded: dict[str, list[str]]) -> dict[str, Any]:
            body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}
            return {
                "post": {
                    "security": list(demanded),
                    "requestBody": body,
                    "responses": {},
                    "x-amazon-apigateway-integration": integration,
                }
            }

        header = {"type": "apiKey", "in": "header"}
        return {
            "openapi": "3.0.3",
            "info": {"title": "api", "version": "1", "description": "d"},
            "paths": {
                "/open": method(),
                "/signed": method({"iam": []}),
                "/token": method({"jwt": ["api/ask"]}),
                "/keyed": method({"iam": [], "key": []}),
            },
            "components": {
                "schemas": {"Body": SCHEMA},
                "securitySchemes": {
                    "iam": {**header, "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4"},
                    "jwt": {
                        **header,
                        "name": "Authorization",
                        "x-amazon-apigateway-authtype": "cognito_user_pools",
                        "x-amazon-apigateway-authorizer": {"type": "cognito_user_pools", "providerARNs": pools},
                    },
                    "key": {**header, "name": "x-api-key"},
                },
            },
            "x-amazon-apigateway-request-validators": {"all": {"validateRequestBody": True}},
            "x-amazon-apigateway-request-validator": "all",
            "x-amazon-apigateway-gateway-responses": {
                "THROTTLED": {
                    "statusCode": 429,
                    "responseParameters": {"gatewayresponse.header.Retry-After": "'1'"},
                    "responseTemplates": {"application/json": '{"why": "slower", "id": "$context.requestId"}'},
                },
                "BAD_REQUEST_BODY": {
                    "responseTemplates": {"application/json": '{"why": "$context.error.validationErrorString"}'}
                },
            },
            **more,
        }

    @property
    def url(self) -> str:
        return f"{self.user.emulator.endpoint}/_api/{self.id}/live"

    def ask(self, path: str, body: Any = GOOD, headers: Mapping[str, str] | None = None, url: str = "") -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{url or self.url}{path}", data, {"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Answer(answer.status, answer.headers, json.load(answer))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, json.load(error))

    def sign(self, path: str, body: Any = GOOD, key: str = "test", secret: str = "test", **more: Any) -> dict[str, str]:
        """The headers of a signed request; `service`, `region`, `token` and further headers may be others."""
        headers = {"Content-Type": "application/json", **more.get("headers", {})}
        request = AWSRequest("POST", f"{self.url}{path}", headers, json.dumps(body).encode())
        credentials = Credentials(key, secret, more.get("token"))
        SigV4Auth(credentials, more.get("service", "execute-api"), more.get("region", REGION)).add_auth(request)
        return dict(request.headers.items())

    def token(self, client: str = "web", **more: str) -> Answer:
        login = self.logins[client]
        form = {"grant_type": "client_credentials", **more}
        basic = b64encode(f"{login['id']}:{login['secret']}".encode()).decode()
        request = urllib.request.Request(
            f"{self.user.emulator.endpoint}/_auth/{self.domain}/oauth2/token",
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, answer.headers, json.load(answer))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, json.load(error))

    def deploy(self, document: Mapping[str, Any]) -> str:
        """Import a document and deploy it; the deployment's id."""
        gateway = self.user.apigateway
        gateway.put_rest_api(restApiId=self.id, mode="overwrite", body=json.dumps(document).encode())
        return str(gateway.create_deployment(restApiId=self.id)["id"])

    def client(self, rate: float, burst: int, quota: int = 1000) -> tuple[str, str]:
        """A client's API key, which has a usage plan: its value and its id."""
        gateway = self.user.apigateway
        plan = gateway.create_usage_plan(
            name=new("plan"),
            apiStages=[{"apiId": self.id, "stage": "live"}],
            throttle={"rateLimit": rate, "burstLimit": burst},
            quota={"limit": quota, "period": "DAY"},
        )
        key = gateway.create_api_key(name=new("key"), enabled=True)
        gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
        return key["value"], key["id"]


@pytest.fixture(scope="module")
def api(user: User) -> Api:
    made = Api(user)
    cognito, gateway = user.client("cognito-idp"), user.apigateway
    made.pool = cognito.create_user_pool(PoolName=new("pool"))["UserPool"]["Id"]
    made.domain = new("domain")
    cognito.create_user_pool_domain(UserPoolId=made.pool, Domain=made.domain)
    for name, scopes in (("web", ["api/ask", "api/other"]), ("other", ["api/other"])):
        client = cognito.create_user_pool_client(
            UserPoolId=made.pool,
            ClientName=name,
            GenerateSecret=True,
            AllowedOAuthFlows=["client_credentials"],
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthScopes=scopes,
            AccessTokenValidity=30,
            TokenValidityUnits={"AccessToken": "minutes"},
        )["UserPoolClient"]
        made.logins[name] = {"id": client["ClientId"], "secret": client["ClientSecret"]}
    made.function = user.function(ECHO)
    made.id = gateway.create_rest_api(name=new("api"))["id"]
    user.allow(made.function, "apigateway.amazonaws.com", f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{made.id}/live/*")
    deployment = made.deploy(made.document())
    gateway.create_stage(restApiId=made.id, stageName="live", deploymentId=deployment)
    return made


def test_a_function_gets_the_request_as_api_gateway_hands_it_on(api: Api) -> None:
    answer = api.ask("/open?a=1&a=2", headers={"x-own": "mine"})

    assert (answer.status, answer.headers["x-mine"]) == (200, "yes")
    event = answer.body
    assert (event["httpMethod"], event["path"], event["resource"]) == ("POST", "/open", "/open")
    assert json.loads(event["body"]) == GOOD
    assert event["headers"]["x-own"] == "mine"
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"]}
    context = event["requestContext"]
    assert (context["stage"], context["apiId"], context["path"]) == ("live", api.id, "/live/open")
    assert context["requestId"] == answer.headers["x-amzn-RequestId"]


def test_the_name_of_the_api_as_host_is_the_same(api: Api) -> None:
    port = api.user.emulator.endpoint.rpartition(":")[2]
    host = {"Host": f"{api.id}.execute-api.localhost:{port}"}
    assert api.ask("/live/open", headers=host, url=api.user.emulator.endpoint).status == 200


@pytest.mark.parametrize("path", ["/nothing", "/open/more", ""])
def test_what_is_not_in_the_document_is_not_found(api: Api, path: str) -> None:
    answer = api.ask(path)
    assert (answer.status, answer.body) == (403, {"message": "Missing Authentication Token"})


def test_an_api_or_stage_that_is_not_there_is_forbidden(api: Api) -> None:
    endpoint = api.user.emulator.endpoint
    for url in (f"{endpoint}/_api/none/live", f"{endpoint}/_api/{api.id}/other"):
        assert api.ask("/open", url=url).status == 403


class TestASignature:
    def test_of_the_account_is_taken_and_tells_the_function_who_asks(self, api: Api) -> None:
        answer = api.ask("/signed", headers=api.sign("/signed"))
        assert answer.status == 200
        assert answer.body["requestContext"]["identity"]["userArn"] == f"arn:aws:iam::{ACCOUNT}:root"

    def test_of_a_user_or_a_role_tells_which(self, api: Api) -> None:
        iam, sts = api.user.iam, api.user.sts
        name = new("user")
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        role = sts.assume_role(RoleArn=api.user.role, RoleSessionName="ann")["Credentials"]
        cases = [
            ((key["AccessKeyId"], key["SecretAccessKey"], None), f"arn:aws:iam::{ACCOUNT}:user/{name}"),
            (
                (role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"]),
                f"arn:aws:sts::{ACCOUNT}:assumed-role/runner/ann",
            ),
        ]
        for (access, secret, token), who in cases:
            answer = api.ask("/signed", headers=api.sign("/signed", key=access, secret=secret, token=token))
            assert answer.status == 200, answer.body
            assert answer.body["requestContext"]["identity"]["userArn"] == who

    def test_is_missed(self, api: Api) -> None:
        answer = api.ask("/signed")
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "MissingAuthenticationTokenException")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"secret": "other"},
            {"key": "AKIAUNKNOWN"},
            {"service": "s3"},
            {"region": "eu-west-1"},
            {"headers": {"X-Amz-Content-SHA256": "0" * 64}},
        ],
        ids=str,
    )
    def test_is_refused_for_what_it_does_not_cover(self, api: Api, wrong: dict[str, Any]) -> None:
        answer = api.ask("/signed", headers=api.sign("/signed", **wrong))
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "InvalidSignatureException")

    def test_does_not_cover_another_body_path_or_header(self, api: Api) -> None:
        headers = api.sign("/signed", headers={"x-api-key": "one"})
        assert api.ask("/signed", headers=headers).status == 200
        assert api.ask("/signed", {**GOOD, "age": 47}, headers).status == 403
        assert api.ask("/keyed", headers=headers).headers["x-amzn-ErrorType"] == "InvalidSignatureException"
        assert api.ask("/signed", headers={**headers, "x-api-key": "two"}).status == 403

    def test_of_yesterday_has_expired(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        then = datetime.now(UTC) - timedelta(minutes=10)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: then)
        headers = api.sign("/signed")
        assert headers["X-Amz-Date"] == then.strftime("%Y%m%dT%H%M%SZ")
        assert api.ask("/signed", headers=headers).status == 403


class TestAToken:
    def test_of_the_pool_is_taken_and_its_claims_reach_the_function(self, api: Api) -> None:
        told = api.token()
        assert (told.status, told.body["token_type"], told.body["expires_in"]) == (200, "Bearer", 1800)
        for prefix in ("", "Bearer "):
            answer = api.ask("/token", headers={"Authorization": prefix + told.body["access_token"]})
            assert answer.status == 200
            claims = answer.body["requestContext"]["authorizer"]["claims"]
            assert (claims["client_id"], claims["scope"]) == (api.logins["web"]["id"], "api/ask api/other")

    def test_is_missed(self, api: Api) -> None:
        answer = api.ask("/token")
        assert (answer.status, answer.body) == (401, {"message": "Unauthorized"})

    def test_without_the_scope_is_refused(self, api: Api) -> None:
        token = api.token("other").body["access_token"]
        assert api.ask("/token", headers={"Authorization": token}).status == 401

    def test_that_is_forged_is_refused(self, api: Api) -> None:
        head, _, signature = api.token().body["access_token"].split(".")
        claims = self.claims(api)
        forged = b64encode(json.dumps({**claims, "client_id": "me"}).encode()).decode().rstrip("=")
        own_key = jwk.RSAKey.generate_key(2048)
        for token in (
            f"{head}.{forged}.{signature}",
            jwt.encode({"alg": "RS256", "kid": "dummy"}, claims, own_key),
            "no.token.at-all",
        ):
            assert api.ask("/token", headers={"Authorization": token}).status == 401

    @pytest.mark.parametrize(
        "wrong",
        [
            {"exp": 1},
            {"iss": f"https://cognito-idp.{REGION}.amazonaws.com/{REGION}_other"},
            {"token_use": "id"},
            {"scope": "api/other"},
        ],
        ids=str,
    )
    def test_that_is_not_for_this_is_refused(self, api: Api, wrong: dict[str, Any]) -> None:
        key = jwk.RSAKey.import_key(load_resource("cognitoidp/resources/jwks-private.json"))
        good, bad = ({**self.claims(api), **more} for more in ({}, wrong))
        for claims, status in ((good, 200), (bad, 401)):
            token = jwt.encode({"alg": "RS256", "kid": "dummy"}, claims, key)
            assert api.ask("/token", headers={"Authorization": token}).status == status

    @staticmethod
    def claims(api: Api) -> dict[str, Any]:
        issuer = f"https://cognito-idp.{REGION}.amazonaws.com/{api.pool}"
        return {"iss": issuer, "exp": int(time.time()) + 60, "token_use": "access", "scope": "api/ask", "sub": "s"}

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"scope": "api/everything"}, "invalid_scope"),
        ],
    )
    def test_is_not_given_for_what_the_client_may_not_have(self, api: Api, form: dict[str, str], error: str) -> None:
        answer = api.token(**form)
        assert (answer.status, answer.body) == (400, {"error": error})

    def test_is_not_given_for_a_wrong_secret(self, api: Api) -> None:
        api.logins["thief"] = {"id": api.logins["web"]["id"], "secret": "guessed"}
        answer = api.token("thief")
        assert (answer.status, answer.body) == (400, {"error": "invalid_client"})


class TestAKey:
    def test_is_missed_unknown_or_of_no_plan(self, api: Api) -> None:
        key = api.user.apigateway.create_api_key(name=new("key"), enabled=True)
        for value in (None, "unknown", key["value"]):
            more = {"x-api-key": value} if value else {}
            answer = api.ask("/keyed", headers=api.sign("/keyed", headers=more))
            assert (answer.status, answer.body) == (403, {"message": "Forbidden"})

    def test_tells_the_function_which_and_can_be_switched_off(self, api: Api) -> None:
        value, id_ = api.client(rate=100, burst=100)
        answer = api.ask("/keyed", headers=api.sign("/keyed", headers={"x-api-key": value}))
        assert answer.body["requestContext"]["identity"]["apiKeyId"] == id_
        change = {"op": "replace", "path": "/enabled", "value": "false"}
        api.user.apigateway.update_api_key(apiKey=id_, patchOperations=[change])
        assert api.ask("/keyed", headers=api.sign("/keyed", headers={"x-api-key": value})).status == 403

    def test_is_held_to_its_rate_and_no_other_is(self, api: Api) -> None:
        slow, other = api.client(rate=0.5, burst=2)[0], api.client(rate=100, burst=100)[0]

        def ask(value: str) -> Answer:
            return api.ask("/keyed", headers=api.sign("/keyed", headers={"x-api-key": value}))

        assert [ask(slow).status for _ in range(3)] == [200, 200, 429]
        turned_away = ask(slow)
        assert turned_away.headers["Retry-After"] == "1"
        assert turned_away.body == {"why": "slower", "id": turned_away.headers["x-amzn-RequestId"]}
        assert ask(other).status == 200
        until(lambda: ask(slow).status == 200, "the bucket fills again", 10)

    def test_is_held_to_its_quota(self, api: Api) -> None:
        value, _ = api.client(rate=100, burst=100, quota=2)
        answers = [api.ask("/keyed", headers=api.sign("/keyed", headers={"x-api-key": value})) for _ in range(3)]
        assert [each.status for each in answers] == [200, 200, 429]
        assert answers[-1].body == {"message": "Limit Exceeded"}


def test_a_bucket_of_tokens_fills_at_its_rate_and_no_higher_than_its_burst() -> None:
    bucket = Bucket(tokens=3, at=0)
    assert [bucket.take(2, 3, now) for now in (0, 0, 0, 0)] == [True, True, True, False]
    assert [bucket.take(2, 3, now) for now in (0.5, 0.5)] == [True, False]
    assert [bucket.take(2, 3, now) for now in (100, 100, 100, 100)] == [True, True, True, False]


class TestABody:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (
                {"age": "x", "code": "a"},
                'instance type (string) does not match any allowed primitive type (allowed: ["integer","number"])',
            ),
            ({"age": -5, "code": "a"}, "numeric instance is lower than the required minimum (minimum: 0, found: -5)"),
            (
                {"age": 150, "code": "a"},
                "numeric instance is greater than the required maximum (maximum: 99, found: 150)",
            ),
            ({"age": 1, "code": "c"}, 'instance value ("c") not found in enum (possible values: ["a","b"])'),
            ({"age": 1}, 'object has missing required properties (["code"])'),
            ({**GOOD, "other": 1}, 'object instance has properties which are not allowed by the schema: ["other"]'),
            ([GOOD], 'instance type (array) does not match any allowed primitive type (allowed: ["object"])'),
        ],
    )
    def test_is_held_to_its_schema_in_aws_s_words(self, api: Api, body: Any, words: str) -> None:
        answer = api.ask("/open", body)
        assert (answer.status, answer.body) == (400, {"why": f"[{words}]"})

    def test_that_is_no_json_is_refused(self, api: Api) -> None:
        for body in (b"{", b"", b'{"age": NaN, "code": "a"}'):
            answer = api.ask("/open", body)
            assert answer.status == 400
            assert answer.body["why"].startswith("Could not parse request body into json")

    def test_is_not_looked_at_where_aws_does_not(self, api: Api) -> None:
        assert api.ask("/open", {**GOOD, "many": [1, 2, 3]}).status == 200  # maxItems
        assert api.ask("/open", b"anything", {"Content-Type": "text/plain"}).status == 200


class TestAFunction:
    @pytest.mark.parametrize("body", ["raise", "strange"])
    def test_that_fails_or_answers_strangely_is_told_without_its_words(self, api: Api, body: str) -> None:
        answer = api.ask("/open", body.encode(), {"Content-Type": "text/plain"})
        assert (answer.status, answer.body) == (502, {"message": "Internal server error"})

    def test_that_is_slow_is_given_up(self, api: Api) -> None:
        began = time.monotonic()
        answer = api.ask("/open", b"sleep", {"Content-Type": "text/plain"})
        assert (answer.status, answer.body) == (504, {"message": "Endpoint request timed out"})
        assert time.monotonic() - began < 1.9

    def test_that_does_not_let_the_api_in_is_not_called(self, user: User, api: Api) -> None:
        closed = Api(user, function=user.function(ECHO), pool=api.pool)
        closed.id = user.apigateway.create_rest_api(name=new("api"))["id"]
        deployment = closed.deploy(closed.document())
        user.apigateway.create_stage(restApiId=closed.id, stageName="live", deploymentId=deployment)
        assert closed.ask("/open").status == 500
        user.allow(closed.function, "apigateway.amazonaws.com", f"arn:aws:execute-api:{REGION}:{ACCOUNT}:other/*")
        assert closed.ask("/open").status == 500
        source = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{closed.id}/live/POST/open"
        user.allow(closed.function, "apigateway.amazonaws.com", source)
        assert closed.ask("/open").status == 200
        assert closed.ask("/signed", headers=closed.sign("/signed")).status == 500


class TestADeployment:
    def test_serves_what_the_document_was(self, user: User, api: Api) -> None:
        mine = Api(user, function=api.function, pool=api.pool)
        gateway = user.apigateway
        mine.id = gateway.create_rest_api(name=new("api"))["id"]
        user.allow(mine.function, "apigateway.amazonaws.com", f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{mine.id}/*")
        first = mine.deploy(mine.document())
        gateway.create_stage(restApiId=mine.id, stageName="live", deploymentId=first)
        document = mine.document()
        document["paths"] = {"/moved": document["paths"]["/open"]}
        second = mine.deploy(document)
        assert [mine.ask(path).status for path in ("/open", "/moved")] == [200, 403]

        move = {"op": "replace", "path": "/deploymentId", "value": second}
        with pytest.raises(gateway.exceptions.ClientError, match="must be moved or deleted"):
            gateway.delete_deployment(restApiId=mine.id, deploymentId=first)
        gateway.update_stage(restApiId=mine.id, stageName="live", patchOperations=[move])
        assert [mine.ask(path).status for path in ("/open", "/moved")] == [403, 200]
        gateway.delete_deployment(restApiId=mine.id, deploymentId=first)
        with pytest.raises(gateway.exceptions.NotFoundException):
            gateway.get_deployment(restApiId=mine.id, deploymentId=first)

    def test_of_paths_with_variables_is_refused(self, api: Api) -> None:
        document = api.document()
        document["paths"]["/things/{id}"] = document["paths"]["/open"]
        with pytest.raises(api.user.apigateway.exceptions.ClientError, match="serves fixed paths"):
            api.deploy(document)


def test_each_request_is_in_the_access_log_and_the_metrics(user: User, api: Api) -> None:
    group = new("access")
    user.logs.create_log_group(logGroupName=group)
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"
    line = json.dumps(
        {
            "id": "$context.requestId",
            "status": "$context.status",
            "path": "$context.resourcePath",
            "refused": "$context.error.responseType",
            "client": "$context.authorizer.claims.client_id",
        }
    )
    operations = [
        {"op": "replace", "path": f"/accessLogSettings/{name}", "value": value}
        for name, value in (("destinationArn", arn), ("format", line))
    ]
    user.apigateway.update_stage(restApiId=api.id, stageName="live", patchOperations=operations)
    name = user.apigateway.get_rest_api(restApiId=api.id)["name"]
    dimensions = [{"Name": "ApiName", "Value": name}, {"Name": "Stage", "Value": "live"}]

    def counted(metric: str) -> float:
        now = time.time()
        found = user.cloudwatch.get_metric_statistics(
            Namespace="AWS/ApiGateway", MetricName=metric, Dimensions=dimensions, StartTime=now - 600, EndTime=now + 60,
            Period=60, Statistics=["Sum"],
        )["Datapoints"]  # fmt: skip
        return float(sum(each["Sum"] for each in found))

    before = [counted(metric) for metric in ("Count", "4XXError", "5XXError")]
    token = api.token().body["access_token"]
    answers = [
        api.ask("/token", headers={"Authorization": token}),
        api.ask("/token"),
        api.ask("/open", b"raise", {"Content-Type": "text/plain"}),
    ]
    after = [counted(metric) for metric in ("Count", "4XXError", "5XXError")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 1, 1]
    written = [json.loads(each["message"]) for each in user.logs.filter_log_events(logGroupName=group)["events"]]
    assert [(each["status"], each["path"], each["refused"], each["client"]) for each in written] == [
        ("200", "/token", "-", api.logins["web"]["id"]),
        ("401", "/token", "UNAUTHORIZED", "-"),
        ("502", "/open", "DEFAULT_5XX", "-"),
    ]
    assert [each["id"] for each in written] == [each.headers["x-amzn-RequestId"] for each in answers]


def test_calls_are_recorded_with_who_made_them(api: Api) -> None:
    api.ask("/signed", headers=api.sign("/signed"))
    assert api.user.calls("Invoke POST /signed")[-1]["principal"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_a_web_page_reaches_no_api(api: Api) -> None:
    assert api.ask("/open", headers={"Origin": "https://evil.example"}).status == 403


# --- what is relied on inside moto ------------------------------------------------------------------------------------


def test_moto_has_what_is_replaced_and_read() -> None:
    def parameters(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert parameters(APIGatewayBackend.put_rest_api) == ["self", "function_id", "api_doc", "fail_on_warnings", "mode"]
    assert parameters(RestAPI.create_deployment) == ["self", "name", "description", "stage_variables"]
    assert parameters(RestAPI.get_deployment) == parameters(RestAPI.delete_deployment) == ["self", "deployment_id"]
    assert (
        parameters(Stage.apply_operations)
        == parameters(UsagePlan.apply_patch_operations)
        == [
            "self",
            "patch_operations",
        ]
    )
    backend = APIGatewayBackend(REGION, ACCOUNT)
    assert (backend.apis, backend.keys, backend.usage_plans, backend.usage_plan_keys) == ({}, {}, {}, {})
    assert "{0}/restapis$" in apigateway_urls.url_paths
    assert "{0}/$" in cognito_urls.url_paths
    assert APIGatewayResponse.dispatch and hasattr(CognitoIdpResponse, "update_user_pool")
    pool = CognitoIdpUserPool(ACCOUNT, REGION, "p", {})
    assert pool.json_web_key.key_type == "RSA"
    assert (pool.clients, pool.resource_servers) == ({}, {})
