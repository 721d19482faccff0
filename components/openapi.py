"""The OpenAPI document of a prediction API, made from the schema of the features that its model takes.

One document does two things: API Gateway is built from it (`deployed`), and applications read it (`document`).

API Gateway takes OpenAPI 3.0 and reads schemas as JSON Schema draft 4; it does not look at minItems and maxItems, nor
at `nullable` (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html). So a feature
that may be missing is left out of a row, and the function counts the rows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pulumi

from functions.features import Feature, FeatureSchema

Auth = Literal["jwt", "iam"]
"""A token of the API's user pool, or a request signed with an AWS role's credentials."""
RefusedBy = Literal["function", "gateway"]
Json = dict[str, Any]

OPENAPI: Final = "3.0.3"
PATHS: Final[Mapping[Auth, str]] = {"jwt": "", "iam": "/iam"}
"""What stands before /predictions and /health. A method of API Gateway has one kind of authentication, so each kind has
methods of its own."""
SCOPE: Final = "predict"
PROBLEM: Final = "application/problem+json"
INTEGRATION_MILLISECONDS: Final = 29_000
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
LONGEST_TEXT: Final = 256

GATEWAY_RESPONSES: Final[Mapping[str, tuple[int, str, str]]] = {
    "ACCESS_DENIED": (403, "forbidden", "These credentials may not do this"),
    "API_CONFIGURATION_ERROR": (500, "internal", "Something went wrong here"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, "internal", "Something went wrong here"),
    "AUTHORIZER_FAILURE": (500, "internal", "Something went wrong here"),
    "BAD_REQUEST_BODY": (400, "invalid-input", "The request does not match the schema"),
    "BAD_REQUEST_PARAMETERS": (400, "invalid-input", "The request does not match the schema"),
    "DEFAULT_4XX": (0, "refused", "The request was refused"),
    "DEFAULT_5XX": (0, "internal", "Something went wrong here"),
    "EXPIRED_TOKEN": (401, "unauthorized", "The signature or token has expired"),
    "INTEGRATION_FAILURE": (504, "timeout", "The API did not answer in time"),
    "INTEGRATION_TIMEOUT": (504, "timeout", "The API did not answer in time"),
    "INVALID_API_KEY": (403, "invalid-key", "Send the API key of your client as x-api-key"),
    "INVALID_SIGNATURE": (401, "unauthorized", "The signature is not valid"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "unauthorized", "Send a signature or a token, to a path that exists"),
    "QUOTA_EXCEEDED": (429, "quota", "Your client has used up its requests of today"),
    "REQUEST_TOO_LARGE": (413, "too-large", "The request is too large"),
    "RESOURCE_NOT_FOUND": (404, "not-found", "There is nothing at this path"),
    "THROTTLED": (429, "throttled", "Your client sends too many requests a second"),
    "UNAUTHORIZED": (401, "unauthorized", "Send a valid token"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "not-json", "Send application/json"),
}
"""What API Gateway itself refuses: status (0: its own), code and title.
https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html"""
WAIT_SECONDS: Final[Mapping[str, int]] = {"THROTTLED": 1, "QUOTA_EXCEEDED": 3600}


@dataclass(frozen=True)
class Shape:
    """What applications see of an API, beside its schema."""

    name: str
    auths: Sequence[Auth]
    max_rows: int
    version: str = "1"


def document(schema: FeatureSchema, shape: Shape, *, url: str = "", token_url: str = "") -> Json:
    """The document for applications: no word of how the API is built.

    `url` is where it is served, `token_url` where a client gets a token; both may be left out before they are known.
    """
    made = _document(schema, shape, "gateway")
    if url:
        made["servers"] = [{"url": url}]
    schemes = made["components"]["securitySchemes"]
    if "jwt" in schemes and token_url:
        scope = scope_of(shape.name)
        flow = {"tokenUrl": token_url, "scopes": {scope: "ask for predictions"}}
        schemes["jwt"] = {"type": "oauth2", "flows": {"clientCredentials": flow}}
    elif "jwt" in schemes:
        schemes["jwt"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        for path in made["paths"].values():
            for operation in path.values():
                for demanded in operation["security"]:
                    demanded |= {name: [] for name in demanded}  # only OAuth has scopes
    return made


def deployed(
    schema: FeatureSchema,
    shape: Shape,
    *,
    refused_by: RefusedBy,
    function_invoke_arn: pulumi.Input[str],
    user_pool_arn: pulumi.Input[str] | None,
) -> pulumi.Output[str]:
    """The document that API Gateway is built from, with its extensions; the same API gives the same text."""
    made = _document(schema, shape, refused_by)
    made["x-amazon-apigateway-request-validators"] = {
        "all": {"validateRequestBody": True, "validateRequestParameters": True}
    }
    made["x-amazon-apigateway-request-validator"] = "all"
    made["x-amazon-apigateway-api-key-source"] = "HEADER"
    made["x-amazon-apigateway-gateway-responses"] = {kind: _gateway_response(kind) for kind in GATEWAY_RESPONSES}
    schemes = made["components"]["securitySchemes"]
    if "iam" in schemes:
        schemes["iam"]["x-amazon-apigateway-authtype"] = "awsSigv4"
    if "jwt" in schemes:
        schemes["jwt"] |= {
            "x-amazon-apigateway-authtype": "cognito_user_pools",
            "x-amazon-apigateway-authorizer": {"type": "cognito_user_pools", "providerARNs": [user_pool_arn]},
        }
    for path in made["paths"].values():
        for operation in path.values():
            operation["x-amazon-apigateway-integration"] = {
                "type": "aws_proxy",
                "httpMethod": "POST",
                "uri": function_invoke_arn,
                "passthroughBehavior": "never",
                "timeoutInMillis": INTEGRATION_MILLISECONDS,
            }
    return pulumi.Output.json_dumps(made, sort_keys=True)


def scope_of(name: str) -> str:
    """The OAuth scope that a token needs for the API `name`."""
    return f"{name}/{SCOPE}"


def _document(schema: FeatureSchema, shape: Shape, refused_by: RefusedBy) -> Json:
    paths: dict[str, Json] = {}
    for auth in shape.auths:
        signed = "Signed" if auth == "iam" else ""
        login: dict[str, list[str]] = {auth: [scope_of(shape.name)] if auth == "jwt" else []}
        paths[f"{PATHS[auth]}/predictions"] = {
            "post": {
                "operationId": f"predict{signed}",
                "summary": f"Ask {shape.name} for the predictions of some rows",
                "security": [{**login, "key": []}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}},
                },
                "responses": _responses("Predictions", "What the model says of each row, in their order"),
            }
        }
        paths[f"{PATHS[auth]}/health"] = {
            "get": {
                "operationId": f"health{signed}",
                "summary": "Ask whether predictions are to be had",
                "security": [login],
                "responses": _responses("Health", "They are"),
            }
        }
    header = {"type": "apiKey", "in": "header"}
    return {
        "openapi": OPENAPI,
        "info": {
            "title": shape.name,
            "version": shape.version,
            "description": f"Predictions of the model {shape.name}, from the features of {schema.name}.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Row": row(schema) if refused_by == "gateway" else _outline(schema),
                "Request": {
                    "type": "object",
                    "properties": {
                        "instances": {
                            "type": "array",
                            "description": f"1 to {shape.max_rows} rows",
                            "items": {"$ref": "#/components/schemas/Row"},
                            "minItems": 1,
                            "maxItems": shape.max_rows,
                        }
                    },
                    "required": ["instances"],
                    "additionalProperties": False,
                },
                **ANSWERS,
            },
            "securitySchemes": {
                **{auth: {**header, "name": "Authorization"} for auth in shape.auths},
                "key": {**header, "name": "x-api-key", "description": "The API key of your client"},
            },
        },
    }


def row(schema: FeatureSchema) -> Json:
    """The schema of one row, in OpenAPI 3.0's words."""
    made = schema.json_schema()
    made["properties"] = {feature.name: _value(feature) for feature in schema.features}
    return made


def _value(feature: Feature) -> Json:
    made = feature.json_schema()
    if not feature.required:  # a missing value is left out: neither OpenAPI 3.0 nor API Gateway has a type `null`
        made["type"] = next(each for each in made["type"] if each != "null")
        made |= {"enum": [each for each in made["enum"] if each is not None]} if "enum" in made else {}
    if made["type"] == "string" and "enum" not in made:
        made["maxLength"] = LONGEST_TEXT
    return made


def _outline(schema: FeatureSchema) -> Json:
    """What a row looks like, whatever its values: no more and no fewer features, and nothing nested or endless in them.

    The words of API Gateway's validator name a feature that is missing or unknown, and no other: "numeric instance is
    lower than the required minimum (minimum: 0, found: -5)". So values are left to the function, which says of which.
    """
    required = [feature.name for feature in schema.features if feature.required]
    return {
        "type": "object",
        "properties": {
            feature.name: {
                "description": feature.description,
                "anyOf": [{"type": "number"}, {"type": "string", "maxLength": LONGEST_TEXT}],
            }
            for feature in schema.features
        },
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _of(kind: str, description: str, **more: Any) -> Json:
    return {"type": kind, "description": description, **more}


ANSWERS: Final[Mapping[str, Json]] = {
    "Predictions": {
        "type": "object",
        "properties": {
            "predictions": _of("array", "One for each row, in their order", items={"type": "number"}),
            "model": _of("string", "The model version that answered, where it says so", nullable=True),
            "variant": _of("string", "The variant of the endpoint that answered"),
            "request_id": _of("string", "Tells this request from all others in our logs"),
        },
        "required": ["predictions", "model", "variant", "request_id"],
    },
    "Health": {
        "type": "object",
        "properties": {"status": {"type": "string", "enum": ["ok"]}},
        "required": ["status"],
    },
    "Problem": {
        "type": "object",
        "description": "Why a request was not answered (RFC 9457)",
        "properties": {
            "type": {"type": "string"},
            "title": _of("string", "A sentence for people"),
            "status": {"type": "integer"},
            "code": _of("string", "A word for programs"),
            "detail": _of("string", "More words, where there are some"),
            "request_id": _of("string", "Tells this request from all others in our logs"),
            "errors": _of(
                "array",
                "What is wrong with the values",
                items={
                    "type": "object",
                    "properties": {
                        "row": _of("integer", "Counts from 1", nullable=True),
                        "feature": {"type": "string", "nullable": True},
                        "reason": {"type": "string"},
                    },
                    "required": ["row", "feature", "reason"],
                },
            ),
            "more_errors": _of("integer", "How many are not listed"),
        },
        "required": ["title", "code", "request_id"],
    },
}


def _responses(model: str, description: str) -> Json:
    problem = {"description": "Why not", "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
    return {"200": {"description": description, "content": content}, "default": problem}


def _gateway_response(kind: str) -> Json:
    status, code, title = GATEWAY_RESPONSES[kind]
    body = {
        "type": "about:blank",
        "title": title,
        **({"status": status} if status else {}),
        "code": code,
        "request_id": "$context.requestId",
        **({"detail": "$context.error.validationErrorString"} if kind == "BAD_REQUEST_BODY" else {}),
    }
    wait = {"gatewayresponse.header.Retry-After": f"'{WAIT_SECONDS[kind]}'"} if kind in WAIT_SECONDS else {}
    return {
        **({"statusCode": status} if status else {}),
        **({"responseParameters": wait} if wait else {}),
        "responseTemplates": {"application/json": json.dumps(body)},
    }
