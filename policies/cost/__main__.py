from pulumi_policy import EnforcementLevel, PolicyPack

from policies.cost import CONTROLS, POLICIES
from policies.rules import exception_policies

PolicyPack("slipway-cost", [*POLICIES, *exception_policies(CONTROLS)], EnforcementLevel.MANDATORY)
