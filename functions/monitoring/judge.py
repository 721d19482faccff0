"""What of a window is not what the baseline awaits, and whether its data are broken or the world has moved."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from functions.monitoring.baseline import Baseline
from functions.monitoring.formats import Violation
from functions.monitoring.sketch import Profile

__all__ = ["ALPHA", "FEWEST_ROWS", "Finding", "Verdict", "Violation", "judge"]

ALPHA: Final = 0.01
"""How often a window without drift may be said to have moved, over all its columns."""
FEWEST_ROWS: Final = 50
"""A smaller window is insufficient: nothing is said of it."""


@dataclass(frozen=True)
class Finding:
    """One column of a window compared with its baseline."""

    feature: str
    part: Literal["feature", "prediction"]
    statistics: Mapping[str, float]
    """All have: rows, missing (a share), distance, p, psi, js, robust; numbers also ks, w1; categories chi2, linf,
    unseen (a share)."""
    reasons: tuple[str, ...] = ()
    """What is wrong with it; empty where nothing is."""


@dataclass(frozen=True)
class Verdict:
    """What a window was found to be."""

    status: Literal["insufficient", "stable", "violated"]
    rows: int
    findings: tuple[Finding, ...] = ()
    """Of every column, the furthest first."""
    violations: tuple[Violation, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether its data are broken: wrong in schema, type, range or units, missing, stuck, or never seen."""
        return any(violation.group == "broken" for violation in self.violations)

    @property
    def drifting(self) -> bool:
        """Whether the features moved, or the predictions did and broken data do not explain it."""
        moved = {violation.group for violation in self.violations}
        return "drift" in moved or ("prediction" in moved and "broken" not in moved)


def judge(baseline: Baseline, window: Profile, *, alpha: float = ALPHA) -> Verdict:
    """Judge a window. No window raises anything."""
    raise NotImplementedError
