"""The model card: what a model is for, made of, and worth, for whoever approves, uses or audits it.

It is filled from the run, in SageMaker's schema for the card of a model package
(https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html#model-card-schema), whose limits are kept
here. A card that lacks a part is an error: nobody reviews what nobody wrote.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

LONGEST: Final = 100_000
"""How many characters a card may have."""
FAIR: Final = 0.8
"""The four-fifths rule: a group selected less than this often, relative to another, is a sign of adverse impact
(29 CFR 1607.4 D)."""
STATUS: Final[Mapping[str, str]] = {
    "PendingManualApproval": "PendingReview",
    "Approved": "Approved",
    "Rejected": "Draft",
}
"""A card's status, by that of its package."""
COMPARED: Final = 30
"""How many rows a group needs for its selection rate to be compared: that of a few people is chance."""
NOTHING: Final = "-"
"""What a pipeline says where nobody wrote release notes."""
USE: Final = ("owner", "purpose", "intended_uses", "risk_rating", "risk_explanation", "caveats")
"""What the registry's YAML says of every version; ethical_considerations and factors may be missing."""
ORIGIN: Final = ("run", "dataset", "dataset_sha256", "code_revision", "author")
PARAMETER: Final = "param_"
NO_GROUPS: Final = "No feature is named as sensitive (SENSITIVE in features.py), so that groups are not compared."
SHOWN: Final = ("release notes", "image")
"""What of the custom details stands elsewhere in the text."""


class IncompleteCard(Exception):
    """Parts of a card are missing: the text names each and who fills it."""


def content(
    package: Mapping[str, Any], evaluation: Mapping[str, Any], use: Mapping[str, str], notes: str
) -> dict[str, Any]:
    """The card of a package, from its description, its evaluation (evaluation.json), the YAML's words and its notes."""
    metadata: Mapping[str, str] = package.get("CustomerMetadataProperties", {})
    parameters = {name.removeprefix(PARAMETER): metadata[name] for name in metadata if name.startswith(PARAMETER)}
    _complete(metadata, parameters, evaluation, use, notes)
    served = package["InferenceSpecification"]["Containers"][0]
    origin = {name: value for name, value in metadata.items() if not name.startswith((PARAMETER, "release_notes"))}
    if notes.strip() == NOTHING:
        notes = f"Nobody wrote any. Trained on {metadata['dataset']} by code {metadata['code_revision']}."
    card = {
        "model_overview": {"model_creator": metadata["author"], "model_artifact": [served["ModelDataUrl"]]},
        "intended_uses": _given(
            purpose_of_model=use["purpose"],
            intended_uses=use["intended_uses"],
            factors_affecting_model_efficiency=use.get("factors", ""),
            risk_rating=use["risk_rating"],
            explanations_for_risk_rating=use["risk_explanation"],
        ),
        "business_details": {"business_stakeholders": use["owner"]},
        "training_details": {
            "training_job_details": {
                "training_datasets": [metadata["dataset"]],
                "training_environment": {"container_image": [served["Image"]]},
                "user_provided_training_metrics": [
                    {"name": name, "value": value} for name, value in sorted(evaluation["metrics"].items())
                ],
                "user_provided_hyper_parameters": [
                    {"name": name, "value": value[:255]} for name, value in sorted(parameters.items())
                ],
            }
        },
        "evaluation_details": [
            _quality(evaluation, metadata["dataset"]),
            *_groups(evaluation),
            _explanation(evaluation),
        ],
        "additional_information": _given(
            ethical_considerations=use.get("ethical_considerations", ""),
            caveats_and_recommendations=use["caveats"],
            custom_details={
                "release notes": notes[:1024],
                **{name: value[:1024] for name, value in sorted(origin.items()) if name not in evaluation["metrics"]},
            },
        ),
    }
    if len(text := json.dumps(card)) > LONGEST:
        raise IncompleteCard(f"the card has {len(text)} characters, more than {LONGEST}: evaluate fewer groups")
    return card


def markdown(card: Mapping[str, Any], title: str) -> str:
    """A card to read."""
    uses, more = card["intended_uses"], card["additional_information"]
    job = card["training_details"]["training_job_details"]
    lines = [f"# {title}", "", uses["purpose_of_model"], ""]
    lines += ["## Use", "", uses["intended_uses"], ""]
    lines += [f"Risk: {uses['risk_rating']}. {uses['explanations_for_risk_rating']}", ""]
    lines += [f"Owner: {card['business_details']['business_stakeholders']}", ""]
    if "factors_affecting_model_efficiency" in uses:
        lines += [uses["factors_affecting_model_efficiency"], ""]
    lines += ["## Caveats", "", more["caveats_and_recommendations"], ""]
    if "ethical_considerations" in more:
        lines += [more["ethical_considerations"], ""]
    lines += ["## Release notes", "", more["custom_details"]["release notes"], ""]
    lines += ["## Training", ""]
    lines += _table(["", ""], [["model", card["model_overview"]["model_artifact"][0]]])
    lines += [f"| image | {job['training_environment']['container_image'][0]} |"]
    lines += [f"| {name} | {value} |" for name, value in more["custom_details"].items() if name not in SHOWN]
    lines += [f"| {each['name']} | {each['value']} |" for each in job["user_provided_hyper_parameters"]]
    for detail in card["evaluation_details"]:
        lines += ["", f"## {detail['name']}", ""]
        if "evaluation_observation" in detail:
            lines += [detail["evaluation_observation"], ""]
        lines += _measured(detail["metric_groups"])
    return "\n".join(lines) + "\n"


def _complete(
    metadata: Mapping[str, str],
    parameters: Mapping[str, str],
    evaluation: Mapping[str, Any],
    use: Mapping[str, str],
    notes: str,
) -> None:
    missing = [f"the registry's YAML: {name}" for name in USE if not use.get(name)]
    missing += [f"the run's metadata: {name}" for name in ORIGIN if not metadata.get(name)]
    missing += [] if parameters else ["the run's hyperparameters (metadata param_…)"]
    missing += [] if notes.strip() else ["release notes: say what this version changes"]
    missing += [f"evaluation.json: {part}" for part in ("metrics", "attributions") if not evaluation.get(part)]
    # Empty where the product names no sensitive features: then the card says so.
    missing += [] if isinstance(evaluation.get("groups"), list) else ["evaluation.json: groups"]
    missing += [
        f"evaluation.json: method.{part}" for part in ("groups", "attributions")
        if not evaluation.get("method", {}).get(part)
    ]  # fmt: skip
    if missing:
        raise IncompleteCard("the model card lacks " + "; ".join(missing))


def _quality(evaluation: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    numbers = [_number(name, value) for name, value in sorted(evaluation["metrics"].items())]
    groups = [{"name": "quality", "metric_data": numbers}]
    told = {} if evaluation["groups"] else {"evaluation_observation": NO_GROUPS}
    return {"name": "Held-out rows", **told, "datasets": [dataset], "metric_groups": groups}


def _groups(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Results by sensitive group, a section for each feature."""
    by_feature: dict[str, list[Mapping[str, Any]]] = {}
    for group in evaluation["groups"]:
        by_feature.setdefault(group["feature"], []).append(group)
    return [
        {
            "name": f"Results by {feature}"[:63],
            "evaluation_observation": f"{_disparity(groups)} {evaluation['method']['groups']}"[:2096],
            "metric_groups": [
                {
                    "name": str(group.get("label") or group["value"])[:63],
                    "metric_data": [
                        _number(name, value)
                        for name, value in group.items()
                        if isinstance(value, int | float) and not isinstance(value, bool)
                    ],
                }
                for group in groups
            ],
        }
        for feature, groups in sorted(by_feature.items())
    ]


def _disparity(groups: Iterable[Mapping[str, Any]]) -> str:
    """How unequally groups are selected."""
    rated = sorted(
        (float(group["selection_rate"]), str(group.get("label") or group["value"]))
        for group in groups
        if group["rows"] >= COMPARED
    )
    if len(rated) < 2:
        return f"No two groups have {COMPARED} rows, so that their selection is not compared."
    (least, rarely), (most, often) = rated[0], rated[-1]
    ratio = least / most if most else 1.0
    verdict = "below" if ratio < FAIR else "at or above"
    return (
        f"Of groups with at least {COMPARED} rows, {least:.1%} of {rarely} are selected and {most:.1%} of {often}; the "
        f"ratio {ratio:.2f} is {verdict} the four-fifths rule's 0.8."
    )


def _explanation(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    found = sorted(evaluation["attributions"], key=lambda each: -each["importance"])
    names = [each["feature"] for each in found]
    charts = [
        {
            "name": name,
            "type": "bar_chart",
            "value": [float(each.get(name, 0.0)) for each in found],
            "x_axis_name": names,
            "y_axis_name": name,
        }
        for name in ("importance", "deviation")
    ]
    return {
        "name": "Explanation",
        "evaluation_observation": evaluation["method"]["attributions"][:2096],
        "metric_groups": [{"name": "feature attributions", "metric_data": charts}],
    }


def _measured(groups: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metric groups of one section as a table: a row for each group, or for each bar."""
    groups = list(groups)
    if groups[0]["metric_data"][0]["type"] == "bar_chart":
        charts = groups[0]["metric_data"]
        rows = zip(charts[0]["x_axis_name"], *(chart["value"] for chart in charts), strict=True)
        return _table(["feature", *(chart["name"] for chart in charts)], [[name, *map(_short, v)] for name, *v in rows])
    names = list(dict.fromkeys(each["name"] for group in groups for each in group["metric_data"]))
    values = [{each["name"]: each["value"] for each in group["metric_data"]} for group in groups]
    return _table(
        ["", *names],
        [
            [group["name"], *(_short(found[name]) if name in found else "" for name in names)]
            for group, found in zip(groups, values, strict=True)
        ],
    )


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _number(name: str, value: float) -> dict[str, Any]:
    return {"name": name, "type": "number", "value": value}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
