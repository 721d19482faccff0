from pulumi_policy import EnforcementLevel, PolicyPack

from policies.cost import POLICIES

PolicyPack("slipway-cost", POLICIES, EnforcementLevel.MANDATORY)
