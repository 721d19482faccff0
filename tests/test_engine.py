import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from pretend_cloud import Build, Cloud, Group, Other, Thing, settings

from infra.rehearsal import state
from infra.rehearsal.deployment import Deployment
from infra.rehearsal.engine import (
    DeploymentError,
    Engine,
    Interrupted,
    Plan,
    Refused,
    Resource,
    Result,
    StateError,
    Step,
    Unsupported,
)
from infra.rehearsal.engine import Event as Happening
from infra.rehearsal.provider import UNKNOWN
from infra.rehearsal.state import StateStore

Opts = pulumi.ResourceOptions
SECONDS = 30
"""How long a test waits for something that has to happen."""


class Bench:
    """An engine, a cloud, and short ways to ask for what tests look at."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.cloud = Cloud(work / "cloud")
        self.engine = Engine(work, {"cloud": lambda settings: self.cloud})
        self.others: dict[str, Any] = {}

    def up(self, build: Build, **options: Any) -> Result:
        self.cloud.calls.clear()
        return self.engine.up(settings(build), **options)

    def plan(self, build: Build) -> Plan:
        self.cloud.calls.clear()
        return self.engine.plan(settings(build))

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What the cloud was asked to do since the last run began, reads left out."""
        return [call for call in self.cloud.calls if call[0] != "read"]

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """The snapshot's resources by name."""
        document = json.loads(StateStore(self.work).path("thing-local").read_text())
        return {each["urn"].rpartition("::")[2]: each for each in document["deployment"]["resources"]}


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PBKDF2_ROUNDS", 1000)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ops(steps: Iterable[Step]) -> dict[str, str]:
    """What is done about each thing, by name."""
    return {step.name: step.op for step in steps if not step.type.startswith("pulumi:")}


# --- making things --------------------------------------------------------------------------------------------------


def test_a_resource_is_made_after_those_it_needs(bench: Bench) -> None:
    def program() -> None:
        first = Thing("first")
        second = Thing("second", label=first.handle)
        Thing("third", Opts(depends_on=[second]))

    bench.up(program)

    assert bench.changes == [("create", "first"), ("create", "second"), ("create", "third")]
    assert bench.cloud.things["second"]["label"] == bench.cloud.things["first"]["handle"]


def test_resources_that_do_not_need_each_other_are_made_side_by_side(bench: Bench) -> None:
    all_there = Barrier(4, timeout=SECONDS)

    def meet(call: str, name: str) -> None:
        if call == "create":
            all_there.wait()

    bench.cloud.during = meet
    bench.up(lambda: [Thing(f"t{index}") for index in range(4)])

    assert len(bench.cloud.things) == 4


def test_outputs_of_the_stack_are_what_the_cloud_told(bench: Bench) -> None:
    result = bench.up(lambda: {"handle": Thing("one").handle, "sum": Thing("two").serial.apply(lambda n: n + 40)})

    assert result.outputs["handle"].startswith("handle:one-")
    assert result.outputs["sum"] in (41, 42)
    assert bench.engine.outputs("thing-local") == result.outputs
    assert result.counts == {"create": 3}


def test_an_unchanged_program_asks_the_cloud_for_reads_alone(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        group = Group("group")
        return {"handle": Thing("one", label=group.handle, numbers=[1, 2.5, {"deep": True}]).handle}

    bench.up(program)
    before = StateStore(bench.work).path("thing-local").read_bytes()
    result = bench.up(program)

    assert sorted(bench.cloud.calls) == [("read", "group-thing"), ("read", "one")]
    assert result.counts == {"same": 4}
    assert StateStore(bench.work).path("thing-local").read_bytes() == before


def test_what_the_cloud_lost_is_made_again(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        first = Thing("first")
        return {"handle": Thing("second", label=first.handle).handle}

    bench.up(program)
    bench.cloud.lose_everything()
    result = bench.up(program)

    assert bench.changes == [("create", "first"), ("create", "second")]
    assert result.outputs["handle"] == bench.cloud.things["second"]["handle"]
    assert bench.cloud.things["second"]["label"] == bench.cloud.things["first"]["handle"]


def test_what_depends_on_a_lost_resource_follows_its_successor(bench: Bench) -> None:
    def program() -> None:
        Thing("second", label=Thing("first").handle)

    bench.up(program)
    first = next(path for path in (bench.work / "cloud/things").iterdir() if "first" in path.read_text().split('"')[3])
    first.unlink()
    bench.up(program)

    assert bench.changes == [("create", "first"), ("update", "second")]


def test_a_failure_leaves_the_rest_made_and_names_the_resource(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        bad = Thing("bad")
        needy = Thing("needy", label=bad.handle)
        Thing("waiting", Opts(depends_on=[needy]))
        Thing("good", label=Thing("base").handle)
        return {"bad": bad.handle, "fine": "yes"}

    bench.cloud.failing["create", "bad"] = "quota of Things exceeded: ask for more"
    with pytest.raises(DeploymentError) as failure:
        bench.up(program)

    assert "cloud:index:Thing 'bad': quota of Things exceeded: ask for more" in str(failure.value)
    assert "1 of its resources failed, so 2 that need them were left out" in str(failure.value)
    assert bench.cloud.things.keys() == {"base", "good"}
    assert bench.engine.outputs("thing-local") == {"fine": "yes"}

    bench.cloud.failing.clear()
    bench.up(program)
    assert bench.changes == [("create", "bad"), ("create", "needy"), ("create", "waiting")]
    assert "pending_operations" not in StateStore(bench.work).export("thing-local")["deployment"]


def test_a_failed_creation_is_repeated_with_its_token_unless_the_inputs_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[str] = []
    create = bench.cloud.create

    def note_token(type_: str, inputs: dict[str, Any], token: str) -> tuple[str, dict[str, Any]]:
        tokens.append(token)
        return create(type_, inputs, token)

    monkeypatch.setattr(bench.cloud, "create", note_token)
    bench.cloud.failing["create", "bad"] = "not now"

    for label in ("a", "a", "b"):
        with pytest.raises(DeploymentError):
            bench.up(lambda label=label: Thing("bad", label=label))  # type: ignore[misc]  # a default binds it now

    assert tokens[0] == tokens[1] != tokens[2]


def test_a_failed_deployment_deletes_nothing(bench: Bench) -> None:
    bench.up(lambda: Thing("old"))
    bench.cloud.failing["create", "new"] = "no"

    with pytest.raises(DeploymentError):
        bench.up(lambda: Thing("new"))

    assert bench.cloud.things.keys() == {"old"}


def test_a_mistake_in_the_program_ends_it_with_its_words(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        Thing("one")
        raise ValueError("there are no zones left")

    with pytest.raises(
        DeploymentError, match="the program of stack thing-local failed: ValueError: there are no zones"
    ):
        bench.up(program)

    assert bench.cloud.things.keys() == bench.state.keys() & {"one"} == {"one"}


def test_a_mistake_in_an_apply_ends_the_program(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        return {"x": Thing("one").handle.apply(lambda handle: 1 // 0)}

    with pytest.raises(DeploymentError, match="ZeroDivisionError"):
        bench.up(program)


def test_two_resources_of_one_name_are_a_mistake(bench: Bench) -> None:
    with pytest.raises(DeploymentError, match="Thing::one is registered twice; give one of the two another name"):
        bench.up(lambda: (Thing("one"), Thing("one")))


def test_an_input_the_provider_does_not_know_fails_plan_and_up_alike(bench: Bench) -> None:
    def program() -> None:
        Thing("needy", label=Thing("one", forbidden=1).handle)

    for run in (bench.plan, bench.up):
        with pytest.raises(DeploymentError, match="'one': forbidden is no input of a Thing"):
            run(program)
    assert bench.changes == []


def test_a_policy_refuses_a_resource_before_it_is_made(bench: Bench) -> None:
    def analyze(resource: Resource) -> Iterable[str]:
        if resource.inputs.get("label") == "public":
            yield f"{resource.name} must not be public"

    def program() -> None:
        Thing("late", label=Thing("open", label="public").handle)

    with pytest.raises(Refused, match="cloud:index:Thing 'open': open must not be public"):
        bench.up(program, analyze=analyze)
    assert bench.changes == []


def test_events_tell_of_every_operation(bench: Bench) -> None:
    events: list[Happening] = []
    bench.cloud.failing["create", "bad"] = "no room"

    with pytest.raises(DeploymentError):
        bench.up(lambda: (Thing("good"), Thing("bad")), on_event=events.append)

    kinds = {name: [each.kind for each in events if each.step.name == name] for name in ("good", "bad")}
    assert kinds == {"good": ["plan", "start", "done"], "bad": ["plan", "start", "failed"]}
    assert next(each for each in events if each.kind == "failed").error == "no room"
    assert all(each.seconds > 0 for each in events if each.kind == "done")


# --- planning -------------------------------------------------------------------------------------------------------


def test_a_first_plan_asks_nobody_and_writes_nothing(bench: Bench) -> None:
    plan = bench.plan(lambda: {"handle": Thing("one", label="a").handle})

    assert bench.cloud.calls == []
    assert not (bench.work / "state").exists()
    assert ops(plan.steps) == {"one": "create"}
    assert plan.outputs == {"handle": "(known after up: handle of one)"}


def test_a_plan_knows_what_is_derived_from_a_stand_in_and_not_what_is_unknown(bench: Bench) -> None:
    seen: list[int] = []

    def note(serial: int) -> int:
        seen.append(serial)
        return serial

    def program() -> Mapping[str, Any]:
        one = Thing("one")
        document = pulumi.Output.json_dumps({"allow": one.handle})
        return {"document": document, "next": one.serial.apply(note)}

    plan = bench.plan(program)

    assert json.loads(plan.outputs["document"]) == {"allow": "(known after up: handle of one)"}
    assert plan.outputs["next"] == UNKNOWN
    assert seen == []


def test_a_plan_holds_the_graph(bench: Bench) -> None:
    def program() -> None:
        group = Group("group", label="x")
        Thing("user", Opts(protect=True), label=group.handle, nested={"of": [group.thing.serial]})

    plan = bench.plan(program)
    by_name = {resource.name: resource for resource in plan.resources}

    assert list(by_name) == ["slipway-thing-local", "group", "group-thing", "user"]
    thing, user = by_name["group-thing"], by_name["user"]
    assert thing.urn == "urn:pulumi:thing-local::slipway::test:index:Group$cloud:index:Thing::group-thing"
    assert (thing.parent, by_name["group"].custom) == (by_name["group"].urn, False)
    assert user.inputs["label"] == "(known after up: handle of group-thing)"
    assert user.inputs["nested"] == {"of": [UNKNOWN]}
    assert user.property_dependencies == {"label": (thing.urn,), "nested": (thing.urn,)}
    assert user.dependencies == (thing.urn,)
    assert user.protect and not thing.protect
    assert by_name["group"].outputs == {"handle": "(known after up: handle of group-thing)"}


def test_a_plan_says_what_up_then_does(bench: Bench) -> None:
    def before() -> None:
        Thing("kept", label=Thing("changed", label="a").handle)
        Thing("replaced", kind="a")
        Thing("gone")

    def after() -> None:
        Thing("kept", label=Thing("changed", label="b").handle)
        Thing("replaced", kind="b")
        Thing("new")

    bench.up(before)
    plan = bench.plan(after)
    result = bench.up(after)

    expected = {"kept": "same", "changed": "update", "replaced": "replace", "gone": "delete", "new": "create"}
    assert ops(plan.steps) == expected
    assert ops(result.steps) == expected
    steps = {step.name: step for step in plan.steps}
    assert steps["changed"].diff.changed == ("label",)
    assert steps["replaced"].diff.replaces == ("kind",)


def test_a_plan_changes_nothing(bench: Bench) -> None:
    bench.up(lambda: Thing("one", label="a"))
    before = StateStore(bench.work).path("thing-local").read_bytes()
    plan = bench.plan(lambda: Thing("two"))

    assert ops(plan.steps) == {"two": "create", "one": "delete"}
    assert bench.changes == []
    assert StateStore(bench.work).path("thing-local").read_bytes() == before


def test_many_plans_in_one_process_do_not_disturb_each_other(bench: Bench) -> None:
    names = [f"plan{index}-local" for index in range(6)]
    plans = {}

    def plan(name: str) -> None:
        program = settings(lambda: {"stack": pulumi.get_stack(), "handle": Thing(name).handle}, name)
        plans[name] = bench.engine.plan(program)

    threads = [Thread(target=plan, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    for name in names:
        assert plans[name].outputs == {"stack": name, "handle": f"(known after up: handle of {name})"}
        assert [each.name for each in plans[name].resources] == [f"slipway-{name}", name]


def test_a_plan_works_with_the_classes_of_pulumi_aws(tmp_path: Path) -> None:
    class Aws(Cloud):
        def preview(self, type_: str, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
            return inputs | {"id": UNKNOWN, "arn": f"arn:aws:sns:eu-west-1:123456789012:{inputs['name']}"}

    def program() -> Mapping[str, Any]:
        topic = aws.sns.Topic("alerts", name="alerts", kms_master_key_id="alias/x")
        aws.cloudwatch.MetricAlarm(
            "alarm",
            comparison_operator="GreaterThanThreshold",
            evaluation_periods=2,
            threshold=1.5,
            alarm_actions=[topic.arn],
            opts=Opts(ignore_changes=["threshold"]),
        )
        return {"arn": topic.arn}

    plan = Engine(tmp_path, {"aws": lambda settings: Aws(tmp_path / "cloud")}).plan(settings(program))
    alarm = plan.resources[-1]

    assert plan.outputs == {"arn": "arn:aws:sns:eu-west-1:123456789012:alerts"}
    assert alarm.inputs["alarmActions"] == ["arn:aws:sns:eu-west-1:123456789012:alerts"]
    assert (alarm.inputs["evaluationPeriods"], alarm.inputs["threshold"]) == (2, 1.5)
    assert alarm.ignore_changes == ("threshold",)
    assert ("pulumi:providers:aws::default_" in alarm.provider) is True


# --- changing things ------------------------------------------------------------------------------------------------


def test_a_replacement_is_made_first_and_its_predecessor_deleted_last(bench: Bench) -> None:
    def program(kind: str) -> None:
        Thing("user", label=Thing("base", kind=kind).handle)

    bench.up(lambda: program("a"))
    result = bench.up(lambda: program("b"))

    assert bench.changes == [("create", "base"), ("update", "user"), ("delete", "base")]
    assert ops(result.steps) == {"base": "replace", "user": "update"}
    assert bench.cloud.things["user"]["label"] == bench.cloud.things["base"]["handle"]


def test_what_cannot_stand_side_by_side_is_deleted_first_and_with_it_what_must_follow(bench: Bench) -> None:
    def program(kind: str) -> None:
        base = Thing("base", name="base", kind=kind, fixed=True)
        follower = Thing("follower", kind=base.handle)
        Thing("last", kind=follower.handle)
        Thing("loose", label=base.handle)

    bench.up(lambda: program("a"))
    plan = bench.plan(lambda: program("b"))
    result = bench.up(lambda: program("b"))

    deleted = [name for call, name in bench.changes if call == "delete"]
    assert deleted == ["last", "follower", "base"]
    assert bench.changes.index(("delete", "base")) < bench.changes.index(("create", "base"))
    expected = {"base": "replace", "follower": "replace", "last": "replace"}
    # Its label, the old thing's handle, is the same as the new thing's: they share a name.
    assert ops(result.steps) == expected | {"loose": "same"}
    assert expected.items() <= ops(plan.steps).items()


def test_delete_before_replace_is_the_programs_word_over_the_providers(bench: Bench) -> None:
    def program(kind: str, option: bool, fixed: bool) -> None:
        Thing("one", Opts(delete_before_replace=option), kind=kind, fixed=fixed)

    bench.up(lambda: program("a", option=True, fixed=False))
    bench.up(lambda: program("b", option=True, fixed=False))
    assert bench.changes == [("delete", "one"), ("create", "one")]

    bench.up(lambda: program("b", option=False, fixed=False))
    bench.up(lambda: program("c", option=False, fixed=False))
    assert bench.changes == [("create", "one"), ("delete", "one")]


def test_replace_on_changes_turns_an_update_into_a_replacement(bench: Bench) -> None:
    def program(label: str, option: str) -> None:
        Thing("one", Opts(replace_on_changes=[option]), label=label)

    bench.up(lambda: program("a", "label"))
    bench.up(lambda: program("b", "other"))
    assert bench.changes == [("update", "one")]
    bench.up(lambda: program("c", "*"))
    assert bench.changes == [("create", "one"), ("delete", "one")]


def test_ignore_changes_keeps_what_is_deployed(bench: Bench) -> None:
    def program(label: str, maximum: int, minimum: int) -> None:
        scaling = {"maximum": maximum, "steps": [{"at": minimum}], "minimum": minimum}
        Thing(
            "one",
            Opts(ignore_changes=["label", "scaling.maximum", "scaling.steps[0].at"]),
            label=label,
            scaling=scaling,
        )

    bench.up(lambda: program("a", 1, 1))
    bench.up(lambda: program("b", 2, 1))
    assert bench.changes == []

    bench.up(lambda: program("b", 2, 5))
    assert bench.changes == [("update", "one")]
    assert bench.cloud.things["one"]["scaling"] == {"maximum": 1, "steps": [{"at": 1}], "minimum": 5}
    assert bench.cloud.things["one"]["label"] == "a"


def test_an_alias_carries_a_resource_to_its_new_name_and_type_and_parent(bench: Bench) -> None:
    def before() -> None:
        base = Thing("old", kind="x", name="n")
        Thing("user", Opts(depends_on=[base]))

    def after() -> None:
        group = pulumi.ComponentResource("test:index:Box", "box")
        alias = pulumi.Alias(name="old", type_="cloud:index:Thing", parent=pulumi.ROOT_STACK_RESOURCE)
        base = Other("new", Opts(parent=group, aliases=[alias]), kind="x", name="n")
        Thing("user", Opts(depends_on=[base]))

    bench.up(before)
    result = bench.up(after)

    assert bench.changes == []
    assert ops(result.steps) == {"box": "create", "new": "same", "user": "same"}
    assert "old" not in bench.state
    assert bench.state["user"]["dependencies"] == [bench.state["new"]["urn"]]


def test_an_alias_of_a_component_carries_its_children(bench: Bench) -> None:
    bench.up(lambda: Group("old", name="n"))
    result = bench.up(lambda: Group("new", Opts(aliases=[pulumi.Alias(name="old")]), name="n"))

    assert bench.changes == []
    assert ops(result.steps) == {"new": "same", "new-thing": "same"}


def test_an_alias_may_be_a_urn(bench: Bench) -> None:
    bench.up(lambda: Thing("old", name="n"))
    urn = bench.state["old"]["urn"]
    bench.up(lambda: Thing("new", Opts(aliases=[urn]), name="n"))

    assert bench.changes == []


def test_custom_timeouts_end_an_operation_that_takes_longer(bench: Bench) -> None:
    release = Event()

    def hang(call: str, name: str) -> None:
        if call == "create":
            release.wait(SECONDS)

    bench.cloud.during = hang
    try:
        with pytest.raises(DeploymentError, match=r"'one': it took longer than the 0\.05 s that custom_timeouts allow"):
            bench.up(lambda: Thing("one", Opts(custom_timeouts=pulumi.CustomTimeouts(create="50ms"))))
    finally:
        release.set()


def test_an_update_that_failed_is_repeated_even_if_the_program_goes_back(bench: Bench) -> None:
    def break_after_the_change(call: str, name: str) -> None:
        if call == "updated":
            raise RuntimeError("connection lost")

    bench.up(lambda: Thing("one", label="a"))
    bench.cloud.during = break_after_the_change
    with pytest.raises(DeploymentError, match="'one': the provider broke: RuntimeError: connection lost"):
        bench.up(lambda: Thing("one", label="b"))
    bench.cloud.during = lambda call, name: None
    assert bench.cloud.things["one"]["label"] == "b"

    bench.up(lambda: Thing("one", label="a"))
    assert bench.cloud.things["one"]["label"] == "a"


# --- deleting things ------------------------------------------------------------------------------------------------


def chain() -> None:
    first = Thing("first")
    second = Thing("second", label=first.handle)
    Thing("third", Opts(depends_on=[second]))
    Group("group", Opts(depends_on=[second]))


def test_what_the_program_no_longer_has_is_deleted_dependents_first(bench: Bench) -> None:
    bench.up(chain)
    result = bench.up(lambda: None)

    assert [name for _, name in bench.changes[:2]] in (["third", "group-thing"], ["group-thing", "third"])
    assert bench.changes[2:] == [("delete", "second"), ("delete", "first")]
    assert result.counts == {"same": 1, "delete": 5}
    assert bench.state.keys() == {"slipway-thing-local"}


def test_down_deletes_everything_and_forgets_the_stack(bench: Bench) -> None:
    bench.up(chain)
    bench.cloud.calls.clear()
    bench.engine.down(settings(chain))

    assert bench.changes[-2:] == [("delete", "second"), ("delete", "first")]
    assert bench.cloud.things == {}
    assert StateStore(bench.work).stacks() == []
    with pytest.raises(DeploymentError, match="stack thing-local is not deployed"):
        bench.engine.outputs("thing-local")


def test_what_could_not_be_deleted_stays_in_the_state_with_what_it_needs(bench: Bench) -> None:
    bench.up(chain)
    bench.cloud.failing["delete", "third"] = "it is in use"
    with pytest.raises(DeploymentError, match="'third' could not be deleted: it is in use"):
        bench.up(lambda: None)
    assert {"first", "second", "third"} <= bench.state.keys() and "group" not in bench.state

    bench.cloud.failing.clear()
    bench.up(lambda: None)
    assert bench.cloud.things == {}


def test_a_protected_resource_is_neither_deleted_nor_replaced(bench: Bench) -> None:
    def program(kind: str, protect: bool) -> object:
        return Thing("precious", Opts(protect=protect), kind=kind)

    bench.up(lambda: (program("a", protect=True), Thing("other")))
    with pytest.raises(DeploymentError, match="'precious' cannot be deleted, for `protect` is set"):
        bench.up(lambda: None)
    with pytest.raises(DeploymentError, match="'precious' cannot be deleted, for `protect` is set"):
        bench.engine.down(settings(lambda: None))
    with pytest.raises(DeploymentError, match="'precious' cannot be deleted, for `protect` is set"):
        bench.plan(lambda: None)
    with pytest.raises(DeploymentError, match="'precious': it has to be replaced because of kind, but is protected"):
        bench.up(lambda: program("b", protect=True))
    assert bench.cloud.things.keys() == {"precious", "other"}

    bench.up(lambda: program("a", protect=False))
    bench.up(lambda: None)
    assert bench.cloud.things == {}


def test_retain_on_delete_lets_go_without_deleting(bench: Bench) -> None:
    bench.up(lambda: Thing("kept", Opts(retain_on_delete=True)))
    bench.up(lambda: None)

    assert bench.changes == []
    assert bench.cloud.things.keys() == {"kept"}
    assert "kept" not in bench.state


def test_what_is_deleted_with_another_is_not_deleted_by_itself(bench: Bench) -> None:
    bench.up(lambda: Thing("part", Opts(deleted_with=Thing("whole"))))
    bench.up(lambda: None)

    assert bench.changes == [("delete", "whole")]


# --- secrets --------------------------------------------------------------------------------------------------------


def test_secrets_are_encrypted_on_disk_and_open_to_who_needs_them(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        thing = Thing(
            "one", label=pulumi.Output.secret("open sesame"), nested={"words": [pulumi.Output.secret("xyzzy")]}
        )
        other = Thing("two", Opts(additional_secret_outputs=["handle"]))
        return {
            "password": thing.label,
            "handle": other.handle,
            "plain": "plain words",
            "wish": pulumi.Output.secret([1]),
        }

    during: list[str] = []

    def look(call: str, name: str) -> None:
        during.extend(path.read_text() for path in (bench.work / "state").glob("*.jsonl"))

    bench.cloud.during = look
    result = bench.up(program)

    assert bench.cloud.things["one"]["label"] == "open sesame"
    assert result.outputs["password"] == "open sesame" and result.outputs["wish"] == [1]
    assert result.secrets == {"password", "handle", "wish"}
    assert bench.engine.outputs("thing-local") == result.outputs
    written = "".join([*during, StateStore(bench.work).path("thing-local").read_text()])
    assert during and "plain words" in written
    assert not any(hidden in written for hidden in ("sesame", "xyzzy", bench.cloud.things["two"]["handle"]))

    bench.up(program)
    assert bench.changes == []


def test_a_plan_reads_encrypted_state(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        return {"password": Thing("one", label=pulumi.Output.secret("sesame")).label}

    bench.up(program)
    plan = Engine(bench.work, {"cloud": lambda settings: bench.cloud}).plan(settings(program))

    assert plan.outputs == {"password": "sesame"}


# --- stacks that need each other ------------------------------------------------------------------------------------


def base() -> Mapping[str, Any]:
    return {
        "handle": Thing("base").handle,
        "serials": [Thing("other").serial],
        "hidden": pulumi.Output.secret("sesame"),
    }


def product() -> Mapping[str, Any]:
    reference = pulumi.StackReference("organization/slipway/base-local")
    thing = Thing("product", label=reference.require_output("handle"), key=reference.require_output("hidden"))
    return {"label": thing.label, "serials": reference.require_output("serials")}


def test_a_stack_reads_what_another_exports(bench: Bench) -> None:
    bench.engine.up(settings(base, "base-local"))
    result = bench.engine.up(settings(product, "product-local", ["base-local"]))

    assert result.outputs["label"] == bench.cloud.things["base"]["handle"] == bench.cloud.things["product"]["label"]
    assert sorted(result.outputs["serials"]) in ([1], [2])
    assert "sesame" not in StateStore(bench.work).path("product-local").read_text()
    assert ops(result.steps) == {"product": "create"}
    assert "read" in {step.op for step in result.steps}


def test_stacks_are_planned_together_where_neither_is_deployed(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud")
    stacks = {"base-local": settings(base, "base-local")}
    engine = Engine(tmp_path, {"cloud": lambda settings: cloud}, settings_of=stacks.__getitem__)
    plan = engine.plan(settings(product, "product-local", ["base-local"]))

    assert plan.outputs["label"] == "(known after up: handle of base)"
    assert plan.outputs["serials"] == ["(known after up: serials of base-local)"]
    assert plan.resources[-1].inputs["label"] == "(known after up: handle of base)"
    assert cloud.calls == [] and not (tmp_path / "state").exists()


def test_deploying_before_the_stack_that_is_needed_is_an_error(bench: Bench) -> None:
    with pytest.raises(DeploymentError, match="stack base-local is not deployed: deploy it first"):
        bench.engine.up(settings(product, "product-local", ["base-local"]))


def test_an_export_that_a_stack_lacks_is_an_error(bench: Bench) -> None:
    bench.engine.up(settings(lambda: {"else": 1}, "base-local"))
    with pytest.raises(DeploymentError, match=r"KeyError: '(handle|hidden|serials)'"):
        bench.engine.up(settings(product, "product-local", ["base-local"]))


# --- the rest of the protocol ---------------------------------------------------------------------------------------


def test_functions_of_a_provider_are_asked(bench: Bench) -> None:
    def program() -> Mapping[str, Any]:
        name = Thing("one").handle.apply(lambda handle: handle.partition(":")[0])
        direct = pulumi.runtime.invoke("cloud:index:greet", {"name": "you"}).value
        return {"later": pulumi.runtime.invoke_output("cloud:index:greet", {"name": name}), "now": direct["greeting"]}

    assert bench.up(program).outputs == {"later": {"greeting": "hello handle"}, "now": "hello you"}


def test_a_function_that_fails_says_which(bench: Bench) -> None:
    with pytest.raises(DeploymentError, match="cloud:index:nothing: there is no function cloud:index:nothing"):
        bench.up(lambda: {"x": pulumi.runtime.invoke_output("cloud:index:nothing", {})})


def test_an_explicit_provider_is_configured_and_used(bench: Bench) -> None:
    seen: list[Any] = []
    create = Cloud.create

    def watched(cloud: Cloud, type_: str, inputs: dict[str, Any], token: str) -> tuple[str, dict[str, Any]]:
        seen.append(cloud.settings)
        return create(cloud, type_, inputs, token)

    def program() -> None:
        first = Thing("first")
        provider = pulumi.ProviderResource("cloud", "elsewhere", {"region": first.handle})
        Thing("there", Opts(provider=provider))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cloud, "create", watched)
        plan = bench.plan(program)
        bench.up(program)
        bench.up(program)

    assert seen == [{}, {"region": bench.cloud.things["first"]["handle"]}]
    assert bench.changes == []
    assert bench.state["there"]["provider"].startswith(bench.state["elsewhere"]["urn"])
    assert "pulumi:providers:cloud" in {resource.type for resource in plan.resources}


def test_a_resource_that_exists_elsewhere_is_read_and_never_deleted(bench: Bench) -> None:
    bench.engine.up(settings(lambda: Thing("owned", label="theirs"), "owner-local"))
    (id_,) = (path.name for path in (bench.work / "cloud/things").iterdir())

    result = bench.up(lambda: {"label": Thing("borrowed", Opts(id=id_)).label})
    assert result.outputs == {"label": "theirs"}
    bench.up(lambda: None)
    bench.engine.down(settings(lambda: None))
    assert bench.cloud.things.keys() == {"owned"}


def test_a_resource_that_should_exist_and_does_not_is_an_error(bench: Bench) -> None:
    with pytest.raises(DeploymentError, match="'ghost': there is none with the id 'id-none'"):
        bench.up(lambda: Thing("ghost", Opts(id="id-none")))


def test_a_package_without_a_provider_is_an_error(bench: Bench) -> None:
    with pytest.raises(Unsupported, match="no provider for 'gcp', only for cloud"):
        bench.up(lambda: pulumi.CustomResource("gcp:index:Thing", "x", {}))


def a_hook(arguments: pulumi.ResourceHookArgs) -> None:
    pass


UNSUPPORTED: dict[str, Callable[[], Any]] = {
    "import_": lambda: Thing("x", Opts(import_="id-1")),
    "replace_with": lambda: Thing("x", Opts(replace_with=[Thing("y")])),
    "replacement_trigger": lambda: Thing("x", Opts(replacement_trigger="1")),
    "transforms": lambda: Thing("x", Opts(transforms=[lambda arguments: None])),
    "register_resource_transform": lambda: pulumi.runtime.register_resource_transform(lambda arguments: None),
    "hooks": lambda: Thing("x", Opts(hooks=pulumi.ResourceHookBinding(before_create=[a_hook]))),
    "env_var_mappings": lambda: Thing("x", Opts(env_var_mappings={"A": "B"})),
}


@pytest.mark.parametrize("option", UNSUPPORTED)
def test_an_option_the_rehearsal_does_not_know_is_refused_by_name(option: str, bench: Bench) -> None:
    with pytest.raises(Unsupported, match=option):
        bench.plan(lambda: UNSUPPORTED[option]())


def test_transformations_change_what_is_registered(bench: Bench) -> None:
    def labelled(arguments: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        return pulumi.ResourceTransformationResult({**arguments.props, "label": "added"}, arguments.opts)

    bench.up(lambda: Group("group", Opts(transformations=[labelled])))

    assert bench.cloud.things["group-thing"]["label"] == "added"


# --- interruptions --------------------------------------------------------------------------------------------------

KILLED_AGAIN_AND_AGAIN = """
import json, os, signal, sys
from pathlib import Path

import pulumi
from pretend_cloud import Cloud, Thing, settings
from infra.rehearsal import state
from infra.rehearsal.engine import Engine

work, moment = Path(sys.argv[1]), int(sys.argv[2])
state.PBKDF2_ROUNDS = 1000  # a run takes a tenth of the time

def program(kind):
    base = Thing("base", kind=kind, label=pulumi.Output.secret("sesame"))
    things = [Thing(f"thing{index}", label=base.handle) for index in range(3)]
    fixed = Thing("fixed", name="fixed", fixed=True, kind=base.handle)
    return {"handle": Thing("last", pulumi.ResourceOptions(depends_on=[fixed, *things])).handle}

def up(kind, left):
    # Counts every call of the cloud, before and after its effect, and every write of the state's files.
    def count(*details):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(handle, data):
        if left == 1:
            real["write"](handle, data[: len(data) // 2])
        count()
        return real["write"](handle, data)

    def counted(name):
        def call(*arguments):
            count()
            real[name](*arguments)
            count()
        return call

    real = {name: getattr(os, name) for name in ("write", "fsync", "replace")}
    os.write, os.fsync, os.replace = write, counted("fsync"), counted("replace")
    cloud = Cloud(work / "cloud")
    cloud.during = count
    Engine(work, {"cloud": lambda settings: cloud}).up(settings(lambda: program(kind)))

def finished(kind, left):
    child = os.fork()
    if child == 0:
        try:
            up(kind, left)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"the run killed at moment {left} ended with {status}")
    return status == 0

for kind in ("a", "b"):
    kills = 0
    left = moment
    while not finished(kind, left):
        kills, left = kills + 1, left + 5
    things = [json.loads(path.read_text()) for path in (work / "cloud/things").glob("id-*")]
    print(json.dumps({"kind": kind, "kills": kills, "things": things}))
"""


@pytest.mark.parametrize("moment", [1, 3])
def test_a_deployment_killed_again_and_again_makes_nothing_twice(moment: int, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PULUMI_CONFIG_PASSPHRASE": "x"}
    command = [sys.executable, "-P", "-c", KILLED_AGAIN_AND_AGAIN, str(tmp_path), str(moment)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=4 * SECONDS)
    assert run.returncode == 0, run.stderr

    first, replaced = map(json.loads, run.stdout.splitlines())
    assert first["kills"] > 5 and replaced["kills"] > 5
    for outcome in (first, replaced):
        things = {thing["name"].rpartition("-")[0] or thing["name"]: thing for thing in outcome["things"]}
        assert sorted(things) == ["base", "fixed", "last", "thing0", "thing1", "thing2"]
        assert len(outcome["things"]) == len(things)
        assert things["base"]["kind"] == outcome["kind"]
        followers = {things[name]["label"] for name in ("thing0", "thing1", "thing2")} | {things["fixed"]["kind"]}
        assert followers == {things["base"]["handle"]}


def cut_short(bench: Bench, call: str, name: str, build: Build) -> None:
    """Deploy `build`, then put the state's files back to what they were in the middle of a call for a thing."""
    folder, then = bench.work / "state", bench.work / "then"

    def keep(*moment: str) -> None:
        if moment == (call, name):
            shutil.copytree(folder, then)

    bench.cloud.during = keep
    bench.up(build)
    bench.cloud.during = lambda call, name: None
    shutil.rmtree(folder)
    then.rename(folder)


def test_a_creation_cut_short_is_found_again_by_a_program_that_has_changed(bench: Bench) -> None:
    cut_short(bench, "created", "one", lambda: Thing("one", label="a"))
    bench.up(lambda: Thing("one", label="b"))

    assert bench.cloud.creations == ["one"]
    assert bench.cloud.things["one"]["label"] == "b"


def test_a_creation_cut_short_that_nobody_wants_any_more_is_deleted(bench: Bench) -> None:
    cut_short(bench, "created", "one", lambda: Thing("one"))
    bench.up(lambda: None)
    assert bench.cloud.things == {}

    cut_short(bench, "created", "two", lambda: Thing("two"))
    bench.engine.down(settings(lambda: None))
    assert bench.cloud.things == {} and StateStore(bench.work).stacks() == []


def test_a_replacement_cut_short_is_ended_and_its_predecessor_deleted(bench: Bench) -> None:
    bench.up(lambda: Thing("one", kind="a"))
    cut_short(bench, "created", "one", lambda: Thing("one", kind="b"))
    bench.up(lambda: Thing("one", kind="b"))

    assert bench.cloud.creations == ["one", "one"]
    assert len(list((bench.work / "cloud/things").iterdir())) == 1
    assert bench.cloud.things["one"]["kind"] == "b"


def test_an_update_cut_short_is_made_good_even_if_the_program_goes_back(bench: Bench) -> None:
    bench.up(lambda: Thing("one", label="a"))
    cut_short(bench, "updated", "one", lambda: Thing("one", label="b"))
    bench.up(lambda: Thing("one", label="a"))

    assert bench.cloud.things["one"]["label"] == "a"


def test_a_creation_cut_short_whose_ground_is_gone_is_begun_anew(bench: Bench) -> None:
    def program() -> None:
        Thing("user", label=Thing("base").handle)

    cut_short(bench, "create", "user", program)
    lost = bench.cloud.things["base"]["handle"]
    bench.cloud.lose_everything()
    bench.cloud.failing["create", "user"] = "there is no such base"

    def relent(call: str, name: str) -> None:
        if (call, name) == ("created", "base"):
            bench.cloud.failing.clear()

    bench.cloud.during = relent
    bench.up(program)

    assert bench.cloud.things["user"]["label"] == bench.cloud.things["base"]["handle"] != lost


def test_ctrl_c_lets_running_operations_end_and_starts_nothing_new(bench: Bench) -> None:
    def interrupt(call: str, name: str) -> None:
        if (call, name) == ("create", "first"):
            os.kill(os.getpid(), signal.SIGINT)
            # The main thread notes the interruption while this creation is still under way.
            deadline = time.monotonic() + SECONDS
            while not noted.is_set() and time.monotonic() < deadline:
                time.sleep(0.01)

    noted = Event()
    # A run in the background of a shell has Ctrl-C switched off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupted = Deployment.interrupt

    def note(deployment: Any) -> None:
        interrupted(deployment)
        noted.set()

    def program() -> None:
        Thing("second", label=Thing("first").handle)

    bench.cloud.during = interrupt
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Deployment, "interrupt", note)
            with pytest.raises(Interrupted, match=r"interrupted\. What was done is recorded; `up` carries on"):
                bench.up(program)
    finally:
        signal.signal(signal.SIGINT, before)
    assert bench.cloud.things.keys() == {"first"} <= bench.state.keys()

    bench.cloud.during = lambda call, name: None
    bench.up(program)
    assert bench.changes == [("create", "second")]


def test_two_deployments_of_a_stack_at_once_are_refused_naming_the_process(bench: Bench) -> None:
    def up_again(call: str, name: str) -> None:
        if call == "create":
            with pytest.raises(StateError, match=f"stack thing-local is being changed by process {os.getpid()}"):
                Engine(bench.work, {}).up(settings(lambda: None))
            tried.set()

    tried = Event()
    bench.cloud.during = up_again
    bench.up(lambda: Thing("one"))

    assert tried.is_set()


def test_a_deployment_on_damaged_state_touches_nothing(bench: Bench) -> None:
    bench.up(lambda: Thing("one"))
    path = StateStore(bench.work).path("thing-local")
    path.write_text(path.read_text()[:-40])
    damaged = path.read_bytes()

    for run in (bench.plan, bench.up):
        with pytest.raises(StateError, match="cannot be read: it is not JSON"):
            run(lambda: None)
    assert path.read_bytes() == damaged
    assert bench.cloud.calls == []
