"""A picture as SVG: boxes on a grid as wide as there is room for, arrows in the gutters between them.

The same picture is drawn for each width that a page may have, for what is scaled down cannot be read. Lengths are
pixels; SVG's y grows downwards.
"""

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from infra.report_page.picture import WAYS, Arrow, Box, Lane, Picture

NARROWEST: Final = 132
"""A box."""
GAP: Final = 24
MARGIN: Final = 26
PAD: Final = 9
TITLE, LINE = 17, 15
"""Heights of a box's title and of each line below it."""
TITLE_CHARACTER, LINE_CHARACTER = 7.3, 6.2
"""How wide a character is at most on average, at 13 and 11.5 pixels: so wide that any system's font fits."""
TRACK: Final = 7
"""Between two arrows in a gutter."""
HEADING: Final = 24
FRAME: Final = 12
"""Between a frame and what lies in it."""
CORNER: Final = 5
TIP: Final = 7

Point = tuple[float, float]


@dataclass
class Placed:
    """A box where it stands."""

    box: Box
    row: int
    column: int
    x: float
    width: float
    title: list[str]
    lines: list[str]
    y: float = 0.0

    @property
    def height(self) -> float:
        return 2 * PAD + TITLE * len(self.title) + LINE * len(self.lines)


@dataclass
class Net:
    """Arrows of one way that share an end: they are drawn as one line with branches."""

    arrows: list[Arrow]
    hub: str
    number: int

    @property
    def to_hub(self) -> bool:
        """Whether the hub is where they end."""
        return all(each.end == self.hub for each in self.arrows)


@dataclass
class Grid:
    """What is placed, and how much room the arrows take in each gutter."""

    width: float
    columns: int
    box_width: float
    placed: dict[str, Placed] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)
    lanes: list[tuple[Lane, int, int]] = field(default_factory=list)
    """Each lane, its first row, and the row behind its last."""
    tracks: dict[int, list[list[tuple[float, float, int]]]] = field(default_factory=lambda: defaultdict(list))
    """By gutter (the one above the row of that number), by track: what is taken, from x to x, and by which net."""
    channels: dict[int, list[list[tuple[float, float, int]]]] = field(default_factory=lambda: defaultdict(list))
    """The same of what lies between the columns, from row to row."""
    ports: dict[tuple[str, bool, int], float] = field(default_factory=dict)
    """By box, whether it is its top, and net: where they meet."""

    def channel_x(self, channel: int) -> float:
        """The middle of what lies left of a column."""
        if channel == 0:
            return MARGIN / 2
        return (
            MARGIN + channel * (self.box_width + GAP) - GAP / 2 if channel < self.columns else self.width - MARGIN / 2
        )


def svg(picture: Picture, width: int, *, label: str) -> str:
    """The picture, so wide; as high as it takes."""
    grid, nets, height = _laid_out(picture, width)
    drawn = [
        *_frames(grid),
        *(_net(net, lines, grid) for net, lines in nets),
        *_headings(grid),
        *(_box(each) for each in grid.placed.values()),
    ]
    return (
        f'<svg class="picture" viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}" role="group" '
        f'aria-label="{escape(label)}">{"".join(drawn)}</svg>'
    )


def laid_out(picture: Picture, width: int) -> tuple[Grid, list[tuple[Arrow, list[Point]]], float]:
    """Where every box stands and how each arrow runs, before any of it is drawn; and how high that is."""
    grid, nets, height = _laid_out(picture, width)
    return grid, [one for net, lines in nets for one in zip(net.arrows, lines, strict=True)], height


def _laid_out(picture: Picture, width: int) -> tuple[Grid, list[tuple[Net, list[list[Point]]]], float]:
    grid = _grid(picture, width)
    nets = _nets(picture.arrows, grid)
    routes = [_route(net, grid) for net in nets]
    _ports(nets, routes, grid)
    height = _stack_rows(grid)
    lines = [[_points(way, net, grid) for way in ways] for net, ways in zip(nets, routes, strict=True)]
    return grid, list(zip(nets, lines, strict=True)), height


# --- where everything stands ------------------------------------------------------------------------------------------


def _grid(picture: Picture, width: int) -> Grid:
    room = width - 2 * MARGIN
    columns = max(1, int((room + GAP) // (NARROWEST + GAP)))
    columns = min(columns, max(len(lane.boxes) for lane in picture.lanes)) if picture.lanes else 1
    grid = Grid(width, columns, (room - (columns - 1) * GAP) / columns)
    for lane in picture.lanes:
        first = len(grid.rows)
        for start in range(0, len(lane.boxes), columns):
            row = lane.boxes[start : start + columns]
            for column, box in enumerate(row):
                x = MARGIN + column * (grid.box_width + GAP)
                grid.placed[box.key] = _placed(box, len(grid.rows), column, x, grid.box_width)
            grid.rows.append([box.key for box in row])
        grid.lanes.append((lane, first, len(grid.rows)))
    return grid


def _placed(box: Box, row: int, column: int, x: float, width: float) -> Placed:
    inside = width - 2 * PAD
    lines = [part for line in box.lines for part in _wrapped(line, inside / LINE_CHARACTER)]
    return Placed(box, row, column, x, width, _wrapped(box.title, inside / TITLE_CHARACTER), lines)


def _wrapped(text: str, characters: float) -> list[str]:
    return textwrap.wrap(text, max(8, int(characters))) or [text]


def _stack_rows(grid: Grid) -> float:
    """Set how far down each row is, now that it is known how many arrows run above it. Returns the height of all."""
    y = 4.0
    open_: tuple[str, ...] = ()
    for lane, first, end in grid.lanes:
        y += 8 + FRAME * len([each for each in open_ if each not in lane.frames])
        y += (FRAME + HEADING) * len([each for each in lane.frames if each not in open_])
        open_ = lane.frames
        for row in range(first, end):
            y += (HEADING if row == first else 0) + _gutter(grid, row)
            for key in grid.rows[row]:
                grid.placed[key].y = y
            y += max(grid.placed[key].height for key in grid.rows[row])
    return y + _gutter(grid, len(grid.rows)) + FRAME * len(open_)


def _gutter(grid: Grid, row: int) -> float:
    tracks = len(grid.tracks.get(row, ()))
    return 4 + TRACK * tracks + (TIP + 4 if tracks else 0)


def _gutter_top(grid: Grid, row: int) -> float:
    """Where the arrows above a row begin: below its lane's heading."""
    if row == len(grid.rows):
        return max(grid.placed[key].y + grid.placed[key].height for key in grid.rows[row - 1]) + 8
    return min(grid.placed[key].y for key in grid.rows[row]) - _gutter(grid, row) + 4


# --- arrows -----------------------------------------------------------------------------------------------------------


def _nets(arrows: Sequence[Arrow], grid: Grid) -> list[Net]:
    """Arrows that share an end are bundled; those of data and models only where they would run side by side."""
    left = [each for each in arrows if each.start in grid.placed and each.end in grid.placed]
    groups: list[tuple[str, list[Arrow]]] = []
    while left:
        ends = [("end", each.way, each.end) for each in left] + [("start", each.way, each.start) for each in left]
        side, way, hub = max(dict.fromkeys(ends), key=ends.count)
        members = [each for each in left if (getattr(each, side), each.way) == (hub, way)]
        groups.append((hub, members))
        left = [each for each in left if each not in members]
    order = {key: number for number, key in enumerate(grid.placed)}
    groups.sort(key=lambda group: min(order[each.start] for each in group[1]))
    return [Net(members, hub, number) for number, (hub, members) in enumerate(groups)]


@dataclass(frozen=True)
class _Way:
    """How one arrow of a net runs: sides of its boxes, and the gutters and the channel between them."""

    arrow: Arrow
    beside: bool
    """From the side of one box straight to its neighbour's."""
    out: int = 0
    """The gutter it comes out into."""
    back: int = 0
    """The gutter from which it goes in."""
    channel: int | None = None


def _route(net: Net, grid: Grid) -> list[_Way]:
    """Choose a way for each arrow of a net, and take the tracks that it needs."""
    ways = [_way(each, net, grid) for each in net.arrows]
    spans: dict[int, list[float]] = defaultdict(list)
    falls: dict[int, list[int]] = defaultdict(list)
    for way in ways:
        if way.beside:
            continue
        start, end = (_middle(grid.placed[key]) for key in (way.arrow.start, way.arrow.end))
        if way.channel is None:
            spans[way.out] += [start, end]
        else:
            across = grid.channel_x(way.channel)
            spans[way.out] += [start, across]
            spans[way.back] += [across, end]
            falls[way.channel] += [way.out, way.back]
    for gutter, xs in spans.items():
        _take(grid.tracks[gutter], min(xs) - 12, max(xs) + 12, net.number)
    for channel, rows in falls.items():
        _take(grid.channels[channel], min(rows), max(rows), net.number)
    return ways


def _way(arrow: Arrow, net: Net, grid: Grid) -> _Way:
    start, end = grid.placed[arrow.start], grid.placed[arrow.end]
    if start.row == end.row:
        if abs(start.column - end.column) == 1 and len(net.arrows) == 1:
            return _Way(arrow, True)
        return _Way(arrow, False, start.row + 1, start.row + 1)
    out, back = (start.row + 1, end.row) if end.row > start.row else (start.row, end.row + 1)
    if out == back:
        return _Way(arrow, False, out, back)

    def length(channel: int) -> tuple[float, int]:
        x = grid.channel_x(channel)
        return abs(x - _middle(start)) + abs(x - _middle(end)), len(grid.channels[channel])

    # Arrows of one net fall in one channel where they can, so that they are one line.
    known = [
        each for each, tracks in grid.channels.items() if any(net.number == one[2] for row in tracks for one in row)
    ]
    return _Way(arrow, False, out, back, min(known or range(grid.columns + 1), key=length))


def _take(tracks: list[list[tuple[float, float, int]]], low: float, high: float, net: int) -> None:
    for track in tracks:
        if all(high < first or last < low for first, last, _ in track):
            track.append((low, high, net))
            return
    tracks.append([(low, high, net)])


def _track(tracks: Sequence[Sequence[tuple[float, float, int]]], net: int) -> int:
    return next(number for number, track in enumerate(tracks) if any(each[2] == net for each in track))


def _middle(placed: Placed) -> float:
    return placed.x + placed.width / 2


def _ports(nets: Sequence[Net], routes: Sequence[Sequence[_Way]], grid: Grid) -> None:
    """Choose where each net meets each box, side by side in the order of where it goes to."""
    met: dict[tuple[str, bool], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for net, ways in zip(nets, routes, strict=True):
        for way in ways:
            if not way.beside:
                start, end = grid.placed[way.arrow.start], grid.placed[way.arrow.end]
                far = grid.channel_x(way.channel) if way.channel is not None else None
                met[way.arrow.start, way.out <= start.row][net.number].append(_middle(end) if far is None else far)
                met[way.arrow.end, way.back <= end.row][net.number].append(_middle(start) if far is None else far)
    for (key, top), towards in met.items():
        order = sorted(towards, key=lambda number: (sum(towards[number]) / len(towards[number]), number))
        placed = grid.placed[key]
        for index, number in enumerate(order, 1):
            grid.ports[key, top, number] = placed.x + placed.width * index / (len(order) + 1)


def _points(way: _Way, net: Net, grid: Grid) -> list[Point]:
    start, end = grid.placed[way.arrow.start], grid.placed[way.arrow.end]
    if way.beside:
        y = min(start.y + start.height, end.y + end.height) - PAD - LINE / 2
        y = max(start.y, end.y) + (y - max(start.y, end.y)) / 2
        return [(start.x + start.width, y), (end.x, y)] if end.x > start.x else [(start.x, y), (end.x + end.width, y)]

    def across(gutter: int) -> float:
        return _gutter_top(grid, gutter) + TRACK * (_track(grid.tracks[gutter], net.number) + 0.5)

    def edge(placed: Placed, gutter: int) -> Point:
        top = gutter <= placed.row
        return grid.ports[placed.box.key, top, net.number], placed.y if top else placed.y + placed.height

    first, last = edge(start, way.out), edge(end, way.back)
    points = [first, (first[0], across(way.out))]
    if way.channel is not None:
        offset = (_track(grid.channels[way.channel], net.number) % 4 - 1.5) * 4
        fall = grid.channel_x(way.channel) + offset
        points += [(fall, across(way.out)), (fall, across(way.back))]
    return [*points, (last[0], across(way.back)), last]


def _net(net: Net, lines: Sequence[Sequence[Point]], grid: Grid) -> str:
    titles = {key: each.box.title for key, each in grid.placed.items()}
    told = "; ".join(f"{titles[each.start]} → {titles[each.end]}: {each.what}" for each in net.arrows)
    way = net.arrows[0].way
    paths = "".join(f'<path d="{_path(points)}"/>' for points in lines)
    tips = "".join(dict.fromkeys(_tip(points) for points in lines))
    return f'<g class="arrow {way}"><title>{escape(told)}</title>{paths}{tips}</g>'


def _path(points: Sequence[Point]) -> str:
    """A line with round corners."""
    told = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        one, other = _towards(here, before), _towards(here, after)
        told.append(f"L{one[0]:.1f} {one[1]:.1f}Q{here[0]:.1f} {here[1]:.1f} {other[0]:.1f} {other[1]:.1f}")
    told.append(f"L{points[-1][0]:.1f} {points[-1][1]:.1f}")
    return "".join(told)


def _towards(here: Point, there: Point) -> Point:
    """The point a corner away from `here`, or half-way where there is less room."""
    away = abs(there[0] - here[0]) + abs(there[1] - here[1])
    share = min(CORNER, away / 2) / away if away else 0.0
    return here[0] + (there[0] - here[0]) * share, here[1] + (there[1] - here[1]) * share


def _tip(points: Sequence[Point]) -> str:
    (x, y), (last_x, last_y) = points[-2], points[-1]
    if abs(last_x - x) > abs(last_y - y):
        back = last_x - TIP if last_x > x else last_x + TIP
        return f'<path class="tip" d="M{last_x:.1f} {last_y:.1f}L{back:.1f} {last_y - 4:.1f}V{last_y + 4:.1f}Z"/>'
    back = last_y - TIP if last_y > y else last_y + TIP
    return f'<path class="tip" d="M{last_x:.1f} {last_y:.1f}L{last_x - 4:.1f} {back:.1f}H{last_x + 4:.1f}Z"/>'


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _box(placed: Placed) -> str:
    box = placed.box
    x, y = placed.x + PAD, placed.y + PAD + 12
    texts = [
        f'<text class="name" x="{x:.1f}" y="{y + TITLE * number:.1f}">{escape(line)}</text>'
        for number, line in enumerate(placed.title)
    ]
    y += TITLE * len(placed.title)
    texts += [
        f'<text x="{x:.1f}" y="{y + LINE * number:.1f}">{escape(line)}</text>'
        for number, line in enumerate(placed.lines)
    ]
    shape = (
        f'<rect x="{placed.x:.1f}" y="{placed.y:.1f}" width="{placed.width:.1f}" height="{placed.height:.1f}" rx="6"/>'
    )
    drawn = f'<g class="box{" outside" if box.outside else ""}">{shape}{"".join(texts)}</g>'
    if not box.anchor:
        return drawn
    return f'<a href="#{escape(box.anchor)}" aria-label="{escape(box.title)}: what is in it">{drawn}</a>'


def _headings(grid: Grid) -> Iterator[str]:
    for lane, first, _ in grid.lanes:
        y = grid.placed[grid.rows[first][0]].y - _gutter(grid, first) - 4
        yield f'<text class="lane" x="{MARGIN}" y="{y:.1f}">{escape(lane.title)}</text>'


def _frames(grid: Grid) -> Iterator[str]:
    """Rectangles round lanes that follow each other and lie in the same."""
    titles = list(dict.fromkeys(each for lane, _, _ in grid.lanes for each in lane.frames))
    for title in titles:
        inside = [each for each in grid.lanes if title in each[0].frames]
        depth = inside[0][0].frames.index(title)
        deepest = max(len(lane.frames) for lane, _, _ in inside) - depth - 1
        first, last = inside[0][1], inside[-1][2] - 1
        new = [each for each in inside[0][0].frames[depth:]]
        top = min(grid.placed[key].y for key in grid.rows[first]) - _gutter(grid, first) - HEADING
        top -= (HEADING + FRAME) * len(new) - FRAME
        bottom = max(grid.placed[key].y + grid.placed[key].height for key in grid.rows[last]) + 8 + FRAME * deepest
        x = 2 + depth * 7
        size = f'width="{grid.width - 2 * x:.1f}" height="{bottom - top:.1f}"'
        yield f'<rect class="frame" x="{x}" y="{top:.1f}" {size} rx="9"/>'
        yield f'<text class="frame" x="{x + 10}" y="{top + 16:.1f}">{escape(title)}</text>'


def legend() -> str:
    """What the arrows mean, as HTML with a small picture each."""
    shown = "".join(
        f'<li><svg width="34" height="10" viewBox="0 0 34 10" aria-hidden="true"><g class="arrow {way}">'
        f'<path d="M1 5H26"/><path class="tip" d="M33 5L26 1V9Z"/></g></svg> {escape(words)}</li>'
        for way, words in WAYS.items()
    )
    return f'<ul class="legend">{shown}</ul>'
