"""Nobody and nothing may do more than it has to."""

from pulumi_policy import Policy

from policies.access import apis, conditions, exposure, guards, identity, kubernetes, sharing
from policies.rules import Control, control_policy

CONTROLS: list[Control] = [
    *identity.CONTROLS,
    *sharing.CONTROLS,
    *conditions.CONTROLS,
    *guards.CONTROLS,
    *apis.CONTROLS,
    *exposure.CONTROLS,
    *kubernetes.CONTROLS,
]

POLICIES: list[Policy] = [control_policy(each) for each in CONTROLS]
