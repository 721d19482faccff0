"""What every product's training is, under SageMaker's training contract; the model itself is the product's.

The channel `train` (SM_CHANNEL_TRAIN) holds CSV files with a header: the features of the schema, and the label. The
model goes to SM_MODEL_DIR; its metrics and the baseline for monitors go to SM_OUTPUT_DATA_DIR.
"""

import argparse
import csv
import importlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from functions.monitoring.baseline import fit, to_json
from functions.training import numbers
from functions.training.schema import FILE, ROOT, Schema, of, package_files

SHARED: Final = ("functions/*.py", "functions/training/*.py")
"""What inference.py may import beside the product's own, and so travels inside the model's archive."""

Values = NDArray[np.float64]
Labels = NDArray[np.int64]


class Serving(Protocol):
    """A product's inference.py: what is measured is what serves."""

    def model_fn(self, model_dir: str) -> Any:
        """The model in a folder."""

    def predict_fn(self, data: Values, model: Any) -> Values:
        """The probability of 1 for each row."""


def serving(package: str) -> Serving:
    """The inference.py of a product."""
    found: Any = importlib.import_module(f"{package}.inference")
    return found  # type: ignore[no-any-return]  # a module, which mypy cannot hold against a protocol by its name


def load(package: str, folder: Path) -> Any:
    """The model that training packed into `folder`/model.tar.gz, as the product's inference.py loads it."""
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(folder / "model.tar.gz") as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later have it
            archive.extractall(unpacked)
        return serving(package).model_fn(unpacked)


def rows(schema: Schema, folder: Path) -> Iterator[tuple[list[str], int]]:
    """Each row's features as texts, and its label.

    Raises ValueError for a file that lacks a column, and for a row that the schema does not allow.
    """
    names, label = schema.rows.names, schema.label
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if lacking := {*names, label} - set(reader.fieldnames or ()):
                raise ValueError(f"{path.name} has no column {', '.join(sorted(lacking))}")
            for row in reader:
                texts = {name: row[name] or "" for name in names}
                for problem in schema.rows.problems(texts):
                    raise ValueError(f"{path.name}, line {reader.line_num}: {problem}")
                if row[label] not in ("0", "1"):
                    raise ValueError(f"{path.name}, line {reader.line_num}: {label} is {row[label]!r}; it is 0 or 1")
                yield list(texts.values()), int(row[label])


def measure(probabilities: Values, labels: Labels) -> dict[str, float]:
    """How good a model is on rows that it has not seen."""
    return {
        "accuracy": float(accuracy_score(labels, probabilities > 0.5)),
        "auc": float(roc_auc_score(labels, probabilities)),
        "log_loss": float(log_loss(labels, probabilities)),
        "rows_held_out": len(labels),
    }


def add_serving_code(package: str, target: Path) -> None:
    """Put what serves the model beside it, as SageMaker's container wants it: `code/inference.py` and its modules."""
    own = ROOT / package.replace(".", "/")
    shared = [path for pattern in SHARED for path in ROOT.glob(pattern)]
    for path in sorted({*shared, *package_files(ROOT, package), *own.glob(FILE)}):
        place = target / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    shutil.copyfile(own / "inference.py", target / "inference.py")


def run(
    package: str,
    *,
    description: str | None,
    arguments: Callable[[argparse.ArgumentParser], None],
    train: Callable[[argparse.Namespace, Values, Labels], Any],
    save: Callable[[Any, Path], None],
) -> None:
    """A product's training from beginning to end: train, measure on held-out rows, and write what is asked for.

    `arguments` adds the product's hyperparameters, `train` gives a model that its `predict_fn` takes, and `save` writes
    it into a folder, from which `model_fn` reads it.
    """
    parser = argparse.ArgumentParser(description=description)
    arguments(parser)
    parser.add_argument(
        "--held-out", type=float, default=0.2, help="the share of rows that measure it; 0: something else does"
    )
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    schema, channel = of(package), Path(os.environ["SM_CHANNEL_TRAIN"])
    data = list(rows(schema, channel))
    if not data:
        raise SystemExit(f"there are no rows in {channel}: the channel `train` needs CSV files")
    texts, labels = [row for row, _ in data], np.array([label for _, label in data])
    values = numbers.array(schema.rows, texts)
    print(f"{len(data):,} rows, {schema.label} in {labels.mean():.1%}", flush=True)
    metrics: dict[str, float] = {"rows_trained": len(labels)}
    if options.held_out:
        split = train_test_split(values, labels, test_size=options.held_out, random_state=options.seed, stratify=labels)
        values, held_out, labels, truth = split
        model = train(options, values, labels)
        metrics = {"rows_trained": len(labels), **measure(serving(package).predict_fn(held_out, model), truth)}
        print(f"accuracy {metrics['accuracy']:.3f}, AUC {metrics['auc']:.3f} on {len(truth):,} others", flush=True)
    else:
        model = train(options, values, labels)

    target = Path(os.environ["SM_MODEL_DIR"])
    save(model, target)
    if os.environ.get("SM_USER_ENTRY_POINT"):  # SageMaker's: what is in the folder now is what will be served
        add_serving_code(package, target / "code")
    output = Path(os.environ["SM_OUTPUT_DATA_DIR"])
    baseline = fit(schema.rows.names, [column.is_categorical for column in schema.rows.columns], texts)
    (output / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    (output / "baseline.json").write_text(to_json(baseline), "utf-8")
