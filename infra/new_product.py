"""`slipway new product`: a working product from a table of rows whose answer is known, or from a small example.

It writes what a team would write by hand (stacks/product.py says what a product is): its stack, a YAML for every
environment, features, gate, training and serving code, data for the rehearsal, and a test. All of it, or nothing.
"""

import json
import keyword
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml

from functions.features import FeatureSchema
from infra import environments, schemas, settings
from infra.new_product_data import DataError, Table, example, gate_of, read
from infra.settings import ENVIRONMENTS, ROOT

TEMPLATES: Final = Path(__file__).parent / "templates" / "product"
NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST: Final = 24
"""Characters of a product's name: names of AWS's resources are made of it and the environment's."""
LINE: Final = 120
PURPOSE: Final = "whether a subscriber leaves"
"""Of the example's model."""
DESCRIPTION: Final = "Answers one request after another."
"""Of the product's class: the JSON Schema of its YAMLs shows it."""
IMAGE: Final = "arn:aws:ecr:us-east-1:683313688378:repository/sagemaker-scikit-learn"
"""SageMaker's own scikit-learn image of us-east-1, where no product of the environment has said another."""
USD_PER_MONTH: Final = {"local": 700, "dev": 700, "staging": 700, "prod": 700}
LOG_DAYS: Final = {"prod": 365}
"""Where logs are kept for other than the default, as the policies of an environment ask."""


class NotMade(Exception):
    """A product cannot be made: the text says why, and what to set."""


@dataclass(frozen=True)
class Wanted:
    """What `slipway new product` is told."""

    name: str
    owner: str
    cost_center: str
    purpose: str = ""
    """What the model tells, in a few words."""
    file: Path | None = None
    """A CSV file with a header; without it, an example of our own."""
    label: str | None = None
    record_id: str | None = None
    time: str | None = None
    positive: str | None = None
    """The label's value that stands for 1."""


@dataclass(frozen=True)
class Made:
    """What is to be written, and what is to be known of it."""

    files: Mapping[Path, str]
    notes: Sequence[str]
    """What was decided about the data, a sentence each."""


def make(wanted: Wanted) -> Made:
    """Everything of a new product, not written yet. Raises NotMade."""
    _check(wanted)
    module = wanted.name.replace("-", "_")
    try:
        table = _table(wanted)
        schema = _schema(module, table)
        gate = gate_of(schema, table)
    except DataError as error:
        raise NotMade(str(error)) from error
    except ValueError as error:
        raise NotMade(f"{wanted.file}: {error}") from error
    purpose = _prose(wanted.purpose) or _prose(PURPOSE if wanted.file is None else _told(table))
    shared: dict[str, Any] = {
        "name": wanted.name,
        "module": module,
        "class_name": "".join(part.capitalize() for part in wanted.name.split("-")),
        "owner": wanted.owner,
        "purpose": purpose,
        "label": table.label,
        "positive": _prose(f"1 where it is {table.positive}"),
        "record_id": table.record_id,
        "event_time": table.event_time,
        "features": table.columns,
        "gate": gate,
        "history": table.history,
        "dataset": f"{wanted.name}-sample",
        "source": _prose(table.source),
        "description": DESCRIPTION,
    }
    templates = _templates()
    files = {
        ROOT / path: templates.get_template(f"{template}.jinja").render(shared)
        for path, template in {
            f"stacks/{module}.py": "stack.py",
            f"functions/{module}/__init__.py": "init.py",
            f"functions/{module}/features.py": "features.py",
            f"functions/{module}/gate.py": "gate.py",
            f"functions/{module}/train.py": "train.py",
            f"functions/{module}/inference.py": "inference.py",
            f"stacks/samples/{module}.py": "sample.py",
            f"tests/test_{module}.py": "test.py",
        }.items()
    }
    files[ROOT / f"stacks/samples/{module}.csv"] = table.csv()
    files[schemas.FOLDER / f"{wanted.name}.json"] = schemas.text(schemas.product(wanted.name, DESCRIPTION))
    for environment in ENVIRONMENTS:
        template = "local.yaml" if environment == "local" else "cloud.yaml"
        text = templates.get_template(f"{template}.jinja").render({**shared, **_of(environment, wanted)})
        files[settings.STACK_FOLDER / f"Pulumi.{wanted.name}-{environment}.yaml"] = text
    if there := [_shown(path) for path in files if path.exists()]:
        raise NotMade(f"{', '.join(there)}: there already; choose another name, or remove what is there")
    return Made(files, table.notes)


def write(files: Mapping[Path, str]) -> None:
    """Write all of these files, or none of them. Raises NotMade where one is there, or cannot be written."""
    made: list[Path] = []
    try:
        for path, text in files.items():
            for folder in reversed([each for each in path.parents if not each.exists()]):
                folder.mkdir()
                made.append(folder)
            with path.open("x", encoding="utf-8", newline="") as file:
                made.append(path)
                file.write(text)
    except OSError as error:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise NotMade(f"nothing was written: {error}") from error


def _check(wanted: Wanted) -> None:
    """Hold the name and the tags against what they may be. Raises NotMade."""
    name, last = wanted.name, wanted.name.rpartition("-")[2]
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise NotMade(f"{name!r} is no name: use up to {LONGEST} small letters, digits and dashes, such as churn")
    if last in ENVIRONMENTS:
        raise NotMade(f"{name!r} ends as an environment does: leave out -{last}, for each environment gets a stack")
    if keyword.iskeyword(name) or name in ("product", "samples", "schemas", "training"):
        raise NotMade(f"{name!r} is a word that the code needs itself: choose another")
    for key, value in (("owner", wanted.owner), ("cost-center", wanted.cost_center)):
        if not re.fullmatch(r"[\w .:/=+@-]{1,100}", value):
            raise NotMade(f"--{key}: {value!r} is no tag of AWS: use letters, digits, spaces and _ . : / = + - @")
    if len(wanted.purpose) > 80:
        raise NotMade(f"--purpose: {len(wanted.purpose)} characters; say in 80 at most what the model tells")


def _table(wanted: Wanted) -> Table:
    if wanted.file is None:
        return example()
    return read(wanted.file, wanted.label, wanted.record_id, wanted.time, wanted.positive)


def _told(table: Table) -> str:
    """What a model of a table tells, as far as the table says."""
    return f"whether {table.label} is {table.positive}"


def _schema(module: str, table: Table) -> FeatureSchema:
    return FeatureSchema(
        name=module,
        record_id=table.record_id,
        event_time=table.event_time,
        features=tuple(each.feature() for each in table.columns),
    )


def _of(environment: str, wanted: Wanted) -> dict[str, Any]:
    """What the YAML of one environment says."""
    place = environments.environment(environment)
    days = LOG_DAYS.get(environment)
    return {
        "environment": environment,
        "account": place.account,
        "region": place.region,
        "cost_center": wanted.cost_center,
        "usd_per_month": USD_PER_MONTH[environment],
        "image_repository": _image(environment),
        "header": schemas.header(settings.STACK_FOLDER, wanted.name),
        "log": f", log_days: {days}" if days else "",
        "log_only": f"log_days: {days}",
        "verified": ", verified_names: true" if environment == "prod" else "",
        "capture_percent": 100,
        "mode": "dry-run",
    }


def _image(environment: str) -> str:
    """The image that the other products of an environment train and serve with."""
    for path in sorted(settings.STACK_FOLDER.glob(f"Pulumi.*-{environment}.yaml")):
        told = yaml.safe_load(path.read_text("utf-8"))["config"]["slipway:settings"]
        if "image_repository" in told:
            return str(told["image_repository"])
    return IMAGE


# --- text -------------------------------------------------------------------------------------------------------------


def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python and YAML: what is a text goes through `text` and `quoted`
    )
    found.globals.update(text=literal, tuple=_tuple, imports=_imports, quoted=json.dumps)
    return found


def literal(text: str) -> str:
    """A text as a Python literal of one line, as ruff formats it."""
    quote = "'" if '"' in text and "'" not in text else '"'
    return quote + "".join(_escaped(each, quote) for each in text) + quote


def _escaped(character: str, quote: str) -> str:
    if character in ("\\", quote):
        return f"\\{character}"
    if (character.isascii() and character.isprintable()) or _is_plain(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_plain(character: str) -> bool:
    """Whether nobody takes it for another: Latin letters, and a few signs."""
    return character in "€£°" or "LATIN" in unicodedata.name(character, "")


def _tuple(texts: Sequence[str], indent: int) -> str:
    """A tuple as an argument `categories=…,` of a call that is indented so far."""
    written = [literal(each) for each in texts]
    flat = f"({', '.join(written)}{',' if len(written) == 1 else ''})"
    if indent + len(f"categories={flat},") <= LINE:
        return flat
    margin = " " * indent
    return "(\n" + "".join(f"{margin}    {each},\n" for each in written) + f"{margin})"


def _imports(words: Sequence[str]) -> str:
    """`from MODULE import NAMES` for each, in the order in which ruff sorts them."""
    return "\n".join(f"from {each}" for each in sorted(words, key=lambda each: each.partition(" ")[0]))


def _prose(text: str) -> str:
    """A text that can stand in a docstring."""
    plain = "".join(each if (each.isascii() and each.isprintable()) or _is_plain(each) else " " for each in text)
    return " ".join(plain.replace("\\", "/").replace('"', "'").split())[:80].strip(" .")


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
