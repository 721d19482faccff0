"""A sketch of many values: what it keeps exactly, how far off the rest is, and that parts merge into the whole."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.monitoring import sketch
from functions.monitoring.sketch import Column, Profile, Schema, Tally

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-300, 300).map(float)
VALUES = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=6),
    st.sampled_from(["", " 7 ", "2.0", "NaN", "null", "1e400", "-0", "k1", "K1 ", "1_000"]),
    st.lists(st.integers(), max_size=2),
)
COLUMNS = st.sampled_from(
    [
        Column("a", "number"),
        Column("a", "number", centre=2020.0),
        Column("a", "category", categories=frozenset({"k1", "2", "none"})),
    ]
)


def tally(column, values):
    result = Tally(column)
    result.add(values)
    return result


@pytest.fixture
def few(monkeypatch):
    """Bounds that a test reaches with few values."""
    for name in ("MOST_VALUES", "MOST_EVENTS", "MOST_EXAMPLES", "MOST_NAMES"):
        monkeypatch.setattr(sketch, name, 3)


@given(COLUMNS, st.lists(VALUES, max_size=40), st.randoms(use_true_random=False))
def test_parts_in_any_order_and_grouping_make_the_same_whole(column, values, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "MOST_VALUES", 3)
        whole = tally(column, values)
        shuffled = order.sample(values, len(values))
        cuts = sorted(order.sample(range(len(values) + 1), min(2, len(values) + 1)))
        parts = (shuffled[: cuts[0]], shuffled[cuts[0] : cuts[-1]], shuffled[cuts[-1] :])
        first, second, third = (tally(column, part) for part in parts)
        assert first.merge(second).merge(third) == first.merge(second.merge(third)) == third.merge(second).merge(first)
        assert third.merge(first).merge(second) == whole


@given(COLUMNS, st.lists(VALUES, max_size=40))
def test_every_value_is_counted_once(column, values):
    found = tally(column, values)
    assert found.total == len(values)
    assert found.count + found.missing == found.total


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1), st.sampled_from([0.0, 0.1, -7.0, 2020.0]))
def test_a_number_is_told_to_a_128th_of_its_distance_from_the_centre(values, centre):
    near = [value for value in values if abs(value) < 1e38]
    found = tally(Column("a", "number", centre=centre), near)
    told = [value for value, count in found.ordered() for _ in range(count)]
    assert len(told) == len(near)
    for value, exact in zip(told, sorted(near), strict=True):
        assert abs(value - exact) <= abs(exact - centre) / 128 + 1e-12 * abs(centre) + 1e-38


@given(st.lists(st.integers(-256, 256)), st.integers(-2000, 2000))
def test_whole_numbers_near_the_centre_are_told_exactly(distances, centre):
    values = [centre + distance for distance in distances]
    assert tally(Column("a", "number", centre=float(centre)), values).ordered() == sorted(Counter(values).items())


@given(st.lists(NUMBERS))
def test_the_least_and_the_greatest_number_are_exact(values):
    finite = [value for value in values if abs(value) < 3e38]
    found = tally(Column("a", "number"), [value for value in values if not 3e38 <= abs(value) < math.inf])
    assert (found.minimum, found.maximum) == (min(finite, default=None), max(finite, default=None))


def test_each_kind_of_value_has_its_place():
    found = tally(Column("a", "number"), ["1.5", "", "null", "NaN", None, "-inf", "1e999", "many", True, "2_0", [1]])
    assert found.ordered() == [(1.0, 1), (1.5, 1), (20.0, 1)]
    assert (found.missing, found.infinite, found.strange) == (4, 2, {"many": 1, "(list)": 1})


def test_a_number_too_far_for_a_float32_is_infinite_and_no_extreme():
    found = tally(Column("a", "number"), [1.0, 1e39, -1e300])
    assert (found.infinite, found.minimum, found.maximum) == (2, 1.0, 1.0)


def test_a_code_is_the_same_as_text_as_number_and_as_float():
    found = tally(Column("a", "category", categories=frozenset("12")), ["2", 2, 2.0, "2.0", " 2 ", "7.0", None, "nan"])
    assert (found.values, found.missing) == ({"2": 5, "7.0": 1}, 2)


def test_a_category_may_be_called_none():
    found = tally(Column("a", "category", categories=frozenset({"none"})), ["none", "None", "null"])
    assert (found.values, found.missing) == ({"none": 1}, 2)


def test_unknown_categories_are_bounded_and_known_ones_are_not(few):
    known = frozenset(f"k{number}" for number in range(10))
    found = tally(Column("a", "category", categories=known), [*known, *map(str, range(100))])
    assert {*found.values} > known
    assert (len(found.values), found.others) == (13, 97)


def test_what_is_kept_of_the_unknown_has_all_its_counts(few):
    values = [str(random.Random(each).randrange(50)) for each in range(1000)]
    found = tally(Column("a", "category"), values)
    exact = Counter(values)
    assert found.values == {text: exact[text] for text in found.values}
    assert len(found.values) == 3


def test_tallies_of_different_columns_do_not_merge():
    with pytest.raises(ValueError, match="no tallies of the same column"):
        Tally(Column("a", "number")).merge(Tally(Column("a", "number", centre=1.0)))


SCHEMA = Schema((Column("a", "number"), Column("b", "category", categories=frozenset("12"))), (Column("p", "number"),))


@given(st.lists(st.tuples(VALUES, VALUES)), st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)))
@settings(max_examples=30)
def test_a_profile_survives_being_stored(rows, events, lines):
    found = Profile.empty(SCHEMA)
    for name, values in zip("ab", zip(*rows, strict=True), strict=False):
        found.columns[name].add(values)
    found.rows, found.widths, found.extra = len(rows), {3: 1}, {"c": 2}
    found.add_events(events)
    found.add_times(["2026-01-01T00:00:00Z"] * len(events))
    for line in lines:
        found.add_malformed(line)
    found.settle()
    stored = found.to_bytes()
    assert Profile.from_bytes(stored) == found
    assert Profile.from_bytes(stored).to_bytes() == stored


@pytest.mark.parametrize("data", [b"", b"{}", b"x\x9c", sketch.zlib.compress(b"[]"), sketch.zlib.compress(b"{}")])
def test_something_else_is_no_profile(data):
    with pytest.raises(ValueError, match="this is no profile"):
        Profile.from_bytes(data)


def test_a_profile_of_another_version_is_refused():
    stored = sketch.zlib.decompress(Profile.empty(SCHEMA).to_bytes()).replace(b'"version":1', b'"version":99')
    with pytest.raises(ValueError, match="version 99"):
        Profile.from_bytes(sketch.zlib.compress(stored))


def test_profiles_of_different_schemas_do_not_merge():
    with pytest.raises(ValueError, match="different schemas"):
        Profile.empty(SCHEMA).merge(Profile.empty(Schema(SCHEMA.columns)))


def test_repeated_event_ids_are_counted_exactly_while_they_are_few():
    found = Profile.empty(SCHEMA)
    found.add_events(["a", "b", "a", "a"])
    assert found.duplicates == 2


def test_repeated_event_ids_are_estimated_where_they_are_many():
    found = Profile.empty(SCHEMA)
    found.add_events([f"id-{number}" for number in range(20_000) for _ in range(2)])
    found.settle()
    assert len(found.events) == sketch.MOST_EVENTS
    assert found.duplicates == 20_000


def test_what_is_no_time_is_passed_over():
    found = Profile.empty(SCHEMA)
    found.add_times(["zzz", "2026-01-02T00:00:00Z", "", "2026-01-01T00:00:00Z"])
    assert (found.earliest, found.latest) == ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")


def test_a_profile_of_fifty_columns_is_small():
    draw = random.Random(1)
    found = Profile.empty(Schema(tuple(Column(f"c{place}", "number") for place in range(50))))
    for each in found.columns.values():
        each.add_numbers([draw.gauss(0, 1) for _ in range(2000)])
    assert len(found.to_bytes()) < 250_000
