from pulumi_policy import EnforcementLevel, PolicyPack

from policies.access import CONTROLS, POLICIES
from policies.rules import exception_policies

PolicyPack("slipway-access", [*POLICIES, *exception_policies(CONTROLS)], EnforcementLevel.MANDATORY)
