"""Every alarm of every stack has a section in its runbook, and says where that is."""

import json
from typing import Any

import pytest

from components.runbook import Guide, markdown
from infra.settings import stack_names

DASHBOARD, ALARM = "aws:cloudwatch/dashboard:Dashboard", "aws:cloudwatch/metricAlarm:MetricAlarm"


@pytest.fixture(scope="module")
def plans(every_plan: Any) -> dict[str, Any]:
    return {settings.stack: plan for settings, plan in every_plan}


@pytest.mark.parametrize("stack", stack_names())
def test_every_alarm_has_a_section_and_a_link_to_it(plans: dict[str, Any], stack: str) -> None:
    resources = plans[stack].resources
    alarms = {each.inputs["name"]: each.inputs for each in resources if each.type == ALARM}
    assert alarms, "a stack without alarms tells nobody"
    [runbook] = [
        each.inputs
        for each in resources
        if each.type == DASHBOARD and each.inputs["dashboardName"] == f"{stack}-runbook"
    ]
    texts = [widget["properties"]["markdown"] for widget in json.loads(runbook["dashboardBody"])["widgets"]]
    sections = {text.splitlines()[0].removeprefix("## ") for text in texts}
    assert sections == alarms.keys()
    for name, alarm in alarms.items():
        assert f"#dashboards/dashboard/{stack}-runbook" in alarm["alarmDescription"], name
        assert alarm["alarmActions"], name


@pytest.mark.parametrize("stack", stack_names())
def test_the_dashboard_shows_every_alarm(plans: dict[str, Any], stack: str) -> None:
    resources = plans[stack].resources
    [dashboard] = [
        each.inputs for each in resources if each.type == DASHBOARD and each.inputs["dashboardName"] == stack
    ]
    widgets = json.loads(dashboard["dashboardBody"])["widgets"]
    shown = {arn.rpartition(":")[2] for arn in widgets[0]["properties"]["alarms"]}
    assert shown == {each.inputs["name"] for each in resources if each.type == ALARM}
    assert all(widget["properties"]["metrics"] for widget in widgets[1:])


def test_a_section_says_what_is_wrong_where_to_look_and_what_to_do() -> None:
    guide = Guide("a-errors", "a fails requests.", ["$ slipway status", "the log"], ["roll back"])
    text = markdown("a-prod", [guide])
    assert text.index("# Runbook of a-prod") < text.index("## a-errors") < text.index("**Look**")
    assert "1. `slipway status`" in text
    assert "1. roll back" in text[text.index("**Act**") :]
