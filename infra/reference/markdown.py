"""Markdown from texts that were written for something else."""

import re
from collections.abc import Iterable, Sequence


def prose(text: str) -> str:
    """A docstring's text, in which nothing but code in backticks is Markdown."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(each if each.startswith("`") else re.sub(r"([<*\[\]_])", r"\\\1", each) for each in parts)


def paragraphs(text: str) -> str:
    """A docstring of several paragraphs."""
    return "\n\n".join(prose(each) for each in text.split("\n\n"))


def code(text: str) -> str:
    """A name or value, whatever is in it."""
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing where there are no rows."""
    lines = [" | ".join(_cell(each) for each in row) for row in rows]
    if not lines:
        return ""
    return "\n".join(f"| {each} |" for each in (" | ".join(head), " | ".join("---" for _ in head), *lines))


def _cell(text: str) -> str:
    """One line, in which only code has bars: MkDocs takes them there for what they are."""
    parts = re.split(r"(`[^`]*`)", text.replace("\n", " "))
    return "".join(each if each.startswith("`") else each.replace("|", "&#124;") for each in parts) or " "


def page(title: str, *parts: str, order: int = 500) -> str:
    """A page; `order` is its place among those of its folder."""
    return f"---\norder: {order}\n---\n\n# {title}\n\n" + "\n\n".join(each for each in parts if each) + "\n"


def anchor(heading: str) -> str:
    """What a heading's address ends in."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower())


def either(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
