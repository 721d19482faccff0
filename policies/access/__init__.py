"""Nobody and nothing may do more than it has to."""

from pulumi_policy import Policy

from policies.access import conditions, exposure, identity, kubernetes, sharing
from policies.rules import Control, control_policy

CONTROLS: list[Control] = [
    *identity.CONTROLS,
    *sharing.CONTROLS,
    *conditions.CONTROLS,
    *exposure.CONTROLS,
    *kubernetes.CONTROLS,
]

POLICIES: list[Policy] = [control_policy(each) for each in CONTROLS]
