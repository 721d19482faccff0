from pulumi_policy import EnforcementLevel, PolicyPack

from policies.access import POLICIES

PolicyPack("slipway-access", POLICIES, EnforcementLevel.MANDATORY)
