"""Measures a model on held-out rows, as a SageMaker processing job: how good, for whom, and what it goes by.

`--model` holds the training job's model.tar.gz, `--dataset` what prepare.py made; `--output` gets evaluation.json, the
baseline for monitors with what the model answers to held-out rows and how good that is, and beside it the same as
SageMaker Model Monitor has it: statistics.json and constraints.json.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score

from functions.monitoring import baseline, formats
from functions.monitoring.quality import measured
from functions.training import numbers
from functions.training.job import Labels, Serving, Values, load, measure, rows, serving
from functions.training.prepare import RECENT
from functions.training.schema import Schema, name_product, of

REPEATS: Final = 5
MOST_ROWS: Final = 5000
"""Rows that attributions are measured on: a tenth of a point of AUC does not need more."""
FEWEST_RECENT: Final = 50
"""Of fewer rows than a monitor judges, nothing is said."""
METHOD: Final[Mapping[str, str]] = {
    "attributions": "The loss of AUC on held-out rows where one feature's values are shuffled "
    f"(sklearn.inspection.permutation_importance, {REPEATS} times, {MOST_ROWS} rows at most)",
    "groups": "Held-out rows by the value of a sensitive feature; who is told to be one at a probability above 0.5 is "
    "selected",
}


def share(of: NDArray[np.bool_]) -> float | None:
    """The share that is true; None of nothing."""
    return float(of.mean()) if len(of) else None


def groups(
    schema: Schema, texts: Sequence[Sequence[str]], labels: Labels, selected: NDArray[np.bool_]
) -> Iterator[dict[str, Any]]:
    """How a model does for each value of the sensitive features."""
    for feature in schema.sensitive:
        place = schema.rows.names.index(feature)
        column = np.array([row[place] for row in texts])
        for value in schema.rows.by_name[feature].categories:
            its = column == value
            if not its.any():
                continue
            truth, guess = labels[its] == 1, selected[its]
            yield {
                "feature": feature,
                "value": value,
                "label": schema.meanings[feature].get(value, value),
                "rows": int(its.sum()),
                "accuracy": share(truth == guess),
                "selection_rate": share(guess),
                "true_positive_rate": share(guess[truth]),
                "false_positive_rate": share(guess[~truth]),
            }


@dataclass(frozen=True)
class Scored:
    """A model as scikit-learn asks one: trained already, whatever it is made with, and scored by its AUC."""

    code: Serving
    model: Any

    def fit(self, values: Values, labels: Labels) -> "Scored":
        """It is trained."""
        return self

    def score(self, values: Values, labels: Labels) -> float:
        """Its AUC."""
        return float(roc_auc_score(labels, self.code.predict_fn(values, self.model)))


def attributions(schema: Schema, code: Serving, model: Any, values: Values, labels: Labels) -> list[dict[str, Any]]:
    """What a model goes by, the most important first."""
    some = slice(MOST_ROWS)
    found = permutation_importance(Scored(code, model), values[some], labels[some], n_repeats=REPEATS, random_state=0)
    told = [
        {"feature": name, "importance": float(mean), "deviation": float(deviation)}
        for name, mean, deviation in zip(schema.rows.names, found.importances_mean, found.importances_std, strict=True)
    ]
    return sorted(told, key=lambda each: -each["importance"])


def evaluate(
    schema: Schema, code: Serving, model: Any, texts: Sequence[Sequence[str]], truth: Sequence[int], rows_trained: int
) -> dict[str, Any]:
    """Everything that evaluation.json says."""
    values, labels = numbers.array(schema.rows, texts), np.array(truth)
    probabilities = code.predict_fn(values, model)
    return {
        "metrics": {**measure(probabilities, labels), "rows_trained": rows_trained},
        "groups": list(groups(schema, texts, labels, probabilities > 0.5)),
        "attributions": attributions(schema, code, model, values, labels),
        "method": dict(METHOD),
    }


def baselines(probabilities: Sequence[float], truth: Sequence[int], fitted: str) -> dict[str, str]:
    """What monitors go by, file name → JSON; `fitted` is the baseline that prepare.py made of the rows that train."""
    whole = baseline.with_predictions(baseline.from_json(fitted), probabilities, measured(probabilities, truth))
    return {
        "baseline.json": baseline.to_json(whole),
        "statistics.json": json.dumps(formats.statistics(whole.profile)),
        "constraints.json": json.dumps(formats.constraints(whole.profile)),
    }


def main(product: str | None = None) -> None:
    """Measure a product's model, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    name_product(parser, product)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    schema, code = of(options.product), serving(options.product)
    data = list(rows(schema, options.dataset / "test"))
    trained = json.loads((options.dataset / "dataset.json").read_text("utf-8"))["rows"]["train"]
    model = load(options.product, options.model)
    told = evaluate(schema, code, model, [row for row, _ in data], [label for _, label in data], trained)
    fitted = (options.dataset / "baseline.json").read_text("utf-8")
    # Of a retraining, what it answers to what is new is what it will answer.
    newest = options.dataset / RECENT
    recent = list(rows(schema, newest.parent)) if newest.exists() else []
    asked = recent if len(recent) >= FEWEST_RECENT else data
    answers = code.predict_fn(numbers.array(schema.rows, [row for row, _ in asked]), model).tolist()
    files = {"evaluation.json": json.dumps(told, indent=1), **baselines(answers, [label for _, label in asked], fitted)}
    options.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.output / name).write_text(text, "utf-8")
    metrics = told["metrics"]
    print(f"accuracy {metrics['accuracy']:.4f}, AUC {metrics['auc']:.4f} on {len(data):,} rows", flush=True)


if __name__ == "__main__":
    main()
