"""The prediction API: its document, function, resources and client, and all of them together in the rehearsal."""

import importlib.util
import io
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import pulumi_aws as aws
import pytest
from botocore.credentials import Credentials
from openapi_spec_validator import validate
from pretend_aws import CONFIG, KEY, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components import ApiGatewayAccount, PredictionApi, PredictionApiSpec
from components.openapi import Shape, document
from components.prediction_api import domain_prefix, shape
from functions.employment.features import SCHEMA
from functions.features import Feature, FeatureSchema
from functions.prediction import core
from functions.prediction.core import Answer, Cache, Caller, Refusal
from functions.rows import Rows
from infra import prediction
from infra.check import check
from infra.prediction import Addresses, in_rehearsal
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.engine import Engine, Plan
from infra.settings import Settings
from policies.cost import TAGS
from tests.emulated import ACCOUNT, REGION, User, until
from tests.served_models import archive

ROLE = f"arn:aws:iam::{ACCOUNT}:role/services/scoring"
PERSON = {
    **{"AGEP": 46, "SCHL": "16", "MAR": "1", "RELP": "0", "DIS": "2", "ESP": "0", "CIT": "1", "MIG": "1", "MIL": "4"},
    **{"ANC": "1", "NATIVITY": "1", "DEAR": "2", "DEYE": "2", "DREM": "2", "SEX": "1", "RAC1P": "1"},
}
CHURN = FeatureSchema(
    name="churn",
    record_id="id",
    event_time="event_time",
    features=(
        Feature(name="months", kind="Integral", description="Months since", minimum=0, maximum=600),
        Feature(
            name="plan", kind="String", description="Plan", categories=("s", "m"), labels={"s": "small", "m": "more"}
        ),
        Feature(name="spent", kind="Fractional", description="Spent", minimum=0, required=False),
        Feature(name="note", kind="String", description="Note", required=False),
        Feature(name="level", kind="Integral", description="Level", categories=("1", "2"), required=False),
    ),
)
CUSTOMER = {"months": 3, "plan": "s"}


def spec(**more: Any) -> PredictionApiSpec:
    clients = {"web": {"rate": 50, "burst": 50}, "scoring": {"auth": "iam", "roles": [ROLE]}}
    return PredictionApiSpec.model_validate({"clients": clients, **more})


class TestSpec:
    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"clients": {}}, "at least 1 item"),
            ({"clients": {"Web": {}}}, "should match pattern"),
            ({"clients": {"web": {"auth": "iam"}}}, "auth is iam: set roles"),
            ({"clients": {"web": {"roles": [ROLE]}}}, "set auth: iam"),
            ({"clients": {name: {"auth": "iam", "roles": [ROLE]} for name in "ab"}}, "of a and of b"),
            ({"clients": {f"client-{number}": {} for number in range(40)}}, "environment has 3500"),
            ({"rate": 5}, "web may send 50 requests a second and all clients together 5"),
            ({"model_seconds": 29}, "less than or equal to 25"),
            ({"max_kib": 6 * 1024}, "less than or equal to 5120"),
            ({"cache": {"seconds": 301}}, "less than or equal to 300"),
            ({"burst": 5001}, "less than or equal to 5000"),
            ({"tls": "1.0"}, "'1.2' or '1.3'"),
        ],
    )
    def test_a_mistake_is_told_when_the_yaml_is_read(self, wrong: dict[str, Any], words: str) -> None:
        with pytest.raises(ValidationError, match=words):
            spec(**wrong)

    @pytest.mark.parametrize(
        ("name", "words"),
        [("aws-churn", "takes no domain with 'aws'"), ("x" * 60, "at most 63"), ("Churn", "at most 63")],
    )
    def test_a_name_that_no_user_pool_takes_is_refused(self, name: str, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            up(lambda: domain_prefix(name))


class TestDocument:
    @pytest.mark.parametrize("schema", [SCHEMA, CHURN])
    @pytest.mark.parametrize("where", [{}, {"url": "https://x/live", "token_url": "https://t/token"}])
    def test_is_valid_openapi(self, schema: FeatureSchema, where: dict[str, str]) -> None:
        made = document(schema, shape("churn", spec()), **where)
        validate(made)
        assert "amazon" not in json.dumps(made)
        assert set(made["paths"]) == {"/predictions", "/health", "/iam/predictions", "/iam/health"}

    def test_says_of_each_feature_what_the_schema_says(self) -> None:
        row = document(CHURN, Shape("churn", ["jwt"], 10))["components"]["schemas"]["Row"]
        assert row["required"] == ["months", "plan"]
        assert row["additionalProperties"] is False
        assert row["properties"] == {
            "months": {"type": "integer", "description": "Months since", "minimum": 0, "maximum": 600},
            "plan": {"type": "string", "description": "Plan: s small, m more", "enum": ["s", "m"]},
            "spent": {"type": "number", "description": "Spent", "minimum": 0},
            "note": {"type": "string", "description": "Note", "maxLength": 256},
            "level": {"type": "integer", "description": "Level", "enum": [1, 2]},
        }

    @pytest.mark.parametrize(
        ("clients", "paths"),
        [
            ({"web": {}}, {"/predictions", "/health"}),
            ({"web": {"auth": "iam", "roles": [ROLE]}}, {"/iam/predictions", "/iam/health"}),
        ],
    )
    def test_has_the_paths_that_some_client_uses(self, clients: dict[str, Any], paths: set[str]) -> None:
        assert set(document(SCHEMA, shape("a", spec(clients=clients)))["paths"]) == paths


class TestFunction:
    ROWS = Rows.from_json(CHURN.to_json())

    def refused(self, body: str, most: int = 10, most_bytes: int = 10_000) -> Refusal:
        with pytest.raises(Refusal) as refused:
            core.instances(body, self.ROWS, most, most_bytes)
        return refused.value

    def test_takes_what_the_schema_allows(self) -> None:
        rows = [CUSTOMER, {**CUSTOMER, "spent": 1.5, "note": "x", "level": 2}, {**CUSTOMER, "spent": None}]
        assert core.instances(json.dumps({"instances": rows}), self.ROWS, 10, 10_000) == rows

    @pytest.mark.parametrize(
        ("wrong", "feature", "words"),
        [
            ({"months": "3"}, "months", 'months is "3", which is not a whole number'),
            ({"months": 3.5}, "months", "months is 3.5, which is not a whole number"),
            ({"months": True}, "months", "months is true, which is not a whole number"),
            ({"months": None}, "months", "months is missing"),
            ({"months": -1}, "months", "not within 0 to 600"),
            ({"months": 10**400}, "months", "months is"),
            ({"plan": 1}, "plan", "plan is 1, which is not a text"),
            ({"plan": "x"}, "plan", "none of its categories"),
            ({"plan": "x" * 1000}, "plan", "plan is too long a value"),
            ({"plan": {"a": 1}}, "plan", "plan is an object, which is not a text"),
            ({"spent": float("nan")}, "spent", "spent is NaN, which is no finite number"),
            ({"spent": float("inf")}, "spent", "spent is Infinity, which is no finite number"),
            ({"spent": 1e308 * 10}, "spent", "no finite number"),
            ({"spent": -0.1}, "spent", "not within 0 to inf"),
            ({"level": 3}, "level", "none of its categories"),
            ({"other": 1}, "other", "other is no feature of churn"),
        ],
    )
    def test_names_row_and_feature(self, wrong: dict[str, Any], feature: str, words: str) -> None:
        refusal = self.refused(json.dumps({"instances": [CUSTOMER, {**CUSTOMER, **wrong}]}))
        assert (refusal.status, refusal.code) == (400, "invalid-input")
        [fault] = refusal.faults
        assert (fault.row, fault.feature) == (2, feature)
        assert words in fault.reason and len(fault.reason) < 250

    @pytest.mark.parametrize(
        ("body", "status", "words"),
        [
            ("", 400, "not JSON"),
            ("[" * 100_000, 413, "larger than"),
            ("[" * 9_000, 400, "not JSON"),
            ("[]", 400, "must be"),
            ('{"instances": {}}', 400, "must be"),
            ('{"instances": [], "more": 1}', 400, "must be"),
            ('{"instances": []}', 400, "0 rows: send 1 to 10"),
            (json.dumps({"instances": [CUSTOMER] * 11}), 400, "11 rows: send 1 to 10"),
        ],
    )
    def test_refuses_what_is_no_request(self, body: str, status: int, words: str) -> None:
        refusal = self.refused(body)
        assert refusal.status == status and words in refusal.title

    def test_tells_twenty_faults_and_how_many_more(self) -> None:
        refusal = self.refused(json.dumps({"instances": [{}] * 10 + []}), most=10)
        refusal.faults = [*refusal.faults] * 2
        body = json.loads(core.refused(refusal, "id")["body"])
        assert (len(body["errors"]), body["more_errors"]) == (20, 20)

    @pytest.mark.parametrize(
        ("code", "original", "status", "again"),
        [
            ("ModelError", 500, 502, False),
            ("ModelError", 400, 422, False),
            ("ModelError", None, 502, False),
            ("ThrottlingException", None, 503, True),
            ("ServiceUnavailable", None, 503, True),
            ("ModelNotReadyException", None, 503, True),
            ("timeout", None, 504, False),
            ("ValidationError", None, 503, True),
            ("AccessDeniedException", None, 503, True),
            ("unreachable", None, 503, True),
        ],
    )
    def test_tells_what_sagemaker_cannot_do(self, code: str, original: int | None, status: int, again: bool) -> None:
        response = core.refused(core.failure(code, original), "id")
        assert response["statusCode"] == status
        assert ("retry-after" in response["headers"]) is again
        assert "sagemaker" not in response["body"].lower() and "Exception" not in response["body"]

    @pytest.mark.parametrize(
        "body", ["", "[]", "{}", '{"predictions": [1]}', '{"predictions": [1, "x"]}', '{"predictions": [1, NaN]}']
    )
    def test_takes_no_answer_that_is_none(self, body: str) -> None:
        with pytest.raises(Refusal) as refused:
            core.answer(body, 2, "live")
        assert refused.value.status == 502

    @pytest.mark.parametrize(
        ("arn", "role"),
        [
            (f"arn:aws:sts::{ACCOUNT}:assumed-role/scoring/session", f"arn:aws:iam::{ACCOUNT}:role/scoring"),
            (ROLE, f"arn:aws:iam::{ACCOUNT}:role/scoring"),
            (f"arn:aws:iam::{ACCOUNT}:user/a/b", f"arn:aws:iam::{ACCOUNT}:user/a/b"),
            ("", ""),
        ],
    )
    def test_knows_a_role_by_its_session(self, arn: str, role: str) -> None:
        assert core.role_of(arn) == role

    def test_refuses_a_key_with_the_credentials_of_another_client(self) -> None:
        callers = {"k1": Caller("web", ("c1",)), "k2": Caller("app", ("c2",))}

        def event(key: str | None, client: str) -> dict[str, Any]:
            return {"requestContext": {"identity": {"apiKeyId": key}, "authorizer": {"claims": {"client_id": client}}}}

        assert core.caller(event("k1", "c1"), callers).name == "web"
        for key, client in (("k1", "c2"), ("k3", "c1"), (None, "c1"), ("k1", "")):
            with pytest.raises(Refusal):
                core.caller(event(key, client), callers)

    def test_counts_requests_by_client_and_refusals_by_reason(self) -> None:
        line = json.loads(
            core.metrics(
                "churn", "web", rows=3, milliseconds=12.34, refusal=Refusal(400, "invalid-input", ""), cached=False
            )
        )
        whole, by_reason = line["_aws"]["CloudWatchMetrics"]
        assert whole["Dimensions"] == [["api"], ["api", "client"]]
        assert by_reason["Dimensions"] == [["api", "reason"]]
        assert {each["Name"] for each in whole["Metrics"]} <= line.keys()
        assert (line["requests"], line["refused"], line["failed"], line["reason"]) == (1, 1, 0, "invalid-input")


class TestCache:
    def test_answers_the_same_rows_until_they_are_too_old(self) -> None:
        now = [0.0]
        cache = Cache(seconds=10, size=10, clock=lambda: now[0])
        answer = Answer((0.5,), "live", None)
        cache.put([{"a": 1, "b": 2}], answer)
        now[0] = 9.9
        assert cache.get([{"b": 2, "a": 1}]) == (answer, 9)
        now[0] = 10.0
        assert cache.get([{"a": 1, "b": 2}]) is None

    @pytest.mark.parametrize(
        "other", [[{"a": 1, "b": 3}], [{"a": 1}], [{"a": "1", "b": 2}], [{"a": 1, "b": 2}] * 2, []]
    )
    def test_tells_no_other_rows_answer(self, other: list[dict[str, Any]]) -> None:
        cache = Cache(seconds=10, size=10)
        cache.put([{"a": 1, "b": 2}], Answer((0.5,), "live", None))
        assert cache.get(other) is None

    def test_forgets_what_was_asked_longest_ago(self) -> None:
        cache = Cache(seconds=10, size=2)
        for number in (1, 2):
            cache.put([{"a": number}], Answer((float(number),), "live", None))
        cache.get([{"a": 1}])
        cache.put([{"a": 3}], Answer((3.0,), "live", None))
        assert [cache.get([{"a": number}]) is not None for number in (1, 2, 3)] == [True, False, True]

    def test_of_size_or_time_zero_keeps_nothing(self) -> None:
        for cache in (Cache(seconds=0, size=10), Cache(seconds=10, size=0)):
            cache.put([{"a": 1}], Answer((1.0,), "live", None))
            assert cache.get([{"a": 1}]) is None


class TestComponent:
    @pytest.fixture(scope="class")
    @classmethod
    def made(cls) -> PretendAws:
        return up(lambda: cls.api(spec()))

    @staticmethod
    def api(told: PredictionApiSpec, name: str = "churn-local") -> PredictionApi:
        return PredictionApi(
            name, told, schema=CHURN, endpoint_name="churn-local", kms_key_arn=KEY, alerts_topic_arn=TOPIC
        )

    @staticmethod
    def body(made: PretendAws) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(made.only(aws.apigateway.RestApi)["body"])
        return found

    def test_no_method_is_without_authentication(self, made: PretendAws) -> None:
        body = self.body(made)
        validate(body)
        schemes = body["components"]["securitySchemes"]
        for path, item in body["paths"].items():
            for operation in item.values():
                [demanded] = operation["security"]
                kinds = {schemes[name].get("x-amazon-apigateway-authtype") for name in demanded}
                assert kinds & {"awsSigv4", "cognito_user_pools"}
                assert ("key" in demanded) is path.endswith("/predictions")
                assert operation["x-amazon-apigateway-integration"]["timeoutInMillis"] <= 29_000
        assert body["x-amazon-apigateway-request-validator"] == "all"

    def test_speaks_modern_tls_only(self, made: PretendAws) -> None:
        api = made.only(aws.apigateway.RestApi)
        assert (api["securityPolicy"], api["endpointAccessMode"]) == (
            "SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09",
            "STRICT",
        )
        assert api["endpointConfiguration"] == {"types": "REGIONAL"}
        strict = up(lambda: self.api(spec(tls="1.3"))).only(aws.apigateway.RestApi)
        assert strict["securityPolicy"] == "SecurityPolicy_TLS13_1_3_2025_09"

    def test_each_client_has_a_key_a_rate_and_a_quota(self, made: PretendAws) -> None:
        plans = made.inputs(aws.apigateway.UsagePlan)
        assert plans["churn-local-web"]["throttleSettings"] == {"rateLimit": 50, "burstLimit": 50}
        assert plans["churn-local-scoring"]["quotaSettings"] == {"limit": 100_000, "period": "DAY"}
        keys = made.inputs(aws.apigateway.UsagePlanKey)
        assert {name: each["keyId"] for name, each in keys.items()} == {name: f"{name}-id" for name in plans}
        callers = json.loads(self.function(made)["environment"]["variables"]["CALLERS"])
        assert callers == {
            "churn-local-web-id": {"name": "web", "identities": ["churn-local-web-id"]},
            "churn-local-scoring-id": {"name": "scoring", "identities": [f"arn:aws:iam::{ACCOUNT}:role/scoring"]},
        }

    @staticmethod
    def function(made: PretendAws) -> dict[str, Any]:
        return made.inputs(aws.lambda_.Function)["churn-local-predictions"]

    def test_tokens_are_for_clients_with_a_secret_and_for_this_api(self, made: PretendAws) -> None:
        [client] = made.inputs(aws.cognito.UserPoolClient).values()
        assert (client["allowedOauthFlows"], client["allowedOauthScopes"]) == (
            ["client_credentials"],
            ["churn-local/predict"],
        )
        assert client["generateSecret"] is True
        pool = made.only(aws.cognito.UserPool)
        assert pool["adminCreateUserConfig"] == {"allowAdminCreateUserOnly": True}
        assert pool["deletionProtection"] == "ACTIVE"
        assert made.only(aws.cognito.UserPoolDomain)["domain"] == f"churn-local-{ACCOUNT}"

    def test_the_function_may_ask_one_endpoint(self, made: PretendAws) -> None:
        statements = made.statements(aws.iam.RolePolicy, "churn-local-predictions")
        asked = [each for each in statements if any("sagemaker" in action for action in each["Action"])]
        endpoint = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/churn-local"
        assert [(each["Action"], each["Resource"]) for each in asked] == [
            (["sagemaker:InvokeEndpoint"], [endpoint]),
            (["sagemaker:DescribeEndpoint"], [endpoint]),
        ]
        assert self.function(made)["timeout"] == 14 and "vpcConfig" not in self.function(made)

    def test_the_policy_names_each_role_and_method(self, made: PretendAws) -> None:
        statements = json.loads(made.only(aws.apigateway.RestApi)["policy"])["Statement"]
        assert [(each["Principal"], each["Resource"]) for each in statements] == [
            ("*", ["execute-api:/live/POST/predictions", "execute-api:/live/GET/health"]),
            ({"AWS": [ROLE]}, ["execute-api:/live/POST/iam/predictions", "execute-api:/live/GET/iam/health"]),
        ]

    def test_as_many_clients_as_are_taken_fit_into_lambda_s_environment(self) -> None:
        told = spec(clients={f"client-with-a-long-name-{number:02}": {} for number in range(30)})
        variables = self.function(up(lambda: self.api(told)))["environment"]["variables"]
        # The pretended ids of keys and of Cognito's clients are longer than AWS's, of which none has more than 26.
        variables["CALLERS"] = re.sub(r"churn-local-client-with-a-long-name-\d\d-id", "x" * 26, variables["CALLERS"])
        assert 3000 < sum(len(name) + len(value) for name, value in variables.items()) < 4096

    def test_another_document_or_policy_is_another_deployment(self) -> None:
        def deployed(told: PredictionApiSpec) -> Any:
            return up(lambda: self.api(told)).only(aws.apigateway.Deployment)["triggers"]

        assert deployed(spec()) == deployed(spec(rate=200, log_days=30)) != deployed(spec(max_rows=7))
        other = {"scoring": {"auth": "iam", "roles": [f"{ROLE}-2"]}, "web": {}}
        assert deployed(spec(clients=other)) != deployed(spec())  # a policy, too, is in force when it is deployed

    def test_logs_no_payload_and_no_address(self, made: PretendAws) -> None:
        log = made.only(aws.apigateway.Stage)["accessLogSettings"]["format"]
        assert not {"body", "sourceIp", "userAgent", "$input", "header"} & set(log.replace(".", " ").split())
        assert made.inputs(aws.cloudwatch.LogGroup)["churn-local-api"]["kmsKeyId"] == KEY
        settings = made.only(aws.apigateway.MethodSettings)["settings"]
        assert (settings["dataTraceEnabled"], settings["loggingLevel"], settings["metricsEnabled"]) == (
            False,
            "OFF",
            True,
        )

    def test_wakes_someone_for_failures_slowness_throttling_and_refusals(self, made: PretendAws) -> None:
        alarms = made.inputs(aws.cloudwatch.MetricAlarm)
        assert set(alarms) == {f"churn-local-api-{what}" for what in ("errors", "latency", "throttled", "refused")}

    def test_without_a_client_that_has_tokens_there_is_no_user_pool(self) -> None:
        made = up(lambda: self.api(spec(clients={"a": {"auth": "iam", "roles": [ROLE]}})))
        assert not made.inputs(aws.cognito.UserPool)
        assert set(self.body(made)["paths"]) == {"/iam/predictions", "/iam/health"}

    def test_an_inference_component_may_be_asked_too(self) -> None:
        made = up(
            lambda: PredictionApi(
                "churn-local",
                spec(),
                schema=CHURN,
                endpoint_name="churn-local",
                inference_component_name="churn-one",
                kms_key_arn=KEY,
                alerts_topic_arn=TOPIC,
            )
        )
        assert self.function(made)["environment"]["variables"]["COMPONENT"] == "churn-one"
        resources = made.statements(aws.iam.RolePolicy, "churn-local-predictions")[0]["Resource"]
        assert resources[1] == f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:inference-component/churn-one"

    @pytest.mark.parametrize(("by", "has"), [("gateway", True), ("function", False)])
    def test_the_gateway_checks_values_where_it_is_told_to(self, by: str, has: bool) -> None:
        row = self.body(up(lambda: self.api(spec(refused_by=by))))["components"]["schemas"]["Row"]
        assert (row["properties"]["months"].get("maximum") == 600) is has
        assert (row["required"], row["additionalProperties"]) == (["months", "plan"], False)

    def test_the_platform_lets_api_gateway_write_logs(self) -> None:
        made = up(lambda: ApiGatewayAccount("platform"))
        assert made.only(aws.apigateway.Account)["cloudwatchRoleArn"] == "arn:aws:pretend:::platform-api-logs"


class TestClient:
    @pytest.fixture(scope="class")
    @staticmethod
    def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("client") / "employment_client.py"
        path.write_text(prediction.client(SCHEMA, shape("employment-local", spec())), "utf-8")
        return path

    def test_types_hold_its_users_to_the_schema(self, module: Path) -> None:
        person = json.dumps({**PERSON})
        (module.parent / "uses.py").write_text(
            "from employment_client import Bearer, Client, Row\n"
            'client = Client("https://x", auth=Bearer(lambda: "t"), api_key="k")\n'
            f"good: Row = {person}\n"
            f"bad: Row = {person.replace(chr(34) + '16' + chr(34), chr(34) + 'x' + chr(34))}\n"
            'client.predict([good])\nclient.predict([{"AGEP": 46}])\n'
        )
        (module.parent / "mypy.ini").write_text("[mypy]\nstrict = True\n")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--no-incremental", "employment_client.py", "uses.py"],
            cwd=module.parent, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        told = [line for line in done.stdout.splitlines() if "error:" in line]
        assert [line.partition(":")[0] for line in told] == ["uses.py", "uses.py"], done.stdout + done.stderr
        assert "Literal['x']" in told[0] and "SCHL" in told[0]
        assert "Missing keys" in told[1]

    def test_is_the_same_for_the_same_schema(self) -> None:
        texts = {prediction.client(CHURN, shape("churn", spec())) for _ in range(2)}
        assert len(texts) == 1

    def test_is_what_the_command_prints_and_so_is_the_document(self) -> None:
        told = shape("churn", spec())
        assert prediction.printed("client", CHURN, told) == prediction.client(CHURN, told)
        assert json.loads(prediction.printed("openapi", CHURN, told)) == prediction.openapi(CHURN, told)

    def test_a_feature_that_is_no_name_in_python_is_a_key(self, tmp_path: Path) -> None:
        features = (*CHURN.features, Feature(name="a-b", kind="Fractional", description="d"))
        schema = CHURN.model_copy(update={"features": features})
        made = load(prediction.client(schema, shape("churn", spec())), tmp_path)
        assert "a-b" in made.Row.__required_keys__ and "spent" in made.Row.__optional_keys__
        assert [fault.reason for fault in made.problems([CUSTOMER])] == ["a-b is missing"]

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"AGEP": "46"}, "AGEP is '46', which is no number"),
            ({"AGEP": 150}, "AGEP is 150, which is not within 0 to 99"),
            ({"AGEP": float("nan")}, "AGEP is nan"),
            ({"SCHL": 16}, "SCHL is 16, which is no string"),
            ({"SCHL": "99"}, "none of its categories"),
            ({"OTHER": 1}, "OTHER is no feature"),
            ({"SEX": None}, "SEX is missing"),
        ],
    )
    def test_names_row_and_feature_before_anything_is_sent(
        self, module: Path, wrong: dict[str, Any], words: str
    ) -> None:
        made = load(module.read_text(), module.parent)
        client = made.Client("https://nowhere.invalid", auth=made.Bearer(lambda: "t"), api_key="k")
        with pytest.raises(made.InvalidInput, match="row 2: ") as told:
            client.predict([PERSON, {**PERSON, **wrong}])
        assert words in str(told.value)
        assert told.value.faults[0].row == 2

    def test_sends_nothing_in_the_clear(self, module: Path) -> None:
        made = load(module.read_text(), module.parent)
        with pytest.raises(ValueError, match="not https"):
            made.Client("http://example.com", auth=made.Bearer(lambda: "t"), api_key="k")

    def test_says_who_cannot_be_reached(self, module: Path) -> None:
        made = load(module.read_text(), module.parent)
        client = made.Client("https://127.0.0.1:9", auth=made.Bearer(lambda: "t"), api_key="k")
        with pytest.raises(made.Unavailable, match="does not answer"):
            client.predict([PERSON])
        assert client.healthy() is False

    def test_knows_the_addresses_of_what_is_deployed(self) -> None:
        where = Addresses(
            "https://abc.execute-api.eu-west-1.amazonaws.com/live",
            "https://d.auth.eu-west-1.amazoncognito.com/oauth2/token",
        )
        text = prediction.client(SCHEMA, shape("e", spec()), where)
        assert 'SigV4("eu-west-1")' in text and where.url in text and where.token_url in text
        assert in_rehearsal(where, "http://127.0.0.1:1") == Addresses(
            "http://127.0.0.1:1/_api/abc/live", "http://127.0.0.1:1/_auth/d/oauth2/token"
        )


def load(text: str, folder: Path) -> ModuleType:
    """A generated module, imported."""
    path = folder / "generated.py"
    path.write_text(text, "utf-8")
    found = importlib.util.spec_from_file_location("generated", path)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules["generated"] = module
    found.loader.exec_module(module)
    return module


# --- all of it together -----------------------------------------------------------------------------------------------

MODEL = """
import json, time
from werkzeug.exceptions import BadRequest

def model_fn(folder):
    return None

def input_fn(body, kind):
    assert kind == "application/json"
    return json.loads(body)["instances"]

def predict_fn(rows, model):
    ages = [row["AGEP"] for row in rows]
    if 13 in ages:
        raise RuntimeError("secret words of the model")
    if 14 in ages:
        raise BadRequest("secret words of the model")
    if 15 in ages:
        time.sleep(8)
    return [float("nan") if age == 17 else age / 100 for age in ages]

def output_fn(predictions, accept):
    return json.dumps({"predictions": predictions, "model": "employment/7"}), accept
"""


@dataclass
class Deployed:
    """The API as it is deployed in an emulator, and how it was."""

    engine: Engine
    settings: Settings
    outputs: Mapping[str, Any]
    where: Addresses
    user: User
    plan: Plan

    @property
    def clients(self) -> dict[str, Any]:
        found: dict[str, Any] = self.outputs["clients"]
        return found

    def token(self, client: str = "web") -> str:
        login = self.clients[client]
        made = self.module
        return str(made.ClientCredentials(self.where.token_url, login["client_id"], login["client_secret"])._current())

    @cached_property
    def module(self) -> ModuleType:
        return load(prediction.client(SCHEMA, shape("employment-local", API), self.where), self.user.work)

    def client(self, name: str = "web", **more: Any) -> Any:
        """The generated client, as that client."""
        login, made = self.clients[name], self.module
        auth = (
            made.ClientCredentials(self.where.token_url, login["client_id"], login["client_secret"])
            if "client_id" in login
            else made.SigV4(REGION, self.role_credentials())
        )
        return made.Client(self.where.url, auth=auth, api_key=login["api_key"], **more)

    def role_credentials(self) -> Credentials:
        found = self.user.sts.assume_role(RoleArn=ROLE, RoleSessionName="batch")["Credentials"]
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def ask(
        self, rows: Any = None, headers: Mapping[str, str] | None = None, path: str = "/predictions", **more: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """A request with a token and a key, unless `headers` say otherwise: its status, answer and headers."""
        body = rows if isinstance(rows, bytes) else json.dumps({"instances": rows or [PERSON]}).encode()
        sent = {"Content-Type": "application/json", "x-api-key": self.clients["web"]["api_key"], **more}
        if headers is None:
            sent["Authorization"] = f"Bearer {self.token()}"
        request = urllib.request.Request(self.where.url + path, body, {**sent, **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer), lower(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), lower(error.headers)


def lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


API = spec(
    clients={
        "web": {"rate": 50, "burst": 50},
        "slow": {"rate": 0.5, "burst": 1},
        "few": {"rate": 50, "burst": 50, "quota_per_day": 1},
        "scoring": {"auth": "iam", "roles": [ROLE]},
    },
    max_rows=3,
    model_seconds=5,
    protect=False,
)


@pytest.fixture(scope="module")
def serve(user: User) -> None:
    """An endpoint called employment-local."""
    user.s3.create_bucket(Bucket="models")
    user.s3.upload_fileobj(io.BytesIO(archive(MODEL)), "models", "model.tar.gz")
    user.sagemaker.create_model(
        ModelName="m",
        ExecutionRoleArn=user.role,
        PrimaryContainer={"Image": "sklearn:1", "ModelDataUrl": "s3://models/model.tar.gz"},
    )
    variant = {"VariantName": "live", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    user.sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    user.sagemaker.create_endpoint(EndpointName="employment-local", EndpointConfigName="c")

    def serving() -> bool:
        found = user.sagemaker.describe_endpoint(EndpointName="employment-local")
        return bool(found["EndpointStatus"] == "InService")

    until(serving, "the endpoint serves", 60)
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    user.iam.create_role(RoleName="scoring", Path="/services/", AssumeRolePolicyDocument=document)


@pytest.fixture(scope="module")
def deploy(
    emulator: Emulator, user: User, serve: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[PredictionApiSpec], Deployed]:
    engine = Engine(
        tmp_path_factory.mktemp("work"),
        {"aws": lambda _: AwsProvider(REGION, ACCOUNT, dict.fromkeys(TAGS, "x"), emulator.endpoint)},
    )

    def deploy(told: PredictionApiSpec) -> Deployed:
        def build() -> dict[str, Any]:
            ApiGatewayAccount("platform")
            topic = aws.sns.Topic("alerts")
            key = aws.kms.Key("key")
            made = PredictionApi(
                "employment-local",
                told,
                schema=SCHEMA,
                endpoint_name="employment-local",
                kms_key_arn=key.arn,
                alerts_topic_arn=topic.arn,
            )
            return {"url": made.url, "token_url": made.token_url, "clients": made.clients, "api": made.api_id}

        stack = replace(settings(build, "employment-local"), region=REGION, config={**CONFIG, "slipway:stack": "x"})
        plan = engine.plan(stack)
        outputs = engine.up(stack).outputs
        where = in_rehearsal(Addresses(outputs["url"], outputs["token_url"]), emulator.endpoint)
        return Deployed(engine, stack, outputs, where, user, plan)

    return deploy


@pytest.fixture(scope="module")
def api(deploy: Callable[[PredictionApiSpec], Deployed]) -> Iterator[Deployed]:
    yield deploy(API)


def test_the_packs_have_nothing_against_it(api: Deployed) -> None:
    report = check([(api.settings, api.plan)])
    ours = [each for each in report.violations if "PredictionApi" in each.urn or "ApiGatewayAccount" in each.urn]
    assert ours == []
    assert sum("PredictionApi" in each.urn for each in api.plan.resources) > 25
    assert "has no price" not in str(report.violations)


def test_a_second_up_changes_nothing(api: Deployed) -> None:
    assert {step.op for step in api.engine.plan(api.settings).steps} == {"same"}


def test_the_generated_client_gets_predictions_with_a_token(api: Deployed) -> None:
    answer = api.client().predict([PERSON, {**PERSON, "AGEP": 20}])
    assert answer.predictions == (0.46, 0.2)
    assert (answer.model, answer.variant) == ("employment/7", "live")
    assert answer.request_id


def test_the_generated_client_gets_predictions_with_a_role(api: Deployed) -> None:
    client = api.client("scoring")
    assert client.predict([PERSON]).predictions == (0.46,)
    assert client.healthy() is True


def test_health_needs_a_token_and_no_key(api: Deployed) -> None:
    request = urllib.request.Request(f"{api.where.url}/health", headers={"Authorization": api.token()})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer) == {"status": "ok"}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{api.where.url}/health")


def test_the_answer_says_who_gave_it(api: Deployed) -> None:
    status, answer, headers = api.ask()
    assert status == 200
    assert (headers["x-variant"], headers["x-model"]) == ("live", "employment/7")
    assert headers["x-request-id"] == answer["request_id"] == headers["x-amzn-requestid"]
    assert headers["cache-control"] == "no-store"


class TestWhoAsks:
    def test_without_token_is_refused(self, api: Deployed) -> None:
        status, answer, _ = api.ask(headers={})
        assert (status, answer["code"], answer["title"]) == (401, "unauthorized", "Send a valid token")

    def test_with_a_forged_token_is_refused(self, api: Deployed) -> None:
        head, claims, signature = api.token().split(".")
        for token in (f"{head}.{claims}x.{signature}", f"{head}.{claims}.{signature[:-4]}AAAA"):
            assert api.ask(headers={"Authorization": token})[0] == 401

    def test_without_signature_is_refused(self, api: Deployed) -> None:
        assert api.ask(headers={}, path="/iam/predictions")[0] == 403

    def test_with_a_token_on_the_signed_path_is_refused(self, api: Deployed) -> None:
        assert api.ask(path="/iam/predictions")[0] == 403

    def test_without_key_or_with_an_unknown_one_is_refused(self, api: Deployed) -> None:
        for value in ("", "x" * 40):
            status, answer, _ = api.ask(**{"x-api-key": value})
            assert (status, answer["code"]) == (403, "invalid-key")

    def test_with_the_key_of_another_client_is_refused(self, api: Deployed) -> None:
        status, answer, _ = api.ask(**{"x-api-key": api.clients["scoring"]["api_key"]})
        assert (status, answer["code"]) == (403, "foreign-key")

    def test_with_another_role_than_the_client_s_is_refused(self, api: Deployed) -> None:
        made = api.module
        client = made.Client(
            api.where.url,
            auth=made.SigV4(REGION, Credentials("test", "test")),
            api_key=api.clients["scoring"]["api_key"],
        )
        with pytest.raises(made.NotAllowed, match="belongs to another client"):
            client.predict([PERSON])

    def test_with_a_wrong_secret_gets_no_token(self, api: Deployed) -> None:
        made = api.module
        auth = made.ClientCredentials(api.where.token_url, api.clients["web"]["client_id"], "guessed")
        with pytest.raises(made.NotAllowed, match="No token for this client"):
            made.Client(api.where.url, auth=auth, api_key="k").predict([PERSON])


class TestWhatIsAsked:
    @pytest.mark.parametrize(
        ("wrong", "feature", "words"),
        [
            ({"AGEP": "old"}, "AGEP", 'AGEP is "old", which is not a number'),
            ({"AGEP": -5}, "AGEP", "not within 0 to 99"),
            ({"AGEP": 1e30}, "AGEP", "not within 0 to 99"),
            ({"SCHL": "99"}, "SCHL", "none of its categories"),
            ({"SEX": 1}, "SEX", "SEX is 1, which is not a text"),
        ],
    )
    def test_a_wrong_value_is_refused_with_row_and_feature(
        self, api: Deployed, wrong: dict[str, Any], feature: str, words: str
    ) -> None:
        status, answer, headers = api.ask([PERSON, {**PERSON, **wrong}])
        assert (status, answer["code"], headers["content-type"]) == (400, "invalid-input", "application/problem+json")
        [error] = answer["errors"]
        assert (error["row"], error["feature"]) == (2, feature)
        assert words in error["reason"]

    def test_not_a_number_is_refused(self, api: Deployed) -> None:
        body = json.dumps({"instances": [{**PERSON, "AGEP": float("nan")}]}).encode()
        status, answer, _ = api.ask(body)
        assert status == 400 and "NaN" in answer["detail"]
        # Another content type takes it past API Gateway's validator, but not past the function.
        status, answer, _ = api.ask(body, **{"Content-Type": "text/plain"})
        assert (status, answer["errors"][0]["feature"]) == (400, "AGEP")

    def test_unknown_and_missing_features_are_refused_by_the_gateway_with_their_names(self, api: Deployed) -> None:
        status, answer, _ = api.ask([{**PERSON, "COLOUR": "red"}])
        assert status == 400 and '["COLOUR"]' in answer["detail"]
        status, answer, _ = api.ask([{name: value for name, value in PERSON.items() if name != "SEX"}])
        assert status == 400 and '["SEX"]' in answer["detail"]

    def test_what_is_nested_or_endless_is_refused_by_the_gateway(self, api: Deployed) -> None:
        for value in ([1], {"a": 1}, None, True, "x" * 300):
            assert "detail" in api.ask([{**PERSON, "AGEP": value}])[1]

    def test_too_many_rows_are_refused(self, api: Deployed) -> None:
        status, answer, _ = api.ask([PERSON] * 4)
        assert (status, answer["title"]) == (400, "The request has 4 rows: send 1 to 3")

    def test_too_large_a_request_is_refused(self, api: Deployed) -> None:
        body = json.dumps({"instances": [PERSON]}).encode() + b" " * 257 * 1024
        assert api.ask(body)[0] == 413

    def test_the_gateway_refuses_values_where_it_is_told_to(
        self, api: Deployed, deploy: Callable[[PredictionApiSpec], Deployed]
    ) -> None:
        before = api.user.apigateway.get_deployments(restApiId=api.outputs["api"])["items"]
        strict = deploy(API.model_copy(update={"refused_by": "gateway"}))
        try:
            assert strict.outputs["url"] == api.outputs["url"]
            status, answer, _ = strict.ask([{**PERSON, "AGEP": -5}])
            assert (status, answer["code"]) == (400, "invalid-input")
            assert "lower than the required minimum" in answer["detail"]
            assert strict.ask()[0] == 200
            after = strict.user.apigateway.get_deployments(restApiId=api.outputs["api"])["items"]
            assert [each["id"] for each in before] != [each["id"] for each in after] and len(after) == 1
        finally:
            deploy(API)


class TestHowOften:
    def test_a_client_is_held_to_its_rate_and_told_when_to_come_back(self, api: Deployed) -> None:
        made, client = api.module, api.client("slow", retries=0)
        client.predict([PERSON])
        with pytest.raises(made.Throttled) as told:
            client.predict([PERSON])
        assert (told.value.status, told.value.code) == (429, "throttled")
        assert api.client().predict([PERSON]).predictions == (0.46,)

    def test_the_generated_client_waits_and_tries_again(self, api: Deployed) -> None:
        client = api.client("slow", retries=5)
        began = time.monotonic()
        for _ in range(2):
            client.predict([PERSON])
        assert 1 <= time.monotonic() - began < 12

    def test_a_client_is_held_to_its_quota_and_does_not_wait_for_tomorrow(self, api: Deployed) -> None:
        made, client = api.module, api.client("few")
        client.predict([PERSON])
        began = time.monotonic()
        with pytest.raises(made.Throttled) as told:
            client.predict([PERSON])
        assert told.value.code == "quota"
        assert time.monotonic() - began < 5


class TestWhatTheModelCannot:
    @pytest.mark.parametrize(
        ("age", "status", "code"),
        [
            (13, 502, "model-failed"),
            (14, 422, "model-refused"),
            (15, 504, "timeout"),
            (17, 502, "model-failed"),
        ],
    )
    def test_is_told_without_its_words(self, api: Deployed, age: int, status: int, code: str) -> None:
        found, answer, headers = api.ask([{**PERSON, "AGEP": age}])
        assert (found, answer["code"], answer["status"]) == (status, code, status)
        assert "secret" not in json.dumps(answer)
        assert headers["x-request-id"] == answer["request_id"]

    def test_no_payload_is_in_any_log(self, api: Deployed) -> None:
        api.ask([{**PERSON, "AGEP": 13, "RAC1P": "9"}])
        groups = ["/aws/lambda/employment-local-predictions", "/aws/apigateway/employment-local"]
        for group in groups:
            lines = [each["message"] for each in api.user.logs.filter_log_events(logGroupName=group)["events"]]
            assert lines
            assert not any("RAC1P" in line or "secret" in line for line in lines)


def test_requests_are_counted_by_client_and_by_reason(api: Deployed) -> None:
    def total(metric: str, **dimensions: str) -> float:
        now, named = time.time(), {"api": "employment-local", **dimensions}
        found = api.user.cloudwatch.get_metric_statistics(
            Namespace="Slipway/Predictions",
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in named.items()],
            StartTime=now - 3600, EndTime=now + 60, Period=60, Statistics=["Sum"],
        )["Datapoints"]  # fmt: skip
        return float(sum(each["Sum"] for each in found))

    before = total("requests", client="web"), total("refusals", reason="invalid-input")
    api.ask()
    api.ask([{**PERSON, "AGEP": -1}])
    after = total("requests", client="web"), total("refusals", reason="invalid-input")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)
    assert total("requests", client="scoring") >= 1


def test_a_client_that_sends_nonsense_wakes_someone(api: Deployed) -> None:
    alarm = "employment-local-api-refused"

    def state() -> str:
        return str(api.user.cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    # Three of five minutes have to look like this; nobody wants to wait for them here.
    told = api.user.cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]
    kept = ("AlarmName", "Metrics", "Threshold", "ComparisonOperator", "TreatMissingData")
    api.user.cloudwatch.put_metric_alarm(
        **{name: told[name] for name in kept}, EvaluationPeriods=1, DatapointsToAlarm=1
    )
    login = {"Authorization": api.token()}
    with ThreadPoolExecutor(4) as many:
        answers = [*many.map(lambda _: api.ask([{**PERSON, "AGEP": -1}], login)[0], range(60))]
    assert {*answers} <= {400, 429} and answers.count(400) > 40
    until(lambda: state() == "ALARM", "the alarm sees what is refused", 60)


def test_repeated_requests_come_from_the_cache_where_there_is_one(
    api: Deployed, deploy: Callable[[PredictionApiSpec], Deployed]
) -> None:
    cached = deploy(PredictionApiSpec.model_validate({**API.model_dump(), "cache": {"seconds": 60, "answers": 10}}))
    try:
        first, again = cached.ask(), cached.ask()
        assert (first[0], again[0]) == (200, 200)
        assert "age" not in first[2] and int(again[2]["age"]) >= 0
        assert first[1]["predictions"] == again[1]["predictions"]
        assert "age" not in cached.ask([{**PERSON, "AGEP": 47}])[2]
    finally:
        deploy(API)


def test_it_goes_as_it_came(deploy: Callable[[PredictionApiSpec], Deployed]) -> None:
    api = deploy(API)
    api.engine.down(api.settings)
    assert api.user.apigateway.get_rest_apis()["items"] == []
    assert api.user.client("cognito-idp").list_user_pools(MaxResults=10)["UserPools"] == []
