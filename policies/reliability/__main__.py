from pulumi_policy import EnforcementLevel, PolicyPack

from policies.reliability import CONTROLS, POLICIES
from policies.rules import exception_policies

PolicyPack("slipway-reliability", [*POLICIES, *exception_policies(CONTROLS)], EnforcementLevel.MANDATORY)
