"""The incident that a failed release is: what happened when, why, what serves now, and what to do."""

from collections.abc import Mapping
from typing import Any, Final

from functions.incidents.core import Event, Incident
from functions.incidents.timeline import short

KIND: Final = "release"
BEFORE: Final = "the version before"
"""What was to go live, where there was none to go back to."""
STOPPED: Final = ("ABORTED", "TIMED_OUT")
"""How an execution ends from outside."""


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
    package = release.get("model_package_arn", "")  # going back, what was live before is known only after a look
    alarms: Mapping[str, str] = release.get("alarms_seen", {})
    serves = ":model-package/" in live
    by = release.get("by") or "unknown"
    return Incident(
        endpoint=endpoint,
        kind=KIND,
        opened=failed,
        what=f"{_named(package)} did not go live: {_cause(reason, alarms)}",
        # What serves is what served before: nobody waits for anything.
        status="recovered" if serves else "open",
        recovered=failed if serves else "",
        alarm=min(alarms, default=""),
        decision=_decision(release),
        why=reason,
        timeline=[
            Event(at=started, what=f"the release of {_named(short(package))} began, by {by}", source="release"),
            *(Event(at=at, what=_said(what), source="release") for at, what in release.get("timeline", [])),
            Event(at=failed, what="the release failed", source="release"),
        ],
        done=[f"version {_short(live)} serves, as before"] if serves else [],
        needs=_needs(release, package, reason, serves),
        runbook=runbook,
        release=package or BEFORE,
        serves=live,
        evidence={
            "asked by": f"{by} ({release.get('reason') or 'no reason given'})",
            "execution": execution,
            "alarms": dict(sorted(alarms.items())) or "no alarm went off",
        },
        token=token,
    )


def _named(package: str) -> str:
    return f"version {_short(package)}" if package else BEFORE


def _short(package: str) -> str:
    return package.rpartition("/")[2]


def _said(what: str) -> str:
    """A line of the release's own timeline; one word is the endpoint's status."""
    return short(what) if " " in what else f"the endpoint is {what}"


def _decision(release: Mapping[str, Any]) -> str:
    if release.get("error", {}).get("Error") in STOPPED:
        return "stopped"
    return "taken back" if release.get("configuration") else "refused"


def _cause(reason: str, alarms: Mapping[str, str]) -> str:
    """Why, in as few words as there are."""
    return f"{', '.join(sorted(alarms))} rang" if alarms else reason


def _needs(release: Mapping[str, Any], package: str, reason: str, serves: bool) -> list[str]:
    endpoint = release["template"]["endpoint"]
    first = [] if serves else [f"see whether the endpoint serves: `slipway history {endpoint}`"]
    command = f"release {endpoint} {_short(package)}" if package else f"rollback {endpoint}"
    again = f"once that is mended: `slipway {command}`"
    if _decision(release) == "stopped":
        return [f"see what serves, as a rollout that has begun goes on: `slipway history {endpoint}`", again]
    if _decision(release) == "refused":  # nothing of it was started
        return [*first, f"mend what it was refused for: {reason}", again]
    log = f"see what the candidate said: `aws logs tail /aws/sagemaker/Endpoints/{endpoint} --since 1h`"
    if release.get("alarms_seen"):
        return [*first, log, "hold the alarm's reason against the timeline: did the candidate cause it?", again]
    return [*first, f"mend the cause: {reason}", log, again]
