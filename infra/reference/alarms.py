"""Every alarm with its runbook, by component: from the runbooks that the stacks would deploy."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from infra.reference import plans
from infra.reference.markdown import anchor, code, page, prose, table
from infra.settings import load

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
STACK = "STACK"
"""Stands for the stack's name in what is told of every stack."""
POOL = "POOL"
"""Stands for the name of a pool of GPUs."""


@dataclass(frozen=True)
class Alarm:
    """One alarm, as every stack with that component has it."""

    name: str
    """`STACK-errors`."""
    component: str
    means: str
    look: tuple[str, ...]
    act: tuple[str, ...]
    stacks: tuple[str, ...]
    """Those of the planned stacks that have it."""


@cache
def alarms() -> tuple[Alarm, ...]:
    """Every alarm of the planned stacks, each once."""
    from infra.show import runbook_sections

    found: dict[str, Alarm] = {}
    for stack, plan in plans.planned().items():
        sections = runbook_sections(plan.resources, stack)
        by_urn = {each.urn: each for each in plan.resources}
        for each in plan.resources:
            if each.type == ALARM:
                name = str(each.inputs["name"])
                pool = next((one for one in pools(stack) if name.startswith(f"{stack}-{one}-")), None)
                general, section = (_general(text, stack, pool) for text in (name, sections[name]))
                means, look, act = _parts(section)
                before = found[general].stacks if general in found else ()
                stacks = tuple(dict.fromkeys((*before, stack)))
                found[general] = Alarm(general, _component(by_urn, each), means, look, act, stacks)
    return tuple(sorted(found.values(), key=lambda each: (each.component, each.name)))


def pools(stack: str) -> list[str]:
    """The names of a platform's GPU pools, each of which has alarms of its own."""
    return list(getattr(load(stack).program, "gpus", ()))


def _general(text: str, stack: str, pool: str | None) -> str:
    """A stack's text as it is for every stack and pool."""
    text = text.replace(stack, STACK)
    return re.sub(rf"\b{re.escape(pool)}\b", POOL, text) if pool else text


def _component(by_urn: Mapping[str, Any], resource: Any) -> str:
    """The class of the outermost component that an alarm belongs to."""
    found = ""
    while resource.parent and (resource := by_urn[resource.parent]).type != "pulumi:pulumi:Stack":
        found = resource.type.rpartition(":")[2]
    return found


def _parts(section: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What a runbook's section says: see components/runbook.py."""
    _, _, text = section.partition("\n")
    means, _, rest = text.partition("**Look**")
    look, _, act = rest.partition("**Act**")
    return means.strip(), _steps(look), _steps(act)


def _steps(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^1\. (.*)$", text, re.MULTILINE))


def pages() -> Iterator[tuple[str, str]]:
    """The page of all alarms."""
    by_component: dict[str, list[Alarm]] = {}
    for each in alarms():
        by_component.setdefault(each.component, []).append(each)
    parts = [part for component, found in by_component.items() for part in _section(component, found)]
    yield (
        "reference/alarms.md",
        page(
            "Alarms and their runbooks",
            f"In an alarm's name `{STACK}` stands for the stack, such as `employment-prod`, and `{POOL}` for a pool of"
            " GPUs. Each stack has its own runbook with its real names beside its alarms in CloudWatch, and `slipway"
            " runbook NAME` prints it. Alarms send to the platform's alerts topic when they ring, and when they are"
            " over.",
            *parts,
        ),
    )


def _section(component: str, found: list[Alarm]) -> Iterator[str]:
    yield f"## {component}"
    for each in found:
        yield f"### {each.name}"
        yield prose(each.means)
        yield "**Look**"
        yield "\n".join(f"1. {_step(step)}" for step in each.look)
        yield "**Act**"
        yield "\n".join(f"1. {_step(step)}" for step in each.act)


def _step(text: str) -> str:
    return text if text.startswith("`") and text.endswith("`") and text.count("`") == 2 else prose(text)


def summary(folder: str) -> str:
    """All alarms in one table, for a page from which `folder` leads to the reference."""
    return table(
        ("alarm", "what it means", "first look", "first act"),
        (
            (
                f"[{code(each.name)}]({folder}alarms.md#{anchor(each.name)})",
                prose(each.means),
                _step(each.look[0]) if each.look else "",
                _step(each.act[0]) if each.act else "",
            )
            for each in alarms()
        ),
    )
