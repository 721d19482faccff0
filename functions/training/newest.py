"""Makes a set of the newest labelled data for a retraining, and describes what is new in it, as a SageMaker processing
job.

`--labels` and `--records` as prepare.py has them; folders below the labels are sources. `--asked` holds captures of
what the endpoint was asked. What is labelled later than `--after` is new. `--output` gets a set as prepare.py makes it,
in `recent/rows.csv` the held-out rows that are new, and newest.json, by which people and functions/recovery/guard.py
tell whether the new data are to be trusted.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd  # type: ignore[import-untyped]  # it brings no types

from functions.monitoring import baseline, capture
from functions.monitoring.sketch import Tally
from functions.monitoring.statistics import counts, kolmogorov, largest_change, paired
from functions.rows import Rows
from functions.training import prepare
from functions.training.schema import Schema, of

BLOCK: Final = 1 << 18
"""Bytes of a capture that are read at once."""
TRAINED, HELD_OUT = prepare.FILES


def deliveries(schema: Schema, folder: Path, after: float) -> Iterator[dict[str, Any]]:
    """What each file of labels brought that is new, in the order of its newest label; its name is its path."""
    found = []
    for path in sorted(folder.rglob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        times = table[schema.rows.event_time].map(schema.rows.seconds)
        new = table[times > after]
        name = path.relative_to(folder).as_posix()
        old = len(table) - len(new)
        newest = float(times.max()) if len(table) else 0.0
        told = {"name": name, "labels": len(new), "earlier": old, "positives": positives(new[schema.label])}
        found.append((newest, told))
    yield from (told for _, told in sorted(found, key=lambda each: (each[0], each[1]["name"])))


def positives(labels: "pd.Series[str]") -> float:
    """The share of ones; 0 of nothing."""
    return float((labels == "1").mean()) if len(labels) else 0.0


def source(delivery: str) -> str:
    """Who a file of labels is from: its folder; empty for one that lies in none."""
    return delivery.rpartition("/")[0]


def sources(found: Sequence[Mapping[str, Any]], which: str) -> dict[str, int]:
    """How many labels each source gave."""
    told: Counter[str] = Counter()
    for each in found:
        told[source(each["name"])] += each[which]
    return {name: count for name, count in sorted(told.items()) if count}


def blocks(folders: Sequence[Path]) -> Iterator[bytes]:
    """Captures, as their files have them; a file's last line is ended."""
    for folder in folders:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    yield block
            yield b"\n"


def distances(schema: Rows, rows: Sequence[Sequence[str]], asked: Sequence[Path]) -> dict[str, Any]:
    """How far each feature of labelled rows is from what was asked, the furthest first, from 0 to 1."""
    fitted = baseline.fit(schema.names, [column.is_categorical for column in schema.columns], rows)
    seen = capture.profile(fitted.schema, blocks(asked))
    apart = {name: distance(fitted.profile.columns[name], seen.columns[name]) for name in schema.names}
    furthest = sorted(apart, key=lambda name: (-apart[name], name))
    return {"rows": seen.rows, "distances": [{"name": name, "distance": apart[name]} for name in furthest]}


def distance(one: Tally, other: Tally) -> float:
    """The largest difference of two distribution functions, or of a category's two shares; and of what is missing."""
    if not one.total or not other.total:
        return 0.0
    missing = largest_change([(one.missing, other.missing), (one.count, other.count)])
    if one.column.kind == "number":
        pairs = counts(paired(one.ordered(), other.ordered()))
        apart = kolmogorov(pairs) if one.count and other.count else 0.0
    else:
        names = sorted({*one.values, *other.values})
        pairs = [(one.values.get(name, 0), other.values.get(name, 0)) for name in names]
        apart = largest_change([*pairs, (one.others, other.others)])
    return max(missing, apart)


def make(options: argparse.Namespace) -> dict[str, Any]:
    """Make the set and describe it. Raises SystemExit where too little is left of it."""
    schema = of(options.product)
    after = schema.rows.seconds(options.after)
    labels = prepare.read_labels(schema, options.labels, options.as_of)
    records = prepare.read_records(options.records, options.as_of)
    is_new = labels[prepare.KNOWN].map(schema.rows.seconds) > after
    new, old = labels[is_new], labels[~is_new]
    told = prepare.make(schema, options, new if options.memory == "recent" else labels, records)
    parts, refused = prepare.rows_of(schema, new, records, options.held_out)
    if parts[TRAINED]:
        # Whatever it has learnt from before, what is new is what the version will be asked: monitors compare with that.
        prepare.write_baseline(schema.rows, parts[TRAINED], options.output)
    recent = options.output / prepare.RECENT
    recent.parent.mkdir(parents=True, exist_ok=True)
    with recent.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([prepare.columns(schema), *parts[HELD_OUT]])
    found = list(deliveries(schema, options.labels, after))
    rows = [row[1:-1] for part in parts.values() for row in part]
    return {
        "set": told["sha256"],
        "after": options.after,
        "memory": options.memory,
        "rows": {"new": len(rows), "recent": len(parts[HELD_OUT]), "refused": sum(refused.values())},
        "new": {"labels": len(new), "positives": positives(new[schema.label])},
        "old": {"labels": len(old), "positives": positives(old[schema.label])},
        "sources": {"new": sources(found, "labels"), "old": sources(found, "earlier")},
        "deliveries": [{key: each[key] for key in ("name", "labels", "positives")} for each in found if each["labels"]],
        "asked": distances(schema.rows, rows, options.asked) if rows else {"rows": 0, "distances": []},
    }


def main(product: str | None = None) -> None:
    """Make the set, and write what is new in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--asked", type=Path, action="append", default=[])
    parser.add_argument("--after", required=True, help="the newest label that is known already")
    parser.add_argument("--memory", choices=("all", "recent"), default="all", help="recent: only what is new trains")
    parser.add_argument("--output", type=Path, required=True)
    prepare.add_arguments(parser, product)
    options = parser.parse_args()
    told = make(options)
    (options.output / "newest.json").write_text(json.dumps(told, indent=1), "utf-8")
    print(f"{told['new']['labels']:,} new labels, {told['rows']['recent']:,} new rows to compare on", flush=True)


if __name__ == "__main__":
    main()
