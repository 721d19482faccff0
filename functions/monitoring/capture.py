"""Reads SageMaker data capture, line by line, into a profile:
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html

It needs the standard library only. Where msgspec can be imported it is faster, with numpy and orjson beside it much
faster; the profile is the same, to the last bit.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from functions.monitoring.counting import Categories, Counting, Events, PlainNumbers, Values, numpy_numbers
from functions.monitoring.lines import Lines, Payloads, about, msgspec_split, plain_split, side
from functions.monitoring.payloads import alike_rows, csv_rows, flattened, from_base64, json_rows, json_values
from functions.monitoring.sketch import Column, Profile, Schema, Tally, count_into, text_of

TIERS: Final = {"standard library": (), "msgspec": ("msgspec",), "numpy": ("msgspec", "numpy", "orjson")}
"""What `profile` can read with, and the packages it needs, the fastest last."""
TIER: Final = [tier for tier, needed in TIERS.items() if all(map(find_spec, needed))][-1]
"""What `profile` reads with where it is not told."""
BLOCK_BYTES: Final = 200_000
"""So much is read at a time. In larger blocks the values leave the processor's cache before they are counted."""
_UNREADABLE: Final = (ValueError, KeyError, TypeError, RecursionError, csv.Error)


@dataclass(frozen=True)
class Record:
    """One captured request, with its answer."""

    event_id: str | None
    inference_id: str | None
    inference_time: str | None
    inputs: list[Any] | None
    """Its rows, each a list of values in order or a dict by name; None where that side was not captured."""
    outputs: list[Any] | None


def profile(schema: Schema, blocks: Iterable[bytes], *, tier: str | None = None) -> Profile:
    """What lines of data capture hold, given in blocks of bytes of any size. What cannot be read is counted and kept
    aside: no input raises.

    `tier` is one of TIERS; raises ImportError where its packages are not there.
    """
    split, make_numbers, loads = _tools(TIER if tier is None else tier)
    result = Profile.empty(schema)
    events = Events(result)
    inputs = _Side(result, schema.columns, result.columns, make_numbers, loads, of_requests=True)
    outputs = _Side(result, schema.outputs, result.outputs, make_numbers, loads, of_requests=False)
    for block in _whole_lines(blocks):
        lines = split(block)
        result.requests += lines.requests
        for line in lines.malformed:
            result.add_malformed(line)
        result.add_times(lines.times)
        events.add(lines.events)
        result.rows += inputs.add(lines.inputs)
        result.answers += outputs.add(lines.outputs)
    inputs.finish()
    outputs.finish()
    result.settle()
    return result


def table(schema: Schema, columns: Mapping[str, Values], *, tier: str | None = None) -> Profile:
    """The profile of a table in memory: lists of values, or numpy's arrays with the tier that has them, by name."""
    _, make_numbers, _ = _tools(TIER if tier is None else tier)
    result = Profile.empty(schema)
    numbers = [tally for tally in result.columns.values() if tally.column.kind == "number"]
    categories = [tally for tally in result.columns.values() if tally.column.kind == "category"]
    for counting, tallies in ((make_numbers(numbers), numbers), (Categories(categories), categories)):
        counting.add([columns[tally.column.name] for tally in tallies], are_texts=False)
        counting.finish()
    result.rows = len(columns[schema.names[0]])
    return result


def records(line: bytes | str, schema: Schema | None = None) -> list[Record]:
    """What one line of data capture holds: one record, as a rule. With a schema, rows are found by its names.

    Raises ValueError where it cannot be read.
    """
    names = ((), ()) if schema is None else (schema.names, tuple(column.name for column in schema.outputs))
    found = []
    try:
        for record in json_values(line if isinstance(line, str) else line.decode("utf-8")):
            inputs, outputs = (
                None if payload is None else _rows(*payload, each)
                for payload, each in zip(
                    (side(record, "endpointInput"), side(record, "endpointOutput")), names, strict=True
                )
            )
            if inputs and outputs and len(outputs) == 1 < len(inputs) == len(outputs[0]):
                outputs = flattened(outputs)
            event, inference, time = (
                next(iter(about(record, name)), None) for name in ("eventId", "inferenceId", "inferenceTime")
            )
            found.append(Record(event, inference, time, inputs, outputs))
    except _UNREADABLE as error:
        raise ValueError(f"this is no line of data capture: {error}") from error
    return found


def _rows(encoding: str, data: str, names: Sequence[str]) -> list[Any]:
    """The rows of one payload. Raises one of _UNREADABLE."""
    if encoding == "BASE64":
        encoding, data = from_base64(data)
    if encoding == "CSV":
        return csv_rows(data)
    if encoding == "JSON":
        return [row for value in json_values(data) for row in json_rows(value, names)]
    raise ValueError(f"encoding {encoding!r} is none of CSV, JSON and BASE64")


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of about BLOCK_BYTES that end where a line does."""
    waiting: list[bytes] = []
    size = 0
    for block in blocks:
        waiting.append(block)
        size += len(block)
        if size < BLOCK_BYTES or b"\n" not in block:
            continue
        together = b"".join(waiting)
        start = 0
        while len(together) - start >= BLOCK_BYTES:
            end = together.rfind(b"\n", start, start + BLOCK_BYTES) + 1 or together.find(b"\n", start) + 1
            if not end:
                break
            yield together[start:end]
            start = end
        waiting, size = [together[start:]], len(together) - start
    if size:
        yield b"".join(waiting)


class _Side:
    """Counts the payloads of requests, or those of answers."""

    def __init__(
        self,
        profile: Profile,
        columns: Sequence[Column],
        tallies: dict[str, Tally],
        numbers: Callable[[Sequence[Tally]], Counting],
        loads: Callable[[str], Any],
        of_requests: bool,
    ) -> None:
        self._profile = profile
        self._names = tuple(column.name for column in columns)
        self._width = len(self._names)
        self._known = frozenset(self._names)
        self._number_places = [place for place, column in enumerate(columns) if column.kind == "number"]
        self._category_places = [place for place, column in enumerate(columns) if column.kind == "category"]
        self._numbers = numbers([tallies[self._names[place]] for place in self._number_places])
        self._categories = Categories([tallies[self._names[place]] for place in self._category_places])
        self._loads = loads
        self._of_requests = of_requests

    def add(self, payloads: Payloads) -> int:
        """Count a block of payloads; the number of their rows."""
        if not self._names:
            return 0
        texts = {"CSV": payloads.get("CSV", []), "JSON": payloads.get("JSON", [])}
        for encoding in payloads.keys() - texts.keys():
            for data in payloads[encoding]:
                try:
                    if encoding != "BASE64":
                        raise ValueError(f"encoding {encoding!r} is none of CSV, JSON and BASE64")
                    held, text = from_base64(data)
                    texts[held].append(text)
                except ValueError:
                    self._profile.add_malformed(data)
        return self._add_csv(texts["CSV"]) + self._add_json(texts["JSON"])

    def finish(self) -> None:
        """Bring everything into the tallies."""
        self._numbers.finish()
        self._categories.finish()

    def _add_csv(self, texts: list[str]) -> int:
        together = "\n".join(texts)
        if '"' in together or "\r" in together:
            lists: list[list[Any]] = []
            for text in texts:
                try:
                    lists += csv_rows(text)
                except _UNREADABLE:
                    self._profile.add_malformed(text)
            return self._add_lists(lists, are_texts=True)
        together = together.strip("\n")
        while "\n\n" in together:
            together = together.replace("\n\n", "\n")
        if not together:
            return 0
        if self._width == 1:
            return self._add_flat(together.replace("\n", ",").split(","), 1, are_texts=True)
        # Each row has as many values as it should if each newline is where it then is among all the values.
        stride, apart = self._width + 1, together.replace("\n", ",\n,")
        values, newlines = apart.split(","), (len(apart) - len(together)) // 2
        if len(values) == (newlines + 1) * stride - 1 and values[self._width :: stride].count("\n") == newlines:
            return self._add_flat(values, stride, are_texts=True)
        return self._add_lists([row.split(",") for row in together.split("\n")], are_texts=True)

    def _add_json(self, texts: list[str]) -> int:
        lists: list[list[Any]] = []
        named: list[dict[str, Any]] = []
        if (alike := alike_rows(texts, self._names, self._loads)) is not None:
            return self._add_lists(alike, are_texts=False) if isinstance(alike[0], list) else self._add_named(alike)
        for text in texts:
            try:
                try:
                    values = [self._loads(text)]
                except ValueError:
                    values = json_values(text)
                rows = [row for value in values for row in json_rows(value, self._names)]
            except _UNREADABLE:
                self._profile.add_malformed(text)
                continue
            for row in rows:
                if isinstance(row, list):
                    lists.append(row)
                else:
                    named.append(row)
        return self._add_lists(lists, are_texts=False) + self._add_named(named)

    def _add_lists(self, rows: list[list[Any]], are_texts: bool) -> int:
        if self._width > 1:
            fit = [row for row in rows if len(row) == self._width]
            if len(fit) < len(rows):
                for row in rows:
                    self._check_width(row)
                rows = fit
        return self._add_flat([*chain.from_iterable(rows)], self._width, are_texts)

    def _check_width(self, row: Sequence[Any]) -> None:
        if (width := len(row)) != self._width:
            self._profile.widths[width] = self._profile.widths.get(width, 0) + 1
            self._profile.add_malformed(",".join(text_of(value) or "" for value in row))

    def _add_flat(self, values: Values, stride: int, are_texts: bool) -> int:
        """Count rows one after the other, each of them as long as `stride`."""
        if not values:
            return 0
        return self._add_columns([values[place::stride] for place in range(self._width)], are_texts)

    def _add_columns(self, columns: Sequence[Values], are_texts: bool) -> int:
        self._numbers.add([columns[place] for place in self._number_places], are_texts)
        self._categories.add([columns[place] for place in self._category_places], are_texts)
        return len(columns[0])

    def _add_named(self, rows: list[dict[str, Any]]) -> int:
        if not rows:
            return 0
        columns: list[Values] = []
        odd = sum(map(len, rows)) != self._width * len(rows)
        for name in self._names:
            try:
                columns.append([*map(itemgetter(name), rows)])
            except KeyError:
                odd = True
                columns.append([*map(self._value_of(name), rows)])
        if odd and self._of_requests:
            for row in rows:
                count_into(self._profile.extra, row.keys() - self._known)
                count_into(self._profile.absent, self._known - row.keys())
        return self._add_columns(columns, are_texts=False)

    def _value_of(self, name: str) -> Callable[[dict[str, Any]], Any]:
        """What a row has under a name, None where there is no such name. The only value of an answer needs no name."""
        alone = self._width == 1 and not self._of_requests
        return lambda row: row[name] if name in row else next(iter(row.values())) if alone and len(row) == 1 else None


Split = Callable[[bytes], Lines]
MakeNumbers = Callable[[Sequence[Tally]], Counting]


def _tools(tier: str) -> tuple[Split, MakeNumbers, Callable[[str], Any]]:
    """What a tier splits blocks, counts numbers and reads JSON with."""
    if tier == "standard library":
        return plain_split(), PlainNumbers, json.loads
    if tier not in TIERS:
        raise ValueError(f"{tier!r} is none of {', '.join(TIERS)}")
    import msgspec

    if tier == "msgspec":
        return msgspec_split(), partial(PlainNumbers, loads=msgspec.json.decode), msgspec.json.decode
    import orjson

    return msgspec_split(), numpy_numbers(orjson.loads), orjson.loads
