"""People for the rehearsal of the employment model: answers to the US census (American Community Survey, Massachusetts)
that ship inside the nannyml package. People of 2015 with the answer to train on, people of 2016 to 2018 to serve.
"""

import importlib.metadata
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from functions.employment.features import LABEL, SCHEMA

DATA: Final = "nannyml/datasets/data/employment_MA_{part}.pq"
DATASET: Final = "acs-2015"
ASKED: Final = "2015-07-01T00:00:00Z"
KNOWN: Final = "2015-12-31T00:00:00Z"
"""When people of 2015 were asked, and when it was known who of them had work."""
BATCH: Final = 10_000


def history() -> Iterator[dict[str, str]]:
    """People of 2015, and who of them has work."""
    for person in census("reference"):
        yield {**person, SCHEMA.event_time: ASKED}


def requests() -> Iterator[dict[str, str]]:
    """People of 2016 to 2018."""
    return census("analysis")


def file(part: str) -> Path:
    """Where a part of the data is. Raises FileNotFoundError."""
    path = Path(str(importlib.metadata.distribution("nannyml").locate_file(DATA.format(part=part))))
    if not path.exists():
        raise FileNotFoundError(f"the census data are not at {path}: run `make clean` and `make up` to install them")
    return path


def census(part: str, rows: int | None = None) -> Iterator[dict[str, str]]:
    """Rows of the data as CSV has them: texts, empty where a value is missing.

    `part`: `reference` (2015, with the label), `analysis` (2016 to 2018).
    """
    import pyarrow.parquet  # here, for many commands import this module and few read the data

    people = pyarrow.parquet.ParquetFile(file(part))
    columns = ["id", *SCHEMA.names, *([LABEL] if part == "reference" else [])]
    # A feature that was added since is in no file: a missing value, as of producers that do not send it yet.
    read = [name for name in columns if name in people.schema_arrow.names]
    batches = people.iter_batches(batch_size=BATCH, columns=read)
    texts = ([column.cast(pyarrow.string()).fill_null("").to_pylist() for column in batch.columns] for batch in batches)
    found = itertools.chain.from_iterable(zip(*each, strict=True) for each in texts)
    nothing = dict.fromkeys(columns, "")
    for row in itertools.islice(found, rows):
        yield nothing | dict(zip(read, row, strict=True))
