"""Whether a command line that no test can run exists: its program, what it is told to do, and every option."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import Any

import botocore.exceptions
import botocore.session
import typer
from botocore import xform_name

from infra.cli import app
from infra.settings import ROOT


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


SEPARATORS = frozenset({"|", "||", "&&", ";", "&"})
VARIABLE = re.compile(r"\$\{?\w+\}?|\$\(.*\)")

PULUMI_EVERYWHERE = words(
    "-C --cwd -s --stack -y --yes --non-interactive --color -e --emoji -v --verbose --logtostderr --profiling "
    "--disable-integrity-checking --fully-qualify-stack-names --help -h"
)
_RUNS = words(
    "--policy-pack --policy-pack-config --diff --refresh -r --target -t --target-dependents --replace --parallel -p "
    "--message -m --secrets-provider --config -c --config-path --config-file --json -j --expect-no-changes "
    "--show-config --show-replacement-steps --show-sames --show-reads --suppress-outputs --suppress-progress "
    "--skip-preview -f --exclude --exclude-dependents --save-plan --plan --import-file --continue-on-error"
)
PULUMI: dict[str, frozenset[str]] = {
    "up": _RUNS,
    "preview": _RUNS,
    "destroy": _RUNS | {"--remove", "--exclude-protected", "--preview-only"},
    "refresh": _RUNS | {"--clear-pending-creates", "--preview-only"},
    "import": frozenset({"--file", "-f", "--out", "-o", "--protect", "--parent", "--provider", "--generate-code"}),
    "cancel": frozenset(),
    "login": frozenset({"--local", "-l", "--cloud-url", "-c", "--default-org"}),
    "logout": frozenset({"--all", "--local", "-l"}),
    "whoami": frozenset({"--verbose", "--json", "-j"}),
    "version": frozenset(),
    "stack": frozenset({"--show-urns", "-u", "--show-secrets", "--show-ids", "-i", "--show-name"}),
    "stack init": frozenset({"--secrets-provider", "--copy-config-from", "--no-select"}),
    "stack select": frozenset({"--create", "-c", "--secrets-provider"}),
    "stack ls": frozenset({"--all", "-a", "--json", "-j"}),
    "stack rm": frozenset({"--force", "-f", "--preserve-config"}),
    "stack export": frozenset({"--file", "--show-secrets", "--version"}),
    "stack import": frozenset({"--file", "--force", "-f"}),
    "stack output": frozenset({"--json", "-j", "--show-secrets", "--shell"}),
    "stack history": frozenset({"--json", "-j", "--page", "--page-size", "--show-secrets", "--full-dates"}),
    "stack change-secrets-provider": frozenset(),
    "state unprotect": frozenset({"--all"}),
    "state delete": frozenset({"--force", "--target-dependents"}),
    "config": frozenset({"--json", "-j", "--show-secrets"}),
    "config get": frozenset({"--path", "--json", "-j"}),
    "config set": frozenset({"--path", "--secret", "--plaintext", "--type"}),
}
"""The Pulumi CLI's commands and options, as its reference lists them: https://www.pulumi.com/docs/iac/cli/commands/"""

AWS_EVERYWHERE = words(
    "--region --profile --output --query --endpoint-url --no-cli-pager --no-paginate --max-items --page-size "
    "--starting-token --cli-input-json --generate-cli-skeleton --debug --no-sign-request"
)
AWS_OWN: dict[str, frozenset[str]] = {
    "s3": frozenset({"cp", "ls", "mb", "mv", "presign", "rb", "rm", "sync"}),
    "configure": frozenset({"sso", "list", "set", "get", "list-profiles"}),
    "sso": frozenset({"login", "logout"}),
    "logs": frozenset({"tail"}),
    "eks": frozenset({"update-kubeconfig", "get-token"}),
    "ecr": frozenset({"get-login-password"}),
}
"""Commands that AWS's CLI has of its own, and no service model knows: https://docs.aws.amazon.com/cli/latest/"""

OTHERS: dict[str, frozenset[str] | None] = {
    "git": words("add branch checkout clone commit diff fetch init log merge pull push restore show status switch tag"),
    "gh": words("api auth pr repo run secret variable workflow"),
    "kubectl": words("apply cordon create delete describe drain explain get logs top uncordon wait"),
    "crane": words("copy auth digest"),
    "docker": words("build login pull push run tag"),
    "uv": words("run sync lock pip python"),
    **dict.fromkeys(
        words(
            "cat cd code cp curl date diff echo export false grep gunzip head jq ls mkdir mv mypy open printf pytest "
            "python python3 rm ruff sed set sleep sort source tail tee test touch true unset wc xdg-open"
        )
    ),
}
"""What else a page may ask for, each with what it can be told to do; None: anything."""


def wrong(command: str) -> list[str]:
    """Why a command line would not do: a sentence for each of its parts that does not exist."""
    try:
        return [fault for words in _parts(command) for fault in _faults(words)]
    except ValueError as error:
        return [f"bash does not understand it: {error}"]


def _parts(command: str) -> Iterator[list[str]]:
    """Each program's found: pipes and lists are taken apart, here-documents and redirections left out."""
    first = command.split("<<", 1)[0] if "<<" in command else command
    for inner in re.findall(r"\$\(([^()]*)\)", first):
        yield from _parts(inner)
    lexer = shlex.shlex(first.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[str] = []
    into_file = False
    for word in lexer:
        if word in SEPARATORS or set(word) <= set("()"):
            if found:
                yield found
            found = []
        elif word and set(word) <= set("<>&"):
            into_file = True
            if found and found[-1].isdigit():
                found.pop()  # the 2 of `2>`
        elif into_file:
            into_file = False
        elif found or not re.fullmatch(r"\w+=.*", word):  # a variable set for the command
            found.append(word)
    if found:
        yield found


def _faults(words: Sequence[str]) -> Iterator[str]:
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "slipway":
        yield from slipway(arguments)
    elif program == "aws":
        yield from aws(arguments)
    elif program == "pulumi":
        yield from pulumi(arguments)
    elif program == "make":
        yield from (
            f"the Makefile makes no {each!r}" for each in arguments if each not in targets() and "=" not in each
        )
    elif program not in OTHERS:
        yield f"{program!r} is no program that a reader has: mend it, or add it to tests/docs_commands.py"
    else:
        told = OTHERS[program]
        first = next((each for each in arguments if not each.startswith("-")), None)
        if told is not None and first not in told:
            yield f"{program} has no {first!r}"


@cache
def targets() -> frozenset[str]:
    """What `make` can make."""
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@cache
def command_line() -> Any:
    """`slipway`, as a tree of commands."""
    return typer.main.get_command(app)


def mentioned(text: str) -> list[str]:
    """The commands of `slipway` that a text names in backticks, and that there are not; options may be left open."""
    faults = []
    for found in re.findall(r"`(?:\.venv/bin/)?slipway ([^`]+)`", text):
        command, given = command_line(), found.split()
        while (commands := getattr(command, "commands", None)) and given and re.fullmatch("[a-z-]+", given[0]):
            if given[0] not in commands:
                faults.append(f"slipway {found}: there is no {given[0]!r}")
                break
            command = commands[given.pop(0)]
        known = {name for each in getattr(command, "params", ()) for name in (*each.opts, *each.secondary_opts)}
        options = re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(given))
        if not hasattr(command, "commands"):
            faults += [f"slipway {found}: there is no {each}" for each in options if each not in {*known, "--help"}]
    return faults


def slipway(arguments: Sequence[str]) -> Iterator[str]:
    """What `slipway` has not of these."""
    command, path, left = command_line(), "slipway", list(arguments)
    while commands := getattr(command, "commands", None):
        if not left:
            yield f"{path} takes a command: {', '.join(commands)}"
            return
        word = left.pop(0)
        if word == "--help":
            return
        if word not in commands:
            yield f"{path} has no command {word!r}: there are {', '.join(commands)}"
            return
        command, path = commands[word], f"{path} {word}"
    given = ["1" if VARIABLE.fullmatch(each) else each for each in left]
    try:
        with redirect_stdout(StringIO()):  # `--help` prints
            command.make_context(path, given).close()
    except Exception as error:  # what typer raises, and `--help` with it, has no public name in all of its versions
        told = error.format_message() if hasattr(error, "format_message") else str(error)
        if type(error).__name__ != "Exit" and "does not exist" not in told:  # a file of the reader's
            yield f"{path}: {told}"


def pulumi(arguments: Sequence[str]) -> Iterator[str]:
    """What Pulumi's CLI has not of these."""
    words = list(arguments)
    while words and words[0] in ("-C", "--cwd", "-s", "--stack"):
        words = words[2:]
    told = [each for each in words[:2] if not each.startswith("-")]
    name = " ".join(told) if " ".join(told) in PULUMI else next(iter(told), "")
    if name not in PULUMI:
        yield f"pulumi has no command {name!r}"
        return
    options = (each.partition("=")[0] for each in words if each.startswith("-"))
    yield from (
        f"pulumi {name} has no option {each}" for each in options if each not in PULUMI[name] | PULUMI_EVERYWHERE
    )


def aws(arguments: Sequence[str]) -> Iterator[str]:
    """What AWS's CLI has not of these, by the models of its services."""
    words = list(arguments)
    while words and words[0].startswith("--"):
        words = words[1 if "=" in words[0] or words[0].startswith("--no-") else 2 :]
    if len(words) < 2:
        yield "aws takes a service and a command"
        return
    service, action, *rest = words
    if action in AWS_OWN.get(service, ()):
        return
    try:
        model = _session().get_service_model({"s3api": "s3"}.get(service, service))
    except botocore.exceptions.UnknownServiceError:
        yield f"AWS has no service {service!r}"
        return
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if action == "wait":
        return
    if action not in names:
        yield f"aws {service} has no command {action!r}"
        return
    shape = model.operation_model(names[action]).input_shape
    members = {xform_name(name, "-"): name for name in (shape.members if shape else ())}
    given = {each.partition("=")[0].removeprefix("--") for each in rest if each.startswith("--")}
    for each in sorted(given):
        if f"--{each}" not in AWS_EVERYWHERE and each not in members and each.removeprefix("no-") not in members:
            yield f"aws {service} {action} has no option --{each}"
    if "cli-input-json" not in given and shape:
        missing = [each for each, name in members.items() if name in shape.required_members and each not in given]
        yield from (f"aws {service} {action} needs --{each}" for each in missing)


@cache
def _session() -> Any:
    return botocore.session.Session()


def imports_that_fail(code: str) -> list[str]:
    """What a block of Python would import of this repository and does not find; SyntaxError where it is no Python."""
    faults = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            try:
                module = importlib.import_module(node.module)
            except ImportError as error:
                faults.append(str(error))
                continue
            faults += [f"{node.module} has no {each.name}" for each in node.names if not hasattr(module, each.name)]
    return faults


OURS = ("components", "functions", "infra", "policies", "stacks")
