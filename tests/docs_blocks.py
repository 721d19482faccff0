"""What the pages of the documentation promise, and the harness that holds them to it.

**A page** is a Markdown file below `docs/`. One with a block of code begins with front matter that says where its
commands run::

    ---
    run: rehearsal
    order: 30
    ---

`rehearsal`
    for real, in the one rehearsal that all such pages share, in the order of `order` (then of their paths). The first
    page is the tutorial; it deploys, so that every later page finds `slipway up local` done.
`offline`
    for real, with nothing deployed and without credentials: `slipway check`, `slipway plan platform-prod`.
`cloud`
    not run, for it takes AWS. Each command must exist, with the arguments and options that are given to it: those of
    `slipway` in its command line, of `aws` in AWS's own service models, of `make` in the Makefile, of others in
    `tests/docs_commands.py`.

A page without blocks needs no front matter. `order` also orders the pages of a folder in the navigation.
Files that a page changes are as they were when the next page begins; what it deployed, stays. Whatever spoils the
rehearsal for others comes late (`order: 900`), and a page that deploys a change takes it back at its end.

**Where commands run**: bash, one for a page, so that variables and `cd` last to its end. The folder is a copy of the
repository, with a commit of its own; `slipway`, `python` and all of `.venv/bin` are on PATH.

**Blocks** begin with three backticks and a language, at the beginning of a line or within a list; not within an
admonition or a tab. There are::

    ```console
    $ slipway status            # a command; it has to end with 0
    Rehearsal                   a line that it has to print
    …                           what is left out
      platform-local  … resources
    $ slipway incident list \\
    >   employment-local        # goes on after a backslash, or within a here-document
    ```

A line below a command has to be printed by it, on either stream, each after the one before; others may stand between
them. `…` stands for any text within a line; runs of blanks count as one. Without such lines only the exit code counts.

`yaml`
    a part of a stack's YAML, which has to be valid: a whole file (`config:`), keys with a colon (`slipway:usage`), or
    keys of `slipway:settings`. These are laid over a stack that has them: the one whose file `title="…"` names, else
    any. Other YAML names its file in the title, and is held against what reads that file.
`diff`
    with `title="path"`: the change of a file, made in the copy. Lines with `-` and a blank are looked for, `+` and a
    blank take their place; they must be found once. No line numbers.
`python`
    is run in the copy's root, each block by itself. With `title="path"` of a file that exists it must be a part of it.
`json`, `toml`
    has to be that. With a title as above.
`text`
    is only shown.

With `title="path"` and `<!-- test: write -->` above it, a block of any kind becomes that file of the copy, whole.

**A comment** right above a block changes what is done with it::

    <!-- test: exit=1 -->            its last command ends with this code, the others with 0
    <!-- test: skip="why" -->        is not run but looked at as in a `cloud` page
    <!-- test: write -->             as above
    <!-- test: seconds=400 -->       how long each of its commands may take (600)

`.venv/bin/python -m tests.docs_blocks docs/guides/release.md …` plays pages by themselves; `--up` deploys first where
they need the rehearsal, `--keep FOLDER` keeps the copy and the rehearsal for the next time.
"""

import argparse
import ast
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import psutil
import yaml
from markdown_it import MarkdownIt

from infra.settings import ROOT
from tests import docs_commands, docs_yaml

DOCS: Final = ROOT / "docs"
RUNS: Final = ("rehearsal", "offline", "cloud")
LANGUAGES: Final = ("console", "yaml", "diff", "python", "json", "toml", "text")
ELLIPSIS: Final = "…"
LONGEST_SECONDS: Final = 600.0
NOT_COPIED: Final = (".git", ".venv", ".slipway", ".*_cache", ".hypothesis", "__pycache__")
FEWER_PEOPLE: Final = "12000"
"""Training takes a third of the time with them, and still passes its gate."""


class Broken(AssertionError):
    """What a page promises does not hold: the text says where, and what was seen."""


@dataclass(frozen=True)
class Step:
    """One command of a console block, and what it has to print."""

    command: str
    expected: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    where: str
    """The page, for messages."""
    line: int
    """Where its text begins."""
    language: str
    title: str | None
    text: str
    options: Mapping[str, str] = field(default_factory=dict)
    """What the comment above it says."""

    @property
    def skipped(self) -> bool:
        return "skip" in self.options

    @property
    def exit_code(self) -> int:
        return int(self.options.get("exit", 0))

    @property
    def seconds(self) -> float:
        return float(self.options.get("seconds", LONGEST_SECONDS))

    def broken(self, why: str, line: int | None = None) -> Broken:
        return Broken(f"{self.where}:{line or self.line}: {why}")

    @cached_property
    def steps(self) -> list[Step]:
        """Its commands in order. Raises Broken where it does not begin with one."""
        steps: list[Step] = []
        command: list[str] = []
        expected: list[str] = []
        began = going_on = 0

        def end() -> None:
            if command:
                steps.append(Step("\n".join(command), tuple(expected), began))

        for number, line in enumerate(self.text.splitlines(), self.line):
            if going_on == number:
                command.append(line.removeprefix("> "))
            elif line.startswith("> ") and command and not expected:
                command.append(line[2:])
            elif line.startswith("$ "):
                end()
                command, expected, began = [line[2:]], [], number
            elif not command:
                raise self.broken("a console block begins with a command: `$ …`", number)
            elif line.strip():
                expected.append(line)
                continue
            if command and command[-1].endswith("\\") and not expected:
                going_on = number + 1
        end()
        return steps


@dataclass(frozen=True)
class Page:
    """One page below `docs/`."""

    path: Path
    front: Mapping[str, Any]
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        return self.path.relative_to(DOCS).as_posix() if self.path.is_relative_to(DOCS) else self.path.name

    @property
    def run(self) -> str:
        return str(self.front.get("run", ""))

    @property
    def order(self) -> int:
        return int(self.front.get("order", 500))


def pages(folder: Path = DOCS) -> list[Page]:
    """Every page, in the order in which they are played."""
    read = [page(each) for each in sorted(folder.rglob("*.md"))]
    return sorted(read, key=lambda each: (each.order, each.name))


def page(path: Path, run: str | None = None) -> Page:
    """Read a page; `run` where its front matter is silent. Raises Broken where it is not as this module's text says."""
    text = path.read_text("utf-8")
    shown = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    front: Mapping[str, Any] = {}
    skipped_lines = 0
    if found := re.match(r"---\n(.*?)\n---\n", text, re.DOTALL):
        front = yaml.safe_load(found[1]) or {}
        skipped_lines = found[0].count("\n")
        text = text[found.end() :]
    blocks = tuple(_blocks(shown, text, skipped_lines))
    front = {"run": run, **front} if run else front
    if blocks and front.get("run") not in RUNS:
        raise Broken(f"{shown}: it has blocks, so its front matter says `run:` {', '.join(RUNS[:-1])} or {RUNS[-1]}")
    return Page(path, front, blocks)


def _blocks(where: str, text: str, offset: int) -> Iterator[Block]:
    lines = text.splitlines()
    seen: set[int] = set()
    for token in MarkdownIt("commonmark").parse(text):
        if token.type != "fence" or token.map is None:
            continue
        first, last = token.map
        seen |= {*range(first, last)}
        here = f"{where}:{first + offset + 1}"
        language, _, rest = token.info.strip().partition(" ")
        if language not in LANGUAGES:
            raise Broken(f"{here}: a block is one of {', '.join(LANGUAGES)}, not {language or 'without a language'}")
        title = re.fullmatch(r'title="([^"]+)"', rest.strip())
        if rest.strip() and not title:
            raise Broken(f'{here}: after the language comes title="…" or nothing, not {rest!r}')
        above = next((each.strip() for each in reversed(lines[:first]) if each.strip()), "")
        yield Block(
            where, first + offset + 2, language, title[1] if title else None, token.content, _options(here, above)
        )
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```") and number not in seen:
            raise Broken(
                f"{where}:{number + offset + 1}: no test sees this block: take it out of the admonition or tab"
            )


def _options(here: str, above: str) -> dict[str, str]:
    comment = re.fullmatch(r"<!-- test: (.*?) -->", above)
    if not comment:
        return {}
    found = re.findall(r'(\w+)(?:=(?:"([^"]*)"|(\S+)))?', comment[1])
    options = {name: quoted or plain for name, quoted, plain in found}
    if unknown := options.keys() - {"exit", "skip", "write", "seconds"}:
        raise Broken(f"{here}: a comment knows exit, skip, write and seconds, not {', '.join(sorted(unknown))}")
    if options.get("skip") == "":
        raise Broken(f'{here}: say why: skip="…"')
    return options


def missing(expected: Sequence[str], printed: str) -> str | None:
    """The first line that was promised and not printed, each after the one before; None where all were."""
    lines = iter([_plain(line) for line in printed.splitlines()])
    for wanted in expected:
        pattern = re.compile(".*".join(re.escape(part) for part in _plain(wanted).split(ELLIPSIS)))
        if _plain(wanted) != ELLIPSIS and not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return None


def _plain(line: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).replace("...", ELLIPSIS).split())


class Copy:
    """A copy of the repository for pages to work in, with a rehearsal of its own."""

    def __init__(self, folder: Path) -> None:
        """Make it, unless it is there."""
        self.root = folder / "slipway"
        self.nothing = folder / "nothing-deployed"
        if not self.root.exists():
            shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
            self._git("init", "--quiet", "--initial-branch", "main")
            self._git("add", "--all")
            self._git("commit", "--quiet", "--no-verify", "-m", "The repository as it is")
            self._git("tag", "as-it-is")
            self._borrow_environment()

    def _borrow_environment(self) -> None:
        """The virtual environment that is there, under the path that pages and the Makefile know."""
        borrowed = self.root / ".venv"
        borrowed.mkdir()
        for each in Path(sys.prefix).iterdir():
            if each.name != "ready":
                (borrowed / each.name).symlink_to(each)
        (borrowed / "ready").touch()  # newer than the lock file: `make` installs nothing

    def _git(self, *arguments: str) -> None:
        named = ("-c", "user.name=reader", "-c", "user.email=reader@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *named, *arguments], cwd=self.root, check=True, capture_output=True)

    def restore(self) -> None:
        """Put every file back as it was; the rehearsal stays."""
        self._git("checkout", "--quiet", "--force", "-B", "main", "as-it-is")
        self._git("clean", "--quiet", "--force", "-d")

    def environment(self, run: str) -> dict[str, str]:
        """A reader's, with nothing of AWS in it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "SLIPWAY_", "PULUMI_", "PYTEST_", "GIT_", "VIRTUAL_ENV", "MAKE", "MFLAGS"))
        }
        return (
            kept
            | {
                "PATH": f"{self.root}/.venv/bin:{os.environ['PATH']}",
                "PYTHONPATH": str(self.root),
                "SLIPWAY_PEOPLE": FEWER_PEOPLE,
                "COLUMNS": "160",
                "NO_COLOR": "1",
                "TERM": "dumb",
                "LC_ALL": "C.UTF-8",
                "GIT_CONFIG_COUNT": "2",
                "GIT_CONFIG_KEY_0": "user.name",
                "GIT_CONFIG_VALUE_0": "reader",
                "GIT_CONFIG_KEY_1": "user.email",
                "GIT_CONFIG_VALUE_1": "reader@example.com",
            }
            | ({"SLIPWAY_WORK": str(self.nothing)} if run == "offline" else {})
        )

    @property
    def deployed(self) -> bool:
        """Whether the rehearsal is up."""
        return (self.root / ".slipway/state/employment-local.json").exists()

    def command(self, *arguments: str, seconds: float = 600) -> None:
        """Run `slipway` beside the pages. Raises Broken where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments],
            cwd=self.root,
            env=self.environment("rehearsal"),
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise Broken(f"slipway {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


class Shell:
    """One bash, in which a page's commands run one after the other."""

    def __init__(self, copy: Copy, run: str) -> None:
        self._files = Path(tempfile.mkdtemp(prefix="page-"))
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=copy.root,
            env=copy.environment(run),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str, seconds: float) -> tuple[int, str]:
        """Its exit code, and what it printed on both streams. Raises TimeoutError."""
        assert self._bash.stdin
        end = f"end-of-command-{uuid.uuid4().hex}"
        file = self._files / end
        file.write_text(f"{command}\n", "utf-8")
        self._bash.stdin.write(f". '{file}' </dev/null; printf '\\n{end} %d\\n' $?\n".encode())
        self._bash.stdin.flush()
        printed = self._read_to(end, seconds)
        output, _, code = printed.rpartition(f"\n{end} ")
        return int(code), output

    def _read_to(self, end: str, seconds: float) -> str:
        assert self._bash.stdout
        deadline = time.monotonic() + seconds
        read = bytearray()
        wanted = re.compile(rf"\n{end} \d+\n$".encode())
        with selectors.DefaultSelector() as selector:
            selector.register(self._bash.stdout, selectors.EVENT_READ)
            while not wanted.search(read):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"not within {seconds:g} s; until then it printed:\n{read.decode()}")
                some = os.read(self._bash.stdout.fileno(), 65536)
                if not some:
                    raise TimeoutError(f"the shell ended; until then it printed:\n{read.decode()}")
                read += some
        return read.decode("utf-8", "replace")

    def close(self) -> None:
        """End it and what it waits for; what runs by itself, such as the emulator, goes on."""
        for each in psutil.Process(self._bash.pid).children(recursive=True) if self._bash.poll() is None else []:
            if os.getsid(each.pid) == self._bash.pid:
                each.kill()
        self._bash.kill()
        self._bash.wait()
        shutil.rmtree(self._files, ignore_errors=True)


def play(page: Page, copy: Copy) -> None:
    """Do what a page says, block by block. Raises Broken at the first that does not hold."""
    shell = Shell(copy, page.run) if page.run != "cloud" else None
    try:
        for block in page.blocks:
            if "write" in block.options:
                _write(block, copy)
            elif block.language == "console":
                _console(block, shell)
            elif block.language == "diff":
                _change(block, copy)
            elif block.language == "python":
                _python(block, shell, copy)
            else:
                _text(block, copy)
    finally:
        if shell:
            shell.close()
        copy.restore()


def look(page: Page) -> None:
    """Hold a page against what can be known without running anything. Raises Broken."""
    for block in page.blocks:
        if block.language == "console":
            _console(block, None)
        elif block.language == "python":
            _python(block, None, None)


def _console(block: Block, shell: Shell | None) -> None:
    for step in block.steps:
        if faults := docs_commands.wrong(step.command):
            raise block.broken("; ".join(faults), step.line)
    if shell is None or block.skipped:
        return
    for number, step in enumerate(block.steps, 1):
        wanted = block.exit_code if number == len(block.steps) else 0
        try:
            code, printed = shell.run(step.command, block.seconds)
        except TimeoutError as error:
            raise block.broken(f"`{step.command}`: {error}", step.line) from None
        if code != wanted:
            raise block.broken(f"`{step.command}` ended with {code}, not {wanted}:\n{printed}", step.line)
        if (line := missing(step.expected, printed)) is not None:
            raise block.broken(f"`{step.command}` did not print `{line}`, but:\n{printed}", step.line)


def _python(block: Block, shell: Shell | None, copy: Copy | None) -> None:
    if block.title and not block.skipped:
        if copy:
            _part(block, copy)
        return
    try:
        faults = docs_commands.imports_that_fail(block.text)
    except SyntaxError as error:
        raise block.broken(f"no Python: {error}") from None
    if faults:
        raise block.broken("; ".join(faults))
    if shell and not block.skipped:
        file = shell._files / "block.py"
        file.write_text(block.text, "utf-8")
        try:
            code, printed = shell.run(f"python {file}", block.seconds)
        except TimeoutError as error:
            raise block.broken(str(error)) from None
        if code != block.exit_code:
            raise block.broken(f"it ended with {code}, not {block.exit_code}:\n{printed}")


def _text(block: Block, copy: Copy) -> None:
    try:
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            document = yaml.safe_load(block.text)
            if not block.skipped and docs_yaml.judged(block.title):
                if faults := docs_yaml.faults(document, block.title):
                    raise block.broken("; ".join(faults))
                return
    except (ValueError, yaml.YAMLError) as error:
        raise block.broken(f"no {block.language}: {error}") from None
    if block.title and not block.skipped:
        _part(block, copy)


def _part(block: Block, copy: Copy) -> None:
    """Its lines stand in the file of its title, in a row; `…` (in a comment, too) stands for any number of them."""
    assert block.title
    file = copy.root / block.title
    if not file.is_file():
        raise block.broken(f"there is no file {block.title}")
    have = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    start = 0
    for part in re.split(rf"^\s*(?:#|//)?\s*{ELLIPSIS}\s*$", block.text, flags=re.MULTILINE):
        wanted = [line.strip() for line in part.splitlines() if line.strip()]
        places = range(start, len(have) - len(wanted) + 1)
        found = next((place for place in places if have[place : place + len(wanted)] == wanted), None)
        if found is None:
            raise block.broken(f"{block.title} has no such lines: {wanted[0]} …")
        start = found + len(wanted)


def _write(block: Block, copy: Copy) -> None:
    if not block.title:
        raise block.broken('write needs title="path"')
    if block.language == "python":
        ast.parse(block.text)
    file = _inside(block, copy)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, "utf-8")


def _change(block: Block, copy: Copy) -> None:
    """Make a relaxed diff's change."""
    if not block.title:
        raise block.broken('a diff needs title="path"')
    if block.skipped:
        return
    file = _inside(block, copy)
    if not file.is_file():
        raise block.broken(f"there is no file {block.title}")
    lines = [line or " " for line in block.text.splitlines()]
    if strange := [line for line in lines if line[0] not in "+- "]:
        raise block.broken(f"a line of a diff begins with +, - or a blank: {strange[0]!r}")
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
    text = file.read_text("utf-8")
    if (times := f"\n{text}".count(f"\n{before}")) != 1:
        raise block.broken(f"{block.title} has these lines {times} times, not once:\n{before}")
    file.write_text(f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:], "utf-8")


def _inside(block: Block, copy: Copy) -> Path:
    assert block.title
    file = (copy.root / block.title).resolve()
    if not file.is_relative_to(copy.root.resolve()):
        raise block.broken(f"{block.title} is outside the repository")
    return file


def main() -> None:
    """Play pages by themselves."""
    parser = argparse.ArgumentParser(description="Play pages of the documentation.")
    parser.add_argument("pages", type=Path, nargs="*", help="all by default")
    parser.add_argument("--up", action="store_true", help="deploy the rehearsal first, where it is not")
    parser.add_argument("--keep", type=Path, help="a folder for the copy and the rehearsal; they stay")
    given = parser.parse_args()
    wanted = [page(each.resolve()) for each in given.pages] or pages()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="docs-"))
    folder.mkdir(parents=True, exist_ok=True)
    copy = Copy(folder.resolve())
    failed = False
    try:
        if given.up and not copy.deployed:
            copy.command("up", "local")
        for each in sorted(wanted, key=lambda each: (each.order, each.name)):
            began = time.monotonic()
            try:
                play(each, copy)
                print(f"{each.name}: {len(each.blocks)} blocks, {time.monotonic() - began:.1f} s", flush=True)
            except Broken as error:
                failed = True
                print(f"{each.name}: {error}", file=sys.stderr, flush=True)
    finally:
        if not given.keep:
            if copy.deployed:
                copy.command("down", "local")
            shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
