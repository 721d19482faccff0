"""What serves customers survives the loss of a machine, a zone, a release or a message, and can be looked into."""

from pulumi_policy import Policy

from policies.rules import Control, control_policy

CONTROLS: list[Control] = []

POLICIES: list[Policy] = [control_policy(each) for each in CONTROLS]
