"""One run of a stack's program: decides about each resource as it is registered, and does it or only says so."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event as Signal
from threading import Lock, Thread
from typing import Any, Final, TypeVar

from infra.rehearsal.graph import (
    DeploymentError,
    Event,
    Interrupted,
    Op,
    Plan,
    Refused,
    Resource,
    Result,
    Step,
    Unsupported,
)
from infra.rehearsal.properties import (
    covers,
    holds_secret,
    holds_unknown,
    keeping,
    opened,
    parse_path,
    secret,
    with_secrets_of,
    without_references,
)
from infra.rehearsal.provider import UNKNOWN, Diff, Props, Provider, ProviderError
from infra.rehearsal.state import STACK_TYPE, Pending, Record, State
from infra.settings import Settings

T = TypeVar("T")

PROJECT: Final = "slipway"
PARALLEL: Final = 16
"""Operations at a time: Pulumi's own default for a machine of this kind."""
PROVIDER_TYPE: Final = "pulumi:providers:"
REFERENCE_TYPE: Final = "pulumi:pulumi:StackReference"

Factory = Callable[[Settings], Provider]
Analyze = Callable[[Resource], Iterable[str]]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class Alias:
    """Another name under which a resource may be in the state; what is None is as it is now."""

    urn: str = ""
    name: str | None = None
    type: str | None = None
    stack: str | None = None
    project: str | None = None
    parent: str | None = None
    """A URN; "" for no parent."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A resource as the program declares it. Inputs carry the marks of secrets and references."""

    type: str
    name: str
    custom: bool
    inputs: Props
    parent: str = ""
    provider: str = ""
    version: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protect: bool = False
    retain_on_delete: bool = False
    delete_before_replace: bool | None = None
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    aliases: tuple[Alias, ...] = ()
    deleted_with: str = ""
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Registered:
    """The answer to a registration."""

    urn: str
    id: str | None
    outputs: Props
    failed: bool = False
    """Nothing is known of it, for it failed or was left out; what needs it is to be left out as well."""


class Providers:
    """The providers of one deployment, each made when it is first needed."""

    def __init__(self, settings: Settings, factories: Mapping[str, Factory], state: State) -> None:
        self._settings, self._factories, self._state = settings, factories, state
        self._made: dict[str, Provider] = {}
        self._configured: dict[str, tuple[Props, Provider]] = {}
        self._lock = Lock()

    def default(self, package: str) -> Provider:
        """Raises Unsupported for a package that the rehearsal has no provider for."""
        with self._lock:
            if package not in self._made:
                if package not in self._factories:
                    raise Unsupported(
                        f"the rehearsal has no provider for {package!r}, only for {', '.join(sorted(self._factories))}"
                    )
                self._made[package] = self._factories[package](self._settings)
            return self._made[package]

    def of(self, reference: str, type_: str) -> Provider:
        """The provider that `reference` (`<urn>::<id>`) names, or the default one for `type_`."""
        urn = reference.rpartition("::")[0]
        record = self._state.resources.get(urn)
        if not record or is_default_provider(record):
            return self.default(package_of(type_))
        return self.configured(record)

    def configured(self, record: Record) -> Provider:
        """The provider that an explicit provider resource describes. Raises Unsupported where it takes no settings."""
        package = record.type.removeprefix(PROVIDER_TYPE)
        provider = self.default(package)
        inputs = {name: value for name, value in opened(record.inputs).items() if name != "version"}
        if not inputs:
            return provider
        configure: Callable[[Props], Provider] | None = getattr(provider, "configure", None)
        if configure is None:
            raise Unsupported(
                f"{record.type} {record.name!r} sets {', '.join(sorted(inputs))}, but the rehearsal's {package} "
                "provider takes no settings: give it a method `configure(inputs)`, or use the default provider"
            )
        known = self._configured.get(record.urn)
        if not known or known[0] != inputs:
            known = self._configured[record.urn] = inputs, configure(inputs)
        return known[1]


def package_of(type_: str) -> str:
    return type_.removeprefix(PROVIDER_TYPE) if type_.startswith(PROVIDER_TYPE) else type_.partition(":")[0]


def is_default_provider(record: Record) -> bool:
    return record.type.startswith(PROVIDER_TYPE) and record.name.startswith("default")


def urn_of(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """A resource's URN. The stack itself does not count as a parent in it."""
    chain = parent.split("::", 3)[2] if parent else ""
    qualified = type_ if chain in ("", STACK_TYPE) else f"{chain}${type_}"
    return f"urn:pulumi:{stack}::{project}::{qualified}::{name}"


class Deployment:
    """A run of a program against `state`: with `preview` nothing is asked of a cloud but reads.

    The program's threads call `register`, `read`, `invoke` and `export` at the same time.
    """

    def __init__(
        self,
        settings: Settings,
        factories: Mapping[str, Factory],
        state: State,
        *,
        preview: bool,
        reference: Callable[[str], Props],
        on_event: OnEvent = lambda event: None,
        analyze: Analyze | None = None,
    ) -> None:
        self.settings, self.state, self.preview = settings, state, preview
        self._providers = Providers(settings, factories, state)
        self._reference, self._listener, self._analyze = reference, on_event, analyze
        self._own_outputs = dict(state.outputs() or {})
        self._lock, self._telling = Lock(), Lock()
        self._claimed: dict[str, Signal] = {}
        """The URNs that the program registered or read."""
        self._adopted: dict[str, str] = {}
        """URNs found in the state under an alias, and that alias."""
        self._resources: dict[str, Resource] = {}
        self._steps: list[Step] = []
        self._broken: dict[str, str] = {}
        """The URNs that failed or were left out, and what to say of the failed ones."""
        self._refused: list[str] = []
        self._swept: dict[str, tuple[Record, Diff, Signal]] = {}
        """What is deleted ahead of the replacement of something it depends on."""
        self._interrupted = False
        self._began = time.monotonic()

    # --- before the program -------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Bring the creations to an end that a killed run began: asked with the same token, nothing is made twice."""
        unknown = [each for each in self.state.pending.values() if each.doing == "creating" and not each.failed]
        for failure in self._side_by_side(self._finish_creation, unknown):
            raise failure
        for pending in list(self.state.pending.values()):
            if pending.doing == "deleting" and pending.record.urn not in self.state.resources:
                self.state.forget(pending.record.urn)

    def _finish_creation(self, pending: Pending) -> None:
        record = pending.record
        provider = self._providers.of(record.provider, record.type)
        step = Step("create", record.urn, record.type, record.name)
        try:
            with self._reported(step):
                id_, outputs = provider.create(record.type, opened(record.inputs), pending.token)
        except ProviderError:
            # What it builds on may be gone by now. The program says next whether it is still wanted, and how.
            self.state.fail(record.urn)
            return
        self.state.put(_made(record, id_, outputs), retire=pending.replaces)

    def refresh(self) -> None:
        """Learn how every resource is now, and drop what is gone, so that it is made again."""
        if not self.preview:
            self._recover()
        managed = [
            record
            for record in (*self.state.ordered(), *self.state.retired)
            if record.custom and not record.external and not record.type.startswith("pulumi:")
        ]
        for failure in self._side_by_side(self._reread, managed):
            raise failure

    def _reread(self, record: Record) -> None:
        provider = self._providers.of(record.provider, record.type)
        try:
            found = provider.read(record.type, record.id or "", opened(record.inputs), opened(record.outputs))
        except ProviderError as error:
            raise DeploymentError(f"{record.type} {record.name!r} cannot be read: {error}") from error
        if found is None:
            self.state.drop(record)
        elif found != opened(record.outputs):
            self.state.see(replace(record, outputs=_secured(found, record)))

    def _side_by_side(self, work: Callable[[T], None], items: Sequence[T]) -> list[Exception]:
        """Do `work` for all items at the same time; what it raised, after all are done."""

        def unless_interrupted(item: T) -> None:
            if not self._interrupted:
                work(item)

        with ThreadPoolExecutor(PARALLEL, "slipway") as pool:
            futures = [pool.submit(unless_interrupted, item) for item in items]
        return [error for future in futures if isinstance(error := future.exception(), Exception)]

    # --- what the program asks ----------------------------------------------------------------------------------

    def register(self, registration: Registration) -> Registered:
        """Make sure that a resource is as the program declares it. Raises DeploymentError for a program's mistake."""
        urn = self.urn(registration.parent, registration.type, registration.name)
        self._claim(urn)
        self._adopt(urn, registration)
        if self._interrupted or self._refused or self._is_left_out(registration):
            self._broken.setdefault(urn, "")
            return Registered(urn, None, {}, failed=True)
        try:
            if not registration.custom:
                return self._component(urn, registration)
            if registration.type.startswith(PROVIDER_TYPE):
                return self._explicit_provider(urn, registration)
            return self._custom(urn, registration)
        except ProviderError as error:
            return self._failed(urn, registration, str(error))
        except Refused as refusal:
            self._refused.append(str(refusal))
            self._broken.setdefault(urn, "")
            return Registered(urn, None, {}, failed=True)

    def urn(self, parent: str, type_: str, name: str) -> str:
        return urn_of(self.settings.stack, PROJECT, parent, type_, name)

    def export(self, urn: str, outputs: Props) -> None:
        """What a component, or the stack, offers."""
        resource = self._resources.get(urn)
        if not resource:
            return
        record = self.state.resources[urn]
        if not self.preview and record.type == STACK_TYPE:
            # Where something failed, what the program could not tell stays as it was.
            unknown = [name for name, value in outputs.items() if holds_unknown(value)]
            outputs = {name: value for name, value in outputs.items() if name not in unknown}
            outputs |= {name: record.outputs[name] for name in unknown if name in record.outputs}
        self._remember(replace(record, outputs=outputs))
        with self._lock:
            self._resources[urn] = replace(resource, outputs=opened(outputs))

    def read(self, registration: Registration, id_: str) -> Registered:
        """A resource that is there already and managed elsewhere; another stack, for a StackReference."""
        urn = self.urn(registration.parent, registration.type, registration.name)
        self._claim(urn)
        if self._interrupted or self._refused or self._is_left_out(registration):
            self._broken.setdefault(urn, "")
            return Registered(urn, None, {}, failed=True)
        step = Step("read", urn, registration.type, registration.name)
        if id_ == UNKNOWN:
            self._note(step)
            return Registered(urn, None, {})
        outputs = self._read_stack(id_) if registration.type == REFERENCE_TYPE else self._read(step, registration, id_)
        provider = self._provider_reference(registration)
        record = replace(_record(urn, registration, provider), external=True, id=id_, outputs=outputs)
        self._remember(record)
        self._note(step)
        return Registered(urn, id_, outputs)

    def _read(self, step: Step, registration: Registration, id_: str) -> Props:
        provider = self._providers.of(registration.provider, registration.type)
        inputs = without_references(registration.inputs)
        try:
            with self._reported(step):
                found = provider.read(registration.type, id_, opened(inputs), {})
        except ProviderError as error:
            raise DeploymentError(f"{registration.type} {registration.name!r} cannot be read: {error}") from error
        if found is None:
            raise DeploymentError(f"{registration.type} {registration.name!r}: there is none with the id {id_!r}")
        return _secured(found, _record(step.urn, registration, ""))

    def _read_stack(self, name: str) -> Props:
        *path, stack = name.split("/")
        if len(path) == 2 and path[1] != PROJECT:
            raise Unsupported(f"StackReference {name!r}: the rehearsal knows the stacks of project {PROJECT} alone")
        # A stack that reads its own outputs is told what its last deployment exported: nothing, before there was one.
        outputs = self._own_outputs if stack == self.settings.stack else self._reference(stack)
        secrets = sorted(key for key, value in outputs.items() if holds_secret(value))
        return {"name": name, "outputs": outputs, "secretOutputNames": secrets}

    def invoke(self, token: str, arguments: Props, provider: str) -> Props:
        """What a function of a provider answers. Raises DeploymentError where it cannot."""
        if token == "pulumi:pulumi:getResource":
            return self._get_resource(arguments["urn"])
        try:
            return self._providers.of(provider, token).invoke(token, opened(without_references(arguments)))
        except ProviderError as error:
            raise DeploymentError(f"{token}: {error}") from error

    def _get_resource(self, urn: str) -> Props:
        record = self.state.resources.get(urn)
        if not record or urn not in self._claimed:
            raise DeploymentError(f"the program asks for the resource {urn}, which it has not registered")
        return {"urn": urn, "id": record.id or "", "state": record.outputs}

    # --- names --------------------------------------------------------------------------------------------------

    def _claim(self, urn: str) -> None:
        with self._lock:
            if urn in self._claimed:
                raise DeploymentError(f"{urn} is registered twice; give one of the two another name")
            self._claimed[urn] = Signal()
            swept = self._swept.get(urn)
        if swept:
            swept[2].wait()

    def _adopt(self, urn: str, registration: Registration) -> None:
        """Where the state knows the resource by an alias, call it by its URN from now on."""
        with self._lock:
            if urn in self.state.resources:
                return
            for alias in self._aliases(registration):
                if alias in self.state.resources and alias not in self._claimed:
                    self.state.rename(alias, urn)
                    self._adopted[urn] = alias
                    return

    def _aliases(self, registration: Registration) -> Iterator[str]:
        """The URNs under which the resource may be in the state, those that follow from its parent's alias included."""
        former = self._adopted.get(registration.parent)
        for alias in registration.aliases:
            yield self._alias_urn(alias, registration, registration.parent)
            if former:
                yield self._alias_urn(alias, registration, former)
        if former:
            yield self._alias_urn(Alias(), registration, former)

    def _alias_urn(self, alias: Alias, registration: Registration, parent: str) -> str:
        if alias.urn:
            return alias.urn
        name = registration.name if alias.name is None else alias.name
        if alias.parent is not None:
            parent = alias.parent
        elif alias.name is None and registration.parent and parent != registration.parent:
            # By convention children are named after their parent: when it changes its name, so do they.
            current, former = registration.parent.split("::", 3)[3], parent.split("::", 3)[3]
            if name.startswith(current):
                name = former + name.removeprefix(current)
        stack, project = alias.stack or self.settings.stack, alias.project or PROJECT
        return urn_of(stack, project, parent, alias.type or registration.type, name)

    # --- components and providers -------------------------------------------------------------------------------

    def _component(self, urn: str, registration: Registration) -> Registered:
        old = self.state.resources.get(urn)
        record = replace(_record(urn, registration, ""), outputs=old.outputs if old else {})
        return self._recorded_only(record, old, registration, registration.inputs)

    def _explicit_provider(self, urn: str, registration: Registration) -> Registered:
        old = self.state.resources.get(urn)
        id_ = old.id if old else None if self.preview else str(uuid.uuid4())
        inputs = without_references(registration.inputs)
        record = replace(_record(urn, registration, ""), id=id_, inputs=inputs, outputs=inputs)
        self._providers.configured(record)
        return self._recorded_only(record, old, registration, inputs)

    def _recorded_only(
        self, record: Record, old: Record | None, registration: Registration, outputs: Props
    ) -> Registered:
        """A resource that exists in the state alone."""
        op: Op = "same" if old and old.inputs == record.inputs else "update" if old else "create"
        step = Step(op, record.urn, record.type, record.name, _difference(old.inputs if old else {}, record.inputs))
        self._admit(self._resource(record, registration, outputs))
        with self._reported(step):
            self._remember(record)
        self._note(step)
        return Registered(record.urn, record.id, outputs)

    def _provider_reference(self, registration: Registration) -> str:
        """The reference to a resource's provider. A default provider stands in the state, as in Pulumi's."""
        if registration.provider:
            return registration.provider
        package = package_of(registration.type)
        name = f"default_{registration.version.replace('.', '_')}" if registration.version else "default"
        urn = self.urn("", PROVIDER_TYPE + package, name)
        with self._lock:
            self._claimed.setdefault(urn, Signal())
            old = self.state.resources.get(urn)
            inputs = {
                key.partition(":")[2]: value
                for key, value in self.settings.config.items()
                if key.startswith(f"{package}:")
            }
            if registration.version:
                inputs["version"] = registration.version
            id_ = old.id if old else UNKNOWN if self.preview else str(uuid.uuid4())
            record = Record(urn=urn, type=PROVIDER_TYPE + package, custom=True, id=id_, inputs=inputs, outputs=inputs)
            self._remember(record)
        return f"{urn}::{id_}"

    # --- custom resources ---------------------------------------------------------------------------------------

    def _custom(self, urn: str, registration: Registration) -> Registered:
        provider = self._providers.of(registration.provider, registration.type)
        registration = replace(registration, inputs=without_references(registration.inputs))
        record = _record(urn, registration, self._provider_reference(registration))
        old = self.state.resources.get(urn)
        if old and (old.external or not old.custom):
            self.state.drop(old)
            old = None
        if not old:
            return self._create(provider, registration, record, None, Diff())
        declared = keeping(registration.inputs, old.inputs, registration.ignore_changes)
        checked = provider.check(record.type, record.name, opened(old.inputs), opened(declared))
        new = replace(record, id=old.id, inputs=with_secrets_of(checked, declared), outputs=old.outputs)
        diff = self._diff(provider, registration, old, new)
        if diff.replaces:
            return self._create(provider, replace(registration, inputs=declared), record, old, diff)
        return self._update(provider, registration, old, new, diff) if diff else self._keep(registration, old, new)

    def _diff(self, provider: Provider, registration: Registration, old: Record, new: Record) -> Diff:
        """How new inputs differ from what is deployed; after a killed update, from either of what may be deployed."""
        inputs = opened(new.inputs)
        diff = provider.diff(new.type, opened(old.inputs), inputs, registration.ignore_changes)
        pending = self.state.pending.get(new.urn)
        if not diff and pending and pending.doing == "updating":
            diff = provider.diff(new.type, opened(pending.record.inputs), inputs, registration.ignore_changes)
        patterns = [parse_path(path) for path in registration.replace_on_changes]
        forced = [path for path in diff.changed if any(covers(pattern, parse_path(path)) for pattern in patterns)]
        diff = replace(diff, replaces=tuple(dict.fromkeys((*diff.replaces, *forced))))
        if registration.delete_before_replace is not None:
            diff = replace(diff, delete_before_replace=registration.delete_before_replace)
        return diff

    def _keep(self, registration: Registration, old: Record, new: Record) -> Registered:
        step = Step("same", new.urn, new.type, new.name)
        new = replace(new, outputs=_secured(opened(old.outputs), new))
        self._admit(self._resource(new, registration, new.outputs))
        self._remember(new)
        self._note(step)
        self._on_event(Event("done", step))
        return Registered(new.urn, new.id, new.outputs)

    def _update(
        self, provider: Provider, registration: Registration, old: Record, new: Record, diff: Diff
    ) -> Registered:
        step = Step("update", new.urn, new.type, new.name, diff)
        before, inputs, outputs = opened(old.inputs), opened(new.inputs), opened(old.outputs)
        expected = replace(new, outputs=_secured(_after_update(provider, old, new), new))
        self._admit(self._resource(expected, registration, expected.outputs))
        self._note(step)
        if self.preview:
            self._remember(expected)
            return Registered(new.urn, new.id, expected.outputs)
        with self._reported(step):
            self.state.begin(Pending("updating", new))
            changed = _within(
                registration.custom_timeouts.get("update"),
                lambda: provider.update(new.type, new.id or "", before, inputs, outputs),
            )
            record = replace(new, outputs=_secured(changed, new))
            self.state.put(record)
        self._complete(record)
        return Registered(record.urn, record.id, record.outputs)

    def _create(
        self, provider: Provider, registration: Registration, record: Record, old: Record | None, diff: Diff
    ) -> Registered:
        swept = self._swept.get(record.urn)
        op: Op = "replace" if old or swept else "create"
        step = Step(op, record.urn, record.type, record.name, swept[1] if swept else diff)
        if old and registration.protect:
            raise ProviderError(
                f"it has to be replaced because of {', '.join(diff.replaces)}, but is protected; "
                "take `protect` off in the program, or change that back"
            )
        checked, token = self._new_inputs(provider, registration, record)
        record = replace(record, inputs=with_secrets_of(checked, registration.inputs))
        expected = provider.preview(record.type, record.name, checked)
        planned = _made(record, _known(expected.get("id")), expected)
        self._admit(self._resource(planned, registration, planned.outputs))
        self._note(step)
        if old and diff.delete_before_replace:
            self._sweep(old)
            old = None
        if self.preview:
            self.state.put(planned, retire=old is not None)
            return Registered(planned.urn, planned.id, planned.outputs)
        with self._reported(step):
            self.state.begin(Pending("creating", record, token, replaces=old is not None))
            try:
                id_, outputs = _within(
                    registration.custom_timeouts.get("create"), lambda: provider.create(record.type, checked, token)
                )
            except Exception:
                self.state.fail(record.urn)
                raise
            record = _made(record, id_, outputs)
            self.state.put(record, retire=old is not None)
        self._complete(record)
        return Registered(record.urn, record.id, record.outputs)

    def _new_inputs(self, provider: Provider, registration: Registration, record: Record) -> tuple[Props, str]:
        """Inputs and token of a creation: those of one that failed before, where nothing about it has changed."""
        declared = opened(registration.inputs)
        failed = self.state.pending.get(record.urn)
        if failed and failed.doing == "creating":
            before = opened(failed.record.inputs)
            again = provider.check(record.type, record.name, before, declared)
            if not provider.diff(record.type, before, again, ()):
                return again, failed.token
        return provider.check(record.type, record.name, None, declared), uuid.uuid4().hex

    # --- deletion -----------------------------------------------------------------------------------------------

    def _sweep(self, old: Record) -> None:
        """Delete `old` now, and ahead of it what depends on it and will have to be replaced because of that."""
        leaving = {old.urn: (old, Diff(), Signal())}
        with self._lock:
            for record in self.state.ordered():
                if record.urn not in self._claimed and record.custom and not record.external:
                    diff = self._replaced_along(record, leaving)
                    if diff.replaces:
                        leaving[record.urn] = record, diff, Signal()
            self._swept |= {urn: each for urn, each in leaving.items() if urn != old.urn}
        try:
            for record, _, _ in list(leaving.values())[1:]:
                if record.protect:
                    raise ProviderError(
                        f"{record.type} {record.name!r} would have to be replaced with it, but is protected"
                    )
            for record, _, _ in reversed(list(leaving.values())):
                self._delete(record)
        finally:
            for _, _, done in leaving.values():
                done.set()

    def _replaced_along(self, record: Record, leaving: Mapping[str, Any]) -> Diff:
        """How `record` would differ if what comes from the resources in `leaving` changed."""
        touched = [name for name, urns in record.property_dependencies.items() if not leaving.keys().isdisjoint(urns)]
        if not touched:
            return Diff()
        before = opened(record.inputs)
        after = before | dict.fromkeys(touched, UNKNOWN)
        provider = self._providers.of(record.provider, record.type)
        return provider.diff(record.type, before, after, record.ignore_changes)

    def clear(self) -> None:
        """Delete everything in the state, dependents first."""
        self._recover()
        for failure in self._remove([*self.state.ordered(), *self.state.retired]):
            raise failure

    def finish(self) -> None:
        """Once the program is done: delete what it no longer registers and what was replaced, dependents first.

        Raises DeploymentError, or one of its kinds, where anything went wrong before; then nothing is deleted.
        """
        self._raise_failures()
        for urn in self._swept.keys() - self._claimed.keys():
            record = self._swept[urn][0]
            self._note(Step("delete", urn, record.type, record.name))
        orphans = [record for record in self.state.ordered() if record.urn not in self._claimed]
        for failure in self._remove([*orphans, *self.state.retired]):
            raise failure
        for urn in list(self.state.pending):
            if urn not in self._claimed:
                self.state.forget(urn)

    def _remove(self, records: list[Record]) -> list[Exception]:
        protected = [record for record in records if record.protect and not record.retired]
        if protected:
            names = ", ".join(f"{record.type} {record.name!r}" for record in protected)
            return [
                DeploymentError(
                    f"{names} cannot be deleted, for `protect` is set. "
                    "Nothing was deleted: deploy once with protect=False, then again"
                )
            ]
        leaving = {record.urn for record in records}
        failures: list[Exception] = []
        stuck: list[Record] = []
        while records and not self._interrupted:
            # What another one needs stays until that one is gone.
            needed = set().union(*(record.needs() for record in (*records, *stuck)))
            free = [record for record in records if record.urn not in needed]
            if not free:
                break
            for record in free:
                if not self._is_silent(record):
                    self._note(Step("delete", record.urn, record.type, record.name))
            failures += self._side_by_side(lambda record: self._remove_one(record, leaving, stuck), free)
            records = [record for record in records if record.urn in needed]
        if self._interrupted:
            self._raise_failures()
        return _summary(failures)

    def _is_silent(self, record: Record) -> bool:
        """Whether its deletion is part of a replacement that was told of, or of nobody's interest."""
        return (record.retired and record.urn in self._claimed) or is_default_provider(record)

    def _remove_one(self, record: Record, leaving: set[str], stuck: list[Record]) -> None:
        try:
            if self.preview or self._is_silent(record):
                self._delete(record, leaving)
                return
            with self._reported(Step("delete", record.urn, record.type, record.name)):
                self._delete(record, leaving)
        except ProviderError as error:
            stuck.append(record)
            raise DeploymentError(f"{record.type} {record.name!r} could not be deleted: {error}") from error

    def _delete(self, record: Record, leaving: Iterable[str] = ()) -> None:
        """Delete one resource, unless it only exists here, is to be retained, or goes with another."""
        if not self.preview:
            managed = record.custom and not record.external and not record.type.startswith("pulumi:")
            if managed and not record.retain_on_delete and record.deleted_with not in leaving:
                provider = self._providers.of(record.provider, record.type)
                if not record.retired:
                    self.state.begin(Pending("deleting", record))
                _within(
                    record.custom_timeouts.get("delete"),
                    lambda: provider.delete(
                        record.type, record.id or "", opened(record.inputs), opened(record.outputs)
                    ),
                )
        self.state.drop(record)

    # --- the outcome --------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Begin nothing new; what runs is brought to its end and recorded."""
        self._interrupted = True

    def plan(self) -> Plan:
        outputs = opened(self.state.outputs() or {})
        return Plan(self.settings.stack, tuple(self._resources.values()), tuple(self._steps), outputs)

    def result(self) -> Result:
        outputs = self.state.outputs() or {}
        secrets = frozenset(name for name, value in outputs.items() if holds_secret(value))
        seconds = time.monotonic() - self._began
        resources = tuple(self._resources.values())
        return Result(self.settings.stack, tuple(self._steps), opened(outputs), secrets, seconds, resources)

    def explained(self, error: DeploymentError) -> DeploymentError | None:
        """`error`, which ended the program, together with what else went wrong; None where nothing did."""
        outcome = self._outcome()
        if outcome is None or isinstance(outcome, Interrupted):
            return outcome
        return type(error)(f"{error}\n{outcome}")

    def _raise_failures(self) -> None:
        if outcome := self._outcome():
            raise outcome

    def _outcome(self) -> DeploymentError | None:
        """What went wrong so far, if anything."""
        stack = self.settings.stack
        if self._refused:
            return Refused("\n".join([f"stack {stack} breaks a policy:", *self._refused]))
        if self._interrupted:
            return Interrupted(f"stack {stack}: interrupted. What was done is recorded; `up` carries on from there")
        problems = [words for words in self._broken.values() if words]
        if not problems:
            return None
        first = f"stack {stack}: {len(problems)} of its resources failed"
        if left := len(self._broken) - len(problems):
            first += f", so {left} that need them were left out"
        if not self.preview:
            first += "; what was made is recorded, and `up` carries on from there"
        return DeploymentError("\n".join([first, *problems]))

    def _failed(self, urn: str, registration: Registration, words: str) -> Registered:
        self._broken[urn] = f"{registration.type} {registration.name!r}: {words}"
        return Registered(urn, None, {}, failed=True)

    def _is_left_out(self, registration: Registration) -> bool:
        """Whether something that the resource needs has failed."""
        needed = {*registration.dependencies, registration.provider.rpartition("::")[0]}
        needed = needed.union(*registration.property_dependencies.values())
        if any(urn in self._broken for urn in needed):
            return True
        return not self.preview and registration.custom and holds_unknown(registration.inputs)

    def _admit(self, resource: Resource) -> None:
        """Enter a resource in the graph. Raises Refused where it breaks a policy."""
        with self._lock:
            self._resources[resource.urn] = resource
        sentences = list(self._analyze(resource)) if self._analyze else []
        if sentences:
            raise Refused("\n".join(f"{resource.type} {resource.name!r}: {sentence}" for sentence in sentences))

    def _resource(self, record: Record, registration: Registration, outputs: Props) -> Resource:
        return Resource(
            urn=record.urn,
            type=record.type,
            name=record.name,
            custom=record.custom,
            id=_known(record.id),
            inputs=opened(record.inputs),
            outputs=opened(outputs),
            parent=record.parent,
            provider=record.provider,
            dependencies=record.dependencies,
            property_dependencies=record.property_dependencies,
            protect=record.protect,
            retain_on_delete=record.retain_on_delete,
            delete_before_replace=registration.delete_before_replace,
            ignore_changes=record.ignore_changes,
            replace_on_changes=record.replace_on_changes,
            additional_secret_outputs=record.additional_secret_outputs,
            aliases=tuple(self._aliases(registration)),
            deleted_with=record.deleted_with,
            custom_timeouts=record.custom_timeouts,
        )

    def _complete(self, record: Record) -> None:
        """Enter what the cloud told of a resource in the graph."""
        with self._lock:
            resource = self._resources[record.urn]
            self._resources[record.urn] = replace(resource, id=record.id, outputs=opened(record.outputs))

    def _remember(self, record: Record) -> None:
        """Put a record in the state, if it says anything new."""
        pending = self.state.pending.get(record.urn)
        if self.state.resources.get(record.urn) != record or pending:
            self.state.put(record)

    def _on_event(self, event: Event) -> None:
        """Tell of an event: one at a time, so that who listens need not care for threads."""
        with self._telling:
            self._listener(event)

    def _note(self, step: Step) -> None:
        with self._lock:
            self._steps.append(step)
        self._on_event(Event("plan", step))

    @contextmanager
    def _reported(self, step: Step) -> Iterator[None]:
        """Tell of an operation that it starts, and how it ends. What is no ProviderError becomes one, and says so."""
        began = time.monotonic()
        self._on_event(Event("start", step))
        try:
            yield
        except Exception as error:
            self._on_event(Event("failed", step, time.monotonic() - began, str(error)))
            if isinstance(error, ProviderError):
                raise
            raise ProviderError(f"the provider broke: {type(error).__name__}: {error}") from error
        self._on_event(Event("done", step, time.monotonic() - began))


def _record(urn: str, registration: Registration, provider: str) -> Record:
    return Record(
        urn=urn,
        type=registration.type,
        custom=registration.custom,
        inputs=registration.inputs,
        parent=registration.parent,
        provider=provider,
        protect=registration.protect,
        retain_on_delete=registration.retain_on_delete,
        deleted_with=registration.deleted_with,
        dependencies=registration.dependencies,
        property_dependencies=registration.property_dependencies,
        additional_secret_outputs=registration.additional_secret_outputs,
        ignore_changes=registration.ignore_changes,
        replace_on_changes=registration.replace_on_changes,
        custom_timeouts=registration.custom_timeouts,
    )


def _made(record: Record, id_: str | None, outputs: Props) -> Record:
    return replace(record, id=id_, outputs=_secured(outputs, record))


def _secured(outputs: Props, record: Record) -> Props:
    """Outputs with the marks of the inputs that are secret, and of those that the program calls secret."""
    marked = with_secrets_of(outputs, record.inputs)
    return {
        name: secret(value) if name in record.additional_secret_outputs else value for name, value in marked.items()
    }


def _after_update(provider: Provider, old: Record, new: Record) -> Props:
    """What the outputs will be: as they are now, but for what the new inputs determine."""
    outputs: Props = opened(old.outputs)
    before = provider.preview(old.type, old.name, opened(old.inputs))
    after = provider.preview(new.type, new.name, opened(new.inputs))
    determined = {name for name in after if name in new.inputs or before.get(name) == outputs.get(name)}
    return outputs | {name: after[name] for name in determined if name != "id"}


def _known(value: Any) -> str | None:
    return value if isinstance(value, str) and value not in ("", UNKNOWN) else None


def _difference(old: Props, new: Props) -> Diff:
    return Diff(tuple(sorted(name for name in {**old, **new} if old.get(name) != new.get(name))))


def _within(seconds: float | None, work: Callable[[], T]) -> T:
    """Do `work`. Raises ProviderError where it takes longer than `seconds`; it is then left running."""
    if not seconds:
        return work()
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        raise ProviderError(f"it took longer than the {seconds:g} s that custom_timeouts allow") from None


def _summary(failures: list[Exception]) -> list[Exception]:
    if len(failures) < 2:
        return failures
    return [DeploymentError("\n".join(map(str, failures)))]
