"""How fast time passes for schedules and alarm periods: as on the wall, unless someone is in a hurry.

`POST /_slipway/pace {"second": 0.02}` lets a second of theirs take 0.02 real ones, so that a schedule of 15 minutes is
due every 18 s, and an alarm's minute is over in 1.2 s. What has been by then stays where it was: a period that reaches
back to before is as long, there, as it was. Functions, timestamps and everything else keep real time.

Nothing is to look late or lost that is only slow because the machine is: while a function runs, this clock is no faster
than the one on the wall, and between two looks at it, it passes half a minute at the most.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

FASTEST: Final = 0.001
LONGEST_STEP: Final = 30.0
"""What may pass between two looks, in the clock's seconds: half of the shortest period of an alarm."""


class Clock:
    """A clock whose second takes `second` real ones."""

    def __init__(self, second: float = 1.0) -> None:
        self.second = second

    def shown(self, real: float) -> float:
        """What the clock shows at a moment, both in seconds since 1970."""
        return real / self.second

    def real(self, shown: float) -> float:
        """When it shows that; the inverse of `shown`."""
        return shown * self.second


@dataclass(frozen=True)
class Stretch:
    """From a moment on, time passes at one pace."""

    began: float
    """In seconds since 1970."""
    shown: float
    """What the clock shows then."""
    second: float
    """Real seconds that one of the clock's takes."""


class Paced(Clock):
    """A clock that goes on when it is looked at (`tick`), and never backwards."""

    def __init__(self) -> None:
        super().__init__()
        self._stretches = [Stretch(0.0, 0.0, 1.0)]
        self._busy = 0
        self._lock = Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this lasts, it is no faster than the one on the wall."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def set(self, second: float, now: float) -> None:
        """Go on at another pace from `now`."""
        shown = self.tick(now)
        with self._lock:
            self._stretches.append(Stretch(now, shown, 1.0))
            self.second = second

    def tick(self, now: float) -> float:
        """Go on to `now`, in seconds since 1970. Returns what it shows."""
        with self._lock:
            last = self._stretches[-1]
            passed = now - last.began
            if self.second < 1 and not self._busy and 0 < passed < LONGEST_STEP:
                step = min(passed / self.second, LONGEST_STEP)
                self._stretches[-1] = Stretch(last.began, last.shown, passed / step)
                self._stretches.append(Stretch(now, last.shown + step, 1.0))
            elif self.second < 1 and passed > 0:
                self._stretches.append(Stretch(now, last.shown + passed, 1.0))
        return self.shown(now)

    def shown(self, real: float) -> float:
        """What the clock shows at a moment, both in seconds since 1970."""
        stretch = self._last(real, lambda each: each.began)
        return stretch.shown + (real - stretch.began) / stretch.second

    def real(self, shown: float) -> float:
        """When it shows that; the inverse of `shown`."""
        stretch = self._last(shown, lambda each: each.shown)
        return stretch.began + (shown - stretch.shown) * stretch.second

    def _last(self, moment: float, key: Any) -> Stretch:
        stretches = self._stretches
        return stretches[max(0, bisect_right(stretches, moment, key=key) - 1)]


WALL: Final = Clock()
"""Real time, always."""
clock = Paced()
"""The emulator's."""


def ask(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Set the pace where one is given; how it is, and what the clock shows. Raises LookupError for what is no pace."""
    if "second" in request:
        second = request["second"]
        if not isinstance(second, int | float) or not FASTEST <= second <= 1:
            raise LookupError(f'say how long a second takes, from {FASTEST:g} to 1: {{"second": 0.02}}')
        clock.set(float(second), time.time())
    return {"second": clock.second, "shown": clock.shown(time.time())}
