"""Makes the data set of one training run, as a SageMaker processing job: what was known of each record at the time.

`--labels` holds CSV files with identifier, event time and label; `--records` the feature store's offline copy
(Parquet, or JSON lines); `--output` gets train/rows.csv, test/rows.csv, baseline.json for monitors, and dataset.json,
which tells what is in them. Where `--labels` holds a set that was made before, that set is checked and taken as it is.
"""

import argparse
import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pandas as pd  # type: ignore[import-untyped]  # it brings no types

from functions import point_in_time
from functions.monitoring.baseline import fit, to_json
from functions.rows import Rows
from functions.training.schema import Schema, name_product, of

ALL: Final = "all"
"""As --as-of: whatever is there."""
MANIFEST: Final = "dataset.json"
FILES: Final = ("train/rows.csv", "test/rows.csv")
RECENT: Final = "recent/rows.csv"
"""In a set for a retraining, the held-out rows that are new (newest.py)."""
KNOWN: Final = "label_time"
"""The column with the time of a label, beside which the join puts the time of the features."""


def columns(schema: Schema) -> tuple[str, ...]:
    """The columns of a set's files."""
    return (schema.rows.record_id, *schema.rows.names, schema.label)


def validity(rows: Rows) -> Any:
    """What the join asks of a feature schema, where there is no pydantic to read a whole one with."""
    return SimpleNamespace(
        record_id=rows.record_id,
        event_time=rows.event_time,
        event_time_kind=rows.event_time_kind,
        names=rows.names,
        ttl=SimpleNamespace(seconds=rows.ttl_seconds) if rows.ttl_seconds else None,
    )


def held_out(identifier: str, share: float) -> bool:
    """Whether this record measures models and trains none: always the same, whatever else is in the set."""
    number = int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big")
    return number < share * 2**64


def read_labels(schema: Schema, folder: Path, as_of: str) -> pd.DataFrame:
    """All labels until then, as texts. Raises SystemExit where there are none, or a file lacks a column."""
    rows = schema.rows
    wanted = [rows.record_id, rows.event_time, schema.label]
    found = []
    for path in sorted(folder.rglob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if lacking := sorted({*wanted} - {*table.columns}):
            raise SystemExit(f"{path.name} has no column {', '.join(lacking)}: labels have {', '.join(wanted)}")
        found.append(table[wanted])
    if not found:
        raise SystemExit(f"there are no labels: {folder} has no CSV file")
    labels = pd.concat(found, ignore_index=True)
    if as_of != ALL:
        labels = labels[labels[rows.event_time].map(rows.seconds) <= rows.seconds(as_of)]
    return labels.rename(columns={rows.event_time: KNOWN}).drop_duplicates(ignore_index=True)


def read_records(folder: Path, as_of: str) -> pd.DataFrame:
    """The offline store's rows that were written until then. Raises SystemExit where there are none."""
    found = [_table(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [table for table in found if table is not None and len(table)]
    if not found:
        raise SystemExit(f"there are no records: {folder} has no Parquet file and no JSON lines")
    records = pd.concat(found, ignore_index=True)
    if as_of != ALL and "write_time" in records:
        written = pd.to_datetime(records["write_time"], utc=True, format="ISO8601")
        records = records[written <= pd.Timestamp(as_of)]
    return records


def _table(path: Path) -> pd.DataFrame | None:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix in (".jsonl", ".json"):
        return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    return None  # Iceberg's metadata


def texts(value: Any) -> str:
    """A value of the offline store as rows have it: a text, empty where it is missing, whole numbers without a dot."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def split(
    schema: Schema, joined: Iterable[Mapping[str, Any]], share: float
) -> tuple[dict[str, list[list[str]]], Counter[str]]:
    """The rows that train and those that test; and how many the schema refuses, by reason."""
    parts: dict[str, list[list[str]]] = {path: [] for path in FILES}
    refused: Counter[str] = Counter()
    for found in joined:
        row = {name: texts(found[name]) for name in schema.rows.names}
        problems = schema.rows.problems(row)
        label = texts(found[schema.label])
        if problems:
            refused.update(f"{each.feature}: {each.fault}" for each in problems[:1])
        elif label not in ("0", "1"):
            refused[f"{schema.label}: category"] += 1
        else:
            identifier = texts(found[schema.rows.record_id])
            test = held_out(identifier, share)
            parts[FILES[test]].append([identifier, *row.values(), label])
    return {path: sorted(rows) for path, rows in parts.items()}, refused


def write(schema: Schema, parts: Mapping[str, Sequence[Sequence[str]]], output: Path) -> None:
    """Write the files of a set, and the baseline of what trains."""
    for path, rows in parts.items():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        with (output / path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns(schema))
            writer.writerows(rows)
    write_baseline(schema.rows, parts[FILES[0]], output)


def write_baseline(schema: Rows, rows: Sequence[Sequence[str]], output: Path) -> None:
    """Write what monitors compare with: rows as a set's files have them."""
    features = [list(row[1:-1]) for row in rows]
    baseline = fit(schema.names, [column.is_categorical for column in schema.columns], features)
    (output / "baseline.json").write_text(to_json(baseline), "utf-8")


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of each file of a set."""
    return {path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in FILES}


def digest(files: Mapping[str, str]) -> str:
    """The sha256 that stands for a whole set."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def take(folder: Path, output: Path) -> dict[str, Any]:
    """Take a set that was made before. Raises SystemExit where it is no longer what its manifest says."""
    told: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    if digests(folder) != told["files"] or digest(told["files"]) != told["sha256"]:
        raise SystemExit(f"the set is not the one that {MANIFEST} describes: its files have changed since")
    shutil.copytree(folder, output, dirs_exist_ok=True)
    return told


def rows_of(
    schema: Schema, labels: pd.DataFrame, records: pd.DataFrame, share: float
) -> tuple[dict[str, list[list[str]]], dict[str, int]]:
    """What was known of each label's record at the time, as `split` has it; and how many are of no use, by reason."""
    joined = point_in_time.join(labels, records, validity(schema.rows), time=KNOWN)
    joined = joined[joined[schema.rows.event_time].notna()]
    parts, refused = split(schema, joined.to_dict("records"), share)
    return parts, {"no record at the time": len(labels) - len(joined), **dict(sorted(refused.items()))}


def make(schema: Schema, options: argparse.Namespace, labels: pd.DataFrame, records: pd.DataFrame) -> dict[str, Any]:
    """Make a set of labels and records. Raises SystemExit where too little is left of them."""
    parts, dropped = rows_of(schema, labels, records, options.held_out)
    kept = sum(map(len, parts.values()))
    print(f"{len(labels):,} labels, {len(records):,} records; {kept:,} rows kept; dropped: {dropped}", flush=True)
    if not all(parts.values()):
        raise SystemExit(f"{kept} of {len(labels)} rows are left, too few to train on and to test with: {dropped}")
    if kept < (1 - options.most_dropped) * len(labels):
        least = 1 - options.most_dropped
        raise SystemExit(f"only {kept:,} of {len(labels):,} labels are of use, less than {least:.0%}; lost: {dropped}")
    write(schema, parts, options.output)
    files = digests(options.output)
    times = sorted(labels[KNOWN].unique(), key=schema.rows.seconds)
    told = {
        "sha256": digest(files),
        "files": files,
        "rows": {"labels": len(labels), "records": len(records)}
        | {path.partition("/")[0]: len(rows) for path, rows in parts.items()},
        "dropped": dropped,
        "as_of": options.as_of,
        "first": times[0],
        "last": times[-1],
        "label": schema.label,
        "features": list(schema.rows.names),
        "held_out": options.held_out,
    }
    (options.output / MANIFEST).write_text(json.dumps(told, indent=1), "utf-8")
    return told


def add_arguments(parser: argparse.ArgumentParser, product: str | None) -> None:
    """What every set is made by."""
    name_product(parser, product)
    parser.add_argument("--as-of", default=ALL, help="nothing that was written later is looked at")
    parser.add_argument("--held-out", type=float, default=0.2, help="the share of rows that measure the model")
    parser.add_argument("--most-dropped", type=float, default=0.1, help="the share of labels that may have no use")


def main(product: str | None = None) -> None:
    """Make the set of a product, or take the one that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    add_arguments(parser, product)
    options = parser.parse_args()
    schema = of(options.product)
    if (options.labels / MANIFEST).exists():
        told = take(options.labels, options.output)
    else:
        labels = read_labels(schema, options.labels, options.as_of)
        told = make(schema, options, labels, read_records(options.records, options.as_of))
    print(f"dataset {told['sha256']}: {told['rows']}", flush=True)


if __name__ == "__main__":
    main()
