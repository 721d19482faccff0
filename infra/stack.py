"""What every file in `stacks/` defines."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.spec import Spec


class Stack(Spec, ABC):
    """Its fields are what a stack's YAML may say under `slipway:settings`; `build` is what that makes."""

    @property
    def needs(self) -> Sequence[str]:
        """The stacks this one reads through a StackReference: they are deployed before it."""
        return ()

    @abstractmethod
    def build(self) -> Mapping[str, pulumi.Input[Any]]:
        """Create the resources, and return what the stack exports."""
