"""The rehearsal's AWS provider: pulumi-aws's resources as calls to an emulator, by the table in types.py."""

import contextlib
import itertools
import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import boto3
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import ServiceModel, Shape
from botocore.response import StreamingBody

from infra.rehearsal.aws import assets
from infra.rehearsal.aws.mapping import ASIDE, Values, fill, find, parameters
from infra.rehearsal.aws.types import TYPES, Change, Tags, Type, everything, tag_list
from infra.rehearsal.properties import Path, covers, holds_unknown, parse_path
from infra.rehearsal.provider import UNKNOWN, Diff, Props, ProviderError, symbol

TOKEN_HEADER: Final = "x-slipway-token"
DEFAULTS: Final = "__defaults"
"""Where Pulumi's own providers note which inputs they chose themselves."""
SETTLE_SECONDS: Final = 300.0
"""How long a resource may take to become usable, or to go, in the emulator."""
POLL_SECONDS: Final = 0.1
GONE: Final = (
    *("NotFound", "NoSuch", "404", "DoesNotExist", "NonExistent", "PlacementGroup.Unknown"),
    *("UnknownMonitor", "UnknownSubscription"),
)
SENTENCES_OF_GONE: Final = ("could not find", "does not exist", "not found", "cannot find")
"""What stands in SageMaker's validation errors for what is gone."""
BUCKET: Final = "aws:s3/bucket:Bucket"


class AwsError(ProviderError):
    """AWS refused a call."""

    def __init__(self, call: str, code: str, words: str) -> None:
        super().__init__(f"{call}: {code}: {words}")
        self.code, self.words = code, words

    @property
    def gone(self) -> bool:
        """Whether it says that something is not there."""
        sentences = self.code.startswith("Validation") and any(each in self.words.lower() for each in SENTENCES_OF_GONE)
        return sentences or any(mark in self.code for mark in GONE)


class Vanished(ProviderError):
    """What was made a moment ago is not there: the answer was one of an earlier attempt, told again."""


class AwsProvider:
    """Answers the engine (see `Provider` in provider.py). `endpoint` None: it only checks, compares and previews."""

    def __init__(self, region: str, account_id: str, default_tags: Mapping[str, str], endpoint: str | None) -> None:
        self._region, self._account, self._tags, self._endpoint = region, account_id, default_tags, endpoint
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    # --- what asks nobody -------------------------------------------------------------------------------------------

    def check(self, type_: str, name: str, old_inputs: Props | None, new_inputs: Props) -> Props:
        """See Provider. A generated name is `<name>-<7 hexadecimal digits>`, as pulumi-aws does it."""
        row = _row(type_)
        inputs = {key: value for key, value in new_inputs.items() if value is not None and not key.startswith("__")}
        if inputs.get("region", self._region) != self._region:
            raise ProviderError(f"region: the stack's emulator is asked as {self._region} alone; take `region` away")
        if row.named and row.named not in inputs:
            inputs |= _generated(row, name, old_inputs or {})
        if row.tags:
            tags = {**self._tags, **(inputs.get("tags") or {})}
            inputs |= {"tags": tags, "tagsAll": tags}
        for key, value in inputs.items():
            if assets.is_archive(value):
                try:
                    inputs[key] = assets.hashed(value)
                except (OSError, ValueError) as error:
                    raise ProviderError(f"{key}: {error}") from error
        try:
            self._verify(type_, row, inputs)
        except (AttributeError, TypeError, ValueError):
            if not holds_unknown(inputs):  # what is not known yet is looked at again when it is
                raise
        return inputs

    def _verify(self, type_: str, row: Type, inputs: Props) -> None:
        """Make every call's arguments once, without calling. Raises ProviderError for what AWS would not take."""
        told = dict.fromkeys((*row.outputs, *row.found, *row.copies, "id", "arn", "uuid"), "")
        values = self._values(row, inputs, {**told, "before": {}, "created": {}, "response": {}, "zip": b""})
        try:
            [arguments] = self._arguments(row, row.create, _creation(row), values)
        except KeyError as missing:
            raise ProviderError(f"{missing.args[0]}: missing, and {type_} needs it") from None
        if not holds_unknown(arguments):
            report = botocore.validate.ParamValidator().validate(arguments, _takes(row, row.create))
            if report.has_errors():
                raise ProviderError(f"{row.service}.{row.create}: {report.generate_report()}")
        for change in row.changes:
            if any(_at(inputs, each) is not None for each in change.inputs) and not change.already:
                with contextlib.suppress(KeyError):  # it needs another input, so it will not be made
                    self._arguments(row, change.call, change.arguments, values)
        cared_for = {*row.local, *ASIDE} - ({"tags"} if not row.tags else set())
        cared_for |= {each.partition(".")[0] for change in row.changes for each in change.inputs}
        if unused := sorted(inputs.keys() - values.used - cared_for):
            raise ProviderError(
                f"{', '.join(unused)}: the rehearsal does not know what to do with it. "
                f"Map it in infra/rehearsal/aws/types.py, at the row of {type_}"
            )

    def preview(self, type_: str, name: str, inputs: Props) -> Props:
        """See Provider."""
        row = _row(type_)
        looked_up = [name for name in row.looked_up if self._is_looked_up(row, name, inputs)]
        told = {
            output: UNKNOWN if output in row.structured else symbol(output, name)
            for output in (*row.outputs, *row.found, *looked_up)
            if (output not in inputs or output in row.structured) and not (output == "arn" and row.arn)
        }
        known = {key: symbol(key, name) if value == UNKNOWN else value for key, value in inputs.items()}
        # Of a state, what a function's code was made of may be gone by now, or never have been on this machine.
        values = self._values(row, known, {**told, "uuid": symbol("uuid", name), "zip": b""})
        self._derive(row, values)
        # What AWS adds to an input, only a deployment tells.
        added = {output: told[output] for output in row.structured if output in told}
        return {**told, **_public(inputs), **added, **{key: values[key] for key in _derived(row) if key in values}}

    def _is_looked_up(self, row: Type, name: str, inputs: Props) -> bool:
        return fill(row.looked_up[name][1], self._values(row, inputs, {"zip": b""})) is not None

    def renewed(self, type_: str) -> tuple[str, ...]:
        """The outputs that every update of such a resource changes: not known again until it is done."""
        return _row(type_).renewed

    def diff(self, type_: str, old_inputs: Props, new_inputs: Props, ignore: Sequence[str]) -> Diff:
        """See Provider."""
        row = _row(type_)
        ignored = [parse_path(path) for path in ignore]
        changed = [
            path
            for path in _differences(_public(old_inputs), _public(new_inputs), ())
            # `tagsAll` follows from `tags`, and one line for the two is enough.
            if path[0] != "tagsAll" and not any(len(each) <= len(path) and covers(each, path) for each in ignored)
        ]
        replaces = [path for path in changed if not _in_place(row, path, new_inputs)]
        given_name = bool(row.named) and row.named not in new_inputs.get(DEFAULTS, ())
        keeps_name = given_name and old_inputs.get(row.named) == new_inputs.get(row.named)
        return Diff(tuple(map(_text, changed)), tuple(map(_text, replaces)), row.fixed_name or keeps_name)

    # --- what asks AWS ----------------------------------------------------------------------------------------------

    def create(self, type_: str, inputs: Props, token: str) -> tuple[str, Props]:
        """See Provider. What comes out unusable is deleted again, so that the next attempt begins anew."""
        row = _row(type_)
        try:
            return self._create(type_, row, inputs, token)
        except Vanished:
            if not token:
                raise
            return self._create(type_, row, inputs, f"{token}/{uuid.uuid4().hex}")

    def _create(self, type_: str, row: Type, inputs: Props, token: str) -> tuple[str, Props]:
        values = self._values(row, inputs, {"before": {}})
        with self._asking(token):
            [arguments] = self._arguments(row, row.create, _creation(row), values)
            if row.tags and row.tags_at_creation and inputs.get("tags"):
                arguments[row.tags_at_creation] = tag_list(inputs["tags"], row.tags.style)
            response = self._call(row, row.create, arguments)
            told = {name: value for name, path in row.outputs.items() if (value := find(path, response)) is not None}
            values.known |= {**told, "created": response, "response": response, "asked": arguments}
            self._derive(row, values)
            for change in row.changes:
                if change.at_creation and (not change.inputs or any(inputs.get(n) is not None for n in change.inputs)):
                    self._apply(row, change, values)
            if row.tags and not row.tags_at_creation and inputs.get("tags"):
                self._put_tags(row, row.tags, inputs["tags"], values)
        for name, (call, template, path) in row.looked_up.items():
            for arguments in self._arguments(row, call, template, values):
                told[name] = find(path, self._call(row, call, arguments))
        id_ = str(values["id"])
        self._settle_new(type_, row, id_, inputs, values)
        made = {**_public(inputs), **told, **{name: values[name] for name in _derived(row) if name in values}}
        return id_, {**made, **self._refreshed(type_, row, id_, inputs, made)}

    def _refreshed(self, type_: str, row: Type, id_: str, inputs: Props, outputs: Props) -> Props:
        return (self.read(type_, id_, inputs, outputs) or {}) if row.found else {}

    def _settle_new(self, type_: str, row: Type, id_: str, inputs: Props, values: Values) -> None:
        try:
            self._settle(row, values)
        except AwsError as error:
            if error.gone:
                raise Vanished(str(error)) from error
            raise
        except ProviderError:
            self.delete(type_, id_, inputs, {**values.known})
            raise

    def read(self, type_: str, id_: str, inputs: Props, outputs: Props) -> Props | None:
        """See Provider."""
        row = _row(type_)
        # What a function's code was made of may be gone by now, and is not needed to find or delete the function.
        values = self._values(row, inputs, {**_beside(outputs, inputs), "id": id_, "zip": b""})
        try:
            response = self._look(row, values)
        except AwsError as error:
            if error.gone:
                return None
            raise
        found = self._found(row, response, values)
        if not found:
            return None
        fresh = {name: value for name, path in row.found.items() if (value := find(path, found)) is not None}
        return {**outputs, **fresh}

    def _look(self, row: Type, values: Values) -> dict[str, Any]:
        try:
            return self._call(row, row.read.call, *self._arguments(row, row.read.call, row.read.arguments, values))
        except KeyError as missing:
            raise ProviderError(f"{missing.args[0]}: not known, and {row.service}.{row.read.call} needs it") from None

    def _found(self, row: Type, response: dict[str, Any], values: Values) -> Any:
        if callable(row.read.found):
            return row.read.found(response, values)
        names = {name: str(values[name]) for name in re.findall(r"{(\w+)}", row.read.found)}
        expression = re.sub(r"{(\w+)}", lambda name: names[name[1]], row.read.found)
        # botocore adds an entry of its own, by which every answer would be something.
        answer = {name: value for name, value in response.items() if name != "ResponseMetadata"}
        return answer or True if expression == "@" else find(expression, answer)

    def update(self, type_: str, id_: str, old_inputs: Props, new_inputs: Props, outputs: Props) -> Props:
        """See Provider."""
        row = _row(type_)
        known = {name: value for name, value in outputs.items() if name not in old_inputs}
        values = self._values(row, new_inputs, {**known, "id": id_, "before": old_inputs, "now": outputs})
        changed = {path[0] for path in _differences(_public(old_inputs), _public(new_inputs), ())}
        if row.repeatable and changed - {"tags", "tagsAll"} - {*row.local}:
            for arguments in self._arguments(row, row.create, _creation(row), values):
                self._call(row, row.create, arguments)
        applied = [change for change in row.changes if _is_due(change, old_inputs, new_inputs)]
        for change in applied:
            taken = [
                name for name in change.inputs if new_inputs.get(name) is None and old_inputs.get(name) is not None
            ]
            resets = {name: change.resets[name] for name in taken if name in change.resets}
            changing = self._values(row, {**new_inputs, **resets}, values.known)
            self._apply(row, change, changing)
            values.known |= {name: changing.known[name] for name in ("response", "asked") if name in changing.known}
        if row.tags and "tags" in changed:
            self._change_tags(row, row.tags, old_inputs.get("tags") or {}, new_inputs.get("tags") or {}, values)
        if applied:
            self._settle(row, values)
        self._derive(row, values)
        made = {**outputs, **_public(new_inputs), **{name: values[name] for name in _derived(row) if name in values}}
        for name in old_inputs.keys() - new_inputs.keys():
            made.pop(name, None)
        return self.read(type_, id_, new_inputs, made) or made

    def delete(self, type_: str, id_: str, inputs: Props, outputs: Props) -> None:
        """See Provider."""
        row = _row(type_)
        known = {**_beside(outputs, inputs), "id": id_, "before": inputs, "response": {}, "zip": b""}
        values = self._values(row, inputs, known)
        if type_ == BUCKET and inputs.get("forceDestroy"):
            self._empty(id_, locked=bool(inputs.get("objectLockEnabled")))
        refused = None
        for call, template in row.delete:
            for arguments in self._arguments(row, call, template, values):
                try:
                    values.known["response"] = self._call(row, call, arguments)
                except AwsError as error:
                    refused = error
                    if not error.gone:
                        break
        # Services say in many ways that something is gone already: what counts is that it is.
        if refused and self.read(type_, id_, inputs, outputs) is not None:
            raise refused
        if row.ready:
            self._until_gone(type_, row, id_, inputs, outputs)

    def invoke(self, token: str, arguments: Mapping[str, Any]) -> Props:
        """See Provider. The stacks ask AWS nothing while they are built: a plan must not depend on the answer."""
        raise ProviderError(f"{token}: the rehearsal answers no data source; what a stack needs to know is in its YAML")

    # --- calls ------------------------------------------------------------------------------------------------------

    def _values(self, row: Type, inputs: Props, known: Mapping[str, Any]) -> Values:
        """What templates and arguments are made from."""
        here = {"account": self._account, "region": self._region}
        to_pack = "zip" not in known and assets.is_archive(inputs.get("code"))
        packed = {"zip": assets.zipped(inputs["code"])} if to_pack else {}
        return Values(inputs, {**row.assumed, **packed, **known, **here})

    def _derive(self, row: Type, values: Values) -> None:
        """Add the id and the outputs that follow from others; what AWS told stays as it is."""
        templates = {name: template for name, template in _derived(row).items() if name not in values.known}
        # An ARN may need the id, or the id the ARN.
        for name, template in [*templates.items(), *templates.items()]:
            with contextlib.suppress(KeyError):
                values.known[name] = fill(template, values)

    def _apply(self, row: Type, change: Change, values: Values) -> None:
        for arguments in self._arguments(row, change.call, change.arguments, values):
            try:
                values.known["response"] = self._call(row, change.call, arguments)
            except AwsError as error:
                if error.code != change.already:
                    raise
            values.known["asked"] = arguments

    def _arguments(self, row: Type, call: str, template: Any, values: Values) -> list[dict[str, Any]]:
        """The arguments of a call, as often as it is to be made. Raises KeyError for what has no value."""
        own = fill(template, values)
        each = [] if own is None else [own] if isinstance(own, Mapping) else own
        return [parameters(_takes(row, call), arguments, row.rename) for arguments in each]

    def _call(self, row: Type, call: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call AWS. Raises AwsError with AWS's own words, ProviderError where it cannot be asked."""
        client = self._client(row.service)
        try:
            response: dict[str, Any] = getattr(client, xform_name(call))(**arguments)
        except ClientError as error:
            told = error.response.get("Error", {})
            raise AwsError(f"{row.service}.{call}", told.get("Code", ""), told.get("Message", "")) from error
        except BotoCoreError as error:
            raise ProviderError(f"{row.service}.{call}: {error}") from error
        if isinstance(payload := response.get("Payload"), StreamingBody):
            response["Payload"] = payload.read().decode()
            if kind := response.get("FunctionError"):
                raise AwsError(f"{row.service}.{call}", f"FunctionError {kind}", response["Payload"])
        return response

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                if self._endpoint is None:
                    raise ProviderError(f"nothing to ask {service} of: this provider only plans")
                client = boto3.client(
                    service,  # type: ignore[call-overload]  # chosen by the table
                    region_name=self._region,
                    endpoint_url=self._endpoint,
                    aws_access_key_id="slipway",
                    aws_secret_access_key="rehearsal",
                    config=Config(
                        retries={"total_max_attempts": 1},
                        max_pool_connections=32,
                        s3={"addressing_style": "path"},
                        # A budget's endpoint would be prefixed otherwise, and there is but one host here.
                        inject_host_prefix=False,
                    ),
                )
                client.meta.events.register("before-call", self._with_token)
                self._clients[service] = client
            return self._clients[service]

    @contextlib.contextmanager
    def _asking(self, token: str) -> Iterator[None]:
        """Within it, this thread's calls carry the token and their number."""
        self._local.tokens = (f"{token}/{number}" for number in itertools.count()) if token else None
        try:
            yield
        finally:
            self._local.tokens = None

    def _with_token(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        tokens = getattr(self._local, "tokens", None)
        if tokens and not model.name.startswith(("Describe", "Get", "List", "Head")):
            params["headers"][TOKEN_HEADER] = next(tokens)

    # --- tags -------------------------------------------------------------------------------------------------------

    def _put_tags(self, row: Type, how: Tags, tags: Mapping[str, str], values: Values) -> None:
        member, _, inner = how.member.partition(".")
        listed = tag_list(tags, how.style)
        self._call(row, how.call, {**fill(how.resource, values), member: {inner: listed} if inner else listed})

    def _change_tags(
        self, row: Type, how: Tags, old: Mapping[str, str], new: Mapping[str, str], values: Values
    ) -> None:
        gone = sorted(old.keys() - new.keys())
        if gone and how.removal:
            keys = [{"Key": key} for key in gone] if how.removed == "Tags" else gone
            self._call(row, how.removal, {**fill(how.resource, values), how.removed: keys})
        if new or not how.removal:
            self._put_tags(row, how, new, values)

    # --- what takes time, or care -----------------------------------------------------------------------------------

    def _settle(self, row: Type, values: Values) -> None:
        """Wait until it is as it was asked to be. Raises ProviderError where it came out otherwise."""
        if not row.ready:
            return
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            found = self._look(row, values)
            status, reason = find(row.ready.status, found), find(row.ready.reason, found) or "no reason was given"
            if status == row.ready.good:
                break
            if status in row.ready.bad:
                raise ProviderError(f"{values['id']} is {status}: {reason}")
            if time.monotonic() > deadline:
                raise ProviderError(f"{values['id']} is still {status} after {SETTLE_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        for name in row.ready.live:
            asked, live = values["asked"].get(name), found[name]
            if asked != live:
                raise ProviderError(f"{values['id']} was rolled back: {asked} was asked for, {live} is live. {reason}")

    def _until_gone(self, type_: str, row: Type, id_: str, inputs: Props, outputs: Props) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.read(type_, id_, inputs, outputs) is not None:
            if time.monotonic() > deadline:
                raise ProviderError(f"{id_} is still there {SETTLE_SECONDS:g} s after it was deleted")
            time.sleep(POLL_SECONDS)

    def _empty(self, bucket: str, *, locked: bool) -> None:
        """Delete every version of every object, as pulumi-aws does: those under governance, too."""
        s3 = self._client("s3")
        bypass = {"BypassGovernanceRetention": True} if locked else {}
        kept: list[str] = []
        try:
            # All pages before the first deletion: the next one begins where the last one ended, which is then gone.
            for page in list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket)):
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                if objects:
                    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}, **bypass)
                    kept += [f"{each['Key']}: {each.get('Message', each['Code'])}" for each in answer.get("Errors", ())]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise ProviderError(f"s3: bucket {bucket} could not be emptied: {error}") from error
        if kept:
            raise ProviderError(f"s3: bucket {bucket} could not be emptied: {'; '.join(kept[:3])}")


def _row(type_: str) -> Type:
    row = TYPES.get(type_)
    if row is None:
        raise ProviderError(
            f"the rehearsal's AWS provider does not know {type_}: add a row for it to TYPES in "
            "infra/rehearsal/aws/types.py, with the calls that create, read, update and delete it"
        )
    return row


@lru_cache
def _model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def _takes(row: Type, call: str) -> Shape:
    """The shape of a call's parameters. Every call in the table has some."""
    shape = _model(row.service).operation_model(call).input_shape
    assert shape is not None
    return shape


def _creation(row: Type) -> Any:
    """The creating call's arguments: by default what no later call puts in force."""
    if row.arguments is not None:
        return row.arguments
    later = {name for change in row.changes if change.at_creation for name in change.inputs} | {*row.local}
    if not later:
        return everything
    return lambda values: {name: values[name] for name in values if name not in later}


def _derived(row: Type) -> Mapping[str, Any]:
    """The templates of what follows from inputs and outputs."""
    return {**row.copies, **({"arn": row.arn} if row.arn else {}), "id": row.id}


def _generated(row: Type, name: str, old: Props) -> Props:
    """A name for what has none, noted as generated; the one it has already, if that was generated too."""
    if row.named in old.get(DEFAULTS, ()):
        given = old[row.named]
    else:
        given = f"{row.name_start}{name.lower() if row.lower_case else name}-{secrets.token_hex(4)[:7]}"
    return {row.named: given, DEFAULTS: [row.named]}


def _public(inputs: Props) -> Props:
    return {name: value for name, value in inputs.items() if name != DEFAULTS}


def _beside(outputs: Props, inputs: Props) -> Props:
    return {name: value for name, value in outputs.items() if name not in inputs}


def _at(inputs: Any, dotted: str) -> Any:
    for step in dotted.split("."):
        inputs = inputs.get(step) if isinstance(inputs, Mapping) else None
    return inputs


def _puts(change: Change, name: str, new_inputs: Props) -> bool:
    """Whether a call puts an input in force as it is now: with a value, or taken away."""
    if _at(new_inputs, name) is not None:
        return change.when != "taken"
    return change.when != "given" or change.whole or name in change.resets


def _is_due(change: Change, old_inputs: Props, new_inputs: Props) -> bool:
    """Whether an update needs this call."""
    return any(
        _at(old_inputs, name) != _at(new_inputs, name) and _puts(change, name, new_inputs) for name in change.inputs
    )


def _in_place(row: Type, path: Path, new_inputs: Props) -> bool:
    """Whether a change at this path needs no replacement."""
    name = str(path[0])
    if name == "tags" or name in row.local or (row.repeatable and name not in row.keys):
        return True
    return any(
        tuple(each.split(".")) == path[: each.count(".") + 1] and _puts(change, each, new_inputs)
        for change in row.changes
        for each in change.inputs
    )


def _differences(old: Any, new: Any, path: Path) -> Iterator[Path]:
    """The paths at which two values differ."""
    if assets.is_archive(new) and isinstance(old, Mapping):
        if old.get("hash") != new.get("hash"):
            yield path
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), (*path, key))
    elif old != new:
        yield path


def _text(path: Path) -> str:
    """A path as Pulumi writes it: `labels["nvidia.com/gpu"]`."""
    first, *rest = map(str, path)
    plain = re.compile(r"[A-Za-z_$][\w$-]*")
    return first + "".join(f".{step}" if plain.fullmatch(step) else f'["{step}"]' for step in rest)
