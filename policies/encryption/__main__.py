from pulumi_policy import EnforcementLevel, PolicyPack

from policies.encryption import POLICIES

PolicyPack("slipway-encryption", POLICIES, EnforcementLevel.MANDATORY)
