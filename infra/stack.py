"""What every file in `stacks/` defines."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.spec import Spec

ROLE = "aws:iam/role:Role"


class Stack(Spec, ABC):
    """Its fields are what a stack's YAML may say under `slipway:settings`; `build` is what that makes."""

    @property
    def needs(self) -> Sequence[str]:
        """The stacks this one reads through a StackReference: they are deployed before it."""
        return ()

    @abstractmethod
    def build(self) -> Mapping[str, pulumi.Input[Any]]:
        """Create the resources, and return what the stack exports."""


def build(stack: Stack, boundary: str | None = None) -> Mapping[str, pulumi.Input[Any]]:
    """Build a stack inside a permissions boundary, its ARN: every role in it has that, or its own.

    Without one, it is the one that the stack's YAML gives.
    """
    boundary = boundary or pulumi.Config("slipway").get("permissions_boundary")

    def bounded(role: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if role.type_ != ROLE or role.props.get("permissions_boundary") is not None:
            return None
        return pulumi.ResourceTransformationResult({**role.props, "permissions_boundary": boundary}, role.opts)

    if boundary:
        pulumi.runtime.register_stack_transformation(bounded)
    return stack.build()
