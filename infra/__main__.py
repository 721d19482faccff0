"""What `pulumi up` runs: the stack that stacks/Pulumi.<stack>.yaml names, with the settings it gives."""

import json

import pulumi

from infra.settings import SettingsError, check
from infra.stack import build


def main() -> None:
    """Build this stack and export what it offers."""
    project, aws = pulumi.Config(), pulumi.Config("aws")
    values = {
        "aws:region": aws.get("region"),
        "aws:allowedAccountIds": aws.get_object("allowedAccountIds"),
        "aws:defaultTags": aws.get_object("defaultTags"),
        "slipway:stack": project.get("stack"),
        "slipway:usd_per_month": project.get_float("usd_per_month"),
        "slipway:permissions_boundary": project.get("permissions_boundary"),
        "slipway:settings": project.get_object("settings"),
    }
    try:
        settings = check(pulumi.get_stack(), {key: value for key, value in values.items() if value is not None})
    except (SettingsError, json.JSONDecodeError) as error:
        raise pulumi.RunError(str(error)) from None
    for output, value in build(settings.program, settings.config.get("slipway:permissions_boundary")).items():
        pulumi.export(output, value)


if __name__ == "__main__":
    main()
