"""A monitor's reports: JSON for machines, and beside it a page that a person can read in a minute."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

NEWEST: Final = "latest"
TIME: Final = "%Y-%m-%dT%H-%M-%S-%fZ"
"""What a report is called after its time, UTC: so reports sort by time."""
REQUIRED: Final = (
    "monitor",
    "endpoint",
    "model_package_arn",
    "time",
    "since",
    "until",
    "status",
    "rows",
    "violations",
    "summary",
)
"""What every report tells. Times are ISO 8601, UTC. `status` is insufficient, stable or violated; `summary` is one
sentence; `model_package_arn` is None where the report is of no model."""
WORDS: Final = {"stable": "All well", "violated": "Look at this", "insufficient": "Too little to judge"}
STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2024;--dim:#60666d;--rule:#d9dce0;--paper:#fff;--before:#a9b0b8;--now:#1668c7;
--stable:#1a7f37;--violated:#c0271d;--insufficient:#7a6400}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--dim:#9aa1a9;--rule:#363b41;--paper:#15181b;--before:#69717a;
--now:#63a8f7;--stable:#4cc26a;--violated:#ff7b6e;--insufficient:#d9b935}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1rem;font-weight:600;color:var(--dim);margin:0}
h2{font-size:1.05rem;margin:2rem 0 .5rem}
.verdict{font-size:1.35rem;line-height:1.35;margin:.4rem 0;padding-left:.8rem;border-left:.35rem solid var(--status)}
.verdict b{color:var(--status)}
.dim,dt,figcaption span{color:var(--dim)}
dl{display:flex;flex-wrap:wrap;gap:.2rem 1.6rem;margin:.6rem 0;font-size:.9rem}
dl div{display:flex;gap:.4rem}
dd{margin:0}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem}
figure{margin:0;border:1px solid var(--rule);border-radius:.4rem;padding:.6rem}
figcaption{font-size:.9rem}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--dim);font:10px system-ui,sans-serif}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid var(--rule)}
td.n,th.n{text-align:right}
td.n,td.s{white-space:nowrap}
"""
WIDTH: Final = 280
HEIGHT: Final = 96
SHORT: Final = 22
"""Characters of a cell, such as a time, that is not broken into lines."""
BASE: Final = 14
"""What a plot leaves below its bars for their labels."""
CHARACTER: Final = 6.0
"""How wide a character of a label is at most."""
GAP: Final = 3.0
"""Between two labels."""


def write(
    s3: Any, folder: str, report: Mapping[str, Any], html: str, *, beside: Mapping[str, str] | None = None
) -> str:
    """Store a report in `folder` (an S3 URI that ends in a slash): under its time, and as the newest.

    `beside` is what is stored with it, file name → JSON: `<time>/<name>`. Returns the report's URI. Raises ValueError
    for one that lacks something. Written again, it is the same.
    """
    if lacking := [name for name in REQUIRED if name not in report]:
        raise ValueError(f"a report has to tell {', '.join(lacking)}, too")
    name = stem(report)
    texts = {f"{name}/{file}": text for file, text in (beside or {}).items()}
    for each in (name, NEWEST):  # the newest last, and its JSON after its page: who sees it finds the rest
        texts |= {f"{each}.html": html, f"{each}.json": json.dumps(report)}
    url = urlsplit(folder)
    for file, text in texts.items():
        kind = "text/html; charset=utf-8" if file.endswith(".html") else "application/json"
        s3.put_object(Bucket=url.netloc, Key=url.path.lstrip("/") + file, Body=text.encode(), ContentType=kind)
    return f"{folder}{name}.json"


def stem(report: Mapping[str, Any]) -> str:
    """What a report is called: its time."""
    return datetime.fromisoformat(report["time"]).astimezone(UTC).strftime(TIME)


def newest(s3: Any, folder: str) -> dict[str, Any] | None:
    """The newest report in `folder`; None before the first."""
    url = urlsplit(folder)
    try:
        found = s3.get_object(Bucket=url.netloc, Key=f"{url.path.lstrip('/')}{NEWEST}.json")
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return None
    report: dict[str, Any] = json.load(found["Body"])
    return report


def page(
    title: str,
    sentence: str,
    sections: Iterable[tuple[str, str]],
    *,
    status: str = "stable",
    facts: Mapping[str, object] | None = None,
) -> str:
    """A page that needs nothing but itself, light or dark: `sentence` on top, `facts` in a line, then (heading, HTML).

    A section without HTML is left out.
    """
    told = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in (facts or {}).items()
    )
    body = "".join(f"<h2>{escape(heading)}</h2>{html}" for heading, html in sections if html)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f'<body style="--status:var(--{escape(status)})"><h1>{escape(title)}</h1>'
        f'<p class="verdict"><b>{escape(WORDS.get(status, status))}.</b> {escape(sentence)}</p>'
        f"<dl>{told}</dl>{body}</body></html>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns of numbers stand on the right. Texts are escaped. Empty without rows."""
    rows = [list(row) for row in rows]
    if not rows:
        return ""
    kinds = [_kind(column) for column in zip(*rows, strict=True)]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(heads, kinds, strict=True))
    lines = (
        "".join(f"<td{kind}>{escape(_shown(each))}</td>" for each, kind in zip(row, kinds, strict=True)) for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    # Who has no mouse scrolls what can have the focus.
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _kind(column: Sequence[object]) -> str:
    """How a column is set: numbers on the right, what is short in one line."""
    told = [each for each in column if each not in ("", None)]
    if told and all(isinstance(each, int | float) and not isinstance(each, bool) for each in told):
        return ' class="n"'
    return ' class="s"' if all(len(_shown(each)) <= SHORT for each in told) else ""


def listed(sentences: Iterable[str]) -> str:
    """A list of sentences, escaped. Empty without any."""
    lines = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    return f"<ul>{lines}</ul>" if lines else ""


def figures(plots: Iterable[tuple[str, str, str]]) -> str:
    """Plots beside each other, each with its name and a sentence below: (name, sentence, SVG)."""
    drawn = "".join(
        f"<figure>{svg}<figcaption><b>{escape(name)}</b> <span>{escape(sentence)}</span></figcaption></figure>"
        for name, sentence, svg in plots
    )
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def bars(before: Sequence[float], now: Sequence[float], labels: Sequence[str], *, title: str) -> str:
    """A small plot (SVG) of two sets of shares side by side: the baseline's in grey, the window's in blue.

    All three have one entry for each bar; where labels have no room, they are there on hover.
    """
    if not labels:
        return ""
    top = max(*before, *now, 1e-9)
    step, floor = WIDTH / len(labels), HEIGHT - BASE
    told_below = _labels(labels, step)
    drawn = []
    for index, (first, second, label) in enumerate(zip(before, now, labels, strict=True)):
        told = escape(f"{label}: {first:.1%} in training, {second:.1%} now")
        left, wide = index * step + step * 0.08, step * 0.42
        drawn.append(f"<g><title>{told}</title>{_bar(left, wide, first / top * floor, floor, 'before')}")
        drawn.append(_bar(left + wide, wide, second / top * floor, floor, "now"))
        if index in told_below:
            x = told_below[index]
            drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - 3}" text-anchor="middle">{escape(label)}</text>')
        drawn.append("</g>")
    return _svg("".join(drawn), title)


def _labels(labels: Sequence[str], step: float) -> dict[int, float]:
    """The labels that have room below their bars, and where their middles stand: the first, the last, then the rest."""
    placed: dict[int, tuple[float, float]] = {}
    for index in dict.fromkeys([0, len(labels) - 1, *range(len(labels))]):
        half = len(labels[index]) * CHARACTER / 2
        middle = min(max(step * (index + 0.5), half), WIDTH - half)
        low, high = middle - half, middle + half
        if index == 0 or all(high + GAP < left or right + GAP < low for left, right in placed.values()):
            placed[index] = low, high
    return {index: (low + high) / 2 for index, (low, high) in placed.items()}


def line(times: Sequence[datetime], values: Sequence[float], *, title: str, limit: float | None = None) -> str:
    """A small plot (SVG) of a value over time, with a dashed line where its limit is. Empty without values."""
    if not values:
        return ""
    known = [*values, *([] if limit is None else [limit])]
    most, least = max(known), min(0.0, *known)
    if min(known) > most / 2:  # what happens far from nothing is drawn as large as it is
        least = min(known) - (most - min(known) or most) / 4
    span = (times[-1] - times[0]).total_seconds() or 1.0
    floor = HEIGHT - BASE

    def place(time: datetime, value: float) -> tuple[float, float]:
        across = (time - times[0]).total_seconds() / span if len(times) > 1 else 0.5
        return across * WIDTH, floor - (value - least) / ((most - least) or 1.0) * (floor - 4)

    points = [place(time, value) for time, value in zip(times, values, strict=True)]
    drawn = [
        f'<line x1="{one[0]:.1f}" y1="{one[1]:.1f}" x2="{two[0]:.1f}" y2="{two[1]:.1f}" '
        'stroke="var(--now)" stroke-width="1.5"/>'
        for one, two in pairwise(points)
    ]
    drawn += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="var(--now)"><title>{escape(f"{time:%d %b %H:%M}: {value:.4g}")}'
        "</title></circle>"
        for (x, y), time, value in zip(points, times, values, strict=True)
    ]
    if limit is not None:
        y = place(times[0], limit)[1]
        drawn.append(
            f'<line x1="0" y1="{y:.1f}" x2="{WIDTH}" y2="{y:.1f}" stroke="var(--violated)" stroke-dasharray="4 3"/>'
            f'<text x="0" y="{y + 9 if y < floor / 2 else y - 3:.1f}">{limit:.4g}</text>'
        )
    for time, x, anchor in ((times[0], 0, "start"), (times[-1], WIDTH, "end")):
        drawn.append(f'<text x="{x}" y="{HEIGHT - 3}" text-anchor="{anchor}">{time:%d %b %H:%M}</text>')
    newest = min(max(points[-1][1] - 5, 9), floor - 3)
    drawn.append(f'<text x="{WIDTH}" y="{newest:.1f}" text-anchor="end">{values[-1]:.4g}</text>')
    return _svg("".join(drawn), title)


def _bar(left: float, wide: float, high: float, floor: float, kind: str) -> str:
    place = f'x="{left:.1f}" y="{floor - high:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    return f'<rect {place} fill="var(--{kind})"/>'


def _svg(drawn: str, title: str) -> str:
    floor = HEIGHT - BASE
    axis = f'<line x1="0" y1="{floor}" x2="{WIDTH}" y2="{floor}" stroke="var(--rule)"/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{drawn}{axis}</svg>'


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
