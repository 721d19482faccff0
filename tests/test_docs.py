"""The documentation: it builds, its links lead somewhere, nothing in it asks the network, and its blocks are true."""

import re
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from pydantic import BaseModel

from components.spec import Spec
from infra.docstrings import fields, summary
from infra.reference import alarms, components, outputs, pictures, plans, specs
from infra.settings import ROOT
from tests import docs_commands
from tests.docs_blocks import Broken, Copy, Page, look, missing, page, pages, play

# --- every page -------------------------------------------------------------------------------------------------------

PAGES = pages()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(Path(tmp_path_factory.mktemp("docs")))


@pytest.mark.parametrize("page", [each for each in PAGES if each.run == "offline"], ids=lambda page: page.name)
def test_a_page_does_offline_what_it_says(page: Page, copy: Copy) -> None:
    play(page, copy)


@pytest.mark.parametrize("page", [each for each in PAGES if each.run == "cloud"], ids=lambda page: page.name)
def test_what_a_page_does_in_the_cloud_exists(page: Page, copy: Copy) -> None:
    play(page, copy)


@pytest.mark.parametrize("page", [each for each in PAGES if each.run == "rehearsal"], ids=lambda page: page.name)
def test_what_a_page_does_in_the_rehearsal_exists(page: Page) -> None:
    """At once, before the rehearsal is up: see test_docs_rehearsal.py."""
    look(page)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *ROOT.glob("examples/*/README.md")], ids=lambda path: path.parent.name
)
def test_a_readme_names_what_there_is(path: Path) -> None:
    look(page(path, run="cloud"))


@pytest.mark.parametrize(
    "path",
    [*(each.path for each in PAGES), *ROOT.glob("*.md"), *ROOT.glob("examples/*/README.md")],
    ids=lambda path: path.name,
)
def test_every_command_that_a_text_names_exists(path: Path) -> None:
    assert docs_commands.mentioned(path.read_text("utf-8")) == []


def test_a_command_that_is_not_there_is_told() -> None:
    text = (
        "`slipway up NAME`, `slipway stop NAME [--act|--undo RECORD]`, `slipway launch`, `slipway up --fast`, `slipway`"
    )
    assert docs_commands.mentioned(f"{text}, `slipway incident list|show STACK`, `slipway incident lost STACK`") == [
        "slipway launch: there is no 'launch'",
        "slipway up --fast: there is no --fast",
        "slipway incident lost STACK: there is no 'lost'",
    ]


# --- the site ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned(every_plan: Any) -> Iterator[None]:
    """The plans that other tests have, too, in the place of the reference's own: planning takes a minute."""
    found = {settings.stack: plan for settings, plan in every_plan}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "planned", lambda: found)
        alarms.alarms.cache_clear()
        pictures.of_stack.cache_clear()
        yield
    alarms.alarms.cache_clear()
    pictures.of_stack.cache_clear()


@pytest.fixture(scope="module")
def site(planned: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Whatever MkDocs would warn of, a link that leads nowhere among it, is an error."""
    folder = Path(tmp_path_factory.mktemp("site"))
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder


class Links(HTMLParser):
    """What a page of HTML names: ids, links, and what a browser loads by itself."""

    LOADED = (("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("use", "href"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preconnect", "preload", "icon"):
            self.loaded.append(given["href"])
        self.loaded += [given[name] for of, name in self.LOADED if tag == of and name in given]


@pytest.fixture(scope="module")
def links(site: Path) -> dict[Path, Links]:
    return {each: Links(each.read_text("utf-8")) for each in site.rglob("*.html")}


def test_every_link_within_the_site_leads_to_what_is_there(links: dict[Path, Links], site: Path) -> None:
    lost = []
    for file, found in links.items():
        if file.name == "404.html":  # its links are from the site's root
            continue
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if target not in links and not target.is_file():
                lost.append(f"{file.relative_to(site)}: {link}")
            elif parts.fragment and target in links and unquote(parts.fragment) not in links[target].ids:
                lost.append(f"{file.relative_to(site)}: {link}: no such place")
    assert lost == []


def test_no_page_asks_the_network_for_anything(links: dict[Path, Links], site: Path) -> None:
    loaded = {each for found in links.values() for each in found.loaded if re.match(r"(https?:)?//", each)}
    assert loaded == set()
    styles = [each.read_text("utf-8") for each in site.rglob("*.css")]
    assert styles and not [each for text in styles for each in re.findall(r"url\(['\"]?(https?:[^)]*)", text)]
    assert not any('class="mermaid"' in each.read_text("utf-8") for each in links)  # drawn by a script from elsewhere


def test_the_site_has_what_the_code_has(links: dict[Path, Links], site: Path) -> None:
    """A page, or a place on one, for each command, component, model of keys, rule and alarm."""
    from infra.check import rules

    def ids(path: str) -> set[str]:
        return links[site / path].ids

    tree = docs_commands.command_line().commands
    assert {f"slipway-{name}" for name in tree} <= ids("reference/commands.html")
    for name, place in components.places().items():
        path, _, anchor = place.partition("#")
        assert anchor in ids(f"reference/components/{path.replace('.md', '.html')}"), name
    for each in rules():
        assert each.name in ids(f"reference/policies/{each.pack}.html"), each.name
    assert 'class="picture"' in (site / "explanation/architecture.html").read_text("utf-8")
    assert len(ids("reference/alarms.html")) > 30


# --- what the reference is written from -------------------------------------------------------------------------------


def _models() -> list[type[BaseModel]]:
    return [each for module in components.modules() for each in module.models if each is not Spec]


@pytest.mark.parametrize("model", _models(), ids=lambda model: model.__name__)
def test_every_key_says_what_it_is_for(model: type[BaseModel]) -> None:
    texts = fields(model)
    silent = [
        name
        for name, field in model.model_fields.items()
        if not texts.get(name) and not any(summary(each) for each in specs.nested(field.annotation))
    ]
    assert silent == []


def test_every_output_and_alarm_is_told_of(planned: None) -> None:
    for stack, names in outputs.exported().items():
        texts = outputs.PLATFORM if stack.startswith("platform-") else outputs.PRODUCT
        assert names <= texts.keys(), stack
    told = alarms.alarms()
    assert len(told) > 30
    assert all(each.component and each.means and each.look and each.act for each in told)
    of_all = {each.name for each in told}
    assert of_all == {each.name for each in told if {*each.stacks} & {*plans.STACKS}}, "add the stack to plans.STACKS"


def test_every_command_of_a_runbook_exists(planned: None) -> None:
    """An alarm's text is read at night: what it says to type has to be there."""
    steps = [(each.name, step) for each in alarms.alarms() for step in (*each.look, *each.act)]
    wrong = [
        f"{name}: {fault}"
        for name, step in steps
        for fault in (
            docs_commands.wrong(step.strip("`"))
            if re.fullmatch(r"`(slipway|aws|kubectl|pulumi) [^`]*`", step)
            else docs_commands.mentioned(step)
        )
    ]
    assert wrong == []


# --- the harness itself -----------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Page]:
    def written(text: str, run: str = "offline") -> Page:
        file = tmp_path / "page.md"
        file.write_text(f"---\nrun: {run}\n---\n{text}", "utf-8")
        return page(file)

    return written


def fenced(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```", ""])


CONFIGURED = '    model_config = ConfigDict(frozen=True, extra="forbid")'

HOLDS = {
    "a command and what it prints": fenced("console", "$ printf 'one\\ntwo  2\\nthree'", "one", "two 2", "…"),
    "what stands between is left out": fenced("console", "$ printf 'one\\ntwo\\nthree'", "one", "three"),
    "a part of a line is left out": fenced("console", "$ echo version 1.2.3", "version …"),
    "a command of two lines": fenced("console", "$ echo one \\", "> two", "one two"),
    "a here-document": fenced("console", "$ cat <<END", "> one", "> two", "> END", "one", "two"),
    "variables last": fenced("console", "$ x=1") + "\n" + fenced("console", "$ echo $x", "1"),
    "a folder lasts": fenced("console", "$ cd docs", "$ ls index.md", "index.md"),
    "an exit code": "<!-- test: exit=3 -->\n" + fenced("console", "$ echo first", "$ python -c 'exit(3)'"),
    "both streams": fenced("console", "$ echo wrong >&2", "wrong"),
    "slipway is there": fenced("console", "$ slipway --help", "…Usage: slipway…"),
    "what is skipped exists": '<!-- test: skip="it takes hours" -->\n' + fenced("console", "$ slipway gameday"),
    "Python": fenced("python", "from infra.settings import load", "assert load('employment-prod').usd_per_month"),
    "Python's exit code": "<!-- test: exit=1 -->\n" + fenced("python", "raise SystemExit(1)"),
    "settings of some stack": fenced("yaml", "endpoint: {max_latency_ms: 300}"),
    "settings of another kind": fenced(
        "yaml", "endpoint: {kind: serverless, memory_mib: 2048, max_concurrency: 5, rollout: {kind: all-at-once}}"
    ),
    "keys of Pulumi's": fenced("yaml", "slipway:usd_per_month: 900", "slipway:usage: {requests_per_day: 5}"),
    "settings of one stack": fenced('yaml title="stacks/Pulumi.platform-prod.yaml"', "queues: {cpus: 500}"),
    "an exception": fenced(
        'yaml title="policies/exceptions.yaml"',
        "- rule: ecr-immutable",
        "  resource: aws:ecr/repository:Repository::training",
        "  owner: a",
        "  reason: b",
        "  ticket: c",
        "  expires: 2027-01-31",
    ),
    "an environment": fenced('yaml title="stacks/environments.yaml"', "staging:", "  version: v0.2.0"),
    "a part of a file": fenced('python title="components/spec.py"', "class Spec(BaseModel):", "    # …", CONFIGURED),
    "JSON and TOML": fenced("json", '{"a": 1}') + "\n" + fenced("toml", "a = 1"),
    "a change": fenced('diff title="Pulumi.yaml"', "-name: slipway", "+name: another")
    + "\n"
    + fenced("console", "$ head -1 Pulumi.yaml", "name: another"),
    "a new file": "<!-- test: write -->\n"
    + fenced('text title="new/file.txt"', "hello")
    + "\n"
    + fenced("console", "$ cat new/file.txt", "hello"),
}  # fmt: skip


@pytest.mark.parametrize("text", HOLDS.values(), ids=HOLDS)
def test_what_holds_passes(text: str, written: Callable[[str], Page], copy: Copy) -> None:
    played = written(text)
    play(played, copy)
    look(played)
    assert not subprocess.check_output(["git", "status", "--porcelain"], cwd=copy.root), "the copy is as it was"


BREAKS = {
    "another exit code": (fenced("console", "$ false"), "ended with 1, not 0"),
    "no exit code": ("<!-- test: exit=1 -->\n" + fenced("console", "$ true"), "ended with 0, not 1"),
    "not printed": (fenced("console", "$ echo one", "two"), "did not print `two`"),
    "in another order": (fenced("console", "$ printf 'one\\ntwo\\n'", "two", "one"), "did not print `one`"),
    "half a line": (fenced("console", "$ echo one two", "one"), "did not print `one`"),
    "too slow": ("<!-- test: seconds=0.2 -->\n" + fenced("console", "$ sleep 5"), "not within 0.2 s"),
    "an option of slipway": (fenced("console", "$ slipway up local --fast"), "No such option: --fast"),
    "a command of slipway": (fenced("console", "$ slipway launch"), "no command 'launch'"),
    "an argument of slipway": (fenced("console", "$ slipway approve"), "Missing"),
    "a target of make": (fenced("console", "$ make coffee"), "makes no 'coffee'"),
    "an unknown program": (fenced("console", "$ terraform apply"), "no program that a reader has"),
    "an option of aws": (
        fenced("console", "$ aws sagemaker describe-endpoint --endpoint-name a --all"),
        "no option --all",
    ),
    "what aws needs": (fenced("console", "$ aws sagemaker describe-endpoint"), "needs --endpoint-name"),
    "a service of aws": (fenced("console", "$ aws skynet start"), "no service 'skynet'"),
    "a command of pulumi": (fenced("console", "$ pulumi launch"), "no command 'launch'"),
    "an option of pulumi": (fenced("console", "$ pulumi up --fast"), "no option --fast"),
    "within a pipe": (fenced("console", "$ slipway status | frobnicate"), "'frobnicate'"),
    "within parentheses": (fenced("console", "$ x=$(slipway launch)"), "no command 'launch'"),
    "no prompt": (fenced("console", "slipway up"), "begins with a command"),
    "skipped and wrong": (
        '<!-- test: skip="it takes hours" -->\n' + fenced("console", "$ slipway launch"),
        "no command 'launch'",
    ),
    "skipped without a reason": ("<!-- test: skip -->\n" + fenced("console", "$ true"), "say why"),
    "an unknown word in a comment": ("<!-- test: slow -->\n" + fenced("console", "$ true"), "not slow"),
    "no Python": (fenced("python", "def"), "no Python"),
    "Python that fails": (fenced("python", "assert False"), "AssertionError"),
    "an import of ours": (fenced("python", "from components import Spaceship"), "has no Spaceship"),
    "a key that is not there": (fenced("yaml", "endpoint: {max_latency: 300}"), "no such key"),
    "a value out of bounds": (
        fenced('yaml title="stacks/Pulumi.employment-prod.yaml"', "endpoint: {capture_percent: 200}"),
        "less than or equal to 100",
    ),
    "a key of an environment": (
        fenced('yaml title="stacks/environments.yaml"', "staging: {commit: abc}"),
        "there is no such key",
    ),
    "an exception without a reason": (
        fenced('yaml title="policies/exceptions.yaml"', "- {rule: a, resource: b, stack: c}"),
        "reason",
    ),
    "no YAML": (fenced("yaml", "a: [1"), "no yaml"),
    "no JSON": (fenced("json", "{a: 1}"), "no json"),
    "not a part of the file": (fenced('python title="components/spec.py"', "class Other:"), "no such lines"),
    "a change of what is not there": (fenced('diff title="Pulumi.yaml"', "-nothing", "+x"), "0 times"),
    "a change outside": (fenced('diff title="../x"', "-a", "+b"), "outside the repository"),
    "an unknown language": (fenced("bash", "true"), "not bash"),
    "no language": (fenced("", "true"), "without a language"),
    "within an admonition": ("!!! note\n\n    ```console\n    $ true\n    ```\n", "out of the admonition"),
}


@pytest.mark.parametrize(("text", "why"), BREAKS.values(), ids=BREAKS)
def test_what_does_not_hold_is_told_with_its_place(
    text: str, why: str, written: Callable[[str], Page], copy: Copy
) -> None:
    with pytest.raises(Broken, match=re.escape(why)) as told:
        play(written(text), copy)
    assert re.match(r"\S*page\.md:\d+: ", str(told.value))


def test_a_page_with_blocks_says_where_they_run(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(fenced("console", "$ true"), "utf-8")
    with pytest.raises(Broken, match="its front matter says `run:`"):
        page(file)


def test_in_the_cloud_nothing_is_run(written: Callable[..., Page], copy: Copy) -> None:
    play(written(fenced("console", "$ false") + "\n" + fenced("python", "assert False"), run="cloud"), copy)


@pytest.mark.parametrize(
    ("expected", "printed", "lost"),
    [
        ((), "", None),
        (("a",), "a", None),
        (("a  b",), "a b", None),
        (("…",), "", None),
        (("a …",), "a", "a …"),
        (("a …",), "a b", None),
        (("a", "a"), "a", "a"),
        (("a.c",), "abc", "a.c"),
        (("\x1b[1ma\x1b[0m",), "a", None),
    ],
)
def test_what_was_promised_is_found(expected: tuple[str, ...], printed: str, lost: str | None) -> None:
    assert missing(expected, printed) == lost
