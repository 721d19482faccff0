"""Names of models and endpoint configurations. SageMaker changes neither in place: other content has another name."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

NAME_LIMIT: Final = 63
"""Of models, endpoint configurations, endpoints and inference components."""
DIGITS: Final = 12
MODEL_VERSION: Final = "MODEL_VERSION"
NAMED: Final = r"(-v\d+)?-[0-9a-f]{12}|-(configuration|model|shadow)-[0-9a-f]{7}"
"""What stands behind an endpoint's name: what `named` puts there, or Pulumi when it makes the first of them."""


def version_of(package_arn: str) -> str:
    """`…:model-package/churn/3` → `3`; empty for a package without a version."""
    last = package_arn.rpartition("/")[2]
    return last if last.isdigit() else ""


def named(endpoint: str, package_arn: str, content: str) -> str:
    """The name of what has this content (a JSON text with sorted keys): it says the endpoint and the version."""
    version = version_of(package_arn)
    rest = f"{f'-v{version}' if version else ''}-{hashlib.sha256(content.encode()).hexdigest()[:DIGITS]}"
    return f"{endpoint[: NAME_LIMIT - len(rest)].rstrip('-')}{rest}"


def is_of(endpoint: str, name: str) -> bool:
    """Whether a model or configuration of this name was made for this endpoint."""
    found = re.search(f"({NAMED})$", name)
    if found is None:
        return False
    start = name[: found.start()]
    return start in (endpoint[: NAME_LIMIT - len(found[0])].rstrip("-"), endpoint[:40])


def text(content: Mapping[str, Any]) -> str:
    """The text that a name is made of."""
    return json.dumps(content, sort_keys=True)


def model(template: Mapping[str, Any], package_arn: str) -> dict[str, Any]:
    """CreateModel's parameters for a version, its name included."""
    container = {"ModelPackageName": package_arn, "Environment": told(package_arn)}
    content = {**template["model"], "PrimaryContainer": container}
    return {"ModelName": named(template["endpoint"], package_arn, text(content)), **content}


def told(package_arn: str) -> dict[str, str]:
    """The variables of a version's container: it can say in its answers which version it is."""
    return {MODEL_VERSION: version_of(package_arn)}


def configuration(template: Mapping[str, Any], package_arn: str) -> dict[str, Any]:
    """CreateEndpointConfig's parameters for a version, its name included."""
    content = dict(template["configuration"])
    if template["kind"] == "inference-component":
        # Its variants have no model: the component has it, and a release changes only that.
        return {"EndpointConfigName": named(template["endpoint"], "", text(content)), **content}
    name = model(template, package_arn)["ModelName"]
    content["ProductionVariants"] = [{**variant, "ModelName": name} for variant in content["ProductionVariants"]]
    if shadow := template.get("shadow_package_arn"):
        shadowed = model(template, shadow)["ModelName"]
        content["ShadowProductionVariants"] = [
            {**variant, "ModelName": shadowed} for variant in content["ShadowProductionVariants"]
        ]
    return {"EndpointConfigName": named(template["endpoint"], package_arn, text(content)), **content}
