"""A stack's page tells all that is known, says what is not, keeps every text a text, and can be read anywhere."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from typer.testing import CliRunner

from functions import ledger
from functions.incidents import store
from functions.incidents.core import Event, Incident
from functions.ledger import Entry
from functions.monitoring import report as reports
from infra.check import Violation
from infra.cli import app
from infra.history import History, of
from infra.reach import Deployed
from infra.report_page import charts, drawing, facts
from infra.report_page.facts import Facts, Live, ask, facts_of
from infra.report_page.graph import graph
from infra.report_page.page import page, verdict
from infra.report_page.picture import WAYS, Arrow, Box, Lane, Picture, picture
from infra.report_page.sections import WIDTHS
from infra.settings import load

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
STACK = "employment-prod"
PACKAGE = f"arn:aws:sagemaker:us-east-1:777788889999:model-package/{STACK}"


def at(hours: float) -> str:
    """A time so many hours before now."""
    return ledger.stamp(NOW - timedelta(hours=hours))


def entry(kind: Any, version: int, hours: float, **evidence: Any) -> Entry:
    arn = f"{PACKAGE}/{version}"
    by = f"arn:aws:iam::777788889999:role/{'erin' if kind == 'approved' else 'release'}"
    return Entry(
        kind=kind, endpoint=STACK, package_arn=arn, at=at(hours), by=by, id=f"{kind}-{hours:g}", evidence=evidence
    )


ENTRIES = [
    entry("approved", 1, 49),
    entry("live", 1, 48, metrics={"accuracy": 0.83}, gate={"accuracy": 0.8}),
    entry("approved", 2, 25),
    entry("live", 2, 24, metrics={"accuracy": 0.85}, gate={"accuracy": 0.8}, author="arn:aws:iam::1:role/dana"),
    entry("failed", 3, 5, reason="the alarm employment-prod-errors rang"),
]


def told(monitor: str, hours: float, status: str, **said: Any) -> dict[str, Any]:
    """A monitor's report."""
    return {
        "monitor": monitor,
        "endpoint": STACK,
        "model_package_arn": f"{PACKAGE}/2",
        "time": at(hours),
        "since": at(hours + 1),
        "until": at(hours),
        "status": status,
        "rows": 900,
        "violations": [],
        "summary": f"The {monitor} monitor's sentence, {hours:g} hours ago.",
        **said,
    }


def moved(hours: float, distance: float) -> dict[str, Any]:
    finding = {"feature": "AGEP", "part": "feature", "statistics": {"distance": distance}, "reasons": ["it moved"]}
    wrong = {"feature_name": "AGEP", "description": "its distribution moved", "group": "drift"}
    return told("data", hours, "violated", drifted_features=1, findings=[finding], violations=[wrong])


REPORTS = {
    "data": [told("data", 30, "stable", drifted_features=0, findings=[]), moved(3, 0.31), moved(2, 0.44)],
    "quality": [
        told(
            "quality",
            2,
            "stable",
            figures={"accuracy": 0.84, "auc": 0.9, "calibration_error": 0.01},
            baseline={"accuracy": 0.85, "auc": 0.91, "calibration_error": 0.01},
            changes=[{"metric": "accuracy", "floor": 0.02}],
        )
    ],
    "service": [told("service", 1, "stable", objectives=[{"name": "availability", "used": 0.2}])],
    "freshness": [told("freshness", 1, "stable", age_seconds=600, max_age_seconds=86400)],
    "spending": [told("spending", 1, "stable", usd_per_hour=0.4, usd_left_alone=290.0, usd_per_month=2500.0)],
}
INCIDENT = Incident(
    endpoint=STACK,
    kind="world",
    id="world-1",
    opened=at(3),
    what="What is asked has moved",
    alarm=f"{STACK}-drift",
    decision="retrain",
    needs=("approve version 4",),
    timeline=[Event(at=at(3), what="the alarm rang", source="alarm")],
)
LIVE = Live(
    where="AWS, account 777788889999, us-east-1",
    drifted=None,
    endpoint={
        "EndpointStatus": "InService",
        "ProductionVariants": [{"VariantName": "live", "CurrentInstanceCount": 3}],
    },
    waiting=["4"],
    releases=of(STACK, ENTRIES),
    reports=REPORTS,
    incidents=[INCIDENT],
    states={f"{STACK}-drift": ("ALARM", NOW - timedelta(hours=3)), f"{STACK}-errors": ("OK", NOW)},
)


@pytest.fixture(scope="module")
def plans(every_plan: Any) -> Mapping[str, Any]:
    return {one.stack: (one, plan) for one, plan in every_plan}


@pytest.fixture(scope="module")
def planned(plans: Mapping[str, Any]) -> Facts:
    """A product of production as it is planned, and the platform below it."""
    return facts_of([plans["platform-prod"], plans[STACK]], live=None, why="no credentials here", at=NOW)


@pytest.fixture(scope="module")
def running(plans: Mapping[str, Any]) -> Facts:
    """The same with all that may be known of what runs."""
    return facts_of([plans["platform-prod"], plans[STACK]], live=LIVE, at=NOW)


class Reader(HTMLParser):
    """A page as a browser takes it: its tags with their attributes, its texts by the section they stand in."""

    VOID = ("meta", "br", "hr", "img", "input", "link", "rect", "path", "line", "circle")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.section = ""
        self.sections: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "section":
            self.section = found["id"] or ""
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes what was not opened last"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            self.sections.setdefault(self.section, []).append(data)

    def said(self, section: str) -> str:
        """What stands in a section."""
        return re.sub(r"\s+", " ", " ".join(self.sections.get(section, [])))

    def all(self, name: str) -> Iterator[str]:
        """Each value of an attribute."""
        return (found[name] or "" for _, found in self.tags if name in found)


@pytest.fixture(scope="module", params=["planned", "running"])
def read(request: pytest.FixtureRequest) -> Reader:
    return Reader(page(request.getfixturevalue(request.param)))


# --- what it tells ----------------------------------------------------------------------------------------------------


def test_what_runs_is_told_in_every_section(running: Facts) -> None:
    read = Reader(page(running))
    assert "Version 4 waits for approval" in read.said("live")
    assert "version 2 since" in read.said("live") and "0.85 (at least 0.8)" in read.said("live")
    assert "the alarm employment-prod-errors rang" in read.said("live")
    assert "The data monitor's sentence, 2 hours ago." in read.said("health")
    assert "Age of the newest features" in read.said("health") and "limit 24 h" in read.said("health")
    assert "world-1: What is asked has moved" in read.said("incidents")
    assert "approve version 4" in read.said("incidents")
    assert f"rings {STACK}-drift" in read.said("alarms") and "What to do" in read.said("alarms")
    assert "Endpoint" in read.said("cost") and "employment-team" in read.said("cost")
    assert "platform-prod" in read.said("cost")
    assert "rules holds" in read.said("policies") and "policies/exceptions.yaml" in read.said("policies")
    assert "18 columns" in read.said("picture")
    assert "every entry of the ledger" in read.said("live").lower()


def test_what_is_planned_says_that_nobody_was_asked(planned: Facts) -> None:
    read = Reader(page(planned))
    for section in ("live", "health", "incidents", "alarms"):
        assert "Not known: no credentials here." in read.said(section), section
    assert "no credentials here" in read.said("limits")
    assert read.said("").count("Not asked") >= 4
    assert "As planned." in "".join(read.words)


def test_what_a_platform_has_not_is_not_told_of(plans: Mapping[str, Any]) -> None:
    read = Reader(page(facts_of([plans["platform-prod"]], live=None, why="nobody was asked", at=NOW)))
    assert {"live", "incidents"}.isdisjoint(read.sections)
    assert "Kubernetes" in read.said("picture") and "10.40.0.0/16" in read.said("picture")


def test_the_page_and_the_json_say_what_is_wrong(running: Facts, planned: Facts) -> None:
    assert verdict(planned)[0] == "insufficient" and "every policy holds" in verdict(planned)[1].lower()
    status, sentence = verdict(running)
    assert status == "violated"
    assert sentence.startswith("1 alarm rings; 1 incident is open;")
    refused = Violation(STACK, "access", "no-star", "high", "a-role", "", "Resource is *: name what it may use")
    broken = replace(running, report=replace(running.report, violations=(refused,)))
    assert "1 policy is violated" in verdict(broken)[1]
    assert "name what it may use" in Reader(page(broken)).said("policies")
    calm = replace(running, alarms=[], live=replace(LIVE, incidents=[], drifted={}))
    assert verdict(calm)[0] == "stable"
    behind = replace(calm, live=replace(LIVE, incidents=[], drifted={"update": 2}))
    assert "2 resources differ from this commit's plan" in verdict(behind)[1]
    found = json.loads(json.dumps(running.to_dict()))
    assert found["live"]["periods"][-1]["package_arn"].endswith("/2")
    assert found["policies"]["ok"] and found["cost"]["ok"]
    assert len(found["live"]["reports"]["data"]) == 3
    assert json.loads(json.dumps(planned.to_dict()))["not_asked_because"] == "no credentials here"


# --- how it is made ---------------------------------------------------------------------------------------------------


def test_it_needs_nothing_but_itself(read: Reader) -> None:
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(tag for tag, _ in read.tags)
    assert [*read.all("src")] == []
    assert all(each.startswith("#") or each.startswith("https://console.aws") for each in read.all("href"))
    [policy] = [
        found["content"] for tag, found in read.tags if tag == "meta" and "Content-Security-Policy" in found.values()
    ]
    assert policy and policy.startswith("default-src 'none'")
    assert "@import" not in drawing_style() and "url(" not in drawing_style()


def drawing_style() -> str:
    from infra.report_page.style import STYLE

    return STYLE


def test_every_link_within_it_leads_somewhere_and_ids_are_unique(read: Reader) -> None:
    ids = [*read.all("id")]
    assert len(ids) == len(set(ids))
    assert {each[1:] for each in read.all("href") if each.startswith("#")} <= {*ids}
    assert {*read.all("aria-labelledby")} <= {*ids}


def test_who_cannot_see_it_is_told_the_same(read: Reader) -> None:
    assert read.open == [], "everything that is opened is closed"
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), "no level of headings is left out"
    for tag, found in read.tags:
        if tag == "svg":
            assert found.get("aria-hidden") == "true" or (found.get("role") and found.get("aria-label"))
        if tag == "html":
            assert found["lang"] == "en"
        if tag == "th":
            assert found["scope"] == "col"
    captions, tables = (sum(tag == each for tag, _ in read.tags) for each in ("caption", "table"))
    assert captions >= sum("rows" in (found.get("class") or "") for tag, found in read.tags if tag == "table") > 0
    assert tables >= captions


TEXTS = st.text(min_size=1, max_size=60) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "a & b", "]]>", "${x}", "\u202eevil"]
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_no_text_becomes_part_of_the_page(running: Facts, text: str) -> None:
    def with_text(word: str) -> Reader:
        incident = replace(INCIDENT, what=word, why=word, needs=(word,), closed_by=word)
        data = [
            {**each, "summary": word, "violations": [{"feature_name": word, "description": word}]}
            for each in REPORTS["data"]
        ]
        live = replace(
            LIVE,
            incidents=[incident],
            reports={"data": data},
            waiting=[word],
            unknown={"quality": word},
            releases=of(STACK, [entry("live", 2, 24, author=word), entry("failed", 3, 5, reason=word)]),
        )
        alarms = [replace(each, means=word) for each in running.alarms]
        return Reader(page(replace(running, live=live, alarms=alarms, commit=word)))

    plain = [(tag, sorted(found)) for tag, found in with_text("word").tags if tag not in ("p", "em", "strong", "code")]
    shown = [(tag, sorted(found)) for tag, found in with_text(text).tags if tag not in ("p", "em", "strong", "code")]
    allowed = {"ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "hr", "br"}
    assert [each for each in shown if each[0] not in allowed] == [each for each in plain if each[0] not in allowed]


# --- what is asked of AWS ---------------------------------------------------------------------------------------------


@pytest.fixture
def aws() -> Iterator[Deployed]:
    """An account with a ledger, reports, an incident and an alarm that rings."""
    with mock_aws():
        clients: dict[str, Any] = {}

        def client(service: str) -> Any:
            made = boto3.client(service, region_name="us-east-1")  # type: ignore[call-overload]  # chosen at run time
            return clients.setdefault(service, made)

        s3 = client("s3")
        for bucket in ("lake", "ledger"):
            s3.create_bucket(Bucket=bucket)
        for each in ENTRIES:
            ledger.append(s3, "ledger", each)
        recent = datetime.now(UTC)
        for number in range(4):
            when = (recent - timedelta(hours=number)).isoformat()
            reports.write(s3, f"s3://lake/monitors/data/{STACK}/", {**moved(1, 0.5), "time": when}, "<p>")
        store.open(s3, store.folder("s3://lake/incidents", STACK), replace(INCIDENT, id=""))
        cloudwatch = client("cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName=f"{STACK}-drift", EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold", Threshold=0
        )
        cloudwatch.set_alarm_state(AlarmName=f"{STACK}-drift", StateValue="ALARM", StateReason="a test")
        outputs = {
            "endpoint_name": STACK,
            "ledger_bucket": "ledger",
            "reports_uri": "s3://lake/monitors",
            "incidents_uri": "s3://lake/incidents",
        }
        yield Deployed(load(STACK), outputs, client)


def test_what_runs_is_asked_of_aws(aws: Deployed) -> None:
    live = ask(aws, None)
    assert isinstance(live.releases, History) and live.releases.live
    assert live.releases.live.package_arn == f"{PACKAGE}/2"
    assert [each["time"] for each in live.reports["data"]] == sorted(each["time"] for each in live.reports["data"])
    assert len(live.reports["data"]) == 4
    assert live.incidents is not None and [each.id for each in live.incidents] == ["world-1"]
    assert live.states is not None and live.states[f"{STACK}-drift"][0] == "ALARM"
    assert "Could not find endpoint" in live.unknown["endpoint"]


def test_of_many_reports_evenly_spread_ones_are_read_and_the_newest(
    aws: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = ask(aws, None).reports["data"][-1]
    monkeypatch.setattr(facts, "MOST_REPORTS", 2)
    live = ask(aws, None)
    assert len(live.reports["data"]) == 2 and live.reports["data"][-1] == newest
    assert live.thinned == {"data": 4}


def test_what_is_refused_is_said_in_its_place(aws: Deployed, running: Facts) -> None:
    def refused(service: str) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, "ListObjects")

    live = ask(replace(aws, client=refused), None)
    assert live.releases is None and live.incidents is None and live.states is None
    read = Reader(page(replace(running, live=live, alarms=running.alarms)))
    for section in ("live", "incidents", "alarms", "health"):
        assert "AccessDenied" in read.said(section), section
    assert "AccessDenied" in read.said("limits")


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [STACK, "platform-prod"])
def test_every_part_of_a_stack_is_in_its_picture_once(plans: Mapping[str, Any], stack: str) -> None:
    found = graph(stack, plans[stack][1].resources)
    drawn = picture(found)
    keys = [box.key for lane in drawn.lanes for box in lane.boxes]
    assert len(keys) == len(set(keys))
    assert {each.urn for each in found.parts} <= {*keys}
    assert sum(len(each.resources) for each in found.parts) == sum(
        each.custom and not each.type.startswith("pulumi:") for each in plans[stack][1].resources
    )


def test_arrows_are_what_the_graph_has(plans: Mapping[str, Any]) -> None:
    resources = plans[STACK][1].resources
    drawn = picture(graph(STACK, resources))
    titles = {box.key: box.title for lane in drawn.lanes for box in lane.boxes}
    arrows = {(titles[each.start], titles[each.end]) for each in drawn.arrows}
    assert {
        ("Feature store", "Training pipeline"),
        ("Training pipeline", "Model registry"),
        ("Model registry", "Release"),
        ("Release", "Endpoint"),
        ("Endpoint", "Quality monitor"),
        ("Data monitor", "Recovery"),
        ("Recovery", "Training pipeline"),
    } <= arrows
    # The same without what refers to the endpoint: nothing is drawn that is not there.
    cut = [each for each in resources if "DataMonitor" not in each.urn]
    left = picture(graph(STACK, cut))
    assert not any("DataMonitor" in each.end or "DataMonitor" in each.start for each in left.arrows)


def test_a_component_that_nobody_has_put_in_words_is_drawn_under_its_name(plans: Mapping[str, Any]) -> None:
    resources = [
        replace(each, type="slipway:index:VectorIndex") if each.type == "slipway:index:DataMonitor" else each
        for each in plans[STACK][1].resources
    ]
    drawn = picture(graph(STACK, resources))
    assert "Vector index" in [box.title for lane in drawn.lanes if lane.title == "Also in it" for box in lane.boxes]


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    lanes, count = [], 0
    for number in range(draw(st.integers(1, 5))):
        boxes = []
        for _ in range(draw(st.integers(1, 7))):
            lines = draw(
                st.lists(st.sampled_from(["every hour", "a much longer line than a box is wide", "x"]), max_size=3)
            )
            boxes.append(
                Box(f"b{count}", draw(st.sampled_from(["Endpoint", "A very long title of a box"])), tuple(lines))
            )
            count += 1
        frames = draw(st.sampled_from([(), ("Network",), ("Network", "Cluster")]))
        lanes.append(Lane(f"lane {number}", tuple(boxes), frames))
    ends = st.integers(0, count - 1)
    pairs = draw(
        st.lists(
            st.tuples(ends, ends, st.sampled_from([*WAYS])).filter(lambda each: each[0] != each[1]),
            max_size=12,
            unique_by=lambda each: each[:2],
        )
    )
    return Picture("drawn", tuple(lanes), tuple(Arrow(f"b{one}", f"b{two}", way, "x") for one, two, way in pairs))


@settings(max_examples=80, deadline=None)
@given(drawn=pictures(), width=st.sampled_from([*WIDTHS.values()]))
def test_no_line_runs_through_a_box_whatever_the_width(drawn: Picture, width: int) -> None:
    grid, lines, height = drawing.laid_out(drawn, width)
    boxes = list(grid.placed.values())
    assert len(boxes) == sum(len(lane.boxes) for lane in drawn.lanes)
    for number, one in enumerate(boxes):
        assert one.x >= 0 and one.x + one.width <= width and one.y >= 0 and one.y + one.height <= height
        for other in boxes[number + 1 :]:
            apart = one.x + one.width <= other.x or other.x + other.width <= one.x
            assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y
    assert len(lines) == len(drawn.arrows)
    for arrow, points in lines:
        start, end = grid.placed[arrow.start], grid.placed[arrow.end]
        assert _on_edge(points[0], start) and _on_edge(points[-1], end)
        for (x1, y1), (x2, y2) in pairwise(points):
            assert x1 == x2 or y1 == y2, "lines run along the axes"
            assert min(x1, x2) >= -1 and max(x1, x2) <= width + 1 and min(y1, y2) >= 0 and max(y1, y2) <= height
            for box in boxes:
                within_x = min(max(x1, x2), box.x + box.width) - max(min(x1, x2), box.x)
                within_y = min(max(y1, y2), box.y + box.height) - max(min(y1, y2), box.y)
                along = within_y if x1 == x2 else within_x
                inside = box.x < x1 < box.x + box.width if x1 == x2 else box.y < y1 < box.y + box.height
                assert not inside or along <= 0, f"{arrow} runs through {box.box.key}"


def _on_edge(point: tuple[float, float], box: drawing.Placed) -> bool:
    x, y = point
    level = y in (box.y, box.y + box.height) and box.x <= x <= box.x + box.width
    upright = x in (box.x, box.x + box.width) and box.y <= y <= box.y + box.height
    return level or upright


# --- drawings over time -----------------------------------------------------------------------------------------------

VALUES = st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(values=VALUES, limit=st.none() | st.floats(-1e9, 1e9), usual=st.none() | st.floats(-1e9, 1e9))
def test_a_trend_stays_within_its_frame(values: list[float], limit: float | None, usual: float | None) -> None:
    points = tuple((NOW - timedelta(minutes=len(values) - n), value) for n, value in enumerate(values))
    series = charts.Series("value", points, limit=limit, usual=usual)
    over = charts.Stretch(NOW - timedelta(hours=1), NOW)
    read = Reader(charts.trend(series, over))
    dots = [found for tag, found in read.tags if tag == "circle"]
    assert len(dots) == len(values)
    for found in dots:
        assert 0 <= float(found["cx"] or -1) <= charts.WIDTH and 0 <= float(found["cy"] or -1) <= charts.PLOT + 1
    bad = sum(found["class"] == "bad" for found in dots)
    if limit is not None:
        down = usual is not None and usual > limit
        assert bad == sum(value < limit if down else value > limit for value in values)
    else:
        assert bad == 0


def test_columns_are_told_of_when_they_moved_and_no_others() -> None:
    over = charts.Stretch(NOW - timedelta(days=2), NOW)
    read = Reader(charts.heat(REPORTS["data"], over))
    assert [word for word in read.words if word == "AGEP"] == ["AGEP"]
    assert sum(tag == "rect" for tag, _ in read.tags) == 2
    assert charts.heat(REPORTS["data"][:1], over) == ""


def test_versions_that_were_live_are_drawn_in_order(running: Facts) -> None:
    assert running.live and running.live.releases
    read = Reader(charts.ribbon(running.live.releases, NOW, 860))
    bars = [found for tag, found in read.tags if tag == "rect"]
    assert [found["class"] for found in bars] == ["past0", "live"]
    assert float(bars[0]["x"] or 0) < float(bars[1]["x"] or 0)
    assert sum(found.get("class") == "cross" for _, found in read.tags) == 1


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_file_and_exits_by_what_it_found(
    planned: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "gather", lambda *_, **__: planned)
    file = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", STACK, "--planned", "--html", str(file)])
    assert done.exit_code == 0, done.output
    assert STACK in done.output and file.read_text("utf-8").startswith("<!doctype html>")
    told = CliRunner().invoke(app, ["report", STACK, "--json"])
    assert json.loads(told.stdout)["stack"] == STACK
    refused = Violation(STACK, "access", "no-star", "high", "a-role", "", "name what it may use")
    broken = replace(planned, report=replace(planned.report, violations=(refused,)))
    monkeypatch.setattr(facts, "gather", lambda *_, **__: broken)
    assert CliRunner().invoke(app, ["report", STACK, "--html", str(file)]).exit_code == 1
    assert CliRunner().invoke(app, ["report", STACK, "--html", str(tmp_path / "none" / "page.html")]).exit_code == 2


def test_an_environment_is_no_stack() -> None:
    done = CliRunner().invoke(app, ["report", "prod"])
    assert done.exit_code == 2
    assert "employment-prod" in done.output


# --- in a browser -----------------------------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--hide-scrollbars",
]
MEASURE = """<!doctype html><title></title><iframe style="border:0;width:{width}px;height:900px" src="{src}"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentWindow, root = page.document.documentElement;
  const shown = [...page.document.querySelectorAll("svg.picture")].filter(each => each.getBoundingClientRect().width);
  const small = [...page.document.querySelectorAll("svg text")].filter(each => each.getBoundingClientRect().width)
    .map(each => each.getScreenCTM().a * parseFloat(page.getComputedStyle(each).fontSize));
  const wide = [...page.document.querySelectorAll("main *")].filter(each => !each.closest("svg, .note, .scroll")
    && each.getBoundingClientRect().right > root.clientWidth + 1).map(each => each.outerHTML.slice(0, 80));
  document.title = JSON.stringify({{width: root.clientWidth, needs: root.scrollWidth, pictures: shown.length,
    fetched: page.performance.getEntriesByType("resource").length, smallest: Math.min(...small), wide}});
}})</script>"""


def browse(tmp_path: Path, *arguments: str) -> str:
    assert BROWSER
    done = subprocess.run(
        [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'browser'}", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no headless browser (chromium) is installed here")
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_a_phone_and_a_screen(running: Facts, tmp_path: Path, width: int) -> None:
    (tmp_path / "page.html").write_text(page(running), "utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE.format(width=width, src="page.html"), "utf-8")
    dom = browse(tmp_path, "--virtual-time-budget=5000", "--dump-dom", frame.as_uri())
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title, dom[:500]
    found = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found["width"] == width
    assert found["needs"] <= width, f"wider than the page: {found['wide']}"
    assert found["wide"] == []
    assert found["pictures"] == 2, "one drawing of each picture is shown: that of this width"
    assert found["fetched"] == 0, "nothing is loaded"
    assert found["smallest"] >= 8, "what is drawn can be read"


@pytest.mark.skipif(BROWSER is None, reason="no headless browser (chromium) is installed here")
def test_it_is_printed(running: Facts, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page(running), "utf-8")
    paper = tmp_path / "page.pdf"
    browse(tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer", (tmp_path / "page.html").as_uri())
    pages = re.findall(rb"/Type\s*/Page\b", paper.read_bytes())
    assert 3 <= len(pages) <= 25
