"""How a DeploymentConfig is read, and what of it is refused."""

import pytest
from moto.sagemaker.exceptions import AWSValidationException

from infra.rehearsal.emulator.endpoints import rollout_of


def deployment(kind="CANARY", value=10, unit="CAPACITY_PERCENT", wait=60, **policy):
    size = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind)
    routing = {"Type": kind, "WaitIntervalInSeconds": wait}
    if size:
        routing[size] = {"Type": unit, "Value": value}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **policy}}


@pytest.mark.parametrize(
    "config, instances, shares",
    [
        (None, 1, [100]),
        (deployment("ALL_AT_ONCE"), 1, [100]),
        (deployment("CANARY", 10), 2, [10, 100]),
        (deployment("CANARY", 1, "INSTANCE_COUNT"), 4, [25, 100]),
        (deployment("LINEAR", 25), 2, [25, 50, 75, 100]),
        (deployment("LINEAR", 30), 2, [30, 60, 90, 100]),
        (deployment("LINEAR", 1, "INSTANCE_COUNT"), 2, [50, 100]),
        (deployment("CANARY", 10), None, [10, 100]),
    ],
)
def test_traffic_moves_in_these_steps(config, instances, shares):
    assert rollout_of(config, instances).shares == pytest.approx(shares)


def test_waits_and_alarms_are_read():
    config = deployment(wait=300, TerminationWaitInSeconds=120)
    config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": "errors"}, {"AlarmName": "latency"}]}
    rollout = rollout_of(config, 2)
    assert (rollout.wait, rollout.termination_wait, rollout.alarms) == (300, 120, ["errors", "latency"])


@pytest.mark.parametrize(
    "config, instances, complaint",
    [
        (deployment("CANARY", 10), 1, "at least 2 instances, got 1; set InitialInstanceCount"),
        (deployment("LINEAR", 50), 1, "at least 2 instances"),
        (deployment("CANARY", 60), 4, "0 to 50 percent"),
        (deployment("CANARY", 3, "INSTANCE_COUNT"), 4, "0 to 50 percent of the new fleet, got 75"),
        (deployment("LINEAR", 5), 4, "10 to 50 percent"),
        (deployment("CANARY", 1, "INSTANCE_COUNT"), None, "set CAPACITY_PERCENT"),
        (deployment("LINEAR", 10, wait=3600, MaximumExecutionTimeoutInSeconds=28800), 10, "take 36000 seconds"),
        ({"RollingUpdatePolicy": {}}, 2, "RollingUpdatePolicy is not rehearsed"),
        (
            {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 0}}},
            2,
            "needs CanarySize",
        ),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(config, instances, complaint):
    with pytest.raises(AWSValidationException, match=complaint):
        rollout_of(config, instances)
