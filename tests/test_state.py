import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.rehearsal import state as state_module
from infra.rehearsal.properties import covers, keeping, opened, parse_path, secret, with_secrets_of
from infra.rehearsal.state import Cipher, Pending, Record, State, StateError, StateStore

STACK = "thing-local"
PREFIX = f"urn:pulumi:{STACK}::slipway::"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateStore:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setattr(state_module, "PBKDF2_ROUNDS", 1000)
    return StateStore(tmp_path)


def record(name: str, **fields: Any) -> Record:
    return Record(urn=f"{PREFIX}cloud:index:Thing::{name}", type="cloud:index:Thing", custom=True, id=name, **fields)


def put(store: StateStore, *records: Record) -> None:
    with store.open(STACK) as state:
        for each in records:
            state.put(each)


def journal(store: StateStore) -> Path:
    return store.path(STACK).with_suffix(".journal.jsonl")


def killed(store: StateStore, *records: Record) -> None:
    """What a deployment leaves behind that is killed after it has put `records`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_module._Journalled, "fold", lambda state: None)
        put(store, *records)


def test_what_is_put_is_there_for_the_next_run(store: StateStore) -> None:
    full = record(
        "full",
        inputs={"a": [1, 2.5, None, {"b": True}], "hush": secret({"deep": "word"})},
        outputs={"c": "d"},
        parent=PREFIX + "x",
        provider=f"{PREFIX}pulumi:providers:cloud::p::id",
        protect=True,
        retain_on_delete=True,
        deleted_with=PREFIX + "y",
        dependencies=(PREFIX + "z",),
        property_dependencies={"a": (PREFIX + "z",)},
        additional_secret_outputs=("c",),
        ignore_changes=("a",),
        replace_on_changes=("*",),
        custom_timeouts={"create": 90.0},
    )
    put(store, full, record("plain"))

    assert store.load(STACK).resources == {each.urn: each for each in (full, record("plain"))}
    assert store.stacks() == [STACK]


def test_the_snapshot_is_pulumis_deployment_format(store: StateStore) -> None:
    put(store, record("b", dependencies=(record("a").urn,), custom_timeouts={"create": 2.0}), record("a"))
    document = json.loads(store.path(STACK).read_text())

    assert document["version"] == 3
    deployment = document["deployment"]
    assert deployment["manifest"].keys() == {"time", "magic", "version"}
    assert deployment["secrets_providers"]["type"] == "passphrase"
    assert deployment["secrets_providers"]["state"]["salt"].startswith("v1:")
    # Pulumi refuses a snapshot in which a resource stands before one that it depends on.
    assert deployment["resources"] == [
        {"urn": record("a").urn, "custom": True, "type": "cloud:index:Thing", "id": "a"},
        {
            "urn": record("b").urn,
            "custom": True,
            "type": "cloud:index:Thing",
            "id": "b",
            "dependencies": [record("a").urn],
            "customTimeouts": {"create": 2_000_000_000},
        },
    ]
    assert store.export(STACK)["deployment"]["resources"] == deployment["resources"]


def test_a_state_that_pulumi_wrote_is_understood(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "PBKDF2_ROUNDS", 1_000_000)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "password")
    # The salt is one of Pulumi's own tests, pkg/secrets/passphrase/manager_test.go.
    salt = "v1:fozI5u6B030=:v1:F+6ZduKKd8G0/V7L:PGMFeIzwobWRKmEAzUdaQHqC5mMRIQ=="
    ciphertext = Cipher(lambda: "password", salt).encrypt('"sesame"')
    written = {
        "urn": record("x").urn,
        "custom": True,
        "id": "x",
        "type": "cloud:index:Thing",
        "outputs": {
            "word": {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": ciphertext}
        },
        "created": "2026-01-01T00:00:00Z",
        "propertyDependencies": {"a": None},
        "sequenceNumber": 1,
    }
    deployment = {"secrets_providers": {"type": "passphrase", "state": {"salt": salt}}, "resources": [written]}
    store.path(STACK).parent.mkdir()
    store.path(STACK).write_text(json.dumps({"version": 3, "deployment": deployment}))

    found = store.load(STACK).resources[record("x").urn]
    assert opened(found.outputs) == {"word": "sesame"}
    put(store, record("y"))
    assert json.loads(store.path(STACK).read_text())["deployment"]["secrets_providers"]["state"]["salt"] == salt


def test_a_journal_is_replayed(store: StateStore) -> None:
    put(store, record("a"))
    killed(store, record("b", inputs={"word": secret("sesame")}), replace(record("a"), id="other"))
    assert journal(store).exists() and "sesame" not in journal(store).read_text()

    found = store.load(STACK).resources
    assert opened(found[record("b").urn].inputs) == {"word": "sesame"}
    assert found[record("a").urn].id == "other"
    assert journal(store).exists()
    put(store)
    assert not journal(store).exists()
    assert store.load(STACK).resources == found


def test_a_half_written_last_line_counts_for_nothing(store: StateStore) -> None:
    killed(store, record("a"), record("b"))
    journal(store).write_bytes(journal(store).read_bytes()[:-7])

    assert store.load(STACK).resources.keys() == {record("a").urn}


def test_a_journal_damaged_in_the_middle_is_an_error(store: StateStore) -> None:
    killed(store, record("a"), record("b"))
    lines = journal(store).read_bytes().splitlines(keepends=True)
    journal(store).write_bytes(b"".join([lines[0], lines[1][:-9] + b"\n", lines[2]]))
    before = journal(store).read_bytes()

    with pytest.raises(StateError, match=r"journal\.jsonl is damaged"):
        put(store)
    assert journal(store).read_bytes() == before


def test_a_journal_whose_end_was_not_reached_after_the_snapshot_is_not_replayed_twice(store: StateStore) -> None:
    put(store, record("a"))
    with store.open(STACK) as state:
        state.put(replace(record("a"), id="second"), retire=True)
        left_behind = journal(store).read_bytes()
    journal(store).write_bytes(left_behind)

    found = store.load(STACK)
    assert [each.id for each in found.retired] == ["a"]
    assert found.resources[record("a").urn].id == "second"


def test_a_journal_beside_another_snapshot_is_an_error(store: StateStore) -> None:
    put(store, record("a"))
    killed(store, record("b"))
    store.path(STACK).unlink()

    with pytest.raises(StateError, match=r"goes on from another thing-local\.json than the one beside it"):
        store.load(STACK)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "it is not JSON"),
        ('{"version": 3, "deploy', "it is not JSON"),
        ("[]", "it is not Pulumi's deployment format"),
        ('{"version": 2, "deployment": {}}', "it is of version 2, not 3"),
        ('{"version": 3, "deployment": {"resources": [{"type": "x"}]}}', "it is not Pulumi's deployment format: .*'"),
        ('{"version": 3, "deployment": {"secrets_providers": {"type": "service"}}}', "secrets are kept by 'service'"),
    ],
)
def test_a_damaged_snapshot_is_an_error_and_stays_as_it_is(content: str, words: str, store: StateStore) -> None:
    path = store.path(STACK)
    path.parent.mkdir()
    path.write_text(content)

    with pytest.raises(StateError, match=f"{STACK}.json cannot be read: .*{words}"):
        put(store, record("a"))
    assert path.read_text() == content


def test_secrets_need_the_passphrase(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, record("a", inputs={"word": secret("sesame")}))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "another")

    with pytest.raises(StateError, match=r"the passphrase is not the one .* set PULUMI_CONFIG_PASSPHRASE"):
        store.load(STACK)


def test_the_passphrase_made_for_us_is_ours_alone(store: StateStore, tmp_path: Path) -> None:
    put(store, record("a"))

    assert stat.S_IMODE((tmp_path / "passphrase").stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path(STACK).stat().st_mode) == 0o600
    assert len((tmp_path / "passphrase").read_text()) >= 32


def test_a_secret_that_stays_the_same_is_written_the_same(store: StateStore) -> None:
    put(store, record("a", inputs={"word": secret("sesame")}))
    before = json.loads(store.path(STACK).read_text())["deployment"]["resources"]
    put(store, record("b"))

    assert json.loads(store.path(STACK).read_text())["deployment"]["resources"][0] == before[0]


def test_a_stack_is_open_once_at_a_time(store: StateStore) -> None:
    with (
        store.open(STACK),
        pytest.raises(StateError, match=f"is being changed by process {os.getpid()}: wait"),
        store.open(STACK),
    ):
        pass
    with store.open("another-local"), store.open(STACK):
        pass


def test_entries_from_many_threads_are_all_kept(store: StateStore) -> None:
    with store.open(STACK) as state:
        threads = [threading.Thread(target=state.put, args=(record(f"t{n}"),)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = journal(store).read_text().splitlines()

    assert [json.loads(line).get("entry", "header") for line in lines] == ["header"] + ["put"] * 24
    assert len(store.load(STACK).resources) == 24


def test_a_stack_without_resources_leaves_no_files(store: StateStore) -> None:
    put(store, record("a"))
    with store.open(STACK) as state:
        state.drop(record("a"))

    assert store.stacks() == []
    assert store.load(STACK).outputs() is None


def test_an_operation_stays_pending_until_it_is_settled(store: StateStore) -> None:
    making = Pending("creating", record("a", inputs={"word": secret("sesame")}), "token", replaces=True)
    changing = Pending("updating", record("b"))
    with store.open(STACK) as state:
        state.begin(making)
        state.begin(changing)
        state.fail(making.record.urn)
        state.see(record("b"))

    found = store.load(STACK).pending
    assert found == {making.record.urn: replace(making, failed=True), changing.record.urn: changing}
    operations = json.loads(store.path(STACK).read_text())["deployment"]["pending_operations"]
    assert [operation["type"] for operation in operations] == ["creating", "updating"]
    put(store, record("a"), record("b"))
    assert store.load(STACK).pending == {}


def test_a_renamed_resource_is_renamed_wherever_it_is_named() -> None:
    old, new = record("old").urn, record("new").urn
    state = State()
    state.put(record("old"))
    state.put(
        record(
            "user",
            parent=old,
            deleted_with=old,
            provider=f"{old}::id",
            dependencies=(old,),
            property_dependencies={"a": (old,)},
        )
    )
    state.rename(old, new)

    assert state.resources.keys() == {new, record("user").urn}
    assert state.resources[record("user").urn].needs() == {new}


def test_resources_are_ordered_by_need_and_else_as_they_were_made() -> None:
    state = State()
    state.put(record("c", dependencies=(record("b").urn,)))
    state.put(record("x"))
    state.put(record("b", parent=record("a").urn))
    state.put(record("a"))

    assert [each.name for each in state.ordered()] == ["a", "b", "c", "x"]


def test_a_long_chain_is_ordered() -> None:
    state = State()
    for n in range(3000, 0, -1):
        state.put(record(f"t{n}", dependencies=(record(f"t{n - 1}").urn,)))

    assert [each.name for each in state.ordered()] == [f"t{n}" for n in range(1, 3001)]


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ('a["b.c"].d', ("a", "b.c", "d")),
        ("a[*].b", ("a", "*", "b")),
        ("*", ("*",)),
    ],
)
def test_a_property_path_is_read_as_pulumi_writes_it(path: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(path) == steps


def test_what_is_no_property_path_is_refused() -> None:
    with pytest.raises(ValueError, match="is no property path; write it as"):
        parse_path("a[")


def test_a_path_covers_what_is_below_and_above_it() -> None:
    assert covers(parse_path("a.b"), parse_path("a.b.c"))
    assert covers(parse_path("a.b"), parse_path("a"))
    assert covers(parse_path("a[*].c"), parse_path("a[3].c"))
    assert covers(parse_path("*"), parse_path("x.y"))
    assert not covers(parse_path("a.b"), parse_path("a.c"))


@pytest.mark.parametrize(
    ("path", "new", "old", "kept"),
    [
        ("a", {"a": 1, "b": 2}, {"a": 9}, {"a": 9, "b": 2}),
        ("a", {"a": 1}, {}, {}),
        ("a", {}, {"a": 9}, {"a": 9}),
        ("a.b", {"a": {"b": 1, "c": 2}}, {"a": {"b": 9, "c": 8}}, {"a": {"b": 9, "c": 2}}),
        ("a.b", {}, {"a": {"b": 9}}, {}),
        ("a.b", {"a": {"b": 1}}, {}, {"a": {}}),
        ("a[1]", {"a": [1, 2]}, {"a": [8, 9]}, {"a": [1, 9]}),
        ("a[5]", {"a": [1, 2]}, {"a": [8, 9]}, {"a": [1, 2]}),
        ("a[*].b", {"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 9}]}, {"a": [{"b": 9}, {"b": 2}]}),
        ("*", {"a": 1, "b": 2}, {"a": 9}, {"a": 9}),
        ("a.b", {"a": secret({"b": 1, "c": 2})}, {"a": {"b": 9}}, {"a": secret({"b": 9, "c": 2})}),
    ],
)
def test_ignored_changes_are_kept_as_they_were(path: str, new: Any, old: Any, kept: Any) -> None:
    assert keeping(new, old, [path]) == kept


def test_secrecy_is_carried_to_what_a_provider_answers() -> None:
    declared = {"a": secret("x"), "b": {"c": secret(1), "d": 2}, "e": [secret("y")], "f": secret("gone")}
    answered = {"a": "x", "b": {"c": 1, "d": 2}, "e": ["y"], "g": "plain"}

    marked = with_secrets_of(answered, declared)
    assert marked == {"a": secret("x"), "b": {"c": secret(1), "d": 2}, "e": secret(["y"]), "g": "plain"}
    assert opened(marked) == answered
