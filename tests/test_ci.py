"""CI checks a change without credentials, tells of it wherever it may, and gives the code that it runs no right."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import infra.cli as cli
from infra.reports import FORMATS, MARKER
from infra.settings import ROOT

GITHUB: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/slipway.yml").read_text("utf-8"))
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text("utf-8"))
JOBS: dict[str, dict[str, Any]] = GITHUB["jobs"]


def test_a_fork_s_pull_request_is_checked_without_any_right() -> None:
    text = (ROOT / ".github/workflows/slipway.yml").read_text("utf-8")
    assert set(GITHUB[True]) == {"pull_request", "push"}  # YAML 1.1 reads `on` as true
    assert "secrets." not in text and "pull_request_target" not in text
    assert GITHUB["permissions"] == {}
    assert JOBS["check"]["permissions"] == {"contents": "read"}
    assert "if" not in JOBS["check"]


def test_what_may_write_runs_nothing_of_the_pull_request_and_not_for_a_fork() -> None:
    for name, job in JOBS.items():
        if "write" in job["permissions"].values():
            assert "head.repo.full_name == github.repository" in job["if"], name
            assert not any(".ci/" in step.get("run", "") or "make" in step.get("run", "") for step in job["steps"]), (
                name
            )
    assert JOBS["comment"]["permissions"] == {"pull-requests": "write"}
    assert JOBS["scan"]["permissions"]["security-events"] == "write"


def test_actions_are_pinned_to_commits_and_say_which_release_that_is() -> None:
    uses = re.findall(r"uses: (.*)", (ROOT / ".github/workflows/slipway.yml").read_text("utf-8"))
    assert len(uses) == sum("uses" in step for job in JOBS.values() for step in job["steps"])
    for each in uses:
        assert re.fullmatch(r"[\w-]+(/[\w-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)
    assert len(set(uses)) == len({each.partition("@")[0] for each in uses}), "one commit for each action"


def test_text_that_a_pull_request_chooses_never_becomes_part_of_a_command() -> None:
    for job in JOBS.values():
        assert not any("${{" in step.get("run", "") for step in job["steps"])


def test_both_run_the_same_command() -> None:
    assert "run: .ci/check" in (ROOT / ".github/workflows/slipway.yml").read_text("utf-8")
    assert GITLAB["slipway"]["script"] == [".ci/check"]
    assert GITLAB["slipway"]["artifacts"]["reports"]["junit"] == ".slipway/ci/check.xml"


# The commands themselves, in a repository whose `slipway` writes down how it was called.

SLIPWAY = """#!/usr/bin/env bash
printf '%s\\n' "$PWD" "$@" --- >> "$CALLS"
[ "$1 ${FAIL_PLAN:-}" != "plan yes" ] || exit 1
for each in "$@"; do case "$each" in *=*) echo found > "${each#*=}";; esac; done
exit "${FAIL_CHECK:-0}"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / ".ci").mkdir(parents=True)
    (root / ".ci/check").write_bytes((ROOT / ".ci/check").read_bytes())
    (root / ".ci/check").chmod(0o755)
    (root / "slipway").write_text(SLIPWAY)
    (root / "slipway").chmod(0o755)
    (root / "Makefile").write_text(".venv/ready:\n\t@mkdir -p .venv/bin && cp slipway .venv/bin/slipway\n")
    (root / ".gitignore").write_text(".venv/\n.slipway/\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def checked(root: Path, **environment: str) -> tuple[int, list[list[str]]]:
    """The exit code, and each call: where, and with what arguments."""
    calls = root.parent / "calls"
    done = subprocess.run([".ci/check"], cwd=root, env={**os.environ, "CALLS": str(calls), **environment})
    called = [each.strip().split("\n") for each in calls.read_text().split("---\n") if each.strip()]
    return done.returncode, called


def test_a_change_is_compared_with_the_commit_it_is_based_on(repository: Path) -> None:
    code, [base, own] = checked(repository, BASE="HEAD")
    assert code == 0
    assert base == [str(repository / ".slipway/ci/base"), "plan", "--export", "../deployed"]
    assert own[:4] == [str(repository), "check", "--since", ".slipway/ci/deployed"]
    assert {each.name for each in (repository / ".slipway/ci").glob("check.*")} == {
        "check.sarif",
        "check.xml",
        "check.json",
        "check.md",
    }
    assert not (repository / ".slipway/ci/base").exists()
    assert checked(repository, BASE="HEAD")[0] == 0, "and again"


def test_exported_states_go_before_a_commit(repository: Path) -> None:
    code, [own] = checked(repository, BASE="HEAD", DEPLOYED="states")
    assert code == 0
    assert own[1:4] == ["check", "--since", "states"]


@pytest.mark.parametrize("environment", [{}, {"BASE": ""}, {"BASE": "HEAD", "FAIL_PLAN": "yes"}])
def test_without_anything_to_compare_with_it_is_checked_all_the_same(
    repository: Path, environment: dict[str, str]
) -> None:
    code, calls = checked(repository, **environment)
    assert code == 0
    assert calls[-1][1:3] == ["check", "--report"]


def test_a_violation_fails_the_job_and_leaves_the_reports(repository: Path) -> None:
    code, _ = checked(repository, FAIL_CHECK="1")
    assert code == 1
    assert (repository / ".slipway/ci/check.md").exists()


def test_the_command_takes_what_ci_calls_it_with(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing:
        def plan_offline(self, stacks: Any, processes: int) -> list[Any]:
            return []

        def changes(self, stacks: Any, since: Any) -> list[Any]:
            assert since == [Path(".slipway/ci/deployed")]
            return []

    _, [_, own] = checked(repository, BASE="HEAD")
    monkeypatch.chdir(repository)
    monkeypatch.setattr(cli, "_rehearsal", Nothing)
    result = CliRunner().invoke(cli.app, own[1:])
    assert result.exit_code == 0, result.output
    assert json.loads((repository / ".slipway/ci/check.json").read_text())["ok"]
    assert json.loads((repository / ".slipway/ci/check.sarif").read_text())["version"] == "2.1.0"
    assert (repository / ".slipway/ci/check.md").read_text().startswith(MARKER)


@pytest.mark.parametrize("format_", FORMATS)
def test_any_format_is_printed_or_written(format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        plan_offline = staticmethod(lambda stacks, processes: [])
        changes = staticmethod(lambda stacks, since: [])

    monkeypatch.setattr(cli, "_rehearsal", Nothing)
    printed = CliRunner().invoke(cli.app, ["check", "local", "--format", format_])
    path = tmp_path / "report"
    written = CliRunner().invoke(cli.app, ["check", "local", "--format", format_, "--output", str(path)])
    assert (printed.exit_code, written.exit_code) == (0, 0)
    start = path.read_text("utf-8").lstrip()[:9]
    assert start and start in printed.stdout
    if format_ == "json":
        assert json.loads(CliRunner().invoke(cli.app, ["check", "local", "--json"]).stdout)["ok"]


def test_a_format_that_there_is_not_is_named() -> None:
    result = CliRunner().invoke(cli.app, ["check", "local", "--report", "html=a"])
    assert result.exit_code == 2
    assert "'html': there are text, json, sarif, junit, markdown" in re.sub(r"[│\s]+", " ", result.output)


# The comment on the pull request, with a `gh` that writes down how it was called.

GH = """#!/usr/bin/env bash
printf '%s ' "$@" >> "$CALLS"; echo >> "$CALLS"
case "$*" in *--paginate*) printf '%s' "$FOUND";; esac
"""


@pytest.mark.parametrize(("found", "call"), [("", "--method POST a/comments"), ("7\n9\n", "--method PATCH b/7")])
def test_the_pull_request_has_one_comment(tmp_path: Path, found: str, call: str) -> None:
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    [script] = [step["run"] for step in JOBS["comment"]["steps"] if "run" in step]
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "FOUND": found,
        "COMMENTS": "a/comments",
        "ONE": "b",
    }
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], env=environment, check=True)
    looked, wrote = (tmp_path / "calls").read_text().splitlines()
    assert MARKER in looked and "github-actions[bot]" in looked
    assert f"{call} -F body=@found/check.md" in wrote
