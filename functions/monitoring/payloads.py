"""What a captured request or answer holds: CSV or JSON, as text or as base64."""

import binascii
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

ROWS_UNDER: Final = ("instances", "predictions", "inputs", "outputs", "dataframe_records", "data", "rows")
"""Names under which a JSON object holds its rows: of SageMaker's algorithms, TensorFlow Serving and MLflow."""
ROW_UNDER: Final = ("features", "values")
"""Names under which a row of `instances` holds its values in order."""
_ROWS_START: Final = re.compile(rf'(\{{"(?:{"|".join(ROWS_UNDER)})": ?\[|\[|)([\[{{])')
"""What the rows of a JSON payload are in, and what a row starts with."""
_CLOSING: Final = {"[": "]", "{": "}"}
_MARK: Final = "\x7fnext"
"""What stands between payloads that are read together; none of them has it."""
_DECODER: Final = json.JSONDecoder(strict=False)


def from_base64(data: str) -> tuple[str, str]:
    """The encoding, CSV or JSON, and the text of a BASE64 payload. Its content type may say anything, so what it
    begins with decides. Raises ValueError where it is no text.
    """
    text = binascii.a2b_base64(data.encode("ascii"), strict_mode=True).decode("utf-8")
    return ("JSON" if text.lstrip()[:1] in ("{", "[") else "CSV"), text


def csv_rows(text: str) -> list[list[str]]:
    """The rows of CSV; without the empty ones. Raises csv.Error."""
    if '"' in text or "\r" in text:
        return [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    return [row.split(",") for row in text.split("\n") if row]


def json_values(text: str) -> list[Any]:
    """The values of JSON, or of several of them in a row, as JSON lines have. Raises ValueError or RecursionError."""
    found, at = [], 0
    text = text.strip(" \t\r\n")
    while at < len(text):
        value, at = _DECODER.raw_decode(text, at)
        found.append(value)
        while text[at : at + 1] in (" ", "\t", "\r", "\n"):
            at += 1
    if not found:
        raise ValueError("there is no JSON in an empty text")
    return found


def json_rows(payload: Any, names: Sequence[str]) -> list[Any]:
    """The rows of a JSON payload, each a list of values in order or a dict by name.

    Rows in a list, or in a list under one of ROWS_UNDER; one row; or a list of values under each name. Where there is
    one name only, each value of a list is a row. Raises ValueError for anything else.
    """
    if isinstance(payload, dict):
        named = [name for name in names if name in payload]
        if not named:
            rows = next((payload[name] for name in ROWS_UNDER if isinstance(payload.get(name), list)), None)
            if rows is not None:
                return [_row(row) for row in rows] if any(map(_is_row, rows)) else _values(rows, names)
            return [_row(payload)]
        if all(isinstance(payload[name], list) for name in named):
            return _turned(payload)
        return [payload]
    if isinstance(payload, list):
        return [_row(row) for row in payload] if any(map(_is_row, payload)) else _values(payload, names)
    if len(names) == 1 and not isinstance(payload, str):
        return [[payload]]
    raise ValueError(f"{type(payload).__name__} is no row, nor a list of rows")


def alike_rows(texts: Sequence[str], names: Sequence[str], loads: Callable[[str], Any]) -> list[Any] | None:
    """What `json_rows` tells of all payloads together, where they look like the first one: read as one array, which is
    much faster. None where they may not.

    A mark is put between payloads. As it has quotes, it would be no JSON within a string; and outside of one nothing
    but the end of a payload and the start of the next stands there. So each payload is JSON of its own.
    """
    begins = _ROWS_START.match(texts[0]) if texts else None
    together = "\n".join(texts)
    if not begins or len(names) < 2 or _MARK in together or not {*ROWS_UNDER}.isdisjoint(names):
        return None
    start, row_start = begins[0], begins[2]
    row_end = _CLOSING[row_start]
    end = row_end + "".join(_CLOSING.get(each, "") for each in reversed(begins[1]))
    # A row that is in no list may hold none: it could be rows, or columns of values.
    if not together.endswith(end) or not (begins[1] or together.count("[") == (row_start == "[") * len(texts)):
        return None
    if not begins[1] and row_start == "[" and "{" in together:
        return None
    body = together[len(start) : -len(end)].replace(f"{end}\n{start}", f'{row_end},"{_MARK}",{row_start}')
    if "\n" in body:
        return None
    try:
        found = loads(f"[{row_start}{body}{row_end}]")
    except (ValueError, RecursionError):
        return None
    kind = list if row_start == "[" else dict
    rows = [row for row in found if type(row) is kind]
    marks = found.count(_MARK)
    if len(rows) + marks < len(found) or marks != len(texts) - 1:
        return None
    if not begins[1] and not (len(rows) == len(texts) and all(rows)):
        return None
    return None if kind is dict and min(map(len, rows)) == 1 else rows


def _values(values: list[Any], names: Sequence[str]) -> list[Any]:
    if len(names) == 1:
        return [[value] for value in values]
    return [values] if values else []


def _is_row(row: Any) -> bool:
    return isinstance(row, dict | list)


def _row(row: Any) -> Any:
    """A row as a list or a dict. Raises ValueError where it is neither."""
    if isinstance(row, dict):
        if len(row) == 1 and (held := next((row[name] for name in ROW_UNDER if name in row), None)):
            return held if isinstance(held, list) else row
        return row
    if isinstance(row, list):
        return row
    raise ValueError(f"{type(row).__name__} is no row")


def _turned(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of lists by name. A list that ends early lacks its last values; what is no list is the same everywhere
    or, in a payload of lists, of no row at all: it is left out."""
    lists = {name: values for name, values in columns.items() if isinstance(values, list)}
    return [
        {name: values[at] if at < len(values) else None for name, values in lists.items()}
        for at in range(max(map(len, lists.values())))
    ]


def flattened(rows: Iterable[list[Any]]) -> list[list[Any]]:
    """Each value as a row: what a list of values is where there is one column only."""
    return [[value] for row in rows for value in row]
