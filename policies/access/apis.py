"""What answers callers from outside: APIs, and the tokens that let programs in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pulumi_policy import Severity

from policies.documents import Statement, Table, of_statements
from policies.resource_types import METHOD_SETTINGS, REST_API, USER_POOL
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    given,
    of_table,
    of_type,
    refers,
)

STAGE: Final = "aws:apigateway/stage:Stage"
PLAN: Final = "aws:apigateway/usagePlan:UsagePlan"
PLAN_KEY: Final = "aws:apigateway/usagePlanKey:UsagePlanKey"
CLIENT: Final = "aws:cognito/userPoolClient:UserPoolClient"

API_DOCUMENTS: Table = {REST_API: ("policy?",), "aws:apigateway/restApiPolicy:RestApiPolicy": ("policy",)}
MOST_MINUTES = 60
"""A token cannot be taken back from who stole it: it ends."""
MOST_A_SECOND = 1000
"""Requests a second of one REST_API: AWS itself lets 10,000 of all APIs of an account through."""
IN_MINUTES: Final = {"seconds": 1 / 60, "minutes": 1, "hours": 60, "days": 1440}


def _speaks_new_tls(resource_type: str, inputs: Props) -> Iterator[Finding]:
    version = inputs.get("securityPolicy")
    if version == UNKNOWN:
        yield Unknown("securityPolicy")
    elif not any(each in str(version) for each in ("TLS_1_2", "TLS13", "TLS12")):
        yield f"securityPolicy is {version}: set a policy of TLS 1.2 or later, or passwords can be read on the way"


def _says_who_and_what(statement: Statement) -> Iterator[str]:
    for element in statement.inverted:
        yield f"{element} lets in all but what it names: name what is let in"
    if any(each.lower() != "execute-api:invoke" for each in statement.actions):
        yield f"allows {', '.join(statement.actions)}: a caller needs execute-api:Invoke"
    for resource in statement.resources:
        if "*" in resource:
            yield f"is about {resource}: name the stage, the method and the path"


def _is_throttled(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for path in ("throttlingRateLimit", "throttlingBurstLimit"):
        value = (inputs.get("settings") or {}).get(path)
        if value == UNKNOWN:
            yield Unknown(f"settings.{path}")
        elif not isinstance(value, int | float) or not 0 < value <= MOST_A_SECOND:
            yield f"settings.{path} is {_shown(value)}: set at most {MOST_A_SECOND}, or one client costs what all may"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def stages_are_throttled(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every stage has settings for all its methods, and every client's key a plan with a rate and a quota."""
    for stage in of_type(resources, STAGE):
        if not any(refers(each, "restApi", stage, by=("restApi",)) for each in of_type(resources, METHOD_SETTINGS)):
            yield stage, f"stage {stage.name} has no method settings: add MethodSettings with throttling"
    for plan in of_type(resources, PLAN):
        for path, limits in (("throttleSettings", ("rateLimit", "burstLimit")), ("quotaSettings", ("limit",))):
            settings = plan.inputs.get(path)
            if settings != UNKNOWN and not all(given((settings or {}).get(each)) for each in limits):
                yield plan, f"{path} is {settings}: set {' and '.join(limits)}, or this client costs what it likes"
    if not of_type(resources, PLAN):
        for key in of_type(resources, "aws:apigateway/apiKey:ApiKey"):
            yield key, f"the REST_API key {key.name} has no usage plan: add one with a rate and a quota"


def _signs_up_nobody(resource_type: str, inputs: Props) -> Iterator[Finding]:
    settings = inputs.get("adminCreateUserConfig")
    if settings == UNKNOWN:
        yield Unknown("adminCreateUserConfig")
    elif not (isinstance(settings, Mapping) and settings.get("allowAdminCreateUserOnly") is True):
        yield "anyone can sign up: set adminCreateUserConfig.allowAdminCreateUserOnly to True"


def _tokens_end(resource_type: str, inputs: Props) -> Iterator[Finding]:
    validity = inputs.get("accessTokenValidity")
    unit: Any = (inputs.get("tokenValidityUnits") or {}).get("accessToken") or "hours"
    if UNKNOWN in (validity, unit):
        yield Unknown("accessTokenValidity")
    elif isinstance(validity, int | float) and validity * IN_MINUTES.get(str(unit), 1440) > MOST_MINUTES:
        yield f"accessTokenValidity is {validity:g} {unit}: set at most {MOST_MINUTES} minutes, nobody ends it sooner"


CONTROLS = [
    Control(
        "api-tls",
        "APIs speak TLS 1.2 or later.",
        Severity.HIGH,
        ("CKV_AWS_206",),
        "Set securityPolicy to SecurityPolicy_TLS13_1_2_PFS_PQ_2025_09.",
        rule=_speaks_new_tls,
        types=frozenset({REST_API}),
    ),
    Control(
        "api-policy-narrow",
        "An API's own policy names who calls which of its paths.",
        Severity.HIGH,
        (),
        "Name execute-api:Invoke, and `execute-api:/live/POST/predictions`.",
        **of_statements(API_DOCUMENTS, _says_who_and_what),
    ),
    Control(
        "api-no-data-trace",
        "Requests and answers are not written to the log in whole: they are about people.",
        Severity.HIGH,
        ("CKV_AWS_276",),
        "Set settings.dataTraceEnabled to False.",
        **of_table(
            {METHOD_SETTINGS: (Setting("settings.dataTraceEnabled?", (False,), "or people's answers are logged"),)}
        ),
    ),
    Control(
        "api-throttled",
        "No client makes more requests than somebody decided to pay for.",
        Severity.MEDIUM,
        (),
        "Set settings.throttlingRateLimit and throttlingBurstLimit.",
        rule=_is_throttled,
        types=frozenset({METHOD_SETTINGS}),
    ),
    Control(
        "api-clients-throttled",
        "Every stage, and every client by its key, has a rate and a quota.",
        Severity.MEDIUM,
        (),
        "Set `rate`, `burst` and `quota_per_day` of the client in `api.clients`.",
        stack_rule=stages_are_throttled,
    ),
    Control(
        "cognito-no-sign-up",
        "Nobody lets himself in: users are made by administrators.",
        Severity.HIGH,
        (),
        "Set adminCreateUserConfig.allowAdminCreateUserOnly to True.",
        rule=_signs_up_nobody,
        types=frozenset({USER_POOL}),
    ),
    Control(
        "cognito-client-secret",
        "A program that asks for tokens proves who it is, and its tokens can be revoked.",
        Severity.HIGH,
        (),
        "Set generateSecret and enableTokenRevocation to True.",
        **of_table(
            {
                CLIENT: (
                    Setting("generateSecret", (True,), "or whoever knows the client's name gets its tokens"),
                    Setting("enableTokenRevocation?", (True,), "or a stolen token cannot be taken back"),
                )
            }
        ),
    ),
    Control(
        "cognito-short-tokens",
        "A token ends within an hour.",
        Severity.MEDIUM,
        (),
        "Set accessTokenValidity to 60 or less, in minutes.",
        rule=_tokens_end,
        types=frozenset({CLIENT}),
    ),
]
