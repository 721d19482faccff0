"""The components: what YAML may set, what they are wired to, what they give."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pulumi
from pydantic import BaseModel

import components
from components.spec import Spec
from infra.docstrings import annotations, fields, summary, wiring
from infra.reference import specs
from infra.reference.markdown import anchor, code, page, paragraphs, prose, table

TOGETHER = {
    "endpoint_spec": "endpoint",
    "logs": "",
    "spec": "",
}
"""Modules whose classes stand on another module's page, or on none."""


@dataclass(frozen=True)
class Module:
    """One page: a module's component classes and the models of its keys."""

    name: str
    made: tuple[type[pulumi.ComponentResource], ...]
    models: tuple[type[BaseModel], ...]

    @property
    def title(self) -> str:
        """Its first component's class; else the first model's."""
        return (*self.made, *self.models)[0].__name__


@cache
def modules() -> tuple[Module, ...]:
    """Every module that a stack composes something of, or whose keys its YAML has."""
    made: dict[str, list[type[pulumi.ComponentResource]]] = {}
    models: dict[str, list[type[BaseModel]]] = {}
    for found in pkgutil.iter_modules(components.__path__):
        module = importlib.import_module(f"components.{found.name}")
        at = TOGETHER.get(found.name, found.name)
        for each in vars(module).values():
            if not at or not inspect.isclass(each) or each.__module__ != module.__name__ or each.__name__[0] == "_":
                continue
            if issubclass(each, pulumi.ComponentResource) and each.__name__ in components.__all__:
                made.setdefault(at, []).append(each)
            elif issubclass(each, Spec):
                models.setdefault(at, []).append(each)
    return tuple(
        Module(each, tuple(made.get(each, ())), tuple(models.get(each, ()))) for each in sorted({*made, *models})
    )


@cache
def places() -> Mapping[str, str]:
    """Where each model and component stands: `endpoint.md#realtimespec`."""
    return {
        each.__name__: f"{module.name.replace('_', '-')}.md#{anchor(each.__name__)}"
        for module in modules()
        for each in (*module.made, *module.models)
    }


def link(name: str, folder: str = "") -> str:
    """The Markdown that leads to a model or component; its bare name where it has no place."""
    return f"[{name}]({folder}{places()[name]})" if name in places() else code(name)


def pages() -> Iterator[tuple[str, str]]:
    """A page for each module, and their list."""
    for module in modules():
        parts = [_model(each) for each in module.models]
        if module.made:
            first, *others = module.made
            parts = [_about(first), *parts, f"## In Python\n\n{_in_python(first)}"]
            parts += [f"## {each.__name__}\n\n{_about(each)}\n\n{_in_python(each)}" for each in others]
        else:
            parts[0] = parts[0].partition("\n\n")[2]  # the page's own title
        yield f"reference/components/{module.name.replace('_', '-')}.md", page(module.title, *parts)
    rows = ((link(each.__name__, "components/"), prose(summary(each))) for module in modules() for each in module.made)
    yield (
        "reference/components.md",
        page(
            "Components",
            "What a stack is composed of. Each page lists the keys that YAML may set, with the limits they are held to,"
            " what the component is wired to in Python, and what it gives to others.",
            table(("component", "what it is"), sorted(rows)),
            "How a stack composes them: [Stacks and their YAML](stacks.md).",
        ),
    )


def _about(made: type[pulumi.ComponentResource]) -> str:
    return paragraphs(inspect.getdoc(made) or "")


def _in_python(made: type[pulumi.ComponentResource]) -> str:
    texts = fields(made)
    wired = [
        (code(name), _plain(kind), "**required**" if default is None else code(default))
        for name, (kind, default) in wiring(made).items()
        if name != "opts"
    ]
    gives = [(code(name), _plain(kind), prose(texts.get(name, ""))) for name, kind in annotations(made).items()]
    parts = []
    if wired:
        parts += ["What it is wired to, beside its name and keys:", table(("argument", "type", "default"), wired)]
    if gives:
        parts += ["What it gives:", table(("attribute", "type", "what it is"), gives)]
    return "\n\n".join(parts) or "It is made with its name and keys alone."


def _plain(annotation: str) -> str:
    """A type in Pulumi's shortest words."""
    return code(annotation.replace("pulumi.", ""))


def _model(model: type[BaseModel]) -> str:
    text = paragraphs(inspect.getdoc(model) or "")
    return "\n\n".join([f"## {model.__name__}", text, specs.keys(model, lambda name: link(name))])
