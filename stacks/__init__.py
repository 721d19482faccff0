"""Every stack that a YAML file beside this one can name under `slipway:stack`."""

from infra.stack import Stack
from stacks.employment import Employment
from stacks.platform import PlatformStack

STACKS: dict[str, type[Stack]] = {"employment": Employment, "platform": PlatformStack}
