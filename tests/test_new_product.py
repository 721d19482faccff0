"""`slipway new product`: what it writes works as it is, whatever the table; what cannot work is refused before that."""

import ast
import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from functions.features import FeatureSchema
from infra import cli, new_product, schemas, settings
from infra.new_product import NotMade, Wanted, literal, make, write
from infra.new_product_data import DataError, example, read
from infra.settings import ENVIRONMENTS, ROOT

PACKAGES = ("components", "functions", "infra", "policies", "stacks")
LEAVERS = Wanted("leavers", owner="readers-team", cost_center="4100")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tree, into which products are written."""
    return _copy(tmp_path / "tree", monkeypatch.setattr)


def _copy(tree: Path, put: Callable[[Any, str, Any], None]) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "tests").mkdir()
    for name in ("pyproject.toml", "Pulumi.yaml"):
        shutil.copyfile(ROOT / name, tree / name)
    put(new_product, "ROOT", tree)
    put(settings, "STACK_FOLDER", tree / "stacks")
    put(schemas, "FOLDER", tree / "stacks/schemas")
    return tree


def ruff(folder: Path, files: Sequence[Path]) -> str:
    """What ruff has to say of generated files."""
    said = ""
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--no-cache", *map(str, files)],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        said += done.stdout + done.stderr if done.returncode else ""
    return said


def python(files: Mapping[Path, str]) -> list[Path]:
    return [path for path in files if path.suffix == ".py"]


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Mapping[Path, str]]]:
    """A copy of the tree with a product in it, and what was written."""
    with pytest.MonkeyPatch.context() as patch:
        tree = _copy(tmp_path_factory.mktemp("new") / "tree", patch.setattr)
        files = make(LEAVERS).files
        write(files)
        yield tree, files


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True)


def test_it_is_written_as_this_repository_is(made: tuple[Path, Mapping[Path, str]]) -> None:
    tree, files = made
    assert ruff(tree, python(files)) == ""
    assert {path.relative_to(tree).as_posix() for path in files} == {
        "stacks/leavers.py",
        "functions/leavers/__init__.py",
        "functions/leavers/features.py",
        "functions/leavers/gate.py",
        "functions/leavers/train.py",
        "functions/leavers/inference.py",
        "stacks/samples/leavers.py",
        "stacks/samples/leavers.csv",
        "tests/test_leavers.py",
        "stacks/schemas/leavers.json",
        *(f"stacks/Pulumi.leavers-{each}.yaml" for each in ENVIRONMENTS),
    }


def test_it_keeps_to_every_policy_in_every_environment(made: tuple[Path, Mapping[Path, str]]) -> None:
    stacks = [f"{product}-{env}" for env in ENVIRONMENTS for product in ("platform", "leavers")]
    done = run(made[0], "-m", "infra.cli", "check", *stacks, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["violations"] == []


def test_its_own_tests_pass_and_its_schema_is_current(made: tuple[Path, Mapping[Path, str]]) -> None:
    done = run(made[0], "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_leavers.py")
    assert done.returncode == 0, done.stdout + done.stderr
    current = run(made[0], "-m", "infra.cli", "schema", "--check", "--json")
    # examples/ is not in the copy
    stale = [each for each in json.loads(current.stdout)["stale"] if "leavers" in each or "product" in each]
    assert stale == []


def test_the_tags_and_accounts_are_those_of_the_environments(made: tuple[Path, Mapping[Path, str]]) -> None:
    from infra.environments import environment

    for name in ENVIRONMENTS:
        told = yaml.safe_load((made[0] / f"stacks/Pulumi.leavers-{name}.yaml").read_text())["config"]
        assert told["aws:allowedAccountIds"] == [environment(name).account]
        assert told["aws:defaultTags"]["tags"] == {
            "owner": "readers-team",
            "product": "leavers",
            "environment": name,
            "cost-center": "4100",
        }


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Churn", "is no name: use up to 24 small letters"),
        ("churn_model", "is no name"),
        ("a" * 25, "is no name"),
        ("churn-prod", "leave out -prod"),
        ("class", "a word that the code needs"),
        ("training", "a word that the code needs"),
        ("product", "a word that the code needs"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, words: str) -> None:
    with pytest.raises(NotMade, match=words):
        make(Wanted(name, "a", "1"))


def test_tags_that_aws_refuses_are_refused() -> None:
    with pytest.raises(NotMade, match=r"--cost-center: '4100;' is no tag of AWS"):
        make(Wanted("churn", "a-team", "4100;"))
    with pytest.raises(NotMade, match="say in 80 at most"):
        make(Wanted("churn", "a-team", "4100", purpose="a" * 81))


def test_nothing_is_overwritten() -> None:
    with pytest.raises(NotMade, match=r"stacks/employment\.py, functions/employment/__init__\.py, .*: there already"):
        make(Wanted("employment", "a-team", "4100"))


def test_all_of_it_is_written_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    files = {tmp_path / "new/a/one.py": "1", tmp_path / "two.py": "2", tmp_path / "there": "3"}
    with pytest.raises(NotMade, match="nothing was written"):
        write(files)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "mine"


def test_the_command_says_what_is_wrong_and_ends_with_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["new", "product", "employment", "--json"])
    assert done.exit_code == 2
    assert "there already" in done.stderr
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    done = CliRunner().invoke(cli.app, ["new", "product", "churn", "--csv", str(rows), "--yes"])
    assert done.exit_code == 2
    assert "say with --label which column has the answer: a, b" in done.stderr


# --- tables -----------------------------------------------------------------------------------------------------------

Rows = Sequence[Mapping[str, str]]


def subscribers(count: int = 400) -> list[dict[str, str]]:
    """Rows as a team has them, with names and values of every sort."""
    source = random.Random(1)
    rows = []
    for number in range(count):
        income = source.randrange(20_000, 90_000)
        left = income + source.gauss(0, 9000) < 45_000
        rows.append(
            {
                "Customer": f"c{number}",
                "Joined": f"2025-{source.randint(1, 12):02}-{source.randint(1, 28):02}",
                "Annual income (€)": str(income),
                "annual_income": f"{income / 7:.3f}" if number % 9 else "",
                "Größe": source.choice(("klein", "mittel", 'groß, "XL"')),
                "note": f"free text {number}",
                "always": "same",
                "Left?": "Yes" if left else "No",
            }
        )
    return rows


@pytest.fixture
def table(tmp_path: Path) -> Callable[[Rows], Path]:
    """`table(rows)` is a CSV file of rows."""

    def table(rows: Rows) -> Path:
        path = tmp_path / "rows.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["a"])
            writer.writeheader()
            writer.writerows(rows)
        return path

    return table


def test_columns_become_features_of_their_kind(table: Callable[[Rows], Path]) -> None:
    found = read(table(subscribers()), "Left?", "Customer", "Joined")
    assert (found.record_id, found.event_time, found.label, found.positive) == ("Customer", "Joined", "Left", "Yes")
    assert [(each.name, each.kind, each.minimum, each.required) for each in found.columns] == [
        ("Annual_income", "Integral", 0, True),
        ("annual_income_2", "Fractional", 0, False),
        ("Gr_e", "String", None, True),
    ]
    assert found.columns[2].categories == ('groß, "XL"', "klein", "mittel")
    assert found.notes == ["note is left out: it has 400 different texts", "always is left out: it is always same"]
    assert [row["Joined"] for row in found.rows] == sorted(row["Joined"] for row in found.rows)
    assert (found.history, len(found.rows)) == (320, 400)


def test_a_product_of_a_table_works(copy: Path, table: Callable[[Rows], Path]) -> None:
    wanted = Wanted("who-leaves", "a-team", "1", file=table(subscribers()), label="Left?", record_id="Customer")
    files = make(wanted).files
    write(files)
    assert ruff(copy, python(files)) == ""
    done = run(copy, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_who_leaves.py")
    assert done.returncode == 0, done.stdout + done.stderr


def changed(**values: str) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    return lambda rows: [{**row, **values} if number == 7 else row for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda rows: rows, {"label": "left"}, "--label: there is no column 'left'; there are Customer, Joined"),
        (lambda rows: rows, {"record_id": "key"}, "--id: there is no column 'key'"),
        (lambda rows: rows, {"time": "Left?"}, "must be three different columns"),
        (lambda rows: rows, {"positive": "maybe"}, "Left[?] is never 'maybe', but No or Yes"),
        (lambda rows: rows, {"label": "Größe"}, "has 3 different values"),
        (lambda rows: rows[:100], {}, "80 rows to train on, .* it takes 200"),
        (changed(Joined="last week"), {"time": "Joined"}, "row 8: Joined is 'last week', which is no time"),
        (changed(Joined="2999-01-01"), {"time": "Joined"}, "row 8: Joined is '2999-01-01', which is yet to come"),
        (changed(Customer=""), {"record_id": "Customer"}, "a row has no Customer"),
        (changed(**{"Left?": "perhaps"}), {}, "has 3 different values"),
        (lambda rows: [{"a": "1", "Left?": row["Left?"]} for row in rows], {}, "no column is left to learn from"),
    ],
)
def test_a_table_nothing_can_be_learnt_from_is_refused(
    table: Callable[[Rows], Path], change: Callable[[Any], Rows], options: dict[str, str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read(table(change(subscribers())), **{"label": "Left?", **options})


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "must name every column"), ("a,a\n1,2\n", "each by a name of its own"), ("a,b\n1\n", "line 2: 1 values")],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read(path, "a")


def test_guessing_is_no_model(table: Callable[[Rows], Path]) -> None:
    source = random.Random(2)
    rows = [{"x": str(source.random()), "y": str(source.randint(0, 1))} for _ in range(2000)]
    with pytest.raises(NotMade, match="hardly better than guessing"):
        make(Wanted("churn", "a", "1", file=table(rows), label="y"))


def test_the_example_is_always_the_same() -> None:
    assert example().csv() == example().csv()
    assert len(example().rows) == 2000


CELLS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False).map(str),
    st.sampled_from(["", " ", "1e400", "007", "0x1", "nan", "-0", '"', "'", "\\", "a\nb"]),
)
HEADERS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n"), min_size=1, max_size=80),
    min_size=1,
    max_size=5,
    unique=True,
).filter(lambda names: "y" not in names and all(name.strip() for name in names))


@given(header=HEADERS, pools=st.lists(st.lists(CELLS, min_size=1, max_size=6), min_size=5, max_size=5))
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_table_its_rows_fit_the_schema_and_the_code_is_python(
    header: list[str], pools: list[list[str]], table: Callable[[Rows], Path]
) -> None:
    source = random.Random(3)
    rows = [
        {**{name: source.choice(pool) for name, pool in zip(header, pools, strict=False)}, "y": str(number % 2)}
        for number in range(300)
    ]
    try:
        found = read(table(rows), "y")
        schema: FeatureSchema = new_product._schema("any", found)
    except DataError:
        return
    for row in found.rows:
        assert list(schema.problems([row[name] for name in schema.names])) == []
    shared = {"name": "any", "module": "any", "label": found.label, "positive": "1", "features": found.columns}
    names = {"record_id": found.record_id, "event_time": found.event_time}
    text = new_product._templates().get_template("features.py.jinja").render({**shared, **names})
    told: dict[str, Any] = {}
    exec(compile(text, "features.py", "exec"), told)
    assert told["SCHEMA"] == schema
    assert max(map(len, text.splitlines())) <= 120


@given(st.text())
def test_a_text_is_written_as_itself_on_one_line(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text
    assert len(literal(text).splitlines()) == 1
