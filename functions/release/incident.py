"""The note that a failed release leaves: what happened when, why, what serves now, and what to do."""

from collections.abc import Mapping
from typing import Any


def note(
    release: Mapping[str, Any], *, execution: str, started: str, failed: str, reason: str, live: str, runbook: str
) -> str:
    """Markdown. `live` is the ARN of the version that serves now, or a sentence where that is not known."""
    endpoint = release["template"]["endpoint"]
    package = release.get("model_package_arn", "the version before")
    alarms = release.get("alarms_seen", {})
    lines = [
        f"# {endpoint}: version {_short(package)} did not go live",
        "",
        f"- **Asked**: {package}",
        f"- **By**: {release.get('by', 'unknown')} ({release.get('reason', 'no reason given')})",
        f"- **Why it failed**: {reason}",
        f"- **Serves now**: {live}",
        f"- **Execution**: {execution}",
        "",
        "## Timeline (UTC)",
        "",
        f"- {started} the release began",
        *(f"- {at} {what}" for at, what in release.get("timeline", [])),
        f"- {failed} the release failed",
        "",
        "## Evidence",
        "",
        *([f"- alarm `{name}`: {why}" for name, why in sorted(alarms.items())] or ["- no alarm went off"]),
        "",
        "## Next",
        "",
        *_next(endpoint, release, bool(alarms)),
        f"- Runbook: {runbook}",
    ]
    return "\n".join(lines) + "\n"


def _short(package: str) -> str:
    return package.rpartition("/")[2]


def _next(endpoint: str, release: Mapping[str, Any], alarmed: bool) -> list[str]:
    log = f"- See what the candidate said: `aws logs tail /aws/sagemaker/Endpoints/{endpoint} --since 1h`"
    version = _short(release.get("model_package_arn", "VERSION"))
    again = f"- Once that is mended: `slipway release {endpoint} {version}`"
    if alarmed:
        return [log, "- Compare the alarm's reason with the rollout's timeline: did the candidate cause it?", again]
    return ["- The reason above says what to change.", log, again]
