"""The steps of a release where AWS does what the emulator does not: it is late, it gives up, it says nothing."""

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.incidents.note import markdown
from functions.release import incident, steps
from functions.release.steps import Again, Place, Refused, RolledBack

PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/8"
TEMPLATE = {
    "endpoint": "churn",
    "kind": "real-time",
    "model": {"ExecutionRoleArn": "arn:role"},
    "configuration": {"ProductionVariants": [{"VariantName": "live"}]},
    "deployment": {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 600},
            "MaximumExecutionTimeoutInSeconds": 3600,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "churn-errors"}]},
    },
    "alarms": ["churn-errors"],
    "bake_seconds": 600,
}
NEW, OLD = "churn-v8-new", "churn-v7-old"


def said(message: str, code: str = "ValidationException") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Call")


class Aws:
    """Answers each call with the next of what it was told to, and remembers the calls; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name: list(each) if isinstance(each, list) else [each] for name, each in answers.items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            left = self.answers[name]
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def asked(self, name: str) -> list[dict[str, Any]]:
        return [arguments for called, arguments in self.calls if called == name]


def place(**clients: Any) -> Place:
    told: dict[str, Any] = {name: Aws() for name in ("sagemaker", "cloudtrail", "scaling", "s3", "sns", "states")}
    return Place(
        endpoint="churn",
        execution="arn:aws:states:us-east-1:123456789012:execution:churn-release:v8",
        started="2026-11-21T10:00:00.000000Z",
        ledger_bucket="ledger",
        incidents_uri="s3://lake/churn/incidents/churn",
        reports_uri="s3://lake/churn/monitors",
        topic_arn="arn:topic",
        runbook="https://runbook",
        runbook_name="churn-runbook",
        **{**told, "cloudwatch": alarms(), **clients},
    )


def alarms(**ringing: str) -> Aws:
    found = [{"AlarmName": name, "StateValue": "ALARM", "StateReason": why} for name, why in ringing.items()]
    return Aws(describe_alarms={"MetricAlarms": found})


def release(**more: Any) -> dict[str, Any]:
    return {
        "model_package_arn": PACKAGE,
        "template": TEMPLATE,
        "configuration": NEW,
        "model": "churn-v8-model",
        "previous": {"configuration": OLD, "model_package_arn": PACKAGE.replace("/8", "/7")},
        "phase": "endpoint",
        "deadline": "9999",
        **more,
    }


def endpoint(status: str, configuration: str = OLD, **more: Any) -> dict[str, Any]:
    return {"EndpointStatus": status, "EndpointConfigName": configuration, **more}


def test_a_configuration_that_sagemaker_does_not_see_yet_is_tried_again() -> None:
    late = said("Could not find endpoint configuration churn-v8-new")
    with pytest.raises(Again, match="Could not find"):
        steps.update(release(), place(sagemaker=Aws(describe_endpoint=endpoint("InService"), update_endpoint=late)))


@pytest.mark.parametrize("words", ["Could not access model data at s3://lake", "Could not find model package"])
def test_a_right_or_a_version_that_is_seconds_old_is_tried_again(words: str) -> None:
    with pytest.raises(Again):
        steps.model(release(), place(sagemaker=Aws(create_model=said(words))))


def test_what_is_there_already_is_not_made_twice() -> None:
    there = said('Cannot create already existing model "arn"')
    made = steps.model(release(), place(sagemaker=Aws(create_model=there)))
    assert made["model"].startswith("churn-v8-")


def test_an_update_that_was_asked_for_already_is_not_asked_for_again() -> None:
    updating = endpoint("Updating", PendingDeploymentSummary={"EndpointConfigName": NEW})
    sagemaker = Aws(describe_endpoint=updating)
    assert steps.update(release(), place(sagemaker=sagemaker))["phase"] == "endpoint"
    assert sagemaker.asked("update_endpoint") == []


def test_an_update_keeps_live_capacity_and_takes_a_bad_change_back() -> None:
    sagemaker = Aws(describe_endpoint=endpoint("InService"), update_endpoint={})
    steps.update(release(), place(sagemaker=sagemaker))
    [asked] = sagemaker.asked("update_endpoint")
    assert (asked["EndpointConfigName"], asked["RetainAllVariantProperties"]) == (NEW, True)
    assert asked["DeploymentConfig"] == TEMPLATE["deployment"]


def test_a_way_back_is_at_once_and_no_alarm_stops_it() -> None:
    sagemaker = Aws(describe_endpoint=endpoint("InService"), update_endpoint={})
    steps.update(release(rollback=True), place(sagemaker=sagemaker))
    [asked] = sagemaker.asked("update_endpoint")
    assert asked["DeploymentConfig"] == {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}
    }


@pytest.mark.parametrize("status", ["Updating", "RollingBack", "SystemUpdating", "Creating"])
def test_a_rollout_has_settled_only_when_sagemaker_says_so(status: str) -> None:
    looked = steps.look(release(), place(sagemaker=Aws(describe_endpoint=endpoint(status))))
    assert not looked.get("settled")


def test_every_alarm_that_rings_meanwhile_is_noted_once_and_for_all() -> None:
    sagemaker = Aws(describe_endpoint=endpoint("Updating"))
    looked = steps.look(release(), place(sagemaker=sagemaker, cloudwatch=alarms(errors="2 of 3")))
    again = steps.look(looked, place(sagemaker=sagemaker))
    assert again["alarms_seen"] == {"errors": "2 of 3"}


def test_a_rollout_that_takes_too_long_has_failed() -> None:
    sagemaker = Aws(describe_endpoint=endpoint("Updating"))
    with pytest.raises(RolledBack, match="still Updating, longer than a rollout may take"):
        steps.look(release(deadline="2026"), place(sagemaker=sagemaker))


@pytest.mark.parametrize(
    "described, words",
    [
        (endpoint("InService", OLD, FailureReason="alarm churn-errors went off"), "alarm churn-errors went off"),
        (endpoint("InService", OLD), "SageMaker gives no reason"),
        (endpoint("UpdateRollbackFailed", NEW, FailureReason="no capacity"), "UpdateRollbackFailed with churn-v8-new"),
        (endpoint("Failed", NEW, FailureReason="it broke"), "it broke"),
    ],
)
def test_in_service_is_not_yet_what_was_asked_for(described: dict[str, Any], words: str) -> None:
    at = place(sagemaker=Aws(describe_endpoint=described))
    looked = steps.look(release(), at)
    assert looked["settled"]
    with pytest.raises(RolledBack, match=words):
        steps.check(looked, at)


def test_a_failed_rollback_is_no_end_that_anybody_takes_for_good() -> None:
    """SageMaker calls it InService with the new configuration where its model is another one."""
    sagemaker = Aws(
        describe_endpoint=endpoint("InService", NEW),
        describe_endpoint_config={"ProductionVariants": [{"VariantName": "live", "ModelName": "churn-v7-model"}]},
    )
    with pytest.raises(RolledBack, match="churn-v8-model was asked for, and churn-v7-model serves"):
        steps.check(release(), place(sagemaker=sagemaker))


@pytest.mark.parametrize("status", ["Updating", "Failed", "RollingBack", "Deleting"])
def test_no_release_begins_on_an_endpoint_that_is_not_in_service(status: str) -> None:
    with pytest.raises(Refused, match=f"is {status}: wait until it is in service"):
        steps.ready(release(), place(sagemaker=Aws(describe_endpoint=endpoint(status))))


def test_an_endpoint_that_is_not_there_is_named() -> None:
    with pytest.raises(Refused, match="there is no endpoint churn: deploy its stack first"):
        steps.ready(release(), place(sagemaker=Aws(describe_endpoint=said('Could not find endpoint "arn"'))))


SERVERLESS = {**TEMPLATE, "kind": "serverless", "deployment": None}


class TestServerless:
    """SageMaker has no guard for serverless endpoints: the release watches, and goes back by itself."""

    def sagemaker(self) -> Aws:
        return Aws(describe_endpoint=endpoint("InService", NEW), update_endpoint={})

    def test_is_watched_for_as_long_as_it_is_to_bake(self) -> None:
        looked = steps.look(release(template=SERVERLESS), place(sagemaker=self.sagemaker()))
        assert looked["settled"] is False
        assert steps.look({**looked, "bakes_until": "2026"}, place(sagemaker=self.sagemaker()))["settled"]

    def test_goes_back_when_an_alarm_rings(self) -> None:
        sagemaker = self.sagemaker()
        looked = steps.look(release(template=SERVERLESS), place(sagemaker=sagemaker))
        looked = steps.look(looked, place(sagemaker=sagemaker, cloudwatch=alarms(errors="9 > 5")))
        assert (looked["phase"], looked["settled"]) == ("back", False)
        assert sagemaker.asked("update_endpoint") == [{"EndpointName": "churn", "EndpointConfigName": OLD}]

        back = place(sagemaker=Aws(describe_endpoint=endpoint("InService", OLD)))
        settled = steps.look(looked, back)
        assert settled["settled"]
        with pytest.raises(RolledBack, match="alarm errors went off after the change"):
            steps.check(settled, back)

    def test_has_no_deployment_config(self) -> None:
        sagemaker = Aws(describe_endpoint=endpoint("InService", OLD), update_endpoint={})
        steps.update(release(template=SERVERLESS), place(sagemaker=sagemaker))
        assert "DeploymentConfig" not in sagemaker.asked("update_endpoint")[0]


HELD = said('The variant(s) "["live"]" must be deregistered as scalable targets with AutoScaling before they can')
POLICY = {
    "PolicyName": "churn-wake",
    "PolicyType": "StepScaling",
    "PolicyARN": "arn:old",
    "StepScalingPolicyConfiguration": {"AdjustmentType": "ChangeInCapacity"},
    "CreationTime": "then",
}
ACTION = {
    "ScheduledActionName": "morning",
    "Schedule": "cron(0 7 ? * * *)",
    "Timezone": "Europe/Berlin",
    "ScalableTargetAction": {"MinCapacity": 4},
    "ScheduledActionARN": "arn:action",
}


class TestInstanceType:
    """SageMaker refuses to change the instance type of what autoscaling holds."""

    def scaling(self) -> Aws:
        target = {"ResourceId": "endpoint/churn/variant/live", "MinCapacity": 2, "MaxCapacity": 6, "RoleARN": "arn:slr"}
        return Aws(
            describe_scalable_targets={"ScalableTargets": [target]},
            describe_scaling_policies={"ScalingPolicies": [POLICY]},
            describe_scheduled_actions={"ScheduledActions": [ACTION]},
            deregister_scalable_target={},
            register_scalable_target={},
            put_scaling_policy={"PolicyARN": "arn:new"},
            put_scheduled_action={},
        )

    def cloudwatch(self) -> Aws:
        asleep = {"AlarmName": "churn-asleep", "AlarmActions": ["arn:old"], "Threshold": 1, "StateValue": "OK"}
        return Aws(describe_alarms=[{"MetricAlarms": [asleep]}], put_metric_alarm={})

    def test_autoscaling_lets_go_and_holds_it_again_as_before(self) -> None:
        sagemaker = Aws(describe_endpoint=endpoint("InService"), update_endpoint=[HELD, {}])
        scaling, cloudwatch = self.scaling(), self.cloudwatch()
        at = place(sagemaker=sagemaker, scaling=scaling, cloudwatch=cloudwatch)
        updated = json.loads(json.dumps(steps.update(release(), at)))  # as the state machine keeps it

        assert [called for called, _ in scaling.calls][-1] == "deregister_scalable_target"
        assert len(sagemaker.asked("update_endpoint")) == 2
        live = Aws(
            describe_endpoint=endpoint("InService", NEW),
            describe_endpoint_config={"ProductionVariants": [{"ModelName": "churn-v8-model"}]},
        )
        assert "scaling" not in steps.check(updated, replace(at, sagemaker=live))
        [target] = scaling.asked("register_scalable_target")
        assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 6)
        [policy], [action] = scaling.asked("put_scaling_policy"), scaling.asked("put_scheduled_action")
        assert (policy["PolicyName"], "PolicyARN" in policy) == ("churn-wake", False)
        assert (action["Timezone"], "ScheduledActionARN" in action) == ("Europe/Berlin", False)
        # The policy has another ARN now, and the alarm that starts it knows it.
        assert cloudwatch.asked("put_metric_alarm") == [
            {"AlarmName": "churn-asleep", "AlarmActions": ["arn:new"], "Threshold": 1}
        ]

    def test_autoscaling_holds_it_again_where_the_change_fails(self) -> None:
        sagemaker = Aws(describe_endpoint=endpoint("InService"), update_endpoint=[HELD, said("no quota")])
        scaling = self.scaling()
        with pytest.raises(ClientError, match="no quota"):
            steps.update(release(), place(sagemaker=sagemaker, scaling=scaling, cloudwatch=self.cloudwatch()))
        assert len(scaling.asked("register_scalable_target")) == 1

    def test_a_refusal_for_another_reason_stays_one(self) -> None:
        sagemaker = Aws(describe_endpoint=endpoint("InService"), update_endpoint=said("no quota"))
        with pytest.raises(ClientError, match="no quota"):
            steps.update(release(), place(sagemaker=sagemaker))


def test_a_reason_is_what_the_step_said() -> None:
    cause = json.dumps({"errorMessage": "it is not signed", "errorType": "NotReleasable", "stackTrace": []})
    assert steps._reason({"Error": "NotReleasable", "Cause": cause}) == ("it is not signed", "NotReleasable")
    assert steps._reason({"Error": "States.Timeout"}) == ("States.Timeout", "States.Timeout")


def test_a_note_says_what_happened_why_and_what_to_do() -> None:
    found = incident.of(
        release(
            by="ben",
            reason="better",
            alarms_seen={"churn-errors": "2 of 3"},
            timeline=[["2026-11-21T10:01:00Z", "RollingBack"]],
        ),
        execution="arn:execution",
        started="2026-11-21T10:00:00Z",
        failed="2026-11-21T10:02:00Z",
        reason="alarm churn-errors went off",
        live=PACKAGE.replace("/8", "/7"),
        runbook="https://runbook",
        token="arn:execution",
    )
    text = markdown(found)
    first, done, needed = text.splitlines()[:3]
    assert first == "# churn: version 8 did not go live: churn-errors rang (recovered)"
    assert "version 7 serves" in done and "aws logs tail /aws/sagemaker/Endpoints/churn" in needed
    story = text[text.index("## Timeline") :]
    assert story.index("10:00:00") < story.index("10:01:00 the endpoint is RollingBack") < story.index("10:02:00")
    for part in ("ben (better)", "model-package/churn/7", "`alarms.churn-errors`: 2 of 3", "slipway release churn 8"):
        assert part in text


def test_of_one_that_was_stopped_from_outside_a_rollout_may_go_on() -> None:
    error = {"Error": "ABORTED", "Cause": json.dumps({"errorMessage": "the release was aborted"})}
    found = incident.of(
        {"template": {"endpoint": "churn"}, "model_package_arn": PACKAGE, "error": error},
        execution="arn:execution",
        started="2026-11-21T10:00:00Z",
        failed="2026-11-21T10:02:00Z",
        reason="the release was aborted",
        live=PACKAGE.replace("/8", "/7"),
        runbook="https://runbook",
        token="arn:execution",
    )
    assert found.decision == "stopped" and "slipway history churn" in markdown(found).splitlines()[2]


def test_where_it_is_not_known_what_serves_somebody_is_needed_first_of_all_to_see() -> None:
    found = incident.of(
        release(),
        execution="arn:execution",
        started="2026-11-21T10:00:00Z",
        failed="2026-11-21T10:02:00Z",
        reason="it was stopped",
        live="endpoint churn serves nothing",
        runbook="https://runbook",
        token="arn:execution",
    )
    assert (found.status, found.done) == ("open", ())
    assert "slipway history churn" in markdown(found).splitlines()[2]
