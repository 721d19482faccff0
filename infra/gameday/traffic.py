"""Requests all the time, as an application makes them: each is counted, and what it was answered is kept for later."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.gameday.census import Person

CALLERS: Final = 4
EVERY_SECONDS: Final = 0.4
"""How long a caller rests between two requests: all of them together ask ten times a second."""
ROWS: Final = 10
ANSWER_SECONDS: Final = 10.0
"""When a caller gives up on a request."""
LONGEST_ERROR: Final = 160

Send = Callable[[Person], str]
"""How an application writes a person down in a request."""


@dataclass(frozen=True)
class Exchange:
    """One request, and what came of it."""

    id: str
    """The inference id that it went with."""
    at: float
    """When it was answered, or failed: seconds since 1970."""
    seconds: float
    people: Sequence[Person]
    answers: Sequence[float] = ()
    error: str = ""
    """What it failed with; empty where it was answered."""


class Traffic:
    """Callers that ask an endpoint until they are told to stop."""

    def __init__(
        self,
        url: str,
        region: str,
        endpoint: str,
        people: Sequence[Person],
        *,
        callers: int = CALLERS,
        every: float = EVERY_SECONDS,
        rows: int = ROWS,
    ) -> None:
        """`url` is the emulator's. Each caller asks about `rows` people every so many seconds."""
        self.endpoint = endpoint
        self.exchanges: list[Exchange] = []
        """All that have ended, in that order."""
        self.people = people
        """Whom the next requests are about; a scenario may name others."""
        self.send: Send = Person.line
        """How the next requests write them down; a scenario may do it otherwise."""
        self._every, self._rows = every, rows
        self._over = threading.Event()
        self._runtime = boto3.client(
            "sagemaker-runtime",
            region_name=region,
            endpoint_url=url,
            aws_access_key_id="application",
            aws_secret_access_key="rehearsal",
            config=Config(
                retries={"total_max_attempts": 1},  # what is lost is counted, and not asked again
                connect_timeout=ANSWER_SECONDS,
                read_timeout=ANSWER_SECONDS,
                max_pool_connections=4 * callers,
                proxies={},
            ),
        )
        self._callers = [threading.Thread(target=self._keep_asking, args=(n,), daemon=True) for n in range(callers)]

    def __enter__(self) -> "Traffic":
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join()

    def ask(self, people: Sequence[Person], send: Send | None = None) -> Exchange:
        """One request about these people, outside the steady ones; it is not kept."""
        identity, began = str(uuid.uuid4()), time.monotonic()
        body = "\n".join(map(send or Person.line, people))
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self.endpoint, ContentType="text/csv", Accept="text/csv", InferenceId=identity, Body=body
            )
            answers = [float(line) for line in answer["Body"].read().split()]
            error = "" if len(answers) == len(people) else f"{len(answers)} answers to {len(people)} rows"
        except (ClientError, BotoCoreError, ValueError) as failure:
            answers, error = [], " ".join(str(failure).split())[:LONGEST_ERROR]
        return Exchange(identity, time.time(), time.monotonic() - began, people, answers, error)

    def since(self, moment: float) -> list[Exchange]:
        """What has ended since a moment, in seconds since 1970."""
        return [each for each in list(self.exchanges) if each.at >= moment]

    @contextmanager
    def more(self, callers: int) -> Iterator[None]:
        """So many more callers for a while, none of whom rests."""
        over = threading.Event()
        threads = [threading.Thread(target=self._flood, args=(over, n), daemon=True) for n in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _keep_asking(self, number: int) -> None:
        chance = random.Random(number)
        while not self._over.is_set():
            began = time.monotonic()
            self.exchanges.append(self.ask(chance.choices(self.people, k=self._rows), self.send))
            # Counted from when it began, so that slow answers do not make fewer requests.
            self._over.wait(max(0.02, self._every - (time.monotonic() - began)))

    def _flood(self, over: threading.Event, number: int) -> None:
        chance = random.Random(1000 + number)
        while not over.is_set():
            self.exchanges.append(self.ask(chance.choices(self.people, k=1), self.send))


def summary(exchanges: Sequence[Exchange]) -> dict[str, Any]:
    """How many requests there were, how many were lost, and with what words."""
    lost = Counter(each.error for each in exchanges if each.error)
    times = sorted(each.seconds for each in exchanges if not each.error)
    return {
        "sent": len(exchanges),
        "lost": sum(lost.values()),
        "errors": dict(lost.most_common(5)),
        "median_ms": round(times[len(times) // 2] * 1000, 1) if times else None,
    }


def by_second(exchanges: Sequence[Exchange], began: float) -> list[Mapping[str, int]]:
    """For each second since `began`, how many requests were answered, and how many were lost."""
    seconds: list[Counter[str]] = []
    for each in exchanges:
        second = int(each.at - began)
        if second >= 0:
            seconds += [Counter() for _ in range(second + 1 - len(seconds))]
            seconds[second]["lost" if each.error else "answered"] += 1
    return [{"answered": each["answered"], "lost": each["lost"]} for each in seconds]
