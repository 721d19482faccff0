"""Changes of level beside what people saw: `python -m tests.bench.changes CLONE`, as Markdown.

CLONE is a clone of https://github.com/alan-turing-institute/TCPD, the series of the Turing Change Point Dataset, each
with what five people marked. The scores are those of van den Burg and Williams, An Evaluation of Change Point Detection
Algorithms (2020, section 4), for whose figures see TCPDBench: PELT has F1 0.710 and cover 0.689 as it comes, 0.787 and
0.725 at its best; whoever says that nothing ever changes has 0.669 and 0.583.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from functions.monitoring.changes import change_points

MARGIN = 5
"""So many points off, a change still counts as found."""


def series(clone: Path) -> Iterator[tuple[str, list[float], Mapping[str, Sequence[int]]]]:
    """Name, values and each person's marks of every series of one dimension that is there without a download."""
    marks = json.loads((clone / "annotations.json").read_text("utf-8"))
    for path in sorted(clone.glob("datasets/*/*.json")):
        told = json.loads(path.read_text("utf-8"))
        if told["n_dim"] == 1 and path.stem in marks:
            values = told["series"][0]["raw"]
            known = [value for value in values if value is not None]
            mean = sum(known) / len(known)
            yield path.stem, [mean if value is None else float(value) for value in values], marks[path.stem]


def f1(found: Sequence[int], marks: Mapping[str, Sequence[int]]) -> float:
    """Of what was found, how much any person marked; of each person's marks, how many were found."""
    said = {0, *found}
    everybody = {0}.union(*marks.values())
    precision = len(_hits(everybody, said)) / len(said)
    recall = sum(len(_hits({0, *each}, said)) / len({0, *each}) for each in marks.values()) / len(marks)
    return 2 * precision * recall / (precision + recall)


def _hits(marks: set[int], said: set[int]) -> set[int]:
    """The marks that something found is near enough to; each is found by one at most."""
    left, hits = set(said), set()
    for mark in sorted(marks):
        near = [each for each in left if abs(each - mark) <= MARGIN]
        if near:
            left.discard(min(near, key=lambda each: abs(each - mark)))
            hits.add(mark)
    return hits


def cover(found: Sequence[int], marks: Mapping[str, Sequence[int]], points: int) -> float:
    """How well the pieces agree with each person's: their overlap, weighted by their length."""
    ours = _pieces(found, points)
    return sum(_cover(_pieces(each, points), ours, points) for each in marks.values()) / len(marks)


def _cover(theirs: Sequence[range], ours: Sequence[range], points: int) -> float:
    def overlap(one: range, other: range) -> float:
        shared = max(0, min(one.stop, other.stop) - max(one.start, other.start))
        return shared / (len(one) + len(other) - shared)

    return sum(len(piece) * max(overlap(piece, each) for each in ours) for piece in theirs) / points


def _pieces(cuts: Sequence[int], points: int) -> list[range]:
    return [range(start, end) for start, end in pairwise(sorted({0, points, *cuts}))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    options = parser.parse_args()
    scores, seconds, points = [], 0.0, 0
    for _, values, marks in series(options.clone):
        began = time.perf_counter()
        found = change_points(values)
        seconds, points = seconds + time.perf_counter() - began, points + len(values)
        scores.append(
            [f1(found, marks), cover(found, marks, len(values)), f1((), marks), cover((), marks, len(values))]
        )
    means = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
    out = sys.stdout.write
    out(f"{len(scores)} series, {points:,} points, {seconds:.1f} s\n\n")
    out("| | F1 | cover |\n|---|---|---|\n")
    out(f"| ours | {means[0]:.3f} | {means[1]:.3f} |\n| nothing ever changes | {means[2]:.3f} | {means[3]:.3f} |\n")


if __name__ == "__main__":
    main()
