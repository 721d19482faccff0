"""How long the policy packs take by themselves, without planning what they judge."""

import time
from typing import Any

from infra.check import check
from tests.mutants import every_plan


def measured() -> dict[str, Any]:
    """The seconds in which every pack judges 1,000 resources, from judging every stack's."""
    plans = every_plan()
    check(plans[:1])  # the first run reads the tables of prices and actions
    began = time.perf_counter()
    for plan in plans:
        check([plan])
    seconds = time.perf_counter() - began
    resources = sum(len(plan.resources) for _, plan in plans)
    return {
        "command": "packs alone, for 1,000 resources",
        "seconds": round(1000 * seconds / resources, 2),
        "resources": resources,
        "stacks": len(plans),
    }
