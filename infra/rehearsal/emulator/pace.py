"""How fast time passes for schedules and alarm periods: as on the wall, unless someone is in a hurry.

`POST /_slipway/pace {"second": 0.02}` lets a second of theirs take 0.02 real ones, so that a schedule of 15 minutes is
due every 18 s, and an alarm's minute is over in 1.2 s. What has been by then stays where it was: a period that reaches
back to before is as long, there, as it was. Functions, timestamps and everything else keep real time.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FASTEST: Final = 0.001
"""Real seconds: a minute within one round of the emulator's ticking could not be told from none."""


@dataclass(frozen=True)
class Stretch:
    """From a moment on, time passes at one pace."""

    real: float
    """When it begins, in seconds since 1970."""
    shown: float
    """What the clock shows then."""
    second: float
    """Real seconds that one of the clock's takes."""


class Clock:
    """A clock that may be quick. It never goes backwards."""

    def __init__(self, second: float = 1.0) -> None:
        self._stretches = (Stretch(0.0, 0.0, second),)

    @property
    def second(self) -> float:
        """Real seconds that a second takes now."""
        return self._stretches[-1].second

    def set(self, second: float, now: float) -> None:
        """Go on at another pace from `now`, which is not before the last change."""
        self._stretches = (*self._stretches, Stretch(now, self.shown(now), second))

    def shown(self, real: float) -> float:
        """What the clock shows at a moment, both in seconds since 1970."""
        stretch = next((each for each in reversed(self._stretches) if each.real <= real), self._stretches[0])
        return stretch.shown + (real - stretch.real) / stretch.second

    def real(self, shown: float) -> float:
        """When it shows that; the inverse of `shown`."""
        stretch = next((each for each in reversed(self._stretches) if each.shown <= shown), self._stretches[0])
        return stretch.real + (shown - stretch.shown) * stretch.second


WALL: Final = Clock()
"""Real time, always."""
clock = Clock()
"""The emulator's."""


def ask(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Set the pace where one is given; how it is. Raises LookupError for what is no pace."""
    if "second" in request:
        second = request["second"]
        if not isinstance(second, int | float) or not FASTEST <= second <= 1:
            raise LookupError(f'say how long a second takes, from {FASTEST:g} to 1: {{"second": 0.02}}')
        clock.set(float(second), time.time())
    return {"second": clock.second}
