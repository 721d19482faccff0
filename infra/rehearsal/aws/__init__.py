"""The rehearsal's AWS provider: pulumi-aws's resources as calls to an emulator, by the table in types.py."""

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import boto3
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.rehearsal.aws import assets
from infra.rehearsal.aws.mapping import fill, find, parameters
from infra.rehearsal.aws.types import TYPES, Arguments, Change, Tags, Type, tag_list
from infra.rehearsal.provider import UNKNOWN, Diff, Props, ProviderError, symbol

TOKEN_HEADER: Final = "x-slipway-token"
ENDPOINT_SECONDS: Final = 300.0
"""How long an endpoint may take to come into service in the emulator."""
POLL_SECONDS: Final = 0.2
GONE: Final = ("NotFound", "NoSuch", "404", "DoesNotExist", "NonExistent", "UnknownEndpoint")
SENTENCES_OF_GONE: Final = ("could not find", "does not exist", "not found", "cannot find")


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
        if left_over := row.left_over(inputs):
            raise ProviderError(
                f"{', '.join(left_over)}: the rehearsal does nothing with this input of {type_}. Give its row in "
                "infra/rehearsal/aws/types.py a call that does"
            )
        if row.named and row.named not in inputs:
            inputs[row.named] = (old_inputs or {}).get(row.named) or f"{name}-{secrets.token_hex(4)[:7]}"
        if row.service == "scheduler" and "groupName" not in inputs and type_.endswith(":Schedule"):
            inputs["groupName"] = "default"
        if row.tags:
            tags = {**self._tags, **(inputs.get("tags") or {})}
            inputs |= {"tags": tags, "tagsAll": tags}
        for key, value in inputs.items():
            if assets.is_archive(value):
                try:
                    inputs[key] = assets.hashed(value)
                except (OSError, ValueError) as error:
                    raise ProviderError(f"{key}: {error}") from error
        return inputs

    def preview(self, type_: str, name: str, inputs: Props) -> Props:
        """See Provider."""
        row = _row(type_)
        values = {**inputs, "account": self._account, "region": self._region}
        outputs = dict(inputs)
        for output in (*row.outputs, *row.found, *row.looked_up):
            outputs.setdefault(output, UNKNOWN if output in STRUCTURED else symbol(output, name))
        with contextlib.suppress(KeyError):
            outputs.setdefault("id", fill(row.id, {**outputs, **self._derived(row, {**outputs, **values}), **values}))
        outputs.setdefault("id", symbol("id", name))
        return {**outputs, **self._derived(row, {"uuid": symbol("uuid", name), **outputs, **values})}

    def diff(self, type_: str, old_inputs: Props, new_inputs: Props, ignore: Sequence[str]) -> Diff:
        """See Provider."""
        row = _row(type_)
        ignored = [path.split(".") for path in ignore]
        changed = [
            path
            for path in _differences(old_inputs, new_inputs, ())
            if not any(path[: len(each)] == tuple(each) for each in ignored)
        ]
        # `tagsAll` follows from `tags`, and one line for the two is enough.
        changed = [path for path in changed if path[0] != "tagsAll"]
        replaces = [path for path in changed if not _in_place(row, path[0])]
        return Diff(
            tuple(".".join(path) for path in changed),
            tuple(".".join(path) for path in replaces),
            # Under a generated name the new one can stand beside the old one.
            row.fixed_name or bool(row.named and row.named in new_inputs and row.named not in {p[0] for p in changed}),
        )

    # --- what asks AWS ----------------------------------------------------------------------------------------------

    def create(self, type_: str, inputs: Props, token: str) -> tuple[str, Props]:
        """See Provider."""
        row = _row(type_)
        values = self._values(inputs, {})
        with self._asking(token):
            arguments = self._arguments(row, row.create, row.arguments, values, row.rename)
            if row.tags and row.tags_at_creation and inputs.get("tags"):
                arguments[row.tags_at_creation] = tag_list(inputs["tags"], row.tags.style)
            response = self._call(row, row.create, arguments)
            outputs = {name: value for name, path in row.outputs.items() if (value := find(path, response)) is not None}
            outputs["uuid"] = secrets.token_hex(8)
            values |= outputs
            derived = self._derived(row, values)
            values |= derived
            id_ = str(fill(row.id, values))
            values |= {"id": id_} | self._derived(row, values | {"id": id_})
            for change in row.changes:
                if change.at_creation and (not change.inputs or any(inputs.get(n) is not None for n in change.inputs)):
                    self._apply(row, change, values)
            if row.tags and not row.tags_at_creation and inputs.get("tags"):
                self._put_tags(row, row.tags, inputs["tags"], values)
            self._settle(type_, values)
            for name, (call, template, path) in row.looked_up.items():
                told = find(path, self._call(row, call, self._arguments(row, call, template, values, {})))
                outputs |= {name: told} if told is not None else {}
        outputs.pop("uuid")
        made = {**inputs, **outputs, **self._derived(row, values), "id": id_}
        return id_, made

    def read(self, type_: str, id_: str, inputs: Props, outputs: Props) -> Props | None:
        """See Provider."""
        row = _row(type_)
        values = self._values(inputs, outputs) | {"id": id_}
        try:
            arguments = self._arguments(row, row.read.call, row.read.arguments, values, {})
            response = self._call(row, row.read.call, arguments)
        except ProviderError as error:
            if _is_gone(error):
                return None
            raise
        found = find(str(fill(row.read.found, _text(values))), response)
        if not found:
            return None
        fresh = {name: value for name, path in row.found.items() if (value := find(path, found)) is not None}
        return {**outputs, **fresh}

    def update(self, type_: str, id_: str, old_inputs: Props, new_inputs: Props, outputs: Props) -> Props:
        """See Provider."""
        row = _row(type_)
        changed = {path[0] for path in _differences(old_inputs, new_inputs, ())}
        values = self._values(new_inputs, {**outputs, **new_inputs}) | {"id": id_, "before": old_inputs}
        with self._asking(None):
            if row.repeatable and changed - {"tags", "tagsAll"} - set(row.local):
                arguments = self._arguments(row, row.create, row.arguments, self._values(new_inputs, {}), row.rename)
                self._call(row, row.create, arguments)
            for change in row.changes:
                if changed.intersection(change.inputs):
                    self._apply(row, change, values)
            if row.tags and "tags" in changed:
                self._change_tags(row, row.tags, old_inputs.get("tags") or {}, new_inputs.get("tags") or {}, values)
            if type_ == ENDPOINT and "endpointConfigName" in changed:
                self._settle(type_, values)
        made = {**outputs, **new_inputs, **self._derived(row, values)}
        return self.read(type_, id_, new_inputs, made) or made

    def delete(self, type_: str, id_: str, inputs: Props, outputs: Props) -> None:
        """See Provider."""
        row = _row(type_)
        if row.delete is None:
            return
        call, template = row.delete
        values = self._values(inputs, outputs) | {"id": id_}
        try:
            if type_ == BUCKET and inputs.get("forceDestroy"):
                self._empty(id_)
            self._call(row, call, self._arguments(row, call, template, values, {}))
            if type_ == ENDPOINT:
                self._until_gone(row, values)
        except ProviderError as error:
            if not _is_gone(error):
                raise

    def invoke(self, token: str, arguments: Mapping[str, Any]) -> Props:
        """See Provider. The stacks ask AWS nothing while they are built: a plan must not depend on the answer."""
        raise ProviderError(f"{token}: the rehearsal answers no data source; what a stack needs to know is in its YAML")

    # --- calls ------------------------------------------------------------------------------------------------------

    def _values(self, inputs: Props, outputs: Props) -> Props:
        """What templates and arguments are made from."""
        values = {**outputs, **inputs, "account": self._account, "region": self._region}
        if assets.is_archive(inputs.get("code")):
            values["zip"] = assets.zipped(inputs["code"])
        return values

    def _derived(self, row: Type, values: Props) -> Props:
        """The outputs that follow from others."""
        derived: Props = {}
        templates = {**row.copies, **({"arn": row.arn} if row.arn and "arn" not in row.outputs else {})}
        for name, template in templates.items():
            with contextlib.suppress(KeyError):
                derived[name] = fill(template, values)
        return derived

    def _apply(self, row: Type, change: Change, values: Props) -> None:
        try:
            own = _own(change.arguments, values)
        except KeyError:
            return  # an input that was taken away leaves what AWS has
        if own is None:
            return
        arguments = self._mapped(row, change.call, own, row.rename)
        try:
            self._call(row, change.call, arguments)
        except ProviderError as error:
            # A group whose only rule is revoked already is as closed as it should be.
            if "InvalidPermission.NotFound" not in str(error):
                raise

    def _arguments(
        self, row: Type, call: str, template: Arguments, values: Props, rename: Mapping[str, str]
    ) -> dict[str, Any]:
        return self._mapped(row, call, _own(template, values) or {}, rename)

    def _mapped(self, row: Type, call: str, own: Mapping[str, Any], rename: Mapping[str, str]) -> dict[str, Any]:
        model = _model(row.service).operation_model(call)
        made: dict[str, Any] = parameters(model.input_shape, own, rename)
        return made

    def _call(self, row: Type, call: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call AWS. Raises ProviderError with AWS's own words."""
        client = self._client(row.service)
        try:
            response: dict[str, Any] = getattr(client, xform_name(call))(**arguments)
        except ClientError as error:
            told = error.response.get("Error", {})
            raise ProviderError(f"{row.service}.{call}: {told.get('Code')}: {told.get('Message')}") from error
        except BotoCoreError as error:
            raise ProviderError(f"{row.service}.{call}: {error}") from error
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
    def _asking(self, token: str | None) -> Iterator[None]:
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

    def _put_tags(self, row: Type, how: Tags, tags: Mapping[str, str], values: Props) -> None:
        arguments = fill(how.resource, values)
        member, _, inner = how.member.partition(".")
        listed = tag_list(tags, how.style)
        self._call(row, how.call, {**arguments, member: {inner: listed} if inner else listed})

    def _change_tags(self, row: Type, how: Tags, old: Mapping[str, str], new: Mapping[str, str], values: Props) -> None:
        gone = sorted(old.keys() - new.keys())
        if gone and how.removal:
            keys = [{"Key": key} for key in gone] if how.removal == "DeleteTags" and row.service == "ec2" else gone
            self._call(row, how.removal, {**fill(how.resource, values), how.removed: keys})
        self._put_tags(row, how, new, values)

    # --- what takes time, or care -----------------------------------------------------------------------------------

    def _settle(self, type_: str, values: Props) -> None:
        """Wait until it is as it was asked to be. Raises ProviderError where it came out otherwise."""
        if type_ != ENDPOINT:
            return
        row, name, asked = _row(type_), values["id"], values["endpointConfigName"]
        deadline = time.monotonic() + ENDPOINT_SECONDS
        while True:
            found = self._call(row, "DescribeEndpoint", {"EndpointName": name})
            status = found["EndpointStatus"]
            if status == "InService":
                break
            if status in ("Failed", "OutOfService", "UpdateRollbackFailed"):
                raise ProviderError(f"endpoint {name} is {status}: {found.get('FailureReason', 'no reason was given')}")
            if time.monotonic() > deadline:
                raise ProviderError(f"endpoint {name} is still {status} after {ENDPOINT_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        if found["EndpointConfigName"] != asked:
            raise ProviderError(
                f"endpoint {name} was rolled back: {asked} was asked for, {found['EndpointConfigName']} is live. "
                f"{found.get('FailureReason', '')}"
            )

    def _until_gone(self, row: Type, values: Props) -> None:
        deadline = time.monotonic() + ENDPOINT_SECONDS
        while time.monotonic() < deadline:
            self._call(row, row.read.call, self._arguments(row, row.read.call, row.read.arguments, values, {}))
            time.sleep(POLL_SECONDS)

    def _empty(self, bucket: str) -> None:
        """Delete every version of every object."""
        s3 = self._client("s3")
        try:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                if objects:
                    s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise ProviderError(f"s3: bucket {bucket} could not be emptied: {error}") from error


ENDPOINT: Final = "aws:sagemaker/endpoint:Endpoint"
BUCKET: Final = "aws:s3/bucket:Bucket"
STRUCTURED: Final = ("latestVersion", "certificateAuthority", "resources")
"""Outputs that are no texts."""


def _row(type_: str) -> Type:
    row = TYPES.get(type_)
    if row is None:
        raise ProviderError(
            f"the rehearsal's AWS provider does not know {type_}: add a row for it to TYPES in "
            "infra/rehearsal/aws/types.py, with the calls that create, read, update and delete it"
        )
    return row


_models: dict[str, Any] = {}


def _model(service: str) -> Any:
    if service not in _models:
        _models[service] = botocore.session.get_session().get_service_model(service)
    return _models[service]


def _own(template: Arguments, values: Props) -> Mapping[str, Any] | None:
    """A call's arguments as the table makes them; None where the call is not needed."""
    made: Mapping[str, Any] | None = template(values) if callable(template) else fill(template, values)
    return made


def _in_place(row: Type, name: str) -> bool:
    """Whether a change of this input needs no replacement."""
    if name in ("tags", "tagsAll"):
        return row.tags is not None
    if name in row.local or any(name in change.inputs for change in row.changes):
        return True
    return row.repeatable and name not in row.keys


def _differences(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths at which two values differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not assets.is_archive(new):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), (*path, key))
    elif assets.is_archive(new) and isinstance(old, Mapping):
        if old.get("hash") != new.get("hash"):
            yield path
    elif old != new:
        yield path


def _is_gone(error: ProviderError) -> bool:
    words = str(error)
    code = words.split(": ", 2)[1] if words.count(": ") > 1 else ""
    return any(mark in code for mark in GONE) or (
        code.startswith("Validation") and any(mark in words.lower() for mark in SENTENCES_OF_GONE)
    )


def _text(values: Props) -> Props:
    return {name: value for name, value in values.items() if isinstance(value, str)}
