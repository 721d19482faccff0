"""A product's data for the rehearsal (stacks/samples), as files that its producers and users bring."""

import csv
import importlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from functions.features import FeatureSchema
from stacks.product import Product

LIMIT: Final = "SLIPWAY_PEOPLE"


class SampleError(Exception):
    """A product's data are not there, or not what they have to be: the text says where, and what to do."""


def limit() -> int | None:
    """How many rows of its history a product trains on: all, or as many as SLIPWAY_PEOPLE says. Raises SampleError."""
    text = os.environ.get(LIMIT)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SampleError(f"{LIMIT} is {text!r}: set a number of rows, such as 12000, or nothing for all of them")
    return int(text)


class Sample:
    """What a product is rehearsed with. Raises SampleError where it names no data."""

    def __init__(self, product: type[Product]) -> None:
        if not product.sample:
            raise SampleError(
                f"{product.__name__} has no data to be rehearsed with: set its `sample` to a module such as "
                "stacks.samples.employment"
            )
        self.schema: FeatureSchema = product.schema
        self.label = product.label()
        try:
            self._module: Any = importlib.import_module(product.sample)
        except ImportError as error:
            raise SampleError(f"{product.__name__}.sample is {product.sample!r}: {error}") from error

    @property
    def dataset(self) -> str:
        """What the history is called."""
        return str(getattr(self._module, "DATASET", "sample"))

    def records(self) -> bytes:
        """The features of the history, as a producer writes them."""
        schema = self.schema
        columns = [schema.record_id, schema.event_time, *schema.names]
        return _csv(columns, self._history())

    def labels(self) -> bytes:
        """The answers of the history, with the time at which each was known."""
        schema, known = self.schema, getattr(self._module, "KNOWN", None)
        columns = [schema.record_id, schema.event_time, self.label]
        return _csv(columns, ({**row, schema.event_time: known or row[schema.event_time]} for row in self._history()))

    def current(self, at: str, rows: int) -> bytes:
        """The features of some that are asked about now, as a producer writes them."""
        schema = self.schema
        columns = [schema.record_id, schema.event_time, *schema.names]
        return _csv(columns, ({**row, schema.event_time: at} for row in self._requests(rows)))

    def lines(self, rows: int, *, with_id: bool = False) -> list[str]:
        """Rows to ask about, as CSV lines in the schema's order, with the identifier first where it is wanted."""
        columns = [*([self.schema.record_id] if with_id else []), *self.schema.names]
        return _csv(columns, self._requests(rows), header=False).decode().splitlines()

    def _history(self) -> Iterator[Mapping[str, str]]:
        wanted = (self.schema.record_id, self.schema.event_time, *self.schema.names, self.label)
        return self._checked("history", wanted, limit())

    def _requests(self, rows: int) -> Iterator[Mapping[str, str]]:
        return self._checked("requests", (self.schema.record_id, *self.schema.names), rows)

    def _checked(self, name: str, wanted: Iterable[str], rows: int | None) -> Iterator[Mapping[str, str]]:
        count = 0
        try:
            for count, row in enumerate(islice(getattr(self._module, name)(), rows), 1):
                if lacking := [column for column in wanted if column not in row]:
                    raise SampleError(f"{self._module.__name__}.{name}: row {count} lacks {', '.join(lacking)}")
                yield row
        except (OSError, AttributeError) as error:
            raise SampleError(f"{self._module.__name__}.{name}: {error}") from error
        if not count:
            raise SampleError(f"{self._module.__name__}.{name}: there is no row")


def _csv(columns: list[str], rows: Iterable[Mapping[str, str]], *, header: bool = True) -> bytes:
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().encode()
