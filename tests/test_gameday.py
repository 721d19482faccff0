"""Game days: every scenario, one after the other, on one rehearsal; and what a game day says where nothing is seen."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import pytest

from infra.gameday import play, report
from infra.gameday.census import in_group_quarters, people
from infra.gameday.data import in_months
from infra.gameday.play import Missed, Play, Scenario
from infra.gameday.report import Check, Moment, Report
from infra.gameday.scenarios import SCENARIOS
from infra.gameday.stage import Stage
from infra.gameday.supply import features, labels
from infra.gameday.traffic import Exchange, by_second, summary
from infra.rehearsal.session import Rehearsal
from infra.settings import ROOT
from infra.show import watching
from tests.test_rehearsal import Slipway

# --- one by one, on one rehearsal -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slipway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slipway]:
    slipway = Slipway(tmp_path_factory.mktemp("gameday") / "work")
    slipway.json("up", "local")
    yield slipway
    slipway.run("down", "local")


class Nothing(Scenario):
    """Breaks nothing, so that nothing can ring."""

    name = "nothing"
    breaks = "Nothing is broken."
    alarms = ("errors",)
    decisions = ("none",)
    cause = ()
    put_back_with: ClassVar[list[float]] = []

    def break_it(self, play: Play) -> None:
        play.tell("break", "nothing is broken")

    def put_back(self, play: Play) -> None:
        self.put_back_with.append(play.broken_at)


def test_what_is_not_detected_fails_and_all_is_put_back(slipway: Slipway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "DETECT_SECONDS", 3.0)
    monkeypatch.setattr("infra.rehearsal.session.WORK", slipway.work)
    said: list[str] = []
    stage = Stage(Rehearsal(slipway.work, say=said.append, watching=watching))
    told = Play(stage, Nothing(), said.append).run()

    assert not told.passed
    [check] = [check for check in told.checks if not check.ok]
    assert "errors rings: not within 3 s" in check.detail
    assert (told.detected, told.decided, told.recovered) == (None, None, None)
    assert told.requests["sent"] > 10 and told.requests["lost"] == 0
    assert len(Nothing.put_back_with) == 1
    assert "gameday.html" not in said
    # The clock of the schedules is the one on the wall again.
    stage.pace(1)
    assert report.page([told]).count("failed") > 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_detected_decided_on_recovered_from_and_written_up(
    slipway: Slipway, tmp_path: Path, name: str
) -> None:
    page = tmp_path / "gameday.html"
    done = slipway.run("gameday", name, "--json", "--html", str(page))
    [told] = json.loads(done.stdout)["scenarios"]

    assert (done.returncode, told["passed"]) == (0, True), done.stderr + done.stdout
    scenario = SCENARIOS[name]
    assert told["alarm"] in scenario.alarms
    assert told["decision"] in scenario.decisions
    seconds = told["seconds"]
    assert 0 < seconds["detect"] <= seconds["decide"] <= seconds["recover"] <= told["took"]
    shown = told["virtual_seconds"]
    assert 0 < shown["detect"] <= shown["decide"] <= shown["recover"] <= seconds["recover"] / told["second"] + 1
    assert told["requests"]["sent"] > 0
    assert told["requests"]["after"]["lost"] == 0
    assert told["incident"].rpartition("-")[0] in scenario().kinds
    assert told["note"].startswith("# employment-local: ")
    assert told["incident_uri"] in page.read_text() or told["incident"] in page.read_text()
    if name not in ("bad-release", "slow-release", "emulator-restart"):
        assert told["requests"]["lost"] == 0
    if name == "bad-release":
        assert 0 < told["requests"]["lost"] < told["requests"]["sent"] / 2


def test_the_rehearsal_is_as_it_was(slipway: Slipway) -> None:
    """After all of them: nothing rings, the first version serves, and an `up` finds nothing to do."""
    condition = slipway.json("status")["product"]["employment-local"]
    assert {name for name, state in condition["alarms"].items() if state == "ALARM"} == set()
    assert condition["model_package_arn"].endswith("/1")
    done = slipway.run("up", "local")
    assert "Nothing changed" in done.stdout, done.stdout + done.stderr


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_list_and_the_document_have_every_scenario_of_the_issue(tmp_path: Path) -> None:
    told = Slipway(tmp_path / "none").json("gameday", "--list")
    assert set(told) == {
        "bad-release",
        "slow-release",
        "feature-drift",
        "label-drift",
        "schema-change",
        "stale-features",
        "runaway-cost",
        "emulator-restart",
        "lost-function",
    }
    document = (ROOT / "docs/gameday.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| `([a-z-]+)`(?: or `([a-z-]+)`)?[^|]*\| ([a-z-]+)", document, re.M)
    assert {row[0] for row in rows} == set(told)
    for name, *alarms, decision in rows:
        assert {*filter(None, alarms)} == {*SCENARIOS[name].alarms}
        assert decision in (*SCENARIOS[name].decisions, "as")


def test_an_unknown_scenario_is_refused_with_the_names_of_those_there_are(tmp_path: Path) -> None:
    done = Slipway(tmp_path / "none").run("gameday", "flood")
    assert done.returncode == 2
    assert "there is no scenario 'flood'" in done.stderr and "lost-function" in done.stderr


# --- what is asked and brought --------------------------------------------------------------------------------------


def test_whom_the_requests_are_about() -> None:
    assert len(people()) == 20_000
    assert len({person.id for person in people()}) == 20_000
    assert 0.45 < sum(person.works for person in people()) / 20_000 < 0.55
    others = in_group_quarters()
    assert len(others) > 5_000
    assert {person.values["RELP"] for person in others} == {"16", "17"}
    assert not {person.id for person in others} & {person.id for person in people()}


def test_an_age_in_months_and_everything_else_as_it_was() -> None:
    person = people()[0]
    age, *rest = person.line().split(",")
    months, *same = in_months(person).split(",")
    assert (float(months), same) == (12 * float(age), rest)


def test_files_have_the_columns_that_their_readers_look_for() -> None:
    person = people()[0]
    header, row = features([person], "2026-11-21T00:00:00Z").decode().split()
    assert header.startswith("id,event_time,AGEP,SCHL") and row.endswith(person.line())
    header, row = labels([person], "2026-11-21T00:00:00Z", lambda _: True).decode().split()
    assert (header, row) == ("id,event_time,employed", f"{person.id},2026-11-21T00:00:00Z,1")


def exchange(at: float, error: str = "") -> Exchange:
    return Exchange("id", at, 0.05, (), (0.5,), error)


def test_every_request_is_counted_once_and_what_is_lost_by_its_words() -> None:
    exchanges = [exchange(100.2), exchange(100.9, "refused"), exchange(102.1), exchange(102.2, "refused")]
    assert by_second(exchanges, 100.0) == [
        {"answered": 1, "lost": 1},
        {"answered": 0, "lost": 0},
        {"answered": 1, "lost": 1},
    ]
    told = summary(exchanges)
    assert (told["sent"], told["lost"], told["errors"], told["median_ms"]) == (4, 2, {"refused": 2}, 50.0)
    assert summary([])["median_ms"] is None


# --- reports ----------------------------------------------------------------------------------------------------------

REPORT = Report(
    scenario="bad-release",
    breaks="A <b>version</b> fails.",
    second=0.01,
    detected=4.25,
    decided=5.0,
    recovered=9.5,
    shown={"detect": 300.0, "decide": 340.0, "recover": 900.0},
    took=20.0,
    alarm="errors",
    decision="none",
    why="its own guard went back",
    requests={"sent": 95, "lost": 4, "errors": {"500": 4}, "median_ms": 20.0},
    incident="service-1",
    incident_uri="s3://lake/service-1.md",
    note="# employment-local: <script>errors</script>",
    checks=[Check("an alarm rang", True, "errors")],
    timeline=[Moment(-1.0, "person", "dana registers version 2"), Moment(4.3, "alarm", "errors rings")],
    traffic=[{"answered": 10, "lost": 0}, {"answered": 6, "lost": 4}],
    traffic_from=-1.0,
)


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Mapping[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_a_page_needs_nothing_else_and_what_was_said_stays_text() -> None:
    parsed = Tags()
    parsed.feed(report.page([REPORT]))
    names = [tag for tag, _ in parsed.seen]
    assert not {"script", "link", "img", "b", "iframe"} & set(names)
    assert not any(name in attributes for _, attributes in parsed.seen for name in ("src", "href"))
    assert names.count("circle") == len(REPORT.timeline)
    bars = [attributes for tag, attributes in parsed.seen if tag == "rect"]
    lost = [float(bar["height"]) for bar in bars if bar["fill"] == report.COLORS["break"]]
    answered = [float(bar["height"]) for bar in bars if bar["fill"] != report.COLORS["break"]]
    assert answered[1] + lost[1] == pytest.approx(answered[0])
    assert lost[1] / answered[1] == pytest.approx(4 / 6, abs=0.01)


def test_json_has_real_and_virtual_seconds_and_a_verdict_on_all() -> None:
    told = json.loads(report.as_json([REPORT]))
    assert told["passed"] is True
    [scenario] = told["scenarios"]
    assert scenario["seconds"] == {"detect": 4.25, "decide": 5.0, "recover": 9.5}
    assert scenario["virtual_seconds"] == {"detect": 300, "decide": 340, "recover": 900}
    assert scenario["people"] == ["dana registers version 2"]


def test_one_check_that_fails_fails_the_scenario_and_the_day() -> None:
    failed = replace(REPORT, checks=[*REPORT.checks, Check("it is over", False, "open")])
    assert json.loads(report.as_json([REPORT, failed]))["passed"] is False
    assert any("NOT SO: it is over (open)" in line for line in report.lines(failed))
    assert not replace(REPORT, checks=[]).passed
    assert json.loads(report.as_json([]))["passed"] is False


def test_a_table_has_a_line_for_each_and_says_what_was_never() -> None:
    never = replace(REPORT, detected=None, alarm="", checks=[])
    cells = report.rows([REPORT, never])
    assert cells[0][1:4] == ["passed", "4.2 s (errors)", "5.0 s (none)"]
    assert cells[1][1:3] == ["FAILED", "never (no alarm)"]
    assert report.table([REPORT, never]).row_count == 2


def test_what_does_not_come_in_its_time_is_said() -> None:
    untold = object.__new__(Play)
    with pytest.raises(Missed, match="the moon rises: not within 0 s"):
        untold.until(lambda: False, "the moon rises", 0)
