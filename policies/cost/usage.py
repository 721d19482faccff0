"""What a stack expects of a month: `slipway:usage` in its YAML. Expected costs come from it; limits and ceilings do
not."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Amount = Annotated[float, Field(ge=0, le=1e15)]
HoursADay = Annotated[float, Field(ge=0, le=24)]


class Usage(BaseModel):
    """Plain quantities, for the whole stack. What the YAML leaves out is assumed as here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_day: Amount = 10_000
    """Predictions that are asked for."""
    seconds_per_request: Amount = 0.1
    """How long the model works on one."""
    kb_per_request: Amount = 10
    """A request and its answer."""
    busy_hours_per_day: Annotated[float, Field(gt=0, le=24)] = 8
    """The hours in which the day's requests come; outside them, an endpoint is at its smallest size."""
    gpu_hours_per_day: Amount = 4
    """Of one GPU each, over all pools of the cluster."""
    training_runs_per_month: Amount = 4
    training_hours_per_step: Amount = 0.5
    """How long each job of a training pipeline takes, where its stopping condition allows as much."""
    notebook_hours_per_day: HoursADay = 6
    batch_hours_per_month: Amount = 10
    """Hours of batch prediction, over all its jobs."""
    gb_stored: Amount = 50
    """What the buckets hold now."""
    gb_added_per_month: Amount = 5
    """By which they grow; counted for a month, and for a year at most."""
    gb_through_nat: Amount = 20
    gb_through_endpoints: Amount = 20
    """Through the VPC's interface endpoints."""
    gb_logged: Amount = 5
    """Written to CloudWatch Logs in a month."""
    gb_images: Amount = 20
    """In the image repositories."""
    feature_writes_per_day: Amount = 10_000
    feature_reads_per_day: Amount = 10_000
    feature_gb: Amount = 1
    """In the online store."""
    table_reads_per_day: Amount = 10_000
    table_writes_per_day: Amount = 10_000
    table_gb: Amount = 1
    """In DynamoDB."""
    metrics_per_function: Annotated[float, Field(ge=0, le=1000)] = 2
    """Custom metrics that each function writes."""
    function_runs_per_day: Amount = 50
    """Of each function that no schedule calls."""
    seconds_per_run: Amount = 5
    """How long a function runs, where its timeout allows as much."""
    messages_per_day: Amount = 500
    """Through each queue and topic."""
    executions_per_month: Amount = 30
    """Of each state machine, of about 20 steps."""
