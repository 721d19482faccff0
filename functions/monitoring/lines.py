"""What lines of data capture hold, before their payloads are read.

The form of a line: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from functions.monitoring.payloads import json_values

MOST_SHAPES: Final = 20
"""The shapes of so many lines are learnt; lines of further ones are read more slowly."""
_TEXT: Final = r'[^"\\\n]*+(?:\\.[^"\\\n]*+)*+'
"""A JSON string without its quotes."""
_STRING: Final = re.compile(rf'"({_TEXT})"(\s*:)?')
_SIDES: Final = ("endpointInput", "endpointOutput")
_BETWEEN: Final = "\0"
_TEXTS: Final = ("data", "eventId", "inferenceTime", "inferenceId")


Payloads = dict[str, list[str]]
"""The data of requests, or of answers, by encoding."""


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
        pattern, end, names, key, side = "", 0, [], "", ""
        for string in _STRING.finditer(line):
            text = string[1]
            if string[2]:  # a colon: it is a key
                key = text
                side = text if text in _SIDES else side
            elif key in _TEXTS:
                names.append(side if key == "data" else key)
                pattern += f"{re.escape(line[end : string.start(1)])}({_TEXT})"
                end = string.end(1)
        self._pattern = re.compile(f"^{pattern}{re.escape(line[end:])}\n", re.MULTILINE)
        self._names = names
        self._encodings = [next(iter(payloads), "") for payloads in (lines.inputs, lines.outputs)]
        again = Lines()
        if self.take(f"{line}\n", again) or again != lines or len({*names}) < len(names):
            raise ValueError("its shape does not tell what this line holds")

    def take(self, text: str, into: Lines) -> str:
        """Take in what the lines of this shape hold; the other lines."""
        found = self._pattern.findall(text)
        if not found:
            return text
        into.requests += len(found)
        for name, texts in zip(self._names, zip(*found, strict=True), strict=True):
            plain = _unescaped(texts)
            if name == "eventId":
                into.events += plain
            elif name == "inferenceTime":
                into.times += plain
            elif name in _SIDES:
                place = _SIDES.index(name)
                add_payloads((into.inputs, into.outputs)[place], self._encodings[place], plain)
        return "" if len(found) == text.count("\n") else self._pattern.sub("", text)


def _unescaped(texts: Sequence[str]) -> list[str]:
    """Texts of JSON, where there are no escapes but two, and no text holds _BETWEEN."""
    together = _BETWEEN.join(texts)
    if "\\" not in together:
        return [*texts]
    return together.replace('\\"', '"').replace("\\n", "\n").split(_BETWEEN)


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
        # Shapes know these two escapes only.
        if text.count("\\") != text.count("\\n") + text.count('\\"') or _BETWEEN in text:
            lines.add_block(block)
            return lines
        text = text if text.endswith("\n") else f"{text}\n"
        for shape in shapes:
            text = shape.take(text, lines)
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
        if block.count(b"}\n{") == block.count(b"\n") - block.endswith(b"\n"):
            try:
                found = decoder.decode_lines(block)
            except (ValueError, RecursionError):
                pass
            else:
                lines.requests = len(found)
                lines.events = [record.eventMetadata.eventId for record in found]
                lines.times = [record.eventMetadata.inferenceTime for record in found]
                for payloads, name in ((lines.inputs, "endpointInput"), (lines.outputs, "endpointOutput")):
                    sides = [each for record in found if (each := getattr(record.captureData, name)) is not None]
                    for encoding in {each.encoding for each in sides}:
                        payloads[encoding] = [each.data for each in sides if each.encoding == encoding]
                return lines
        return plain(block)

    return split
