"""The workflows that a fork gets: no fault that a linter finds, no secret, least rights; and what `.ci/deploy` does."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from infra import promotion
from infra.environments import Deploys, Environment
from infra.promotion import PromotionError, due, exchanged, resolve
from infra.settings import ROOT

FOLDER = ROOT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FILES}
GITLAB = ROOT / ".gitlab-ci.yml"
SCRIPTS = sorted((ROOT / ".ci").iterdir())
TOOLS = Path(sys.executable).parent
JOBS = [(file, name, job) for file, workflow in WORKFLOWS.items() for name, job in workflow["jobs"].items()]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)


# --- linters --------------------------------------------------------------------------------------------------------


def test_a_linter_of_workflows_security_finds_nothing() -> None:
    done = run(TOOLS / "zizmor", "--offline", "--persona", "regular", FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    text = (FOLDER / "deploy.yml").read_text("utf-8").replace("persist-credentials: false", "persist-credentials: true")
    text = text.replace('deploy up "$ENVIRONMENT"', "deploy up ${{ github.head_ref }}")
    (tmp_path / "deploy.yml").write_text(text, "utf-8")
    done = run(TOOLS / "zizmor", "--offline", tmp_path / "deploy.yml")
    assert done.returncode > 10, "zizmor's own codes for findings"
    assert "template-injection" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--builtin-schema", "vendor.github-workflows", *map(str, FILES)],
        ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", str(GITLAB)],
    ],
    ids=["github", "gitlab"],
)
def test_they_are_what_their_hosts_schema_says(arguments: list[str]) -> None:
    done = run(TOOLS / "check-jsonschema", *arguments)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="there is no `actionlint` on PATH")
def test_actionlint_finds_nothing() -> None:
    done = run("actionlint", *FILES)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_can_be_read_and_run(script: Path) -> None:
    assert run("bash", "-n", script).returncode == 0
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text("utf-8")


# --- what a fork has to give them, and what they may do -------------------------------------------------------------


@pytest.mark.parametrize("path", [*FILES, GITLAB], ids=lambda path: path.name)
def test_a_fork_needs_no_secret(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "secrets." not in text and "vars." not in text and "pull_request_target" not in text


@pytest.mark.parametrize(("file", "name", "job"), JOBS, ids=[f"{file}-{name}" for file, name, _ in JOBS])
def test_each_job_has_an_end_and_the_rights_it_needs(file: str, name: str, job: dict[str, Any]) -> None:
    assert WORKFLOWS[file]["permissions"] == {}
    assert job["timeout-minutes"] <= 120
    if job["permissions"].get("id-token") == "write":
        assert "pull_request" not in WORKFLOWS[file][True], "who may have AWS's credentials is on main already"
        assert job["permissions"] == {"contents": "read", "id-token": "write"}
    for step in job["steps"]:
        assert "${{" not in step.get("run", ""), "what others choose is no part of a command"


def test_only_the_job_that_waits_for_its_environments_reviewers_deploys() -> None:
    jobs = WORKFLOWS["deploy"]["jobs"]
    assert jobs["deploy"]["environment"] == "${{ matrix.environment }}"
    assert jobs["deploy"]["needs"] == ["due", "preview"]
    assert "environment" not in jobs["preview"]
    assert jobs["preview"]["runs-on"] == jobs["deploy"]["runs-on"] == "${{ matrix.runner }}", "one inside the network"
    ran = {name: " ".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    assert ".ci/deploy preview" in ran["preview"] and ".ci/deploy up" in ran["deploy"]
    assert ".ci/deploy up" not in ran["preview"] + ran["due"]
    assert WORKFLOWS["deploy"]["concurrency"]["cancel-in-progress"] is False


def test_actions_are_pinned_to_one_commit_each_in_all_of_them() -> None:
    uses = {each for path in FILES for each in re.findall(r"uses: (.*)", path.read_text("utf-8"))}
    assert all(re.fullmatch(r"[\w-]+(/[\w-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in uses)
    assert len(uses) == len({each.partition("@")[0] for each in uses})


def test_gitlab_deploys_by_hand_and_from_the_protected_branch_only() -> None:
    jobs = yaml.safe_load(GITLAB.read_text("utf-8"))
    for name in ("dev", "staging", "prod"):
        assert jobs[name]["extends"] == ".up" and jobs[name]["environment"] == name
    assert jobs[".up"]["rules"] == [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", "when": "manual"}]
    assert jobs[".deployment"]["id_tokens"] == {"CI_TOKEN": {"aud": "$CI_SERVER_URL"}}
    assert jobs["test"]["script"] == [".ci/run"]


# --- which environments are due -------------------------------------------------------------------------------------

ENVIRONMENTS = """environments:
  local: {account: "123456789012", region: us-east-1}
  dev: {account: "111122223333", region: us-east-1, version: main, deploys: {github: acme@1/mlops@2}}
  prod: {account: "777788889999", region: us-east-1, version: v1, deploys: {github: acme/mlops, gitlab: acme/ml}}
"""
Git = Callable[..., str]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A repository with a tag v1, whose environments are due by what is committed in it; `clone(…)` is git."""
    monkeypatch.setattr(promotion, "ROOT", tmp_path)
    monkeypatch.setattr(promotion, "FILE", tmp_path / "stacks/environments.yaml")
    monkeypatch.setattr(
        promotion, "environments", lambda: promotion.read((tmp_path / "stacks/environments.yaml").read_text())
    )
    (tmp_path / "stacks").mkdir()
    write(tmp_path, environments=ENVIRONMENTS, **{"Pulumi.platform-prod": "one"})

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    commit(git)
    git("tag", "v1")
    return git


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / "stacks" / f"{name}.yaml").write_text(text, "utf-8")


def commit(git: Git) -> str:
    git("add", "-A")
    git("commit", "-q", "--allow-empty", "-m", "a change")
    return git("rev-parse", "HEAD")


def reasons(since: str | None, **more: Any) -> dict[str, str]:
    return {each.environment: each.why for each in due("acme/mlops", "github", since, **more)}


def test_a_push_deploys_what_follows_the_branch_and_nothing_that_is_pinned(clone: Git) -> None:
    before = clone("rev-parse", "HEAD")
    after = commit(clone)
    assert reasons(before) == {"dev": "it follows main"}
    [found] = due("acme/mlops", "github", before)
    assert (found.version, found.commit, found.region) == ("main", after, "us-east-1")
    assert found.backend.startswith("s3://slipway-state-111122223333-us-east-1?")
    assert found.stacks.startswith("platform-dev ")
    assert found.runner == "ubuntu-24.04"


def test_changing_one_version_promotes_that_environment(clone: Git, tmp_path: Path) -> None:
    clone("tag", "v2")
    before = clone("rev-parse", "HEAD")
    write(tmp_path, environments=ENVIRONMENTS.replace("version: v1", "version: v2"))
    commit(clone)
    assert reasons(before)["prod"] == "version: v1 → v2"


def test_changing_its_yaml_deploys_an_environment_with_the_version_it_has(clone: Git, tmp_path: Path) -> None:
    before = clone("rev-parse", "HEAD")
    write(tmp_path, **{"Pulumi.platform-prod": "two"})
    commit(clone)
    found = {each.environment: each for each in due("acme/mlops", "github", before)}
    assert found["prod"].why == "stacks/Pulumi.platform-prod.yaml"
    assert found["prod"].commit == before, "the program of v1"


def test_a_fork_that_is_not_named_deploys_nothing(clone: Git) -> None:
    assert due("someone/mlops", "github", None) == []
    assert [each.environment for each in due("acme/ml", "gitlab", None)] == ["prod"]
    assert set(reasons(None)) == {"dev", "prod"} and "local" not in reasons(None)


@pytest.mark.parametrize("since", ["0" * 40, "f" * 40])
def test_without_a_known_commit_before_everything_is_new(clone: Git, since: str) -> None:
    assert reasons(since) == {"dev": "it follows main; it is new", "prod": "it is new"}


def test_one_environment_may_be_asked_for(clone: Git) -> None:
    assert reasons(clone("rev-parse", "HEAD"), only="prod") == {"prod": "asked for"}


def test_a_version_that_there_is_not_stops_with_what_to_set(clone: Git) -> None:
    missing = Environment(account="777788889999", region="us-east-1", version="v9", deploys=Deploys(github="a/b"))
    with pytest.raises(
        PromotionError, match=r"environments\.prod\.version: v9 is neither a tag, a commit nor a branch"
    ):
        resolve("prod", missing)
    full = clone("rev-parse", "HEAD")
    assert resolve("prod", missing.model_copy(update={"version": full[:12]})) == (full, False)


def test_what_ci_asks_is_answered_in_json(clone: Git) -> None:
    done = CliRunner().invoke(promotion.app, ["due", "--repository", "acme/mlops", "--since", "", "--only", ""])
    assert done.exit_code == 0, done.output
    assert [each["environment"] for each in json.loads(done.stdout)] == ["dev", "prod"]
    assert "\n" not in done.stdout.strip(), "it becomes one line of GITHUB_OUTPUT"


def test_the_hosts_token_becomes_credentials_of_the_environments_role() -> None:
    class Sts:
        def assume_role_with_web_identity(self, **asked: Any) -> dict[str, Any]:
            self.asked = asked
            return {"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "B", "SessionToken": "C"}}

    sts = Sts()
    lines = list(exchanged("prod", "plan", "token", sts))
    assert sts.asked["RoleArn"] == "arn:aws:iam::777788889999:role/slipway-plan-prod"
    assert sts.asked["WebIdentityToken"] == "token"
    assert lines[:3] == [
        "export AWS_ACCESS_KEY_ID='A'",
        "export AWS_SECRET_ACCESS_KEY='B'",
        "export AWS_SESSION_TOKEN='C'",
    ]


# --- what `.ci/deploy` does, with a `pulumi` and a Python that write down how they were called -----------------------

PULUMI = """#!/usr/bin/env bash
[ "$1" != version ] || { echo v3.272.0; exit 0; }
yaml=$(cat stacks/Pulumi.a-prod.yaml)
echo "$@ token=${CI_TOKEN:-none} key=$AWS_ACCESS_KEY_ID yaml=$yaml code=$(cat code)" >> "$CALLS"
echo "did $1"
[ "$3" != "${FAIL:-none}" ]
"""
PYTHON = """#!/usr/bin/env bash
case "$*" in
  *credentials*) echo "export AWS_ACCESS_KEY_ID='of-$5'";;
  *) echo 3.272.0;;
esac
"""


@pytest.fixture
def deployed(tmp_path: Path) -> Callable[..., tuple[int, list[str], str]]:
    """`deployed("preview")`: the exit code, pulumi's calls, and what was kept of what it printed."""
    root = tmp_path / "repository"
    for name, text in {
        ".ci/deploy": (ROOT / ".ci/deploy").read_text("utf-8"),
        "Makefile": ".venv/ready:\n\t@mkdir -p .venv/bin && cp python .venv/bin/python && cp pulumi .venv/bin/pulumi\n",
        "python": PYTHON,
        "pulumi": PULUMI,
        ".gitignore": ".venv/\n.slipway/\n",
        "stacks/environments.yaml": "of main",
        "stacks/Pulumi.a-prod.yaml": "old",
        "code": "old",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
        (root / name).chmod(0o755)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    version = commit(git)
    (root / "stacks/Pulumi.a-prod.yaml").write_text("new", "utf-8")
    (root / "code").write_text("new", "utf-8")
    commit(git)

    def deployed(command: str, **more: str) -> tuple[int, list[str], str]:
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        environment = {"COMMIT": version, "STACKS": "a-prod b-prod", "CI_TOKEN": "token", "CALLS": str(calls), **more}
        done = subprocess.run(
            [".ci/deploy", command, "prod"], cwd=root, env={**os.environ, **environment}, capture_output=True, text=True
        )
        kept = root / f".slipway/ci/{command}-prod.txt"
        lines = calls.read_text("utf-8").splitlines() if calls.exists() else []
        return done.returncode, lines, kept.read_text("utf-8") if kept.exists() else ""

    return deployed


PACKS = " ".join(f"--policy-pack policies/{each}" for each in ("encryption", "access", "cost", "reliability"))


@pytest.mark.parametrize(("command", "role", "options"), [("preview", "plan", ""), ("up", "deploy", "--yes ")])
def test_each_stack_runs_with_the_versions_program_mains_settings_and_every_pack(
    deployed: Callable[..., tuple[int, list[str], str]], command: str, role: str, options: str
) -> None:
    code, [login, *calls], kept = deployed(command)
    assert code == 0 and login.startswith("login --non-interactive ")
    said = f"token=none key=of-{role} yaml=new code=old"
    assert calls == [
        f"{command} --stack {stack} --non-interactive {options}{PACKS} {said}" for stack in ("a-prod", "b-prod")
    ]
    assert kept == f"did {command}\n" * 2


def test_what_fails_stops_the_rest(deployed: Callable[..., tuple[int, list[str], str]]) -> None:
    code, calls, _ = deployed("up", FAIL="a-prod")
    assert code != 0 and len(calls) == 2


def test_another_command_is_refused(deployed: Callable[..., tuple[int, list[str], str]]) -> None:
    assert deployed("destroy")[:2] == (2, [])
