"""What the live emulator replaces inside moto: a version of moto that changes any of it fails here.

Then look at what has changed, adapt the replacement, and write down the new digest.
"""

import hashlib
import inspect

import pytest
from moto.awslambda.models import EventInvokeConfig, LambdaBackend, LambdaFunction
from moto.cloudtrail.responses import CloudTrailResponse
from moto.cloudwatch.models import Alarm, CloudWatchBackend, MetricAggregatedDatum, MetricDatum
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import BaseResponse
from moto.events.models import EventsBackend, Rule
from moto.iam.models import get_account_id_from
from moto.logs.metric_filters import MetricFilters
from moto.logs.models import LogsBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeBucket
from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule
from moto.stepfunctions.responses import StepFunctionResponse
from moto.sts.models import STSBackend

RELIED_ON = {
    LambdaFunction.__init__: "70a285222b4a",
    LambdaFunction._invoke_lambda: "23ce7a8f956e",
    LambdaFunction.invoke: "dadc324f30ae",
    LambdaFunction.update_configuration: "eca1cdec066f",
    LambdaFunction.get_configuration: "803fb04bffde",
    LambdaFunction.save_logs: "7045107320d5",
    LambdaBackend.invoke: "708fb4c92029",
    LambdaBackend.get_function_event_invoke_config: "561c3a40bda0",
    EventInvokeConfig: "2dad07708058",
    CloudWatchBackend.put_metric_alarm: "aff786ddccbc",
    CloudWatchBackend.set_alarm_state: "a25532144b2a",
    CloudWatchBackend.delete_alarms: "3602fd647ddc",
    CloudWatchBackend.put_metric_data: "300dda002442",
    CloudWatchBackend.get_metric_data: "ea8fffafcc06",
    CloudWatchResponse.get_metric_data: "620cf898e877",
    Alarm: "2676609b9c6c",
    MetricDatum: "c00613f28fcf",
    MetricAggregatedDatum: "e40b1f56c470",
    BaseResponse.call_action: "26076963fd17",
    EventsBackend.put_events: "c56f6ac1f932",
    EventsBackend.put_rule: "28bf0ac76b1b",
    Rule.send_to_targets: "472e002e2dab",
    EventBridgeSchedulerBackend.create_schedule: "513099380dbd",
    EventBridgeSchedulerBackend.update_schedule: "15f9bd86f239",
    Schedule: "19822b03401d",
    LogsBackend.put_log_events: "9413dbc08c42",
    LogsBackend.put_metric_filter: "f289fb5a7b02",
    MetricFilters: "f283b984c92c",
    FakeBucket.get_permission: "7571412a3495",
    FakeBucket._log_permissions_enabled_policy: "d647342f8ffe",
    StepFunctionResponse.start_execution: "3f4ac22f2a3e",
    STSBackend.assume_role: "f32a21bb2eb0",
    STSBackend.get_assumed_role_from_access_key: "349bd002b7f7",
    get_account_id_from: "83d4b96f7c5b",
    DomainDispatcherApplication.get_application: "0ff6939685bd",
    create_backend_app: "a317751ebd1c",
}


def test_what_moto_lacks_and_the_emulator_adds_is_still_lacking():
    added = {CloudTrailResponse: "lookup_events", CloudWatchResponse: "describe_alarm_history"}
    assert [name for kind, name in added.items() if hasattr(kind, name)] == []


@pytest.mark.parametrize("relied_on", RELIED_ON, ids=lambda each: each.__qualname__)
def test_moto_is_what_its_replacements_were_written_for(relied_on):
    assert digest(relied_on) == RELIED_ON[relied_on]


def digest(relied_on):
    return hashlib.sha256(inspect.getsource(relied_on).encode()).hexdigest()[:12]
