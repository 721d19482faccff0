"""What applications get to use a prediction API with: its OpenAPI document, and a typed client in one Python module.

`slipway api openapi STACK` and `slipway api client STACK` print them; neither needs credentials, for both follow from
the product's feature schema and its YAML. What a deployed API adds (its addresses) comes from the stack's outputs.
"""

import json
import keyword
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from components.openapi import PATHS, Shape, document, scope_of
from functions.features import Feature, FeatureSchema

TEMPLATE = Path(__file__).with_name("prediction_client.py")
WIDTH = 120


@dataclass(frozen=True)
class Addresses:
    """Where a deployed API is; empty before it is."""

    url: str = ""
    token_url: str = ""

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"url": self.url, "token_url": self.token_url}


def openapi(schema: FeatureSchema, shape: Shape, addresses: Addresses | None = None) -> dict[str, Any]:
    """The OpenAPI 3.0 document for applications."""
    where = addresses or Addresses()
    return document(schema, shape, url=where.url, token_url=where.token_url)


def printed(
    what: Literal["openapi", "client"], schema: FeatureSchema, shape: Shape, addresses: Addresses | None = None
) -> str:
    """What `slipway api openapi` and `slipway api client` print."""
    if what == "client":
        return client(schema, shape, addresses)
    return json.dumps(openapi(schema, shape, addresses), indent=2) + "\n"


def in_rehearsal(addresses: Addresses, emulator: str) -> Addresses:
    """Where the rehearsal's emulator answers in the place of AWS; `emulator` is its own address."""
    api, token = urlsplit(addresses.url), urlsplit(addresses.token_url)
    return Addresses(
        f"{emulator}/_api/{api.netloc.partition('.')[0]}{api.path}" if addresses.url else "",
        f"{emulator}/_auth/{token.netloc.partition('.')[0]}{token.path}" if addresses.token_url else "",
    )


def client(schema: FeatureSchema, shape: Shape, addresses: Addresses | None = None) -> str:
    """A Python module that asks this API: typed rows, both kinds of authentication, retries and errors.

    It needs the standard library, and botocore only to sign requests. The same schema gives the same text.
    """
    where = addresses or Addresses()
    text = TEMPLATE.read_text("utf-8")
    text = f"{_about(schema, shape, where)}\n\n{text[text.index('import base64') :]}"
    text = _with(text, "API", repr_(shape.name))
    text = _with(text, "MOST_ROWS", str(shape.max_rows))
    text = _with(text, "SCOPE", repr_(scope_of(shape.name)))
    text = _with(text, "PATHS", json.dumps({auth: PATHS[auth] for auth in shape.auths}))
    text = _with(text, "FEATURES", _table(schema))
    begin, end = text.index("class Row(TypedDict):"), text.index("class Feature(TypedDict):")
    text = f"{text[:begin]}{_row(schema)}\n\n\n{text[end:]}"
    if not all(feature.required for feature in schema.features):
        return text
    return text.replace("Literal, NotRequired, Protocol", "Literal, Protocol", 1)


def repr_(text: str) -> str:
    """A text as Python writes it, between double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _with(text: str, name: str, value: str) -> str:
    """The module with another value for one of its constants."""
    found = re.search(rf"^{name}: [^\n]*? = ([^\n]*)$", text, re.MULTILINE)
    assert found, name
    return text[: found.start(1)] + value + text[found.end(1) :]


def _about(schema: FeatureSchema, shape: Shape, where: Addresses) -> str:
    token_url = repr_(where.token_url or "https://…/oauth2/token")
    login = {"jwt": f"ClientCredentials({token_url}, client_id, secret)", "iam": f'SigV4("{_region(where.url)}")'}
    uses = "\n".join(
        f"    auth = {login[auth]}\n    client = Client({repr_(where.url or 'https://…')}, auth=auth, api_key=api_key)"
        for auth in shape.auths
    )
    return (
        f'"""Asks {shape.name} for predictions from the features of {schema.name}.\n\n'
        f"{uses}\n    client.predict([{{…}}]).predictions\n\n"
        "Made by `slipway api client`: a change of the features makes another one, so change nothing here.\n"
        '"""'
    )


def _region(url: str) -> str:
    found = re.search(r"\.execute-api\.([\w-]+)\.", url)
    return found[1] if found else "us-east-1"


def _row(schema: FeatureSchema) -> str:
    """The type of a row: a class, or where some feature is no name in Python, a call."""
    names = [feature.name for feature in schema.features]
    if all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        fields = "".join(
            f"\n    {feature.name}: {_type(feature)}\n{_docstring(_words(feature))}" for feature in schema.features
        )
        return f'class Row(TypedDict):\n    """The features of one row."""\n{fields}'.rstrip()
    entries = "".join(
        f"{_wrapped(_words(feature), '        # ')}\n        {repr_(feature.name)}: {_type(feature)},\n"
        for feature in schema.features
    )
    return f'Row = TypedDict(\n    "Row",\n    {{\n{entries}    }},\n)\n"""The features of one row."""'


def _docstring(words: str) -> str:
    return _wrapped(f'"""{words}"""', "    ") + "\n"


def _wrapped(words: str, indent: str) -> str:
    return textwrap.fill(words, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _type(feature: Feature) -> str:
    made = {"Integral": "int", "Fractional": "float", "String": "str"}[feature.kind]
    if feature.categories:
        codes = ", ".join(code if feature.kind == "Integral" else repr_(code) for code in feature.categories)
        made = f"Literal[{codes}]" if len(codes) < 80 else f"Literal[\n{_wrapped(codes, ' ' * 8)}\n    ]"
    return made if feature.required else f"NotRequired[{made}]"


def _words(feature: Feature) -> str:
    """What a feature is, with its bounds and the meanings of its codes."""
    least, most = feature.minimum, feature.maximum
    bounds = ""
    if least is not None and most is not None:
        bounds = f"{least:g} to {most:g}"
    elif least is not None or most is not None:
        bounds = f"at least {least:g}" if least is not None else f"at most {most:g}"
    meanings = ", ".join(f"{code} {meaning}" for code, meaning in feature.labels.items())
    said = "; ".join(part for part in (feature.description, bounds, meanings) if part)
    return said.replace("\\", "\\\\").replace('"', "'").replace("\n", " ") + "."


def _table(schema: FeatureSchema) -> str:
    kinds = {"Integral": "integer", "Fractional": "number", "String": "string"}
    lines = []
    for feature in schema.features:
        codes = [code if feature.kind == "Integral" else repr_(code) for code in feature.categories]
        lines.append(
            f"    {repr_(feature.name)}: {{\n"
            f'        "kind": "{kinds[feature.kind]}",\n'
            f'        "categories": [{", ".join(codes)}],\n'
            f'        "minimum": {feature.minimum!r},\n'
            f'        "maximum": {feature.maximum!r},\n'
            f'        "required": {feature.required!r},\n'
            f"    }},\n"
        )
    return "{\n" + "".join(lines) + "}"
