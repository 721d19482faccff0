"""Runs a Pulumi program in this process: answers, as Pulumi's engine would, what the SDK asks of its monitor."""

import asyncio
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pulumi
from google.protobuf import empty_pb2
from pulumi.runtime.proto import alias_pb2, engine_pb2, resource_pb2

from infra.rehearsal.deployment import PROJECT, Alias, Deployment, Registered, Registration
from infra.rehearsal.graph import DeploymentError, Unsupported
from infra.rehearsal.properties import from_struct, to_struct

FEATURES: Final = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    # Announced only to be refused by name: otherwise the SDK asks for another version of a CLI that is not here.
    resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    resource_pb2.RESOURCE_MONITOR_FEATURE_PARAMETERIZATION,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ERROR_HOOKS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_STATE_MIGRATIONS,
)
REFUSED: Final[Mapping[str, str]] = {
    "remote": "a component of another language",
    "importId": "the option `import_`",
    "replace_with": "the option `replace_with`",
    "replacement_trigger": "the option `replacement_trigger`",
    "transforms": "the option `transforms` (`transformations` works)",
    "state_migrations": "the option `state_migrations`",
    "hooks": "the option `hooks`",
    "envVarMappings": "the option `env_var_mappings`",
    "packageRef": "a parameterized package",
}
"""What a registration may not ask for: the message's field, and how a program's author calls it."""
log = logging.getLogger("slipway")


class Monitor:
    """The methods of Pulumi's ResourceMonitor service, called by the SDK from the program's threads."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def GetDeploymentInfo(self, request: Any) -> Any:
        return resource_pb2.DeploymentInfo(supportedFeatures=FEATURES)

    def RegisterResource(self, request: Any) -> Any:
        for name, option in REFUSED.items():
            if _is_given(request, name):
                raise Unsupported(f"{request.type} {request.name!r}: the rehearsal does not know {option}")
        registered = self._deployment.register(_registration(request))
        return resource_pb2.RegisterResourceResponse(
            urn=registered.urn,
            id=registered.id or "",
            object=to_struct(registered.outputs),
            result=_result(registered),
        )

    def RegisterResourceOutputs(self, request: Any) -> Any:
        self._deployment.export(request.urn, from_struct(request.outputs))
        return empty_pb2.Empty()

    def ReadResource(self, request: Any) -> Any:
        _refuse_package(request)
        registration = Registration(
            type=request.type,
            name=request.name,
            custom=True,
            inputs=from_struct(request.properties),
            parent=request.parent,
            provider=request.provider,
            version=request.version,
            dependencies=tuple(sorted(request.dependencies)),
            additional_secret_outputs=tuple(request.additionalSecretOutputs),
        )
        registered = self._deployment.read(registration, request.id)
        return resource_pb2.ReadResourceResponse(
            urn=registered.urn,
            id=registered.id or "",
            properties=to_struct(registered.outputs),
            result=_result(registered),
        )

    def Invoke(self, request: Any) -> Any:
        _refuse_package(request)
        answer = self._deployment.invoke(request.tok, from_struct(request.args), request.provider)
        response = resource_pb2.ResourceInvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(answer))  # a word of Python's own
        return response

    def Call(self, request: Any) -> Any:
        raise Unsupported(f"the rehearsal does not know methods of resources, such as {request.tok}")

    def ExistsResource(self, request: Any) -> Any:
        raise Unsupported(f"the rehearsal does not know `exists`, asked for {request.type} {request.id!r}")

    def RegisterPackage(self, request: Any) -> Any:
        raise Unsupported(f"the rehearsal does not know parameterized packages, such as {request.name!r}")

    def RegisterStackTransform(self, request: Any) -> Any:
        raise Unsupported("the rehearsal does not know `register_resource_transform`; use a stack transformation")

    def RegisterStackInvokeTransform(self, request: Any) -> Any:
        raise Unsupported("the rehearsal does not know `register_invoke_transform`")

    def RegisterResourceHook(self, request: Any) -> Any:
        raise Unsupported("the rehearsal does not know resource hooks")

    def RegisterErrorHook(self, request: Any) -> Any:
        raise Unsupported("the rehearsal does not know error hooks")

    def SignalAndWaitForShutdown(self, request: Any) -> Any:
        return empty_pb2.Empty()


class _Log:
    """What the SDK needs of Pulumi's engine service: somewhere to send log messages to."""

    _LEVELS: Final = {
        engine_pb2.DEBUG: logging.DEBUG,
        engine_pb2.INFO: logging.INFO,
        engine_pb2.WARNING: logging.WARNING,
        engine_pb2.ERROR: logging.ERROR,
    }

    def Log(self, request: Any) -> Any:
        log.log(self._LEVELS[request.severity], "%s", request.message)
        return empty_pb2.Empty()


def run(program: Callable[[], Mapping[str, Any]], deployment: Deployment, workers: int) -> None:
    """Run `program` to its end, with `workers` registrations at a time, and export what it returns.

    To be called in a thread of its own: Pulumi's settings belong to the thread's context. Raises DeploymentError.
    """
    try:
        _run(program, deployment, workers)
    except DeploymentError:
        raise
    except Exception as error:
        words = str(error) if isinstance(error, pulumi.RunError) else f"{type(error).__name__}: {error}"
        raise DeploymentError(f"the program of stack {deployment.settings.stack} failed: {words}") from error


def _run(program: Callable[[], Mapping[str, Any]], deployment: Deployment, workers: int) -> None:
    settings = deployment.settings
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            project=PROJECT,
            stack=settings.stack,
            monitor=Monitor(deployment),
            engine=_Log(),
            dry_run=deployment.preview,
            organization="organization",
        )
    )
    pulumi.runtime.set_all_config(dict(settings.config), [])

    def build() -> None:
        for name, value in program().items():
            pulumi.export(name, value)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # What fails is raised once, by the first that waits for it; its echoes in tasks nobody waits for are no news.
    loop.set_exception_handler(lambda loop, context: None)
    warnings.filterwarnings("ignore", r"coroutine 'Output\.\w+' was never awaited", RuntimeWarning)
    executor = ThreadPoolExecutor(workers, "slipway")
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(build))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        _cancel_all(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _is_given(request: Any, name: str) -> bool:
    field = request.DESCRIPTOR.fields_by_name[name]
    if field.label == field.LABEL_REPEATED:
        return len(getattr(request, name)) > 0
    if field.message_type:
        # An empty message is sent where no hooks are bound.
        return bool(request.HasField(name) and getattr(request, name).ByteSize())
    return bool(getattr(request, name))


def _result(registered: Registered) -> Any:
    return resource_pb2.FAIL if registered.failed else resource_pb2.SUCCESS


def _refuse_package(request: Any) -> None:
    if request.packageRef:
        raise Unsupported(f"the rehearsal does not know {REFUSED['packageRef']}")


def _registration(request: Any) -> Registration:
    dependencies = request.propertyDependencies.items()
    return Registration(
        type=request.type,
        name=request.name,
        custom=request.custom,
        inputs=from_struct(request.object),
        parent=request.parent,
        provider=request.provider,
        version=request.version,
        dependencies=tuple(sorted(request.dependencies)),
        property_dependencies={name: tuple(sorted(each.urns)) for name, each in sorted(dependencies) if each.urns},
        protect=request.protect,
        retain_on_delete=request.retainOnDelete,
        delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        aliases=tuple(_aliases(request.aliases)),
        deleted_with=request.deletedWith,
        custom_timeouts=dict(_timeouts(request)),
    )


def _aliases(aliases: Iterable[Any]) -> Iterable[Alias]:
    for alias in aliases:
        if alias.WhichOneof("alias") == "urn":
            yield Alias(urn=alias.urn)
        else:
            yield _alias_of(alias.spec)


def _alias_of(spec: alias_pb2.Alias.Spec) -> Alias:
    return Alias(
        name=spec.name or None,
        type=spec.type or None,
        stack=spec.stack or None,
        project=spec.project or None,
        parent="" if spec.noParent else spec.parentUrn or None,
    )


_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _timeouts(request: Any) -> Iterable[tuple[str, float]]:
    for name in ("create", "update", "delete"):
        text = getattr(request.customTimeouts, name)
        if not text:
            continue
        parts = _DURATION.findall(text)
        if "".join(number + unit for number, unit in parts) != text:
            raise DeploymentError(
                f"{request.type} {request.name!r}: custom_timeouts.{name} is {text!r}; write it as 90s, 5m or 1h30m"
            )
        yield name, sum(float(number) * _SECONDS[unit] for number, unit in parts)
