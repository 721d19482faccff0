from pulumi_policy import EnforcementLevel, PolicyPack

from policies.reliability import POLICIES

PolicyPack("slipway-reliability", POLICIES, EnforcementLevel.MANDATORY)
