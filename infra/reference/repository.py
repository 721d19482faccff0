"""Pages that stand in the repository outside `docs/`, and links from the site to what is there."""

import posixpath
import re
from collections.abc import Iterator
from functools import partial

from infra.settings import ROOT

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "DECISIONS.md": "explanation/decisions.md",
    "policies/MUTANTS.md": "explanation/mutants.md",
    "policies/DISAGREEMENTS.md": "explanation/disagreements.md",
    **{
        each.relative_to(ROOT).as_posix(): f"examples/{each.parent.name}.md"
        for each in sorted(ROOT.glob("examples/*/README.md"))
    },
}
"""From the repository's file to the site's page."""
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def pages() -> Iterator[tuple[str, str]]:
    """Each as it is, but for links, which then lead from its place on the site."""
    for source, target in PAGES.items():
        text = (ROOT / source).read_text("utf-8")
        yield target, LINK.sub(partial(_moved, source), text)


def _moved(source: str, found: re.Match[str]) -> str:
    """A link of a page that is not below `docs/`, as one of the page that it becomes."""
    if re.match(r"[a-z]+:|#", found[2]):
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
    return f"[{found[1]}]({posixpath.relpath(path, posixpath.join('docs', posixpath.dirname(PAGES[source])))})"


def link(text: str, target: str, here: str) -> str:
    """A link of the page `here`: one that leaves `docs/` leads to the site's page of that file, or is but its name."""
    if re.match(r"[a-z]+:|#", target):
        return f"[{text}]({target})"
    path, mark, anchor = target.partition("#")
    reached = posixpath.normpath(posixpath.join("docs", posixpath.dirname(here), path))
    if reached.startswith("docs/"):
        return f"[{text}]({target})"
    if reached in PAGES:
        there = posixpath.relpath(PAGES[reached], posixpath.dirname(here) or ".")
        return f"[{text}]({there}{mark}{anchor})"
    if not (ROOT / reached).exists():
        raise ValueError(f"docs/{here}: there is no {reached}")
    return text if "`" in text else f"{text} (`{reached}`)"
