"""Whether YAML that a page shows would be taken where it belongs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from infra import environments, settings
from policies.exceptions import Exemption

ENVIRONMENTS = "stacks/environments.yaml"
EXCEPTIONS = "policies/exceptions.yaml"
STACK_FILE = re.compile(r"(?:stacks|examples/[\w-]+)/Pulumi\.([\w-]+)\.yaml")


def judged(title: str | None) -> bool:
    """Whether `faults` knows what reads YAML of this title; other files are compared with what is there."""
    return title is None or bool(STACK_FILE.fullmatch(title)) or title in (ENVIRONMENTS, EXCEPTIONS)


def faults(document: Any, title: str | None) -> list[str]:
    """What is wrong with it: a part of the file that `title` names, or of any stack."""
    if title == EXCEPTIONS:
        return _exceptions(document)
    if title == ENVIRONMENTS:
        return _environments(document)
    if not isinstance(document, dict):
        return ["a part of a stack's YAML has keys"]
    found = STACK_FILE.fullmatch(title or "")
    if found and not (settings.ROOT / (title or "")).exists() and "config" in document:
        return _stack(found[1], document["config"])
    stacks = [found[1]] if found else settings.stack_names()
    told: list[list[str]] = []
    for stack in stacks:
        file = settings.ROOT / title if title else settings.ROOT / "stacks" / f"Pulumi.{stack}.yaml"
        for merge in (_deep, _shallow):
            told.append(_stack(stack, _laid_over(file, document, merge)))
            if not told[-1]:
                return []
    return min(told, key=lambda each: ("there is no such key" in str(each), len(each)))


def _stack(stack: str, config: Any) -> list[str]:
    try:
        settings.check(stack, config)
    except settings.SettingsError as error:
        return str(error).splitlines()
    return []


def _laid_over(file: Path, document: Mapping[str, Any], merge: Any) -> Any:
    config = yaml.safe_load(file.read_text("utf-8"))["config"]
    if "config" in document:
        return merge(config, document["config"])
    if all(":" in key for key in document):
        return merge(config, document)
    return {**config, "slipway:settings": merge(config["slipway:settings"], document)}


def _deep(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _deep(below.get(key), value) for key, value in above.items()}}
    return above


def _shallow(below: Any, above: Any) -> Any:
    return {**below, **above}


def _environments(document: Any) -> list[str]:
    """The whole file, or some environments of it, which are laid over those that there are."""
    told = document if "environments" in document else {"environments": document}
    try:
        environments.read(yaml.safe_dump(_deep(yaml.safe_load(environments.FILE.read_text("utf-8")), told)))
    except environments.EnvironmentsError as error:
        return str(error).splitlines()
    return []


def _exceptions(document: Any) -> list[str]:
    try:
        entries = document["exceptions"] if isinstance(document, dict) else document
        for each in entries:
            Exemption.model_validate(each)
    except (ValidationError, KeyError, TypeError) as error:
        return [str(error)]
    return []
