"""Reading data capture: every form of it gives the same profile, with every set of tools, and nothing raises."""

import base64
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.monitoring import capture
from functions.monitoring import lines as capture_lines
from functions.monitoring.capture import TIERS, profile, records
from functions.monitoring.payloads import alike_rows, json_rows
from functions.monitoring.sketch import MOST_EXAMPLES, Column, Profile, Schema
from infra.rehearsal.emulator.capture import Exchange, record

NAMES = ["age", "code", "size"]
SCHEMA = Schema(
    (
        Column("age", "number", centre=40.0),
        Column("code", "category", categories=frozenset({"1", "2"})),
        Column("size", "number"),
    ),
    (Column("probability", "number"),),
)
ROWS = [[46, "2", 1.5], [30, "1", 0.25], [61, "2", None]]
ANSWERS = [0.5, 0.25, 0.75]
TIME = "2026-01-02T03:04:05Z"


def side(data, encoding):
    if encoding == "BASE64":
        data = base64.b64encode(data.encode()).decode()
    return {"observedContentType": "text/html", "mode": "INPUT", "data": data, "encoding": encoding}


def line(given=None, answered=None, event="e1", **about):
    captured = {"endpointInput": given, "endpointOutput": answered}
    return json.dumps(
        {
            "captureData": {name: each for name, each in captured.items() if each},
            "eventMetadata": {"eventId": event, "inferenceTime": TIME, **about},
            "eventVersion": "0",
        }
    )


def csv_of(rows):
    return "".join(",".join("" if value is None else str(value) for value in row) + "\n" for row in rows)


def read(*lines, tier=None, schema=SCHEMA):
    return profile(schema, ["".join(f"{each}\n" for each in lines).encode()], tier=tier)


def counted(found):
    """What the columns hold, and how many rows there are."""
    return found.columns, found.outputs, found.rows, found.answers, found.malformed


@pytest.fixture(params=TIERS)
def tier(request):
    return request.param


PLAIN = read(line(side(csv_of(ROWS), "CSV"), side(csv_of([[each] for each in ANSWERS]), "CSV")))


def test_a_row_is_counted_in_each_of_its_columns():
    assert (PLAIN.requests, PLAIN.rows, PLAIN.answers, PLAIN.malformed) == (1, 3, 3, 0)
    assert PLAIN.columns["age"].ordered() == [(30.0, 1), (46.0, 1), (61.0, 1)]
    assert PLAIN.columns["code"].values == {"1": 1, "2": 2}
    assert PLAIN.columns["size"].ordered() == [(0.25, 1), (1.5, 1)]
    assert (PLAIN.columns["size"].missing, PLAIN.columns["size"].minimum) == (1, 0.25)
    assert PLAIN.outputs["probability"].ordered() == [(0.25, 1), (0.5, 1), (0.75, 1)]
    assert (PLAIN.earliest, PLAIN.latest) == (TIME, TIME)


BY_NAME = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
FORMS = {
    "rows by name": {"instances": BY_NAME},
    "a list of rows by name": BY_NAME,
    "rows of values": {"instances": ROWS},
    "a list of rows of values": ROWS,
    "rows under features": {"instances": [{"features": row} for row in ROWS]},
    "columns": {name: [row[place] for row in ROWS] for place, name in enumerate(NAMES)},
    "MLflow's records": {"dataframe_records": BY_NAME},
}


@pytest.mark.parametrize("encoding", ["JSON", "BASE64"])
@pytest.mark.parametrize("payload", FORMS.values(), ids=FORMS)
def test_every_form_of_json_counts_alike(payload, encoding, tier):
    answered = side(json.dumps({"predictions": ANSWERS, "model": "3"}), "JSON")
    assert counted(read(line(side(json.dumps(payload), encoding), answered), tier=tier)) == counted(PLAIN)


ANSWER_FORMS = {
    "numbers": ANSWERS,
    "rows": [[each] for each in ANSWERS],
    "by another name": {"predictions": [{"score": each} for each in ANSWERS]},
    "by name": [{"probability": each, "label": 1} for each in ANSWERS],
    "a column": {"probability": ANSWERS},
}


@pytest.mark.parametrize("payload", ANSWER_FORMS.values(), ids=ANSWER_FORMS)
def test_every_form_of_answer_counts_alike(payload, tier):
    found = read(line(side(csv_of(ROWS), "CSV"), side(json.dumps(payload), "BASE64")), tier=tier)
    assert counted(found) == counted(PLAIN)


CSV_FORMS = {
    "plain": csv_of(ROWS),
    "base64": csv_of(ROWS),
    "without the last newline": csv_of(ROWS).rstrip("\n"),
    "Windows' newlines": csv_of(ROWS).replace("\n", "\r\n"),
    "an empty line": csv_of(ROWS).replace("\n", "\n\n"),
    "quoted": '46,"2",1.5\n30,"1","0.25"\n61,"2",\n',
    "codes as floats": csv_of(ROWS).replace(",2,", ",2.0,"),
    "words for missing": "46,2,1.5\n30,1,.25\n61,2,NaN\n",
    "spaces": "46, 2, 1.5\n30 ,1 ,0.25\n61,2, null\n",
}


@pytest.mark.parametrize("form", CSV_FORMS)
def test_every_form_of_csv_counts_alike(form, tier):
    given = side(CSV_FORMS[form], "BASE64" if form == "base64" else "CSV")
    found = read(line(given, side("0.5,0.25,0.75\n", "CSV")), tier=tier)
    assert counted(found) == counted(PLAIN)


def test_records_apart_count_as_one_record_of_all_their_rows(tier):
    apart = [
        line(side(csv_of([row]), "CSV"), side(str(answer), "CSV")) for row, answer in zip(ROWS, ANSWERS, strict=True)
    ]
    for lines in (apart, ["".join(apart)], [" ".join(apart)], [f"{apart[0]}\n\n\r\n{apart[1]}", apart[2]]):
        found = read(*lines, tier=tier)
        assert counted(found) == counted(PLAIN)
        assert found.requests == 3


def test_what_the_emulator_captures_is_read(tier):
    config = {
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
    }
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    answer = json.dumps({"predictions": ANSWERS}).encode()
    asked = Exchange(csv_of(ROWS).encode(), "text/csv; charset=utf-8", answer, "application/json", "order-7", at)
    found = read(json.dumps(record(asked, config)), tier=tier)
    assert counted(found) == counted(PLAIN)
    assert found.earliest == TIME


def test_either_side_may_be_absent(tier):
    found = read(line(side(csv_of(ROWS), "CSV")), line(answered=side("0.5", "CSV")), line(), tier=tier)
    assert (found.requests, found.rows, found.answers, found.malformed) == (3, 3, 1, 0)


def test_columns_that_are_missing_or_new_are_counted_by_name(tier):
    rows = [{"age": 1, "code": "1", "size": 1, "height": 2}, {"age": 1, "code": "1"}, {"age": 1, "code": "1", "s": 1}]
    found = read(line(side(json.dumps({"instances": rows}), "JSON")), tier=tier)
    assert (found.extra, found.absent) == ({"height": 1, "s": 1}, {"size": 2})
    assert (found.rows, found.columns["size"].missing, found.malformed) == (3, 2, 0)


@pytest.mark.parametrize("encoding", ["CSV", "JSON"])
def test_a_row_with_too_few_or_too_many_values_is_malformed(encoding, tier):
    rows = ["1,1,1", "1,1", "1,1,1,1", "1"]
    data = "\n".join(rows) if encoding == "CSV" else json.dumps([json.loads(f"[{row}]") for row in rows])
    found = read(line(side(data, encoding)), tier=tier)
    assert (found.rows, found.malformed, found.widths) == (1, 3, {1: 1, 2: 1, 4: 1})
    assert sorted(found.examples) == ["1", "1,1", "1,1,1,1"]


@pytest.mark.parametrize("texts", [("forty", "x"), ("true", "false"), ("[1", "2]"), ("{}", "1e"), ('""4""', "1,2")])
def test_texts_where_numbers_are_due_are_kept_as_texts(texts, tier):
    given = "".join(f'"{text}",1,1\n' if '"' in text or "," in text else f"{text},1,1\n" for text in texts)
    found = read(line(side("46,1,1\n" + given, "CSV")), tier=tier)
    assert found.columns["age"].strange == {text.replace('""', '"'): 1 for text in texts}
    assert found.columns["age"].ordered() == [(46.0, 1)]


def test_values_of_json_that_are_no_numbers_are_told_apart(tier):
    rows = [["46", 1, True], ["x", 2.0, "0.5"], [None, "2", "inf"], [[1], {"a": 1}, 1e-400], [10**400, 10**25, "-0"]]
    found = read(line(side(json.dumps(rows), "JSON")), tier=tier)
    age, code, size = (found.columns[name] for name in NAMES)
    assert (age.ordered(), age.strange, age.missing, age.infinite) == ([(46.0, 1)], {"x": 1, "(list)": 1}, 1, 1)
    assert code.values == {"1": 1, "2": 2, "(object)": 1, "1e+25": 1}
    assert (size.ordered(), size.infinite) == ([(0.0, 2), (0.5, 1), (1.0, 1)], 1)


def test_not_a_number_and_infinities_are_counted_apart(tier):
    found = read(line(side("NaN,1,inf\nnan,1,-Infinity\n1e999,1,1e39\n", "CSV")), tier=tier)
    assert (found.columns["age"].missing, found.columns["age"].infinite) == (2, 1)
    assert (found.columns["size"].infinite, found.columns["size"].minimum) == (3, None)


GOOD = line(side("46,1,1\n", "CSV"), event="good")
MALFORMED = {
    "no JSON": "captured",
    "truncated": GOOD[:-40],
    "a list": "[]",
    "no captureData": '{"eventMetadata": {"eventId": "e"}}',
    "captureData is a text": '{"captureData": "x"}',
    "a side is a text": '{"captureData": {"endpointInput": "x"}}',
    "no data": '{"captureData": {"endpointInput": {"encoding": "CSV"}}}',
    "data is a number": '{"captureData": {"endpointInput": {"encoding": "CSV", "data": 1}}}',
    "encoding is a list": '{"captureData": {"endpointInput": {"encoding": [], "data": ""}}}',
    "an unknown encoding": line(side("1,1,1", "XML")),
    "no base64": line({"encoding": "BASE64", "data": "?"}),
    "base64 of no text": line({"encoding": "BASE64", "data": base64.b64encode(b"\xff").decode()}),
    "JSON that is none": line(side('{"instances": [', "JSON")),
    "JSON that is empty": line(side("", "JSON")),
    "JSON that is a number": line(side("1", "JSON")),
    "rows that are none": line(side('{"instances": [[1, 1, 1], 5]}', "JSON")),
    "deeply nested": line(side("[" * 100_000, "JSON")),
    "one good record, one bad": GOOD + '{"captureData"',
}


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_counted_and_kept_aside(bad, tier):
    found = read(GOOD, bad, GOOD, tier=tier)
    assert (found.rows, found.malformed, len(found.examples)) == (2, 1, 1)


def test_a_truncated_last_line_is_malformed(tier):
    found = profile(SCHEMA, [f"{GOOD}\n{GOOD[:-1]}".encode()], tier=tier)
    assert (found.rows, found.malformed, found.examples) == (1, 1, [GOOD[:-1][:300]])


def test_bytes_that_are_no_text_are_malformed(tier):
    found = profile(SCHEMA, [GOOD.encode() + b"\n\xff\xfe\n" + GOOD.encode()], tier=tier)
    assert (found.rows, found.malformed, found.examples) == (2, 1, [r"\xff\xfe"])


def test_few_of_many_malformed_lines_are_kept(tier):
    assert len(read(*(f"bad {number}" for number in range(1000)), tier=tier).examples) == MOST_EXAMPLES


def test_an_event_that_came_before_is_counted(tier):
    found = read(GOOD, line(side("46,1,1\n", "CSV"), event="other"), GOOD, tier=tier)
    assert (found.requests, found.rows, found.duplicates) == (3, 3, 1)


ODD = st.text(max_size=4) | st.sampled_from(
    ["", "nan", "null", "true", "[1", "2]", "-0", "1_0", '"', "\\", "é", "\ud800"]
)
VALUE = st.one_of(ODD, st.floats(), st.integers(), st.none(), st.booleans(), st.lists(st.integers(), max_size=2))
CLEAN = st.tuples(st.floats(allow_nan=False), st.sampled_from("12x"), st.integers(-1000, 1000)).map(list)
ROW = CLEAN | st.lists(VALUE, min_size=3, max_size=3) | st.lists(VALUE, max_size=4)
NAMED = st.dictionaries(st.sampled_from([*NAMES, "more"]), VALUE)
JSON = st.one_of(
    st.lists(ROW, max_size=4),
    st.fixed_dictionaries({"instances": st.lists(ROW | NAMED, max_size=4)}),
    NAMED,
    st.lists(VALUE, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), st.lists(VALUE, max_size=3)),
    VALUE,
)
DATA = st.one_of(
    st.tuples(st.lists(ROW, max_size=4).map(csv_of), st.just("CSV")),
    st.tuples(st.lists(CLEAN, max_size=4).map(csv_of), st.sampled_from(["CSV", "CSV", "BASE64"])),
    st.tuples(JSON.map(json.dumps), st.sampled_from(["JSON", "CSV"])),
    st.tuples(st.text(max_size=10), st.sampled_from(["CSV", "JSON", "XML"])),
    st.tuples(st.lists(CLEAN, max_size=3).map(json.dumps), st.just("BASE64")),
)
SIDE = st.none() | DATA.map(lambda data: side(*data))
RECORD = st.builds(
    line, SIDE, SIDE, st.sampled_from(["e1", "e2", "é"]) | st.none(), inferenceId=st.none() | st.just("i")
)
LINE = st.one_of(
    RECORD.map(str.encode),
    RECORD.map(lambda text: text.replace(" ", "").encode()),
    RECORD.map(lambda text: json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.tuples(RECORD, st.integers(0, 400)).map(lambda cut: cut[0][: cut[1]].encode()),
    st.tuples(RECORD, RECORD).map(lambda two: "".join(two).encode()),
    st.binary(max_size=20),
)


@given(st.lists(LINE, max_size=8), st.integers(1, 3000), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_every_set_of_tools_reads_anything_to_the_same_bits_in_any_order_and_blocks(lines, size, order):
    together = b"\n".join(lines)
    whole = profile(SCHEMA, [together], tier="standard library").to_bytes()
    for tier in TIERS:
        assert profile(SCHEMA, [together], tier=tier).to_bytes() == whole
    shuffled = b"\n".join(order.sample(lines, len(lines)))
    blocks = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "BLOCK_BYTES", size)
        assert profile(SCHEMA, blocks, tier=order.choice([*TIERS])).to_bytes() == whole
    apart = Profile.empty(SCHEMA)
    for each in lines:
        apart = apart.merge(profile(SCHEMA, [each]))
    assert apart.to_bytes() == whole


PIECE = st.sampled_from(
    [*'[]{}",:x1', "\\", "\n", "]]", "[[", "}{", "},{", '{"age": 1', '"}', "]}", "\x7fnext"],
)


def payload(form, rows):
    """Rows as JSON, as clients have it."""
    named = [dict(zip(NAMES, row, strict=True)) for row in rows]
    forms = {"rows": rows, "named": named, "row": rows[0], "object": named[0], "instances": {"instances": named}}
    return json.dumps(forms.get(form, {"instances": rows}))


@given(
    st.sampled_from(["rows", "named", "row", "object", "instances", "rows of instances"]),
    st.lists(st.lists(CLEAN | ROW.filter(lambda row: len(row) == 3), min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-60, 60), st.integers(0, 2), PIECE | st.just("")), max_size=3),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_lines_and_payloads_that_look_alike_are_read_together_as_they_are_apart(form, requests, cuts, dense):
    texts = [payload(form, rows) for rows in requests]
    for which, at, length, piece in cuts:  # breaks some of them, often so that their neighbours seem to mend them
        text = texts[which % len(texts)]
        at = max(0, min(len(text), at if at >= 0 else len(text) + at))
        texts[which % len(texts)] = text[:at] + piece + text[at + length :]
    lines = [line(side(text, "JSON"), side("0.5\n", "CSV")) for text in texts]
    lines = [each.replace(": ", ":") if dense else each for each in lines]
    for tier in TIERS:
        found = read(*lines, tier=tier).to_bytes()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(capture, "alike_rows", lambda *_: None)
            patch.setattr(capture_lines._Shape, "_apart", lambda *_: None)
            assert read(*lines, tier=tier).to_bytes() == found


@pytest.mark.parametrize("form", ["rows", "named", "row", "object", "instances", "rows of instances"])
def test_payloads_that_look_alike_are_read_at_once(form):
    texts = [payload(form, [row]) for row in ROWS]
    wanted = [row for text in texts for row in json_rows(json.loads(text), NAMES)]
    assert alike_rows(texts, NAMES, json.loads) == wanted
    assert alike_rows([*texts, "x"], NAMES, json.loads) is None


@given(RECORD, st.lists(st.tuples(st.integers(0, 500), st.integers(0, 2), PIECE | st.just("")), max_size=3))
@settings(max_examples=100, deadline=None)
def test_lines_of_one_shape_are_taken_apart_as_their_pattern_does(text, cuts):
    lines = [text, text, text]
    for at, length, piece in cuts:
        lines[at % 3] = lines[at % 3][:at] + piece + lines[at % 3][at + length :]
    found = read(*lines, tier="standard library").to_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture_lines._Shape, "_apart", lambda *_: None)
        assert read(*lines, tier="standard library").to_bytes() == found
        patch.setattr(capture_lines, "MOST_SHAPES", 0)
        assert read(*lines, tier="standard library").to_bytes() == found


@given(st.lists(CLEAN, min_size=1, max_size=60), st.sampled_from([1, 7, 60]))
@settings(max_examples=40, deadline=None)
def test_clean_rows_count_to_the_same_bits_as_csv_and_as_json(rows, together):
    parts = [rows[start : start + together] for start in range(0, len(rows), together)]
    found = {
        read(*(line(side(form(part), encoding)) for part in parts), tier=tier).to_bytes()
        for tier in TIERS
        for form, encoding in ((csv_of, "CSV"), (json.dumps, "JSON"), (csv_of, "BASE64"))
    }
    assert len(found) == 1


def test_a_line_is_told_with_its_ids_for_those_who_join_it():
    text = line(side(csv_of(ROWS[:2]), "CSV"), side("0.5,0.25", "CSV"), event="e", inferenceId="i")
    [found] = records(text.encode())
    assert (found.event_id, found.inference_id, found.inference_time) == ("e", "i", TIME)
    assert (found.inputs, found.outputs) == ([["46", "2", "1.5"], ["30", "1", "0.25"]], [["0.5"], ["0.25"]])


def test_a_line_without_ids_has_none():
    [found] = records(json.dumps({"captureData": {"endpointOutput": side("[0.5]", "JSON")}}))
    assert (found.event_id, found.inference_id, found.inputs, found.outputs) == (None, None, None, [[0.5]])


def test_a_line_with_a_schema_is_told_by_its_names():
    text = line(side(json.dumps({"age": [46], "code": ["2"], "size": [None]}), "JSON"), side("[0.5]", "JSON"))
    [found] = records(text, SCHEMA)
    assert (found.inputs, found.outputs) == ([{"age": 46, "code": "2", "size": None}], [[0.5]])


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_line_is_refused(bad):
    with pytest.raises(ValueError, match="no line of data capture"):
        records(bad, SCHEMA)


def test_an_unknown_set_of_tools_is_refused():
    with pytest.raises(ValueError, match="'polars' is none of standard library, msgspec, numpy"):
        profile(SCHEMA, [], tier="polars")


@given(st.lists(CLEAN, min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_a_table_in_memory_counts_as_its_rows_do(rows):
    columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
    arrays = {"age": np.array(columns["age"]), "code": columns["code"], "size": np.array(columns["size"])}
    wanted = counted(read(line(side(json.dumps(rows), "JSON"))))
    assert counted(capture.table(SCHEMA, arrays, tier="numpy")) == wanted
    for tier in TIERS:
        assert counted(capture.table(SCHEMA, columns, tier=tier)) == wanted
