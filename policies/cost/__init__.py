"""A stack stays within its monthly budget, even at the largest size it may grow to."""

from pulumi_policy import Policy

from policies.cost import money, sizes, waste
from policies.cost.money import BUDGET
from policies.cost.pricing import Line, estimate, unpriced
from policies.cost.waste import TAGS, UNTAGGED
from policies.rules import Control, control_policy

__all__ = ["BUDGET", "CONTROLS", "POLICIES", "TAGS", "UNTAGGED", "Line", "estimate", "unpriced"]

CONTROLS: list[Control] = [*money.CONTROLS, *sizes.CONTROLS, *waste.CONTROLS]
POLICIES: list[Policy] = [control_policy(each) for each in CONTROLS]
