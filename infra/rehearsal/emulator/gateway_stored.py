"""What moto lacks of API Gateway and Cognito that the platform's stacks use: stored and answered as told."""

import json
from typing import Any
from urllib.parse import unquote

from moto.apigateway import urls as apigateway_urls
from moto.apigateway.models import Stage, UsagePlan
from moto.apigateway.responses import APIGatewayResponse
from moto.cognitoidp import urls as cognito_urls
from moto.cognitoidp.models import CognitoIdpBackend, CognitoResourceServer
from moto.cognitoidp.responses import CognitoIdpResponse
from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import ActionResult, EmptyResult

Json = dict[str, Any]
KEPT_FIELDS = ("securityPolicy", "endpointAccessMode")
"""Of a REST API, what moto drops."""
TAGS_PATH = "{0}/tags/(?P<resourceArn>.+)$"

_apply_in_moto = Stage.apply_operations
_plan_in_moto = UsagePlan.apply_patch_operations


def install() -> None:
    """Route moto's requests to the classes here, and mend what they rely on; before moto's server answers."""
    for path in [each for each in apigateway_urls.url_paths if "/v2/" not in each]:
        if apigateway_urls.url_paths[path] == APIGatewayResponse.dispatch:
            apigateway_urls.url_paths[path] = ApiResponse.dispatch
    apigateway_urls.url_paths[TAGS_PATH] = ApiResponse.dispatch
    cognito_urls.url_paths["{0}/$"] = CognitoResponse.dispatch
    Stage.apply_operations = _apply  # type: ignore[assignment, method-assign]  # that is what is replaced
    UsagePlan.apply_patch_operations = _change_plan  # type: ignore[assignment, method-assign]  # likewise


def _apply(stage: Stage, patch_operations: list[Json]) -> Stage:
    """As moto's, which takes no method settings away."""
    for operation in patch_operations:
        path = operation["path"].lstrip("/")
        if operation["op"] == "remove" and path in stage.method_settings:
            del stage.method_settings[path]
    return _apply_in_moto(stage, patch_operations)


def _change_plan(plan: UsagePlan, patch_operations: list[Json]) -> None:
    """As moto's, which takes whole numbers only where AWS takes a rate."""
    rates = [each for each in patch_operations if each["path"] == "/throttle/rateLimit" and each["op"] != "remove"]
    _plan_in_moto(plan, [each for each in patch_operations if each not in rates])
    for each in rates:
        plan.throttle["rateLimit"] = float(each["value"])


class ApiResponse(APIGatewayResponse):
    """REST APIs with a security policy, and tags on whatever has an ARN."""

    def _tagged(self, arn: str) -> dict[str, str]:
        """The tags of what an ARN names, as they are kept."""
        kind, _, name = arn.partition("::/")[2].partition("/")
        found: Any = None
        if kind == "restapis" and "/stages/" in name:
            api, _, stage = name.partition("/stages/")
            found = self.backend.get_stage(api, stage)
        elif kind == "restapis":
            found = self.backend.get_rest_api(name)
        elif kind == "usageplans":
            found = self.backend.get_usage_plan(name)
        elif kind == "apikeys":
            found = self.backend.get_api_key(name)
        if found is None:
            raise NotImplementedError(f"tags of {arn}")
        found.tags = found.tags or {}
        return found.tags  # type: ignore[no-any-return]  # moto's models are untyped here

    def _arn(self) -> str:
        return unquote(self.path.split("/tags/")[1])

    def get_tags(self) -> str:
        return json.dumps({"tags": self._tagged(self._arn())})

    def tag_resource(self) -> str:
        self._tagged(self._arn()).update(self._get_param("tags") or {})
        return "{}"

    def untag_resource(self) -> str:
        tags = self._tagged(self._arn())
        for key in self.querystring.get("tagKeys") or ():
            tags.pop(key, None)
        return "{}"

    def create_rest_api(self) -> TYPE_RESPONSE:
        status, headers, body = super().create_rest_api()
        if status < 300:
            told = {name: self._get_param(name) for name in KEPT_FIELDS if self._get_param(name)}
            vars(self.backend.get_rest_api(json.loads(body)["id"]))["kept"] = told
        return status, headers, self._with_kept(body)

    def get_rest_api(self) -> TYPE_RESPONSE:
        status, headers, body = super().get_rest_api()
        return status, headers, self._with_kept(body)

    def update_rest_api(self) -> TYPE_RESPONSE:
        operations = self._get_param("patchOperations") or []
        status, headers, body = super().update_rest_api()
        if status < 300:
            kept = vars(self.backend.get_rest_api(json.loads(body)["id"])).setdefault("kept", {})
            kept |= {name: each["value"] for each in operations if (name := each["path"].strip("/")) in KEPT_FIELDS}
        return status, headers, self._with_kept(body)

    def _with_kept(self, body: Any) -> str:
        answer = json.loads(body)
        if "id" in answer:
            answer |= vars(self.backend.get_rest_api(answer["id"])).get("kept", {})
        return json.dumps(answer)


class CognitoResponse(CognitoIdpResponse):
    """User pools with tags, and resource servers that can be changed and removed."""

    def _server(self) -> CognitoResourceServer:
        backend: CognitoIdpBackend = self.backend
        return backend.describe_resource_server(self._get_param("UserPoolId"), self._get_param("Identifier"))

    def update_resource_server(self) -> ActionResult:
        server = self._server()
        server.name, server.scopes = self._get_param("Name"), self._get_param("Scopes") or []
        return ActionResult({"ResourceServer": server.to_json()})

    def delete_resource_server(self) -> ActionResult:
        server = self._server()
        del self.backend.describe_user_pool(server.user_pool_id).resource_servers[server.identifier]
        return EmptyResult()

    def _pool_tags(self) -> dict[str, str]:
        pool = self.backend.describe_user_pool(self._get_param("ResourceArn").rpartition("/")[2])
        return pool.extended_config.setdefault("UserPoolTags", {})  # type: ignore[no-any-return]  # moto's is untyped

    def tag_resource(self) -> ActionResult:
        self._pool_tags().update(self._get_param("Tags") or {})
        return EmptyResult()

    def untag_resource(self) -> ActionResult:
        tags = self._pool_tags()
        for key in self._get_param("TagKeys") or ():
            tags.pop(key, None)
        return EmptyResult()

    def list_tags_for_resource(self) -> ActionResult:
        return ActionResult({"Tags": self._pool_tags()})

    def update_user_pool(self) -> ActionResult:  # type: ignore[override]  # moto's answers with nothing at all
        pool = self.backend.describe_user_pool(self._get_param("UserPoolId"))
        tags = pool.extended_config.get("UserPoolTags")
        super().update_user_pool()
        if tags:
            pool.extended_config["UserPoolTags"] = tags
        return EmptyResult()
