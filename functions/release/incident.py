"""The incident that a failed release is: what happened when, why, what serves now, and what to do."""

from collections.abc import Mapping
from typing import Any, Final

from functions.incidents.core import Event, Incident

KIND: Final = "release"


def of(
    release: Mapping[str, Any],
    *,
    execution: str,
    started: str,
    failed: str,
    reason: str,
    live: str,
    runbook: str,
    token: str,
) -> Incident:
    """The incident. `live` is the ARN of the version that serves now, or a sentence where that is not known."""
    endpoint = release["template"]["endpoint"]
    package = release.get("model_package_arn", "the version before")
    alarms: Mapping[str, str] = release.get("alarms_seen", {})
    serves = ":model-package/" in live
    by = release.get("by") or "unknown"
    return Incident(
        endpoint=endpoint,
        kind=KIND,
        opened=failed,
        what=f"version {_short(package)} did not go live",
        # What serves is what served before: nobody waits for anything.
        status="recovered" if serves else "open",
        recovered=failed if serves else "",
        alarm=min(alarms, default=""),
        decision="take it back" if release.get("previous") else "not begun",
        why=reason,
        timeline=[
            Event(at=started, what=f"the release of {package} began, by {by}", source="release"),
            *(Event(at=at, what=what, source="release") for at, what in release.get("timeline", [])),
            Event(at=failed, what="the release failed", source="release"),
        ],
        done=[f"version {_short(live)} serves, as before"] if serves else [],
        needs=_needs(endpoint, package, serves, bool(alarms)),
        runbook=runbook,
        release=package,
        serves=live,
        evidence={
            "asked by": f"{by} ({release.get('reason') or 'no reason given'})",
            "execution": execution,
            "alarms": dict(sorted(alarms.items())) or "no alarm went off",
        },
        token=token,
    )


def _short(package: str) -> str:
    return package.rpartition("/")[2]


def _needs(endpoint: str, package: str, serves: bool, alarmed: bool) -> list[str]:
    first = [] if serves else [f"see whether the endpoint serves: `slipway history {endpoint}`"]
    log = f"see what the candidate said: `aws logs tail /aws/sagemaker/Endpoints/{endpoint} --since 1h`"
    again = f"once that is mended: `slipway release {endpoint} {_short(package)}`"
    if alarmed:
        return [*first, log, "hold the alarm's reason against the timeline: did the candidate cause it?", again]
    return [*first, "change what the reason names", log, again]
