"""What the data monitor finds in captured requests, reports and rings about; and that it counts each of them once."""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given
from hypothesis import strategies as st
from pretend_aws import CONFIG
from pretend_cloud import settings
from typer.testing import CliRunner

from components.data_monitor import DataMonitor, DataMonitorSpec
from functions.data_monitor import handler as monitor
from functions.data_monitor import large, page
from functions.monitoring import baseline, formats, report, windows
from functions.monitoring import judge as judging
from functions.monitoring.sketch import Column, Tally
from infra import monitors
from infra.cli import app
from infra.reach import Deployed
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine
from infra.settings import ROOT
from policies.cost import TAGS
from tests.emulated import ACCOUNT, REGION, User, new, until
from tests.served_models import ECHO, archive

IMAGE = f"683313688378.dkr.ecr.{REGION}.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
NAMES = ("age", "colour", "amount")
Row = tuple[str, str, str]


def people(count: int, seed: int) -> list[Row]:
    """Rows as training had them."""
    source = random.Random(seed)
    return [
        (
            str(source.randint(18, 90)),
            source.choices(("red", "green", "blue"), (5, 3, 2))[0],
            f"{source.lognormvariate(3, 0.5):.2f}",
        )
        for _ in range(count)
    ]


def older(count: int, seed: int) -> list[Row]:
    """People of whom everybody is 15 years older, at most 90."""
    return [(str(min(90, int(age) + 15)), colour, amount) for age, colour, amount in people(count, seed)]


def in_cents(count: int, seed: int) -> list[Row]:
    """Rows whose amounts are in another unit."""
    return [(age, colour, str(round(float(amount) * 100))) for age, colour, amount in people(count, seed)]


def nameless(count: int, seed: int) -> list[Row]:
    """Rows half of which lack their colour."""
    rows = people(count, seed)
    return [(age, "" if index % 2 else colour, amount) for index, (age, colour, amount) in enumerate(rows)]


def answer_to(row: Row) -> float:
    """What the model answers: the older, the likelier; anything to a row that it cannot make sense of."""
    return min(0.99, int(row[0]) / 100) if row[0].isdigit() else 0.5


def captured(rows: Sequence[Row], rows_a_request: int = 5) -> bytes:
    """A capture file."""
    lines = []
    for start in range(0, len(rows), rows_a_request):
        batch = rows[start : start + rows_a_request]
        asked = {"mode": "INPUT", "encoding": "CSV", "data": "\n".join(map(",".join, batch))}
        said = {"mode": "OUTPUT", "encoding": "CSV", "data": "\n".join(f"{answer_to(row):.4f}" for row in batch)}
        record = {
            "captureData": {"endpointInput": asked, "endpointOutput": said},
            "eventMetadata": {"eventId": new("event"), "inferenceTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"},
            "eventVersion": "0",
        }
        lines.append(json.dumps(record))
    return "".join(f"{line}\n" for line in lines).encode()


def trained_on(rows: Sequence[Row]) -> str:
    fitted = baseline.fit(NAMES, [False, True, False], rows)
    return baseline.to_json(baseline.with_predictions(fitted, [answer_to(row) for row in rows]))


@dataclass
class Watched:
    """What is captured of one endpoint, and its monitor, run here and not in Lambda."""

    user: User
    lake: str
    name: str
    package: str
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def event(self) -> dict[str, Any]:
        return {
            "endpoint": self.name,
            "variant": "live",
            "captures": f"s3://{self.lake}/work/captures/",
            "reports": f"s3://{self.lake}/work/monitors/data/{self.name}/",
            "windows": 3,
            "drifting_windows": 2,
            "broken_windows": 2,
            "large_bytes": 1 << 40,
            "part_bytes": 1 << 20,
            "machine_arn": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{self.name}-data",
            "model_package_arn": self.package,
            **self.more,
        }

    def put(self, rows: Sequence[Row], *, hours_ago: float = 0, body: bytes | None = None) -> str:
        """A capture file, of requests that were asked so long ago; it is written now. Its key."""
        hour = datetime.now(UTC) - timedelta(hours=hours_ago)
        key = f"work/captures/{self.name}/live/{hour:%Y/%m/%d/%H}/{new('capture')}.jsonl"
        self.user.s3.put_object(Bucket=self.lake, Key=key, Body=captured(rows) if body is None else body)
        return key

    def run(self) -> dict[str, Any]:
        return self.handle(self.event)

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return monitor.handler(event, None)

    def window(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The report on these rows."""
        self.put(rows)
        return self.run()

    def stored(self, folder: str = "") -> list[str]:
        prefix = f"work/monitors/data/{self.name}/{folder}"
        found = self.user.s3.list_objects_v2(Bucket=self.lake, Prefix=prefix).get("Contents", [])
        return [each["Key"].removeprefix(prefix) for each in found]

    def read(self, name: str) -> bytes:
        key = f"work/monitors/data/{self.name}/{name}"
        body: bytes = self.user.s3.get_object(Bucket=self.lake, Key=key)["Body"].read()
        return body

    def reports(self) -> list[dict[str, Any]]:
        """Those that were written, the oldest first."""
        names = [name for name in self.stored() if re.fullmatch(r"\d[^/]*\.json", name)]
        return [json.loads(self.read(name)) for name in sorted(names)]


@pytest.fixture(scope="module")
def lake(user: User) -> str:
    name = new("lake")
    user.s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def register(user: User, lake: str) -> Callable[[str], str]:
    """`register(text)`: a version of a model with this baseline; its ARN."""

    def register(text: str) -> str:
        group, key = new("work"), f"work/models/{new('run')}/baseline.json"
        user.s3.put_object(Bucket=lake, Key=key, Body=text.encode())
        user.sagemaker.create_model_package_group(ModelPackageGroupName=group)
        arn: str = user.sagemaker.create_model_package(
            ModelPackageGroupName=group,
            InferenceSpecification={
                "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{lake}/work/models/model.tar.gz"}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            ModelApprovalStatus="Approved",
            DriftCheckBaselines={
                "ModelDataQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{lake}/{key}"}}
            },
        )["ModelPackageArn"]
        return arn

    return register


@pytest.fixture(scope="module")
def package(register: Callable[[str], str]) -> str:
    return register(trained_on(people(4000, 1)))


@pytest.fixture
def watched(user: User, lake: str, package: str, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """An endpoint of this test's own."""
    for name, value in (
        ("AWS_ENDPOINT_URL", user.emulator.endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", REGION),
    ):
        monkeypatch.setenv(name, value)
    return Watched(user, lake, new("work"), package)


# --- what it finds --------------------------------------------------------------------------------------------------


def test_rows_like_those_of_training_are_well(watched: Watched) -> None:
    found = watched.window(people(1000, 3))

    assert (found["status"], found["rows"], found["violations"]) == ("stable", 1000, [])
    assert found["summary"].startswith("1,000 rows look like the training data")
    assert found["stands"] == {"broken_data": False, "drifting": False}
    assert found["drifted_features"] == 0


def test_what_moved_is_named_first_in_the_sentence(watched: Watched) -> None:
    found = watched.window(older(1000, 4))

    assert found["status"] == "violated"
    assert {each["group"] for each in found["violations"]} <= {"drift", "prediction"}
    assert found["findings"][0]["feature"] in found["summary"]
    assert "age" in found["summary"] and "broken" not in found["summary"]


@pytest.mark.parametrize("faulty, column", [(in_cents, "amount"), (nameless, "colour")])
def test_broken_data_are_told_from_a_world_that_moved(
    watched: Watched, faulty: Callable[[int, int], list[Row]], column: str
) -> None:
    found = watched.window(faulty(1000, 5))

    assert column in {each["feature_name"] for each in found["violations"] if each["group"] == "broken"}
    assert f"the data are broken in {column}" in found["summary"]


def test_requests_that_nobody_can_read_are_broken_data_and_not_too_few(watched: Watched) -> None:
    watched.put([], body=b'{"captureData": truncated\n' * 100)
    found = watched.run()

    assert (found["status"], found["malformed"]) == ("violated", 100)
    assert found["summary"] == "Of 0 rows, and 100 that cannot be read: the data are broken in the requests themselves."
    assert found["examples"] == ['{"captureData": truncated']


def test_the_files_of_model_monitor_are_beside_the_report(watched: Watched) -> None:
    watched.window(in_cents(500, 6))
    [name] = [name.removesuffix(".html") for name in watched.stored() if re.fullmatch(r"\d[^/]*\.html", name)]
    statistics, violations = (
        json.loads(watched.read(f"{name}/{file}.json")) for file in ("statistics", "constraint_violations")
    )

    assert statistics["dataset"]["item_count"] == 500
    assert "amount" in {each["feature_name"] for each in violations["violations"]}


def test_a_version_without_a_baseline_is_refused(watched: Watched, user: User) -> None:
    group = new("work")
    user.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    without = user.sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]

    with pytest.raises(ValueError, match="register it with the baseline"):
        replace(watched, package=without).run()


# --- K of N ---------------------------------------------------------------------------------------------------------


def test_one_window_in_three_rings_nobody_and_two_do_until_one_is_well(watched: Watched) -> None:
    stands = [watched.window(rows)["stands"]["drifting"] for rows in (older(600, 7), people(600, 8), older(600, 9))]

    assert stands == [False, False, True]
    assert watched.window(people(600, 10))["stands"]["drifting"] is False


def test_a_new_version_begins_with_no_windows_behind_it(watched: Watched, register: Callable[[str], str]) -> None:
    for seed in (11, 12):
        last = watched.window(older(600, seed))
    assert last["stands"]["drifting"]

    retrained = replace(watched, package=register(trained_on(older(4000, 1))))
    assert retrained.window(older(600, 13))["status"] == "stable"
    assert retrained.run()["stands"] == {"broken_data": False, "drifting": False}


def test_a_night_without_requests_does_not_make_it_better(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (14, 15):
        watched.window(older(600, seed))
    capsys.readouterr()
    quiet = watched.run()

    assert (quiet["status"], quiet["rows"], quiet["stands"]["drifting"]) == ("insufficient", 0, True)
    assert quiet["summary"].startswith("Nothing was captured since")
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["rows"], told["drifting"], told["broken_data"], "drifted_features" in told) == (0, 1, 0, False)


# --- each row once --------------------------------------------------------------------------------------------------


def test_rows_that_are_too_few_count_with_the_next_ones(watched: Watched) -> None:
    first, second = watched.window(people(30, 16)), watched.window(people(30, 17))

    assert (first["status"], first["rows"]) == ("insufficient", 30)
    assert (second["status"], second["rows"], second["since"]) == ("stable", 60, first["since"])
    assert watched.window(people(30, 18))["rows"] == 30


def test_rows_that_are_too_few_wait_for_a_day_and_are_dropped_with_a_word(watched: Watched) -> None:
    watched.window(people(30, 19))
    told = json.loads(watched.read("state.json"))
    told["kept"]["rows"]["since"] = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    watched.user.s3.put_object(
        Bucket=watched.lake, Key=f"work/monitors/data/{watched.name}/state.json", Body=json.dumps(told)
    )
    after = watched.window(people(30, 20))

    assert (after["rows"], after["dropped_rows"]) == (30, 30)


def test_what_was_written_while_no_run_came_is_read_once(watched: Watched) -> None:
    watched.run()
    for hours_ago in (1.9, 1, 0):  # captures are filed by the hour of their request, and written later
        watched.put(people(100, int(hours_ago * 10)), hours_ago=hours_ago)
    runs = [watched.run()["rows"] for _ in range(3)]

    assert runs == [300, 0, 0]


def test_captures_of_other_variants_and_endpoints_are_not_read(watched: Watched) -> None:
    other = replace(watched, name=f"{watched.name}-2")
    other.put(people(100, 21))
    key = watched.put(people(100, 22))
    watched.user.s3.copy_object(
        Bucket=watched.lake, Key=key.replace("/live/", "/shadow/"), CopySource={"Bucket": watched.lake, "Key": key}
    )

    assert watched.run()["rows"] == 100


class Dies(Exception):
    """A run ended here."""


def dying(s3: Any, after: int) -> Any:
    """An S3 client whose write number `after` is not made: the function died before it."""
    writes = 0

    class Client:
        def __getattr__(self, name: str) -> Any:
            return getattr(s3, name)

        def put_object(self, **named: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes > after:
                raise Dies
            return s3.put_object(**named)

    return Client()


def test_wherever_a_run_dies_each_row_is_in_one_verdict(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, plain, total, deaths = boto3.client, boto3.client("s3"), 0, 0
    for after in (0, 1, 2, 4, 6, 7, 0, 7, 99):
        watched.put(people(60, 30 + total))
        total += 60
        with monkeypatch.context() as patched:
            patched.setattr(
                boto3, "client", lambda name, after=after: dying(plain, after) if name == "s3" else client(name)
            )
            try:
                watched.run()
            except Dies:
                deaths += 1
        watched.run()

    judged = [each for each in watched.reports() if each["status"] != "insufficient"]
    assert deaths == 8
    assert sum(each["rows"] for each in judged) == total
    assert len(json.loads(watched.read("state.json"))["verdicts"]) == len(judged)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(each["rows"] for each in printed) == total


def test_of_two_runs_at_once_one_counts(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.run()
    watched.put(people(100, 50))
    judge = judging.judge

    def meanwhile(*given: Any) -> Any:
        monkeypatch.setattr(monitor, "judge", judge)
        watched.run()
        return judge(*given)

    monkeypatch.setattr(monitor, "judge", meanwhile)
    assert watched.run() == {"status": "overtaken"}
    assert sum(each["rows"] for each in watched.reports()) == 100
    assert len(json.loads(watched.read("state.json"))["verdicts"]) == 1


# --- its page -------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """What a page shows, what it would fetch, and whether everything that is opened is closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.opened.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.opened and self.opened[-1] != "style":
            self.words += data


def test_the_page_says_it_first_draws_what_moved_and_needs_nothing_else(watched: Watched) -> None:
    found = watched.window(older(600, 80))
    text = watched.read("latest.html").decode()
    shown = Reader(text)

    assert shown.opened == [] and shown.fetched == []
    assert not re.search(r"https?:|url\(|@import|<script", text)
    assert shown.words.index(found["summary"]) < shown.words.index("What moved") < shown.words.index("All columns")
    assert shown.tags.count("svg") == len(found["plots"]) >= 1
    assert "prefers-color-scheme:dark" in text
    assert len(text) < 100_000


@pytest.mark.parametrize("count", [0, 10, 500])
def test_there_is_a_page_of_every_window(watched: Watched, count: int) -> None:
    found = watched.window(people(count, 81)) if count else watched.run()

    assert found["summary"] in Reader(watched.read("latest.html").decode()).words


def test_what_was_captured_is_shown_and_not_obeyed(watched: Watched) -> None:
    evil = '<script>alert(1)</script>&"'
    rows = [
        (age, "<b>" if index % 2 else colour, amount) for index, (age, colour, amount) in enumerate(people(500, 82))
    ]
    watched.put([], body=captured(rows) + evil.encode() + b"\n")
    watched.run()
    shown = Reader(watched.read("latest.html").decode())

    assert "script" not in shown.tags
    assert evil in shown.words and "<b>" in shown.words


@given(
    st.lists(st.text(max_size=9), max_size=60),
    st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.text(max_size=5) | st.none(), max_size=60),
)
@example(codes=["²", "3"], numbers=[])  # a digit that is no number
def test_anything_can_be_drawn(codes: list[str], numbers: list[float | str | None]) -> None:
    for column, values in (
        (Column("c", "category", categories=frozenset(codes[:3])), codes),
        (Column("n", "number"), numbers),
    ):
        before, now = Tally(column), Tally(column)
        before.add(values[::2])
        now.add(values)
        labels, first, second = page.bars_of(before, now)
        assert len(labels) == len({*labels}) == len(first) == len(second)
        for tally, shares in ((before, first), (now, second)):
            assert sum(shares) == pytest.approx(1 if tally.total else 0, abs=1e-4)
        shown = Reader(report.bars(first, second, labels, title="x"))
        assert shown.opened == []


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(watched: Watched) -> Deployed:
    outputs = {"reports_uri": f"s3://{watched.lake}/work/monitors"}
    told = settings(dict, watched.name)
    return Deployed(told, outputs, lambda service: getattr(watched.user, service))


def test_the_newest_report_can_be_seen_in_a_terminal(watched: Watched, stack: Deployed) -> None:
    with pytest.raises(monitors.NoReport, match=r"the data monitor .* has not reported yet"):
        monitors.newest(stack, "data")
    found = watched.window(in_cents(500, 83))
    [shown] = monitors.newest(stack)

    assert shown.report == json.loads(json.dumps(found))
    lines = shown.lines()
    assert lines[0] == f"data: violated. {found['summary']}"
    assert any(line.startswith("  amount: ") for line in lines)
    assert monitors.page(stack, shown) == watched.read("latest.html").decode()


def test_model_monitors_files_become_a_baseline_that_windows_are_judged_by(
    watched: Watched, register: Callable[[str], str], tmp_path: Path
) -> None:
    rows = people(4000, 84)
    told = formats.statistics(baseline.from_json(trained_on(rows)).profile)
    (tmp_path / "statistics.json").write_text(json.dumps(told))
    files = [str(tmp_path / "statistics.json"), "--output", str(tmp_path / "baseline.json")]
    made = CliRunner().invoke(app, ["monitor", "import", *files, "--answer", "prediction"])
    assert made.exit_code == 0, made.output
    watched = replace(watched, package=register((tmp_path / "baseline.json").read_text()))

    assert watched.window(people(600, 85))["status"] == "stable"
    assert "age" in watched.window(older(600, 86))["summary"]


def test_what_is_no_file_of_model_monitor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "statistics.json").write_text('{"version": 0.0}')
    for name in ("statistics.json", "nothing.json"):
        refused = CliRunner().invoke(app, ["monitor", "import", str(tmp_path / name)])
        assert refused.exit_code == 1 and name in refused.stderr


def test_the_function_needs_nothing_but_boto3() -> None:
    script = """
import sys, boto3
sys.modules.update(dict.fromkeys(("msgspec", "numpy", "orjson")))
before = set(sys.modules)
import functions.data_monitor.handler
print(*{name.partition(".")[0] for name in sys.modules.keys() - before} - sys.stdlib_module_names)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["functions"], done.stderr


# --- in Lambda, with its alarms -------------------------------------------------------------------------------------


@dataclass
class InLambda(Watched):
    """One whose monitor is deployed."""

    topic: str = ""
    """A queue with what the alarms send."""
    input: Mapping[str, Any] = field(default_factory=dict)
    """What the schedule calls it with."""

    def invoke(self, **more: Any) -> dict[str, Any]:
        """A run as the schedule has it, of another size perhaps."""
        answer, error = self.user.invoke(f"{self.name}-data", {**self.input, **more})
        assert error is None and isinstance(answer, dict), answer
        return answer

    def alarm(self, what: str) -> str:
        return self.user.state(f"{self.name}-{what}")


@pytest.fixture(scope="module")
def deployed(user: User, lake: str, package: str, tmp_path_factory: pytest.TempPathFactory) -> InLambda:
    name, key = new("work"), user.kms.create_key()["KeyMetadata"]["Arn"]
    topic, inbox = user.topic()

    def build() -> dict[str, Any]:
        DataMonitor(
            name,
            DataMonitorSpec(schedule="rate(1 minute)"),
            endpoint_name=name,
            model_package_arn=package,
            bucket=lake,
            bucket_arn=f"arn:aws:s3:::{lake}",
            prefix="work",
            kms_key_arn=key,
            alerts_topic_arn=topic,
        )
        return {}

    def cloud(_: Any) -> AwsProvider:
        return AwsProvider(REGION, ACCOUNT, dict.fromkeys(TAGS, "x"), user.emulator.endpoint)

    serve(user, lake, name, package)
    engine = Engine(tmp_path_factory.mktemp(name), {"aws": cloud})
    engine.up(replace(settings(build, name), region=REGION, config=CONFIG))
    schedule = user.scheduler.get_schedule(GroupName=f"{name}-data", Name="run")
    return InLambda(user, lake, name, package, topic=inbox, input=json.loads(schedule["Target"]["Input"]))


def serve(user: User, lake: str, name: str, package: str) -> None:
    """An endpoint of this name that serves a version."""
    user.s3.put_object(Bucket=lake, Key="work/models/model.tar.gz", Body=archive(ECHO.format(name="0.5")))
    sagemaker = user.sagemaker
    sagemaker.create_model(
        ModelName=f"{name}-model", ExecutionRoleArn=user.role, PrimaryContainer={"ModelPackageName": package}
    )
    variant = {"VariantName": "live", "ModelName": f"{name}-model", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"{name}-config", ProductionVariants=[{**variant, "InstanceType": "ml.m5.large"}]
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-config")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})


@pytest.fixture
def quick(user: User) -> Iterator[None]:
    """A minute of schedules and alarms takes 2.4 s."""
    user.ask("/_slipway/pace", {"second": 0.04})
    yield
    user.ask("/_slipway/pace", {"second": 1})


def feed(deployed: InLambda, rows: Callable[[int, int], list[Row]], alarm: str, state: str) -> None:
    """Go on capturing such rows, some for each run, until an alarm is in this state."""
    seen = -1

    def look() -> bool:
        nonlocal seen
        runs = len(deployed.stored())
        if runs != seen:
            seen = runs
            deployed.put(rows(200, runs))
        time.sleep(0.2)
        return deployed.alarm(alarm) == state

    until(look, f"{alarm} is {state}", 60)


def test_each_alarm_rings_for_what_it_is_for_and_stays_quiet_else(deployed: InLambda, quick: None) -> None:
    def quiet(*alarms: str) -> bool:
        return all(deployed.alarm(alarm) == "OK" for alarm in alarms)

    feed(deployed, people, "drift", "OK")
    until(lambda: quiet("broken-data", "data-failed", "data-silent"), "all is quiet")
    feed(deployed, older, "drift", "ALARM")
    assert quiet("broken-data", "data-failed")
    feed(deployed, people, "drift", "OK")
    feed(deployed, in_cents, "broken-data", "ALARM")
    assert quiet("drift", "data-failed")
    feed(deployed, people, "broken-data", "OK")

    told = [json.loads(deployed.user.message(deployed.topic)["Body"]) for _ in range(2)]
    assert {each["AlarmName"].removeprefix(f"{deployed.name}-") for each in told}
    assert "slipway monitor show" not in told[0]["AlarmDescription"], "what to do is in the runbook"
    assert "runbook" in told[0]["AlarmDescription"]


def test_somebody_hears_of_a_monitor_that_fails_and_of_one_that_is_gone(deployed: InLambda, quick: None) -> None:
    user, key = deployed.user, f"{deployed.name}-config"
    user.sagemaker.delete_endpoint(EndpointName=deployed.name)
    until(lambda: deployed.alarm("data-failed") == "ALARM", "the failure is told of", 30)
    user.sagemaker.create_endpoint(EndpointName=deployed.name, EndpointConfigName=key)
    user.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=deployed.name, WaiterConfig={"Delay": 1})

    user.scheduler.delete_schedule(GroupName=f"{deployed.name}-data", Name="run")
    until(lambda: deployed.alarm("data-silent") == "ALARM", "the silence is told of", 30)
    deployed.put(people(100, 90))
    assert deployed.invoke()["rows"] >= 100, "nothing is lost"


def test_somebody_hears_of_a_call_that_was_lost_until_it_is_seen_to(deployed: InLambda, quick: None) -> None:
    user, name = deployed.user, f"{deployed.name}-data"
    until(lambda: deployed.alarm("data-lost") == "OK", "nothing is lost")
    queue = user.lambda_.get_function_configuration(FunctionName=name)["DeadLetterConfig"]["TargetArn"]
    event = json.dumps({**deployed.input, "endpoint": "there-is-none"})
    user.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=event)
    until(lambda: deployed.alarm("data-lost") == "ALARM", "what was lost is told of", 60)

    url = user.sqs.get_queue_url(QueueName=queue.rpartition(":")[2])["QueueUrl"]
    [lost] = user.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2)["Messages"]
    assert json.loads(lost["Body"])["endpoint"] == "there-is-none", "it says what was to be done"
    user.sqs.delete_message(QueueUrl=url, ReceiptHandle=lost["ReceiptHandle"])
    until(lambda: deployed.alarm("data-lost") == "OK", "once nothing waits, it is quiet", 60)


# --- large captures -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3 << 20), max_size=40), st.integers(1, 4 << 20))
def test_parts_have_every_object_once_and_are_no_larger_than_asked_for(sizes: list[int], part_bytes: int) -> None:
    found = [windows.Found(f"captures/{number}", datetime.now(UTC), size) for number, size in enumerate(sizes)]
    parts = large.split(found, part_bytes)

    assert [each["key"] for part in parts for each in part] == [each.key for each in found]
    for part in parts:
        assert len(part) == 1 or sum(each["size"] + large.OBJECT_BYTES for each in part) <= part_bytes
        assert len(part) <= large.MOST_OBJECTS


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two reports say the same of what was captured."""
    names = ("status", "rows", "requests", "malformed", "examples", "violations", "findings", "plots", "summary")
    return all(one[name] == other[name] for name in names)


def test_a_large_capture_is_read_in_parts_with_the_result_of_one_pass(deployed: InLambda, watched: Watched) -> None:
    bodies = [captured(in_cents(120, 60 + number)) for number in range(6)] + [b"no JSON\n", b""]
    for body in bodies:
        watched.put([], body=body)
        deployed.put([], body=body)
    watched.run()
    [in_one_pass] = watched.reports()
    before = len(deployed.reports())

    answer = deployed.invoke(large_bytes=1 << 20, part_bytes=600 << 10)
    assert (answer["status"], answer["parts"]) == ("reading", 4)
    assert deployed.invoke()["status"] == "reading", "what comes meanwhile waits"
    in_parts = until(lambda: deployed.reports()[before:], "a report of what was read in parts", 60)[0]

    assert same({**in_parts, "summary": ""}, {**in_one_pass, "summary": ""})
    assert in_parts["rows"] == 720 and in_parts["malformed"] == 1
    until(lambda: not deployed.stored("parts/"), "the parts are tidied away")
    assert deployed.invoke()["rows"] == 0


def test_a_machine_that_fails_is_told_of_and_what_it_was_to_read_is_read(deployed: InLambda) -> None:
    deployed.put(people(100, 71))
    nobody = deployed.package.rpartition("/")[0] + "/99"
    begun = deployed.invoke(large_bytes=1, model_package_arn=nobody)
    states, execution = deployed.user.stepfunctions, {"executionArn": begun["execution"]}
    with suppress(ClientError):  # it is about to begin, and fails by itself
        states.stop_execution(**execution)
    until(lambda: states.describe_execution(**execution)["status"] in ("ABORTED", "FAILED"), "it has failed", 90)
    answer, error = deployed.user.invoke(
        f"{deployed.name}-data", {**deployed.input, "model_package_arn": deployed.package}
    )

    assert error and "without a verdict" in answer["errorMessage"]
    assert deployed.reports()[-1]["rows"] == 100
    assert deployed.invoke()["rows"] == 0


def test_a_machine_that_was_announced_and_not_started_is_started(
    deployed: InLambda, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run died in between."""
    deployed.put(people(100, 72))
    with monkeypatch.context() as patched:
        patched.setattr(large, "_start", lambda *given: None)
        watched.handle({**deployed.input, "model_package_arn": deployed.package, "large_bytes": 1})
    before = len(deployed.reports())

    assert deployed.invoke()["status"] == "reading"
    [found] = until(lambda: deployed.reports()[before:], "a report of what was read in parts", 60)
    assert found["rows"] == 100


def test_a_part_that_is_missing_is_no_verdict_and_parts_may_be_read_again(watched: Watched) -> None:
    """Its machine does not exist here: it was announced, and ended."""
    watched.put(people(100, 70))
    watched = replace(watched, more={"large_bytes": 1})
    with pytest.raises(ClientError, match=r"does not exist|DoesNotExist"):
        watched.run()
    [part] = json.loads(watched.read(f"parts/{watched.stored('parts/')[0]}"))
    announced = json.loads(watched.read("state.json"))["kept"]["large"]

    with pytest.raises(ValueError, match=r"part 0 .* was not read"):
        watched.handle({"do": "merge", "run": announced["input"]["run"]})
    asked = {"do": "profile", "run": announced["input"]["run"], "part": part}
    assert watched.handle(asked) == watched.handle(asked) == {"rows": 100}
    merge = {"do": "merge", "run": announced["input"]["run"]}
    assert watched.handle(merge)["rows"] == 100
    assert watched.handle(merge)["status"] == "over", "asked again, it counts nothing again"
    assert [each["rows"] for each in watched.reports()] == [100]
    assert watched.run()["rows"] == 0
