"""What stacks export, with `slipway` or `pulumi stack output` to read."""

from collections.abc import Iterator

from infra.reference import plans
from infra.reference.markdown import code, page, table

PLATFORM = {
    "vpc_id": "The network.",
    "private_subnet_ids": "Its subnets, one in each zone.",
    "workload_security_group_id": "Lets a model or a job call the network's endpoints, and nothing else.",
    "kms_key_arn": "The key that encrypts what products store.",
    "data_bucket": "The data lake's bucket; a product keeps to the prefix of its name.",
    "data_bucket_arn": "The same, for policies.",
    "ledger_bucket": "Where it stands for good which model was live when, and what was stopped.",
    "ledger_bucket_arn": "The same, for policies.",
    "mlflow_arn": "The MLflow app in which training runs are recorded.",
    "alerts_topic_arn": "The topic that every alarm sends to.",
    "cluster_name": "The EKS cluster.",
    "image_copies": "The commands that copy the images that nodes run to your registry, once.",
    "runbook_url": "The stack's runbook, a dashboard of CloudWatch.",
    "stop_function_name": "The kill-switch.",
    "stop_topic_arn": "What is sent here asks the kill-switch: AWS Budgets does, and an alarm of yours may.",
}
PRODUCT = {
    "feature_group_name": "The feature group of the present schema.",
    "feature_schema": "The schema that is deployed: the next deployment is held against it.",
    "incoming_uri": "Where producers put files of features.",
    "quarantine_uri": "Where rows lie that did not fit, with reasons.",
    "offline_uri": "The offline store.",
    "ingest_function_name": "The function that reads what comes in.",
    "ledger_bucket": "The platform's, for `slipway history`.",
    "model_package_group_name": "The registry's group of versions.",
    "signing_key_arn": "The key that signs versions.",
    "approver_role_arn": "The role in which versions are approved.",
    "consumer_access": "What the accounts that may serve these versions are granted.",
    "pipeline_name": "The training pipeline.",
    "model_role_arn": "What the model runs as.",
    "runbook_url": "The stack's runbook, a dashboard of CloudWatch.",
    "stop_function_name": "The kill-switch.",
    "stop_topic_arn": "What is sent here asks the kill-switch.",
    "freshness_function_name": "The monitor of the features' freshness.",
    "spending_function_name": "The monitor of spending.",
    "labels_uri": "Where producers put labels for training.",
    "models_uri": "Where trained models lie.",
    "captures_uri": "What the endpoint was asked, and answered.",
    "reports_uri": "The monitors' reports.",
    "incidents_uri": "The incidents.",
    "endpoint_name": "The endpoint, which is called as its stack.",
    "release_state_machine_arn": "The state machine that releases versions.",
    "recovery_state_machine_arn": "The state machine that an alarm starts.",
    "first_version": "The version that the endpoint was made with.",
    "data_schedule_name": "The schedule of the monitor of data.",
    "data_function_name": "The monitor of data.",
    "quality_schedule_name": "The schedule of the monitor of quality.",
    "quality_function_name": "The monitor of quality.",
    "service_schedule_name": "The schedule of the monitor of the service.",
    "service_function_name": "The monitor of the service.",
    "ground_truth_uri": "Where late labels of predictions are put.",
    "batch_incoming_uri": "Where files are put that are to be predicted for.",
    "batch_answers_uri": "Where their answers are put.",
    "batch_schedule_name": "The schedule of batch prediction.",
    "batch_function_name": "The function that starts its jobs.",
    "api_url": "The prediction API.",
    "api_token_url": "Where its clients get their tokens.",
    "api_clients": "What its clients identify themselves with: a secret.",
    "answers_uri": "Where an asynchronous endpoint puts its answers.",
    "answers_topic_arn": "Who is told of asynchronous answers.",
}


def exported() -> dict[str, set[str]]:
    """What each planned stack exports."""
    return {
        stack: {name for each in plan.resources if each.type == "pulumi:pulumi:Stack" for name in each.outputs}
        for stack, plan in plans.planned().items()
    }


def pages() -> Iterator[tuple[str, str]]:
    """The page of all outputs."""
    found = exported()
    platform = {name for stack, names in found.items() if stack.startswith("platform-") for name in names}
    product = {name for stack, names in found.items() if not stack.startswith("platform-") for name in names}
    yield (
        "reference/outputs.md",
        page(
            "Outputs",
            "What a deployed stack tells others. On AWS `pulumi stack output --stack NAME` prints it; `slipway` reads"
            " it by itself.",
            "## The platform",
            _table(platform, PLATFORM),
            "## A product",
            _table(product, PRODUCT),
            "What depends on the kind of endpoint, or on whether there is an API, is missing where that is.",
        ),
    )


def _table(names: set[str], texts: dict[str, str]) -> str:
    order = [*(each for each in texts if each in names), *sorted(names - texts.keys())]
    return table(("output", "what it is"), ((code(each), texts.get(each, "")) for each in order))
