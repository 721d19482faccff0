from pulumi_policy import EnforcementLevel, PolicyPack

import policies.cost as pack
from policies.rules import exception_policies

exceptions = exception_policies(getattr(pack, "CONTROLS", []))
PolicyPack("slipway-cost", [*pack.POLICIES, *exceptions], EnforcementLevel.MANDATORY)
