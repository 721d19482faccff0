"""What to do about an alarm, decided on what is known about it: go back, retrain, stop what spends, or call someone.

Nothing here asks or changes anything.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from functions import ledger

Kind = Literal["service", "data", "world", "quality", "stale", "cost", "idle", "monitor"]
"""What an alarm says: the service is bad; the data are broken; what is asked has moved; the answers are worse; the
features are old; more is spent than is due; what is paid for is not used; a monitor itself is lost."""
Action = Literal["roll-back", "retrain", "stop", "page", "none"]
"""`none`: what was to be done has been done by somebody else, and it is only watched."""

MONITORS: Final = ("data", "quality", "service", "freshness", "spending")
ALARMS: Final[Mapping[str, Kind]] = {
    "errors": "service",
    "error-share": "service",
    "latency": "service",
    "burn": "service",
    "broken-data": "data",
    "drift": "world",
    "quality": "quality",
    "stale": "stale",
    "spending": "cost",
    "idle": "idle",
    **{f"{monitor}-{end}": "monitor" for monitor in MONITORS for end in ("silent", "failed")},
}
"""An endpoint's alarms, by what is behind the endpoint's name in theirs. Others need no decision: they call someone."""

FAILING, SLOW = ("-errors", "-error-share"), ("-latency",)
"""How the alarms end that are about failures alone, and about latency alone: only in that is a version held to its
predecessor, then."""
TELLING_OF_DATA: Final = ("data", "freshness")
"""The monitors without which nobody can tell whether the world has moved, or the data are broken or old."""


def kind_of(endpoint: str, alarm: str) -> Kind | None:
    """What an alarm of this endpoint says; None for one that nothing is decided on."""
    return ALARMS.get(alarm.removeprefix(f"{endpoint}-")) if alarm.startswith(f"{endpoint}-") else None


def incident_of(endpoint: str, alarm: str) -> str | None:
    """The kind of incident that an alarm of this endpoint is part of; each lost monitor is one of its own."""
    kind = kind_of(endpoint, alarm)
    if kind != "monitor":
        return kind
    return f"monitor-{alarm.removeprefix(f'{endpoint}-').partition('-')[0]}"


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What rings."""

    name: str
    kind: Kind
    reason: str
    at: str
    """When it began to: ISO 8601, UTC."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How an endpoint was, for a stretch of time; None for what is not known of it."""

    requests: int = 0
    errors: int = 0
    latency_ms: float | None = None
    """The middle one of all minutes' 99th percentiles."""
    accuracy: float | None = None
    labelled: int = 0
    """The answers whose accuracy that is."""
    drifted_features: int | None = None
    predictions_moved: bool | None = None

    def __post_init__(self) -> None:
        if self.errors > self.requests:  # the last of a minute's requests may be counted in the next
            object.__setattr__(self, "requests", self.errors)


@dataclass(frozen=True, kw_only=True)
class Live:
    """The version that serves, and the one that did before."""

    package_arn: str
    since: str
    release: str
    predecessor: str | None
    """None: there is none to go back to."""
    went_back: bool = False
    """Whether it was itself a way back."""
    was_accurate: bool = False
    """Whether its answers were once found to be good, so that their getting worse is not its release's doing."""
    was_steady: bool = False
    """Likewise for what it was asked and what it answered: once found not to have moved."""
    now: Measured = Measured()
    """Since it serves, as far as that is not too long ago."""
    before: Measured = Measured()
    """The same of its predecessor, while that served."""


@dataclass(frozen=True, kw_only=True)
class TakenBack:
    """A release that ended because of an alarm: its own guard has gone back already."""

    package_arn: str
    at: str
    alarms: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known when an alarm is decided on."""

    alarm: Alarm
    now: str
    live: Live | None = None
    taken_back: TakenBack | None = None
    ringing: tuple[Alarm, ...] = ()
    """All of the endpoint's alarms that ring, this one too."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From when on something counts."""

    young_hours: float = 24.0
    """How long after its release a version is held to its predecessor."""
    least_requests: int = 20
    """A share of fewer requests says nothing."""
    error_share: float = 0.01
    """How much more of all requests has to fail than before."""
    latency_ratio: float = 1.5
    latency_ms: float = 5.0
    """How much slower it has to be than before: as a ratio, and at the least in milliseconds."""
    least_labelled: int = 100
    accuracy: float = 0.02
    """How much of the accuracy has to be gone."""
    sigmas: float = 3.0
    """How sure a difference of two shares has to be: one-sided, 3 sigmas are 1 in 740."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be done, and why."""

    action: Action
    why: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def decide(evidence: Evidence, limits: Limits = Limits()) -> Decision:
    """What to do about an alarm. Whatever is not clear is a person's to decide."""
    action, why = _decided(evidence, limits)
    return Decision(action=action, why=why, evidence=evidence.to_dict())


def _decided(evidence: Evidence, limits: Limits) -> tuple[Action, str]:
    alarm = evidence.alarm
    rings = {each.kind: each.name for each in evidence.ringing} | {alarm.kind: alarm.name}
    if alarm.kind == "monitor":
        return "page", f"{alarm.name}: a monitor is lost, and what it watches is not watched until it runs again"
    if alarm.kind == "cost":
        return "stop", f"{alarm.name}: more is spent than is due, so what may be stopped is stopped"
    if alarm.kind == "idle":
        return "page", f"{alarm.name}: what is paid for is not used; whether it is still wanted, a person knows"
    if alarm.kind == "stale":
        return "page", f"{alarm.name}: features are old; who delivers them has to, and no release or training helps"
    taken = evidence.taken_back
    if alarm.kind == "service" and taken and alarm.name in taken.alarms:
        return "none", f"{taken.package_arn} was being released, and its release has taken it back because of this"
    if alarm.kind == "data":
        return "page", f"{alarm.name}: the data are broken upstream; to retrain on them, or to go back, mends nothing"
    worse = _worse(evidence, limits)
    if worse:
        live = evidence.live
        assert live
        return "roll-back", f"{live.package_arn} serves since {live.since} and is worse than its predecessor: {worse}"
    if alarm.kind == "service":
        return "page", f"{alarm.name}: the service is bad, and no release explains it ({_no_release(evidence, limits)})"
    return _moved(alarm, rings, evidence)


def _moved(alarm: Alarm, rings: Mapping[Kind, str], evidence: Evidence) -> tuple[Action, str]:
    """What is asked has moved, or the answers are worse, and no release did it."""
    if "data" in rings:
        return "page", f"{alarm.name}, and {rings['data']}: what looks like a world that moved may be broken data"
    if "stale" in rings:
        return "page", f"{alarm.name}, and {rings['stale']}: answers from old features are worse for that alone"
    blind = [each.name for each in evidence.ringing if each.kind == "monitor" and _tells_of_data(each.name)]
    if blind:
        return "page", f"{alarm.name}, and {', '.join(blind)}: whether the data are broken cannot be told meanwhile"
    if alarm.kind == "quality":
        return "retrain", f"{alarm.name}: the answers are worse, the data are whole, and no release did it"
    return "retrain", f"{alarm.name}: what is asked has moved away from what the model was trained on"


def _tells_of_data(alarm: str) -> bool:
    return any(f"-{monitor}-" in alarm for monitor in TELLING_OF_DATA)


def _worse(evidence: Evidence, limits: Limits) -> str:
    """In what the version that serves is worse than its predecessor; nothing where it is not, or is not young."""
    live, kind = evidence.live, evidence.alarm.kind
    if live is None or live.predecessor is None or live.went_back or not young(live, evidence.now, limits):
        return ""
    found = []
    if kind == "service":
        found = [
            "" if evidence.alarm.name.endswith(SLOW) else _more_errors(live.now, live.before, limits),
            "" if evidence.alarm.name.endswith(FAILING) else _slower(live.now, live.before, limits),
        ]
    elif kind == "quality" and not live.was_accurate:
        found = [_less_accurate(live.now, live.before, limits)]
    elif kind == "world" and not live.was_steady:
        found = [_answers_otherwise(live.now, live.before)]
    return "; ".join(filter(None, found))


def _no_release(evidence: Evidence, limits: Limits) -> str:
    live = evidence.live
    if live is None:
        return "the ledger knows of none"
    if live.went_back:
        return f"{live.package_arn} serves again since a way back"
    if live.predecessor is None:
        return f"nothing served before {live.package_arn}"
    if not young(live, evidence.now, limits):
        return f"{live.package_arn} serves since {live.since}"
    if live.before.requests < limits.least_requests or live.now.requests < limits.least_requests:
        return f"{live.now.requests} requests since {live.since} and {live.before.requests} before do not compare"
    return f"it is no worse than {live.predecessor} was"


def is_thin(evidence: Evidence, limits: Limits) -> bool:
    """Whether a release may have done it, and too few have asked its version yet to tell."""
    live = evidence.live
    if evidence.alarm.kind != "service" or live is None or live.predecessor is None or live.went_back:
        return False
    return young(live, evidence.now, limits) and live.now.requests < limits.least_requests


def young(live: Live, now: str, limits: Limits) -> bool:
    """Whether a version serves for so short that what is wrong may be its doing."""
    age = ledger.moment(now) - ledger.moment(live.since)
    return age <= timedelta(hours=limits.young_hours)


def _more_errors(now: Measured, before: Measured, limits: Limits) -> str:
    if min(now.requests, before.requests) < limits.least_requests:
        return ""
    more = now.errors / now.requests - before.errors / before.requests
    sure = _sigmas(now.errors, now.requests, before.errors, before.requests)
    if more <= limits.error_share or sure <= limits.sigmas:
        return ""
    return f"{now.errors} of {now.requests} requests failed, before {before.errors} of {before.requests}"


def _slower(now: Measured, before: Measured, limits: Limits) -> str:
    if now.latency_ms is None or before.latency_ms is None or now.requests < limits.least_requests:
        return ""
    much = now.latency_ms > limits.latency_ratio * before.latency_ms
    if not much or now.latency_ms - before.latency_ms <= limits.latency_ms:
        return ""
    return f"1 % of its requests take longer than {now.latency_ms:.0f} ms, before {before.latency_ms:.0f} ms"


def _less_accurate(now: Measured, before: Measured, limits: Limits) -> str:
    if now.accuracy is None or before.accuracy is None or min(now.labelled, before.labelled) < limits.least_labelled:
        return ""
    wrong = [round((1 - each.accuracy) * each.labelled) for each in (now, before) if each.accuracy is not None]
    sure = _sigmas(wrong[0], now.labelled, wrong[1], before.labelled)
    if before.accuracy - now.accuracy <= limits.accuracy or sure <= limits.sigmas:
        return ""
    return f"{now.accuracy:.1%} of {now.labelled} answers are right, before {before.accuracy:.1%} of {before.labelled}"


def _answers_otherwise(now: Measured, before: Measured) -> str:
    """Predictions that move while nothing else does are the model's doing."""
    if now.predictions_moved and now.drifted_features == 0 and before.predictions_moved is False:
        return "its predictions have moved, and what it is asked has not"
    return ""


def _sigmas(hits: int, of: int, hits_before: int, of_before: int) -> float:
    """By how many standard errors one share is above another: the pooled two-proportion z."""
    pooled = (hits + hits_before) / (of + of_before)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / of + 1 / of_before))
    difference = hits / of - hits_before / of_before
    return difference / spread if spread else 0.0
