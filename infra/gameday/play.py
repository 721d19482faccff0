"""Plays a scenario: breaks the product under traffic, and waits until it is seen, decided on, mended, written up."""

import math
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

from botocore.exceptions import BotoCoreError, ClientError

from functions.incidents.core import Incident
from functions.live import NothingLive
from functions.recovery.core import incident_of
from infra.gameday.census import Person, people
from infra.gameday.report import Check, Moment, Report
from infra.gameday.stage import Stage
from infra.gameday.traffic import Exchange, Traffic, by_second, summary
from infra.rehearsal.product import ProductError

LOOK_SECONDS: Final = 0.5
WARM_SECONDS: Final = 3.0
"""Traffic before anything is broken, for the page."""
DETECT_SECONDS: Final = 420.0
DECIDE_SECONDS: Final = 300.0
RECOVER_SECONDS: Final = 600.0
QUIET_SECONDS: Final = 420.0
"""How long each may take, at the most; on a machine that does nothing else it is a tenth of that."""
SAMPLE: Final = 40
"""People who are asked about before and after, for real."""
LONGEST_REQUEST_SECONDS: Final = 2.0
"""A sample's requests take less, wherever this runs."""

Say = Callable[[str], None]
AWAY: Final = (ClientError, BotoCoreError, NothingLive, ProductError, OSError)
"""What looking comes to while the emulator is away."""


class Missed(Exception):
    """Something has not happened in its time: the text says what."""


class Scenario:
    """What is broken, and what has to come of it."""

    name: ClassVar[str]
    breaks: ClassVar[str]
    """What is broken, in a sentence."""
    alarms: ClassVar[Sequence[str]]
    """One of these has to ring; names without the endpoint's."""
    decisions: ClassVar[Sequence[str]]
    """One of these has to be decided."""
    cause: ClassVar[Sequence[str]]
    """The incident note has to have each of these words: they tell the cause."""
    second: ClassVar[float] = 0.01
    """Real seconds that a second of schedules and alarm periods takes."""

    @property
    def kinds(self) -> set[str]:
        """Of which kinds the incident may be that tells of it: those that the recovery makes of the alarms."""
        return {incident_of("any", f"any-{alarm}") or alarm for alarm in self.alarms}

    def prepare(self, play: "Play") -> None:
        """What has to be there before anything is broken."""

    def break_it(self, play: "Play") -> None:
        """Break it, through what the product is given."""
        raise NotImplementedError

    def detected(self, play: "Play") -> tuple[str, float] | None:
        """The first of `alarms` that has rung since it was broken, and when: seconds since 1970."""
        return play.rang(self.alarms)

    def answer(self, play: "Play") -> None:
        """What people do as soon as it is detected; most often nothing, for the platform decides."""

    def mend(self, play: "Play") -> None:
        """What people do once it is decided what is to be done; and wait for what the platform does by itself."""
        raise NotImplementedError

    def put_back(self, play: "Play") -> None:
        """Leave the rehearsal as it was. Called whatever happened."""

    def more_checks(self, play: "Play") -> Sequence[Check]:
        """What else has to be so."""
        return ()


class Play:
    """One scenario while it is played."""

    def __init__(self, stage: Stage, scenario: Scenario, say: Say) -> None:
        self.stage, self.scenario = stage, scenario
        self.traffic = Traffic(stage.clients.endpoint, stage.clients.region, stage.endpoint, people())
        self.broken_at = math.inf
        """When it was broken: seconds since 1970."""
        self.before = ""
        """The ARN of the version that served before."""
        self._say, self._moments = say, list[tuple[float, str, str]]()
        self._rang: dict[str, float] = {}
        self._over = threading.Event()
        self._known: set[str] = set()
        self._sample = random.Random(7).sample(list(people()), SAMPLE)

    # --- for scenarios ----------------------------------------------------------------------------------------------

    def tell(self, source: str, what: str, at: float | None = None) -> None:
        """Something happened: a line of the time line, and of progress."""
        moment = time.time() if at is None else at
        self._moments.append((moment, source, what))
        since = moment - self.broken_at
        clock = "" if math.isinf(since) else f"{since:+6.1f} s "
        self._say(f"  {clock}{source}: {what}")

    def person(self, who: str, what: str) -> None:
        """Somebody does something."""
        self.tell("person", f"{who} {what}")

    def until(self, condition: Callable[[], Any], what: str, seconds: float) -> Any:
        """What `condition` returns, once it is true. Raises Missed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(*AWAY):
                if value := condition():
                    return value
            time.sleep(LOOK_SECONDS)
        raise Missed(f"{what}: not within {seconds:g} s")

    def rang(self, alarms: Sequence[str]) -> tuple[str, float] | None:
        """The first of these alarms that has rung since it was broken, and when."""
        found = [(self._rang[name], name) for name in alarms if self._rang.get(name, 0) >= self.broken_at]
        return (min(found)[1], min(found)[0]) if found else None

    def incident(self) -> Incident | None:
        """The newest incident of this scenario's kinds that was not there, or not as it is, before."""
        for incident in self.stage.incidents():
            if incident.kind in self.scenario.kinds and f"{incident.id} {incident.version}" not in self._known:
                return incident
        return None

    def serves_well(self) -> bool:
        """Ask for real: are all of the sample answered, in time, and the last seconds' requests, too?"""
        asked = self.traffic.ask(self._sample)
        recent = self.traffic.since(time.time() - 1)
        well = not asked.error and asked.seconds < LONGEST_REQUEST_SECONDS
        return well and bool(recent) and not any(each.error for each in recent)

    def quiet(self) -> bool:
        """Whether none of the scenario's alarms rings."""
        return not self.stage.ringing() & {*self.scenario.alarms}

    # --- the play ---------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Play it from its beginning to where all is as it was."""
        scenario, began = self.scenario, time.time()
        report = Report(scenario.name, scenario.breaks, scenario.second)
        self._say(f"{scenario.name}: {scenario.breaks}")
        watcher = threading.Thread(target=self._watch, daemon=True)
        try:
            self.stage.pace(scenario.second)
            with self.traffic:
                watcher.start()
                try:
                    self._play(report)
                except Exception as problem:  # whatever it is, it is what the scenario came to; others are to be played
                    told = str(problem) if isinstance(problem, Missed) else f"{type(problem).__name__}: {problem}"
                    report.checks.append(Check("everything happens, and in its time", False, told))
                    self.tell("break", f"given up: {told}")
                finally:
                    self._put_back(report)
        finally:
            self._over.set()
            with suppress(*AWAY):
                self.stage.pace(1)
        report.took = time.time() - began
        self._fill_in(report)
        return report

    def _play(self, report: Report) -> None:
        scenario = self.scenario
        self.until(lambda: self._at_peace(), "nothing is wrong before anything is broken", QUIET_SECONDS)
        scenario.prepare(self)
        self.before = self.stage.live()
        sample = self.traffic.ask(self._sample)
        self._known = {f"{incident.id} {incident.version}" for incident in self.stage.incidents()}
        time.sleep(WARM_SECONDS)

        self.broken_at, self._shown = time.time(), self.stage.clock()
        scenario.break_it(self)
        rings = f"{' or '.join(scenario.alarms)} rings"
        report.alarm, detected = self.until(lambda: scenario.detected(self), rings, DETECT_SECONDS)
        report.detected = detected - self.broken_at
        self._look_at_the_clock(report, "detect", detected)
        scenario.answer(self)
        decided = self.until(lambda: self._decided(), f"{' or '.join(scenario.decisions)} is decided", DECIDE_SECONDS)
        report.decided = time.time() - self.broken_at
        self._look_at_the_clock(report, "decide")
        report.decision, report.why = decided.decision, decided.why
        self.tell("recovery", f"decided: {decided.decision}: {decided.why}")

        scenario.mend(self)
        self.until(self.serves_well, "it serves well again", RECOVER_SECONDS)
        self.until(self.quiet, f"{', '.join(scenario.alarms)} ring no more", RECOVER_SECONDS)
        report.recovered = time.time() - self.broken_at
        self._look_at_the_clock(report, "recover")
        self.tell("recovery", "it serves well, and the alarms are quiet")
        self.until(lambda: self._written_up(decided), "the incident says that it is over", DECIDE_SECONDS)
        self._check(report, decided, sample)

    def _look_at_the_clock(self, report: Report, what: str, at: float | None = None) -> None:
        """How late it is now, or was when it happened, on the clock of schedules."""
        if self.scenario.second == 1:  # it is the one on the wall, and goes when the emulator does
            report.shown[what] = round((time.time() if at is None else at) - self.broken_at, 1)
        else:
            ago = 0.0 if at is None else time.time() - at
            report.shown[what] = round(self.stage.clock() - self._shown - ago, 1)

    def _at_peace(self) -> bool:
        at_rest = self.stage.status() == "InService" and not self.stage.ringing() and self.stage.is_idle()
        return at_rest and self.serves_well()

    def _decided(self) -> Incident | None:
        found = self.incident()
        return found if found and found.decision in self.scenario.decisions else None

    def _written_up(self, decided: Incident) -> bool:
        return any(each.id == decided.id and each.status != "open" for each in self.stage.incidents())

    def _check(self, report: Report, decided: Incident, sample: Exchange) -> None:
        scenario = self.scenario
        incident = next(each for each in self.stage.incidents() if each.id == decided.id)
        report.incident, report.note = incident.id, self.stage.note(incident)
        report.incident_uri = f"{self.stage.incidents_uri}/{incident.id}.md"
        report.checks += [
            Check("an alarm rang", bool(report.alarm), f"{report.alarm} after {report.detected:.1f} s"),
            Check("the decision is the right one", incident.decision in scenario.decisions, incident.decision),
            self._same_answers(sample),
            Check("the incident is over", incident.status != "open", incident.status),
            *scenario.more_checks(self),
        ]
        for word in scenario.cause:
            there = word.lower() in report.note.lower()
            report.checks.append(Check(f"the incident note has “{word}”", there, incident.id))

    def _same_answers(self, before: Exchange) -> Check:
        """Whoever serves now gives probabilities; the version of before, those of before."""
        after = self.traffic.ask(self._sample)
        sane = len(after.answers) == SAMPLE and all(0 <= answer <= 1 for answer in after.answers)
        live = self.stage.live()
        if live == self.before:
            return Check("the version of before serves, and answers as before", after.answers == before.answers, live)
        works = [person.works for person in after.people]
        right = statistics.mean((a > 0.5) == b for a, b in zip(after.answers, works, strict=True)) if sane else 0.0
        return Check("a new version serves, and answers", sane, f"{live}: {right:.0%} right of {SAMPLE}")

    def _put_back(self, report: Report) -> None:
        try:
            self.scenario.put_back(self)
        except Exception as problem:  # likewise
            report.checks.append(Check("the rehearsal is left as it was", False, str(problem)))

    # --- what is seen meanwhile -------------------------------------------------------------------------------------

    def _watch(self) -> None:
        states: dict[str, str] = {}
        status, live, seen = "", "", dict[str, str]()
        while not self._over.wait(LOOK_SECONDS):
            with suppress(*AWAY):
                for name, alarm in self.stage.alarms().items():
                    if states.get(name, alarm.state) != alarm.state and "ALARM" in (alarm.state, states[name]):
                        rings = alarm.state == "ALARM"
                        if rings:
                            self._rang[name] = alarm.since
                        self.tell(
                            "alarm", f"{name} rings: {alarm.reason}" if rings else f"{name} is quiet again", alarm.since
                        )
                    states[name] = alarm.state
                now = self.stage.status(), self.stage.live()
                if now != (status, live) and status:
                    self.tell("release", f"the endpoint is {now[0]}, version {now[1].rpartition('/')[2]} serves")
                status, live = now
                for incident in self.stage.incidents()[:5]:
                    words = f"{incident.status} {incident.decision}".strip()
                    if seen.get(incident.id, "" if seen or self._known else words) != words:
                        self.tell("incident", f"{incident.id}: {words}")
                    seen[incident.id] = words

    def _fill_in(self, report: Report) -> None:
        exchanges = self.traffic.exchanges
        start = exchanges[0].at if exchanges else self.broken_at
        broken = self.broken_at if not math.isinf(self.broken_at) else start
        recovered = broken + (report.recovered if report.recovered is not None else math.inf)
        during = [each for each in exchanges if broken <= each.at <= recovered]
        report.requests = {**summary(during), "after": summary([each for each in exchanges if each.at > recovered])}
        report.traffic, report.traffic_from = by_second(exchanges, start), start - broken
        report.timeline = [Moment(round(at - broken, 1), source, what) for at, source, what in sorted(self._moments)]


def sample_of(persons: Sequence[Person], count: int) -> Sequence[Person]:
    """Some of them, always the same."""
    return random.Random(count).sample(list(persons), count)
