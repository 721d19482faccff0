"""What lines of data capture hold, before their payloads are read.

The form of a line: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

from functions.monitoring.payloads import json_values

MOST_SHAPES: Final = 20
"""The shapes of so many lines are learnt; lines of further ones are read more slowly."""
_TEXT: Final = r'[^"\\\n]*+(?:\\.[^"\\\n]*+)*+'
"""A JSON string without its quotes."""
_STRING: Final = re.compile(rf'"({_TEXT})"(\s*:)?')
_SIDES: Final = ("endpointInput", "endpointOutput")
_INPUT, _OUTPUT = map(attrgetter, _SIDES)
_BETWEEN: Final = "\0"
_TEXTS: Final = ("data", "eventId", "inferenceTime", "inferenceId")


Payloads = dict[str, list[str]]
"""The data of requests, or of answers, by encoding."""
_Taken = tuple[int, list[Sequence[str]], str]
"""How many lines; each of their texts, a sequence of all lines'; the other lines."""


@dataclass
class Lines:
    """What the lines of a block hold."""

    requests: int = 0
    events: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    inputs: Payloads = field(default_factory=dict)
    outputs: Payloads = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)

    def add_line(self, line: str) -> None:
        """Take a line in. Usually it holds one record; a malformed one is kept aside, an empty one passed over."""
        if not line.strip():
            return
        try:
            found = [(record, side(record, _SIDES[0]), side(record, _SIDES[1])) for record in json_values(line)]
        except (ValueError, RecursionError):
            self.malformed.append(line)
            return
        for record, request, answer in found:
            self.requests += 1
            for payloads, told in ((self.inputs, request), (self.outputs, answer)):
                if told:
                    add_payloads(payloads, told[0], [told[1]])
            self.events += about(record, "eventId")
            self.times += about(record, "inferenceTime")

    def add_block(self, block: bytes) -> None:
        """Take in lines one by one."""
        for line in block.split(b"\n"):
            try:
                self.add_line(line.decode("utf-8"))
            except UnicodeDecodeError:
                self.malformed.append(line.decode("utf-8", "backslashreplace"))


def add_payloads(payloads: Payloads, encoding: str, data: list[str]) -> None:
    """Take more data of one encoding in."""
    payloads.setdefault(encoding, []).extend(data)


def side(record: Any, name: str) -> tuple[str, str] | None:
    """Encoding and data of one side of a record, None where it was not captured. Raises ValueError for a malformed
    record."""
    captured = record.get("captureData") if isinstance(record, dict) else None
    if not isinstance(captured, dict):
        raise ValueError("the line has no captureData")
    found = captured.get(name)
    if found is None:
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(text), str) for text in ("data", "encoding")):
        raise ValueError(f"captureData.{name} has no data and encoding")
    return found["encoding"], found["data"]


def about(record: dict[str, Any], name: str) -> list[str]:
    """A text of a record's metadata; none where it has no such text."""
    told = record.get("eventMetadata")
    text = told.get(name) if isinstance(told, dict) else None
    return [text] if isinstance(text, str) else []


class _Shape:
    """What stands around the texts of a line. Most lines have the shape of others, and their texts are then found many
    times as fast as by reading JSON."""

    def __init__(self, line: str) -> None:
        """Of a line. Raises ValueError where its shape does not tell what it holds."""
        lines = Lines()
        lines.add_line(line)
        if lines.requests != 1:
            raise ValueError("this line holds no record, or several")
        literals: list[str] = []
        names: list[str] = []
        end, key, side = 0, "", ""
        for string in _STRING.finditer(line):
            text = string[1]
            if string[2]:  # a colon: it is a key
                key = text
                side = text if text in _SIDES else side
            elif key in _TEXTS:
                names.append(side if key == "data" else key)
                literals.append(line[end : string.start(1)])
                end = string.end(1)
        if not names:
            raise ValueError("there are no texts in this line")
        self._start, *self._between = literals
        self._end = f"{line[end:]}\n"
        pattern = f"({_TEXT})".join(map(re.escape, [*literals, self._end]))
        self._pattern = re.compile(f"^{pattern}", re.MULTILINE)
        self._names = names
        self._encodings = [next(iter(payloads), "") for payloads in (lines.inputs, lines.outputs)]
        again = Lines()
        if self.take(f"{line}\n", again) or again != lines or len({*names}) < len(names):
            raise ValueError("its shape does not tell what this line holds")

    def take(self, text: str, into: Lines) -> str:
        """Take in what the lines of this shape hold; the other lines. Raises ValueError, with nothing taken in, where
        there are escapes that cannot be read here."""
        count, columns, rest = self._apart(text) or self._matched(text)
        texts = [_unescaped(column) for column in columns]
        into.requests += count
        for name, plain in zip(self._names, texts, strict=True):
            if name == "eventId":
                into.events += plain
            elif name == "inferenceTime":
                into.times += plain
            elif name in _SIDES:
                place = _SIDES.index(name)
                add_payloads((into.inputs, into.outputs)[place], self._encodings[place], plain)
        return rest

    def _matched(self, text: str) -> _Taken:
        """What the lines of this shape hold, and the other lines."""
        found = self._pattern.findall(text)
        rest = "" if len(found) == text.count("\n") else self._pattern.sub("", text)
        columns: list[Sequence[str]] = [*zip(*found, strict=True)] if self._between else [found]
        return len(found), columns or [()] * len(self._names), rest

    def _apart(self, text: str) -> _Taken | None:
        """The same where all lines have this shape, in half the time; None where they may not."""
        start, end = self._start, self._end
        if not (text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end)):
            return None
        body = text[len(start) : -len(end)]
        literals = [*self._between, end + start]
        for mark, literal in enumerate(literals):
            body = body.replace(literal, f"{_BETWEEN}{mark}{_BETWEEN}")
        pieces = body.split(_BETWEEN)
        stride = 2 * len(literals)
        count, beyond = divmod(len(pieces) + 1, stride)
        marks = [pieces[2 * mark + 1 :: stride].count(str(mark)) for mark in range(len(literals))]
        # Where no text holds a quote or an end of line, each line is this shape's literals and texts, and nothing else.
        if beyond or marks != [count] * len(self._between) + [count - 1] or "\n" in body:
            return None
        if '"' in body and body.count('"') != body.count('\\"'):
            return None
        return count, [pieces[2 * at :: stride] for at in range(len(literals))], ""


def _unescaped(texts: Sequence[str]) -> list[str]:
    """Texts of JSON, of which none holds _BETWEEN. Raises ValueError for all but two escapes."""
    together = _BETWEEN.join(texts)
    if "\\" not in together:
        return [*texts]
    plain = together.replace('\\"', '"').replace("\\n", "\n")
    if "\\" in plain:
        raise ValueError("there are other escapes than of quotes and of ends of lines")
    return plain.split(_BETWEEN)


def plain_split() -> Callable[[bytes], Lines]:
    """Reads blocks of whole lines with the standard library."""
    shapes: list[_Shape] = []
    tried = 0

    def split(block: bytes) -> Lines:
        nonlocal tried
        lines = Lines()
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            lines.add_block(block)
            return lines
        if _BETWEEN in text:
            lines.add_block(block)
            return lines
        text = text if text.endswith("\n") else f"{text}\n"
        try:
            for shape in shapes:
                text = shape.take(text, lines)
        except ValueError:
            lines = Lines()
            lines.add_block(block)
            return lines
        while text and tried < MOST_SHAPES:
            tried += 1
            line, _, text = text.partition("\n")
            with suppress(ValueError):
                shapes.append(_Shape(line))
                text = shapes[-1].take(f"{line}\n{text}", lines)
                continue
            lines.add_line(line)
        for line in text.split("\n"):
            lines.add_line(line)
        return lines

    return split


def msgspec_split() -> Callable[[bytes], Lines]:
    """The same with msgspec, which reads only what is wanted. Raises ImportError where there is none."""
    from msgspec import Struct
    from msgspec.json import Decoder

    class Side(Struct, gc=False, forbid_unknown_fields=True):
        data: str
        encoding: str
        mode: str = ""
        observedContentType: str | None = None

    class Captured(Struct, gc=False, forbid_unknown_fields=True):
        endpointInput: Side | None = None
        endpointOutput: Side | None = None

    class About(Struct, gc=False, forbid_unknown_fields=True):
        eventId: str
        inferenceTime: str
        inferenceId: str | None = None
        customAttributes: object = None

    class Line(Struct, gc=False, forbid_unknown_fields=True):
        captureData: Captured
        eventMetadata: About
        eventVersion: str | None = None

    decoder, plain = Decoder(Line), plain_split()

    def split(block: bytes) -> Lines:
        lines = Lines()
        # Nothing but the end of a record stands between these: so no record spans lines.
        if b"\n" not in block.removesuffix(b"\n").replace(b"}\n{", b""):
            try:
                found = decoder.decode_lines(block)
            except (ValueError, RecursionError):
                pass
            else:
                lines.requests = len(found)
                lines.events = [record.eventMetadata.eventId for record in found]
                lines.times = [record.eventMetadata.inferenceTime for record in found]
                captured = [record.captureData for record in found]
                for payloads, side_of in ((lines.inputs, _INPUT), (lines.outputs, _OUTPUT)):
                    sides = [*filter(None, map(side_of, captured))]
                    encodings = {each.encoding for each in sides}
                    for encoding in encodings:
                        payloads[encoding] = [
                            each.data for each in sides if len(encodings) == 1 or each.encoding == encoding
                        ]
                return lines
        return plain(block)

    return split
