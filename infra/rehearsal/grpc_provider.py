"""The rehearsal's providers for the real Pulumi engine: the same checks and calls, over Pulumi's provider protocol.

`python -m infra.rehearsal.grpc_provider aws|kubernetes` prints its port, as the engine expects of a plugin. It deploys
to the emulator at SLIPWAY_ENDPOINT, and only there: `infra/cloud.py` puts it on PATH for local stacks.
"""

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from infra.rehearsal.aws import DEFAULTS, AwsProvider
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.provider import UNKNOWN, Props, Provider, ProviderError

THREADS: Final = 16
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
RESOURCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
PACKAGES: Final = ("aws", "kubernetes")


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Answers the engine for one package."""

    def __init__(self, package: str, make: Callable[[Props], Provider]) -> None:
        self._package, self._make = package, make
        self._provider: Provider | None = None

    @property
    def provider(self) -> Provider:
        """The configured provider. Raises ProviderError before Configure."""
        if self._provider is None:
            raise ProviderError("the provider is not configured yet")
        return self._provider

    # --- about itself -----------------------------------------------------------------------------------------------

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=False, accept_resources=False, accept_outputs=False
        )

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version(f"pulumi-{self._package}"))

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        # Without a difference the engine would configure with what the state holds, and miss what the YAML says now.
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_SOME)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _told(context):
            self._provider = self._make(_open(request.args))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    # --- about resources --------------------------------------------------------------------------------------------

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        type_, name = _type_and_name(request.urn)
        olds = _open(request.olds) if request.olds.fields else None
        try:
            checked = self.provider.check(type_, name, olds, _open(request.news))
        except ProviderError as error:
            return provider_pb2.CheckResponse(failures=[provider_pb2.CheckFailure(reason=str(error))])
        return provider_pb2.CheckResponse(inputs=_closed(checked))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        type_, _ = _type_and_name(request.urn)
        with _told(context):
            diff = self.provider.diff(
                type_, _open(request.old_inputs), _open(request.news), tuple(request.ignoreChanges)
            )
        some = provider_pb2.DiffResponse.DIFF_SOME if diff else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some,
            diffs=sorted({path.partition(".")[0] for path in diff.changed}),
            replaces=sorted({path.partition(".")[0] for path in diff.replaces}),
            deleteBeforeReplace=diff.delete_before_replace,
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        type_, name = _type_and_name(request.urn)
        inputs = _open(request.properties)
        with _told(context):
            if request.preview:
                # The real engine knows no stand-ins: what is not known yet, is unknown.
                expected = self.provider.preview(type_, name, inputs)
                return provider_pb2.CreateResponse(properties=_closed(_without_stand_ins(expected, inputs)))
            id_, outputs = self.provider.create(type_, inputs, token="")
        return provider_pb2.CreateResponse(id=id_, properties=_closed(outputs))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        type_, _ = _type_and_name(request.urn)
        with _told(context):
            found = self.provider.read(type_, request.id, _open(request.inputs), _open(request.properties))
        if found is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(id=request.id, properties=_closed(found), inputs=request.inputs)

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        type_, _ = _type_and_name(request.urn)
        olds, news, old_inputs = _open(request.olds), _open(request.news), _open(request.old_inputs)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=_closed({**olds, **news}))
        with _told(context):
            outputs = self.provider.update(type_, request.id, old_inputs, news, olds)
        return provider_pb2.UpdateResponse(properties=_closed(outputs))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        type_, _ = _type_and_name(request.urn)
        outputs = _open(request.properties)
        with _told(context):
            self.provider.delete(type_, request.id, _open(request.old_inputs) or outputs, outputs)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _told(context):
            answer = self.provider.invoke(request.tok, _open(request.args))
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(_closed(answer))  # a word of Python's own
        return response


@contextmanager
def _told(context: grpc.ServicerContext) -> Iterator[None]:
    """Tell the engine of a failure in the provider's own words."""
    try:
        yield
    except ProviderError as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))


def _type_and_name(urn: str) -> tuple[str, str]:
    _, _, types, name = urn.removeprefix("urn:pulumi:").split("::", 3)
    return types.rpartition("$")[2], name


def _without_stand_ins(outputs: Props, inputs: Props) -> Props:
    return {
        name: value if name in inputs or not _is_stand_in(value) else UNKNOWN
        for name, value in outputs.items()
        if name != "id"
    }


def _is_stand_in(value: Any) -> bool:
    return isinstance(value, str) and "(known after up: " in value


def _open(message: struct_pb2.Struct) -> Props:
    """A message as plain values, without the marks of secrets, outputs and references.

    Of the engine's own keys it keeps the one that says which inputs our `check` made up.
    """
    opened: Props = {name: _plain(value) for name, value in message.items()}
    return {name: value for name, value in opened.items() if name == DEFAULTS or not name.startswith("__")}


def _plain(value: Any) -> Any:
    if isinstance(value, struct_pb2.Struct):
        value = dict(value.items())
        mark = value.get(SIGNATURE)
        if mark in (SECRET, OUTPUT):
            return _plain(value.get("value", UNKNOWN))
        if mark == RESOURCE:
            return _plain(value.get("id") or value["urn"])
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, struct_pb2.ListValue):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _closed(values: Mapping[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update({name: value for name, value in values.items() if value is not None})
    return message


def _aws(arguments: Props) -> Provider:
    """pulumi-aws's configuration: what is no text arrives as JSON."""
    tags = _parsed(arguments.get("defaultTags") or "{}").get("tags", {})
    accounts = _parsed(arguments.get("allowedAccountIds") or "[]")
    if len(accounts) != 1:
        raise ProviderError("aws:allowedAccountIds names no account: set the one that the stack is deployed to")
    return AwsProvider(arguments["region"], accounts[0], tags, endpoint())


def _kubernetes(arguments: Props) -> Provider:
    work = Path(os.environ.get("SLIPWAY_WORK", ".slipway"))
    settings = {name: value for name, value in arguments.items() if name not in ("version", "pluginDownloadURL")}
    return KubernetesProvider(work).configure(settings)


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def endpoint() -> str:
    """The emulator's address. Raises ProviderError where SLIPWAY_ENDPOINT names none on this machine."""
    address = os.environ.get("SLIPWAY_ENDPOINT", "")
    if urlsplit(address).hostname not in LOOPBACK:
        raise ProviderError(
            f"SLIPWAY_ENDPOINT is {address!r}: this provider deploys to an emulator on 127.0.0.1, never to AWS. Take "
            "it off PATH to deploy to AWS, or use `slipway up local --engine pulumi`"
        )
    return address


def serve(package: str) -> tuple[grpc.Server, int]:
    """Start to answer for a package; the server, and its port on 127.0.0.1."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    servicer = Servicer(package, _aws if package == "aws" else _kubernetes)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main() -> None:
    """Serve until the engine ends this process."""
    if len(sys.argv) < 2 or sys.argv[1] not in PACKAGES:
        sys.exit(f"usage: python -m infra.rehearsal.grpc_provider {'|'.join(PACKAGES)}")
    server, port = serve(sys.argv[1])
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
