"""The feature schema, its light twin, and training sets as of a point in time."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import jsonschema
import pandas as pd  # type: ignore[import-untyped]  # it brings no types
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from functions.employment.features import SCHEMA
from functions.feature_group.core import Shape, classify
from functions.features import Feature, FeatureSchema, Ttl
from functions.point_in_time import athena_sql, join
from functions.rows import Rows

AGE = Feature(name="age", kind="Integral", description="Age", minimum=0, maximum=120)
INCOME = Feature(name="income", kind="Fractional", description="Income", required=False)
PLAN = Feature(name="plan", kind="String", description="Tariff", categories=("a", "b"), labels={"a": "basic"})
NOTE = Feature(name="note", kind="String", description="Free text", required=False)


def schema(**changes: Any) -> FeatureSchema:
    told = {"name": "churn", "record_id": "id", "event_time": "at", "features": (AGE, INCOME, PLAN, NOTE)}
    return FeatureSchema.model_validate({**told, **changes})


def feature(**changes: Any) -> Feature:
    return Feature.model_validate({"name": "f", "kind": "String", "description": "d", **changes})


# --- what AWS would refuse --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 65, "_a", "a_", "a.b", "", "ä", "a\n"])
def test_a_name_that_aws_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        feature(name=name)
    with pytest.raises(ValidationError):
        schema(record_id=name)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"kind": "String", "minimum": 0}, "which has no minimum or maximum: set kind to Fractional"),
        ({"kind": "Fractional", "categories": ("1",)}, "set kind to String or Integral"),
        ({"kind": "Integral", "minimum": 2, "maximum": 1}, "minimum 2 is greater than maximum 1"),
        ({"categories": ("a", "a")}, "categories must differ"),
        ({"categories": ("a", "")}, "none may be empty"),
        ({"kind": "Integral", "categories": ("1", "x")}, "its categories have 'x': set kind to String"),
        ({"categories": ("a",), "labels": {"b": "B"}}, "a label for 'b', which is none of its categories"),
        ({"kind": "Bool"}, "'Integral', 'Fractional' or 'String'"),
        ({"minimun": 0}, "Extra inputs are not permitted"),
        ({"kind": "Fractional", "minimum": math.inf}, "finite"),
    ],
)
def test_a_feature_that_makes_no_sense_is_refused(changes: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        feature(**changes)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"event_time": "write_time"}, "write_time is a column that the offline store adds itself"),
        ({"features": (feature(name="Is_Deleted"),)}, "the offline store adds itself"),
        ({"features": (feature(name="api_invocation_time"),)}, "the offline store adds itself"),
        ({"features": (feature(name="a"), feature(name="A"))}, "A and a are one column in the offline store"),
        ({"features": (feature(name="id"),)}, "id and id are one column"),
        ({"features": tuple(feature(name=f"f{n}") for n in range(2499))}, "AWS takes 2500; split them"),
        ({"features": ()}, "at least 1 item"),
        ({"event_time_kind": "Integral"}, "'String' or 'Fractional'"),
        ({"ttl": {"value": 0, "unit": "Days"}}, "greater than 0"),
        ({"ttl": {"value": 1, "unit": "Months"}}, "'Seconds', 'Minutes', 'Hours', 'Days' or 'Weeks'"),
        ({"version": 0}, "greater than 0"),
    ],
)
def test_a_schema_that_aws_would_refuse_is_refused(changes: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        schema(**changes)
    assert sentence in str(refused.value)


def test_as_many_features_as_aws_takes_are_taken() -> None:
    assert len(schema(features=tuple(feature(name=f"f{n}") for n in range(2498))).definitions) == 2500


@pytest.mark.parametrize(
    "unit, seconds", [("Seconds", 2), ("Minutes", 120), ("Hours", 7200), ("Days", 172_800), ("Weeks", 1_209_600)]
)
def test_a_time_to_live_has_aws_s_units(unit: Any, seconds: int) -> None:
    assert Ttl(value=2, unit=unit).seconds == seconds


# --- one definition, two readers --------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.sampled_from(["", "a", "b", "c", "30", "-1", "121", "1.5", "nan", "inf", "1_0", " 3", "1e2", "+5", str(2**63)]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=5),
)


@given(row=st.fixed_dictionaries({name: TEXTS for name in schema().names}))
def test_the_twin_finds_what_the_schema_finds_and_what_json_schema_does(row: dict[str, str]) -> None:
    told = schema()
    rows = Rows.from_json(told.to_json())
    found = [problem.reason for problem in rows.problems(row)]
    assert found == list(told.problems([row[name] for name in told.names]))
    assert found == [problem for each in told.features if (problem := each.problem(row[each.name]))]

    typed: dict[str, Any] = {name: text for name, text in row.items() if text}
    for name, read in (("age", int), ("income", float)):
        if name in typed and not any(each.startswith(name) for each in found):
            typed[name] = read(typed[name])
    assert (found == []) is jsonschema.Draft202012Validator(told.json_schema()).is_valid(typed)
    assert (found == []) is jsonschema.Draft4Validator(told.json_schema()).is_valid(typed)


def test_a_schema_survives_json() -> None:
    for told in (SCHEMA, schema(ttl=Ttl(value=3, unit="Weeks"), version=2), schema(event_time_kind="Fractional")):
        assert FeatureSchema.from_json(told.to_json()) == told
        rows = Rows.from_json(told.to_json())
        assert (rows.names, rows.ttl_seconds) == (told.names, told.ttl.seconds if told.ttl else None)


@pytest.mark.parametrize("text", ["{}", "[]", "null", "{"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Rows.from_json(text)


def test_each_fault_has_its_kind_and_its_sentence() -> None:
    rows = Rows.from_json(schema().to_json())
    row = {"id": "", "at": "1.1.2026", "age": "121", "income": "much", "plan": "c", "colour": "red"}
    assert [(each.feature, each.fault, each.reason) for each in rows.record_problems(row)] == [
        ("colour", "unknown", "colour is no feature of churn"),
        ("age", "range", "age is 121, which is not within 0 to 120"),
        ("income", "type", "income is 'much', which is no number"),
        ("plan", "category", "plan is 'c', which is none of its categories"),
        ("id", "missing", "id is missing"),
        ("at", "type", "at is '1.1.2026', which is no time such as 2026-01-31T12:00:00Z or 2026-01-31T12:00:00.000Z"),
    ]
    assert rows.record_problems({"id": "1", "at": "2026-01-31T12:00:00.250Z", "age": "1", "plan": "a"}) == []


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("2026-01-31T12:00:00Z", "String", datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()),
        ("2026-01-31T12:00:00.500Z", "String", datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() + 0.5),
        ("1769860800.5", "Fractional", 1769860800.5),
        ("2026-01-31T12:00:00", "String", None),
        ("2026-01-31T12:00:00+01:00", "String", None),
        ("2026-02-30T12:00:00Z", "String", None),
        ("2026-01-31", "String", None),
        ("now", "Fractional", None),
        ("1e99", "Fractional", None),
        ("nan", "Fractional", None),
        ("", "String", None),
    ],
)
def test_an_event_time_is_one_that_feature_store_takes(text: str, kind: Any, value: float | None) -> None:
    rows = Rows.from_json(schema(event_time_kind=kind).to_json())
    if value is not None:
        assert rows.seconds(text) == value
    else:
        with pytest.raises(ValueError):
            rows.seconds(text)


def test_codes_have_meanings_where_groups_of_people_are_compared() -> None:
    labels = {each.name: each.labels for each in SCHEMA.features}
    assert labels["SEX"] == {"1": "male", "2": "female"}
    assert labels["RAC1P"].keys() == {str(code) for code in range(1, 10)}


# --- changes ----------------------------------------------------------------------------------------------------------

KINDS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["Integral", "Fractional", "String"]), min_size=1)
TTLS = st.sampled_from([None, {"Unit": "Days", "Value": 1}, {"Unit": "Days", "Value": 2}])


@given(old=KINDS, new=KINDS, old_ttl=TTLS, new_ttl=TTLS)
def test_a_change_is_breaking_or_its_calls_make_the_one_of_the_other(
    old: dict[str, str], new: dict[str, str], old_ttl: Any, new_ttl: Any
) -> None:
    before, after = Shape("id", "at", old, old_ttl), Shape("id", "at", new, new_ttl)
    changes = classify(before, after)
    kept = all(new.get(name) == kind for name, kind in old.items()) and not (old_ttl and not new_ttl)
    assert bool(changes.breaking) is not kept
    if kept:
        kinds, ttl = dict(old), old_ttl
        for call in changes.calls():
            assert len(call) == 1
            kinds |= {each["FeatureName"]: each["FeatureType"] for each in call.get("FeatureAdditions", [])}
            ttl = call.get("OnlineStoreConfig", {}).get("TtlDuration", ttl)
        assert (kinds, ttl) == (new, new_ttl)


# --- point in time ----------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def moment(second: float, kind: str) -> str:
    if kind == "Fractional":
        return str(START + second)
    form = "milliseconds" if second % 1 else "seconds"
    return datetime.fromtimestamp(START + second, UTC).isoformat(timespec=form).replace("+00:00", "Z")


def naive(labels: pd.DataFrame, records: pd.DataFrame, told: FeatureSchema) -> list[Any]:
    """The join, one label and one record after the other."""
    rows = Rows.from_json(told.to_json())
    result = []
    for label in labels.itertuples():
        newest: Any = None
        for record in records.itertuples():
            since = rows.seconds(record.at)
            if record.id != label.id or since > rows.seconds(label.label_time):
                continue
            if newest is None or (since, record.write_time) >= (rows.seconds(newest.at), newest.write_time):
                newest = record
        expired = newest is not None and (
            rows.ttl_seconds is not None
            and rows.seconds(label.label_time) >= rows.seconds(newest.at) + rows.ttl_seconds
        )
        gone = newest is None or newest.is_deleted or expired
        result.append((None, None) if gone else (newest.at, newest.age))
    return result


def plain(table: pd.DataFrame) -> list[Any]:
    return [tuple(None if pd.isna(each) else each for each in pair) for pair in table[["at", "age"]].to_numpy()]


SECONDS = st.integers(0, 8).map(lambda half: half / 2)


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["String", "Fractional"]),
    ttl=st.sampled_from([None, 1, 2]),
    asked=st.lists(st.tuples(st.sampled_from("xy"), SECONDS), min_size=1, max_size=8),
    written=st.lists(st.tuples(st.sampled_from("xyz"), SECONDS, st.booleans()), min_size=1, max_size=12),
    data=st.data(),
)
def test_pandas_athena_and_a_naive_join_agree(kind: Any, ttl: int | None, asked: Any, written: Any, data: Any) -> None:
    told = schema(event_time_kind=kind, features=(AGE,), ttl=Ttl(value=ttl, unit="Seconds") if ttl else None)
    order = data.draw(st.permutations(range(len(written))))
    labels = pd.DataFrame(
        [{"id": who, "label_time": moment(at, kind), "label": number} for number, (who, at) in enumerate(asked)],
        index=range(100, 100 + len(asked)),
    )
    records = pd.DataFrame(
        [
            # Written in another order than that of the events.
            {
                "id": who,
                "at": moment(at, kind),
                "age": n,
                "write_time": pd.Timestamp(order[n], unit="s"),
                "is_deleted": d,
            }
            for n, (who, at, d) in enumerate(written)
        ]
    )
    joined = join(labels, records, told)
    assert list(joined.columns) == ["id", "label_time", "label", "at", "age"]
    assert joined[["id", "label_time", "label"]].equals(labels)
    expected = naive(labels, records, told)
    assert plain(joined) == expected

    with duckdb.connect() as athena:
        # Two functions that Athena has and DuckDB calls otherwise.
        athena.execute("CREATE MACRO date_parse(a, b) AS strptime(a, '%Y-%m-%dT%H:%M:%S')")
        athena.execute("CREATE MACRO to_unixtime(a) AS epoch(a)")
        athena.register("records", records)
        athena.register("labels", labels)
        answered = athena.execute(athena_sql(told, "records", "labels")).df().sort_values("label")
    assert list(answered.columns) == ["id", "label_time", "label", "at", "age"]
    assert plain(answered) == expected


def test_a_deleted_record_is_not_known_until_it_is_written_anew() -> None:
    records = pd.DataFrame(
        [
            {"id": "1", "at": moment(0, "String"), "age": 30, "write_time": pd.Timestamp(1), "is_deleted": False},
            {"id": "1", "at": moment(2, "String"), "age": None, "write_time": pd.Timestamp(2), "is_deleted": True},
            {"id": "1", "at": moment(4, "String"), "age": 31, "write_time": pd.Timestamp(3), "is_deleted": False},
        ]
    )
    labels = pd.DataFrame([{"id": "1", "label_time": moment(second, "String"), "label": 1} for second in range(6)])
    joined = join(labels, records, schema(features=(AGE,)))
    assert [age for _, age in plain(joined)] == [30, 30, None, None, 31, 31]


def test_labels_may_not_bring_features() -> None:
    labels = pd.DataFrame([{"id": "1", "label_time": moment(0, "String"), "age": 1}])
    with pytest.raises(ValueError, match="labels have the columns age, which are the features' own"):
        join(labels, pd.DataFrame(), schema(features=(AGE,)))


def test_what_a_query_names_is_quoted() -> None:
    told = schema(features=(feature(name="group"),))
    assert '"group"' in athena_sql(told, '"db"."t"', '"db"."l"')
    assert json.loads(told.to_json())["features"][0]["name"] == "group"
