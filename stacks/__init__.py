"""Every stack that a YAML file beside this one can name under `slipway:stack`."""

from infra.stack import Stack
from stacks.platform import PlatformStack

STACKS: dict[str, type[Stack]] = {"platform": PlatformStack}
try:
    from stacks.employment import Employment

    STACKS["employment"] = Employment
except ModuleNotFoundError:
    pass
