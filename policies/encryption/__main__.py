from pulumi_policy import EnforcementLevel, PolicyPack

import policies.encryption as pack
from policies.rules import exception_policies

exceptions = exception_policies(getattr(pack, "CONTROLS", []))
PolicyPack("slipway-encryption", [*pack.POLICIES, *exceptions], EnforcementLevel.MANDATORY)
