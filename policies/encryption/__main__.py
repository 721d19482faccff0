from pulumi_policy import EnforcementLevel, PolicyPack

from policies.encryption import CONTROLS, POLICIES
from policies.rules import exception_policies

PolicyPack("slipway-encryption", [*POLICIES, *exception_policies(CONTROLS)], EnforcementLevel.MANDATORY)
