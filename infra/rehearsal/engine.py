"""A Pulumi engine in this process: plans a stack, deploys it to a rehearsal's providers, and takes it down again."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any

from infra.rehearsal.deployment import PARALLEL, Analyze, Deployment, Factory, OnEvent
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
from infra.rehearsal.monitor import run
from infra.rehearsal.properties import opened
from infra.rehearsal.provider import UNKNOWN, Props, symbol
from infra.rehearsal.state import State, StateError, StateStore
from infra.settings import Settings, load
from infra.stack import build

__all__ = [
    "DeploymentError",
    "Engine",
    "Event",
    "Interrupted",
    "Op",
    "Plan",
    "Refused",
    "Resource",
    "Result",
    "StateError",
    "StateStore",
    "Step",
    "Unsupported",
]


def _attend(deployment: Deployment, work: Callable[[], None]) -> None:
    """Do `work` in a thread of its own. Ctrl-C lets what runs come to its end, and nothing new begin."""
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    done = Signal()
    Thread(target=attempt, name="slipway", daemon=True).start()
    # Not Thread.join: interrupted, it takes the thread for ended (Python 3.11).
    while not done.is_set():
        try:
            done.wait()
        except KeyboardInterrupt:
            deployment.interrupt()
    for error in failures:
        raise error


def _with_stand_ins(value: Any, name: str, stack: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_stand_ins(element, name, stack) for key, element in value.items()}
    if isinstance(value, list):
        return [_with_stand_ins(element, name, stack) for element in value]
    return symbol(name, stack) if value == UNKNOWN else value


def _ignore(event: Event) -> None:
    pass


class Engine:
    """Runs the programs of stacks. `providers` says, for each package such as `aws`, how its provider is made."""

    def __init__(
        self,
        work: Path,
        providers: Mapping[str, Factory],
        *,
        state: StateStore | None = None,
        settings_of: Callable[[str], Settings] = load,
        refresh: bool = True,
    ) -> None:
        """`settings_of` tells of a stack that another one needs, and that is to be planned for it.

        Without `refresh` a plan takes the state's word for what there is, and asks nobody.
        """
        self._providers, self._settings_of, self._refresh = providers, settings_of, refresh
        self._store = state or StateStore(work)
        self._plans: dict[str, Plan] = {}
        """What was planned since the last deployment: stacks that are planned together see each other."""
        self._planned: dict[str, State] = {}

    def plan(self, settings: Settings) -> Plan:
        """What `up` would do. Where nothing is deployed, nobody is asked: neither a cloud nor an emulator.

        A stack that this one needs and that is not deployed is planned as well. Raises DeploymentError, StateError.
        """
        for needed in settings.program.needs:
            if needed not in self._plans and self._store.load(needed).outputs() is None:
                self.plan(self._settings_of(needed))
        deployment = Deployment(
            settings,
            self._providers,
            self._store.load(settings.stack),
            preview=True,
            reference=self._planned_outputs,
        )
        _attend(deployment, lambda: self._run(settings, deployment, workers=1))
        self._plans[settings.stack] = plan = deployment.plan()
        self._planned[settings.stack] = deployment.state
        return plan

    def planned(self, stack: str) -> State:
        """The state that a deployment of the last plan would leave, with stand-ins and `UNKNOWN`. Raises KeyError."""
        return self._planned[stack]

    def up(
        self,
        settings: Settings,
        *,
        on_event: OnEvent = _ignore,
        analyze: Analyze | None = None,
    ) -> Result:
        """Make what is deployed as the program says; after an interruption, carry on from there.

        `analyze` yields a sentence for each thing that speaks against deploying a resource; it is then refused.
        Raises DeploymentError (Refused, Interrupted and Unsupported are of it) and StateError.
        """
        with self._store.open(settings.stack) as state:
            deployment = self._deployment(settings, state, on_event, analyze)
            _attend(deployment, lambda: self._run(settings, deployment, PARALLEL))
            self._plans.clear()
            return deployment.result()

    def down(self, settings: Settings, *, on_event: OnEvent = _ignore) -> Result:
        """Delete everything that the stack deployed, dependents first. Raises as `up` does."""
        with self._store.open(settings.stack) as state:
            deployment = self._deployment(settings, state, on_event, None)
            _attend(deployment, deployment.clear)
            self._plans.clear()
            return deployment.result()

    def outputs(self, stack: str) -> Props:
        """What the stack exports since its last deployment, secrets open.

        Raises DeploymentError where it was never deployed.
        """
        return dict(opened(self._deployed_outputs(stack)))

    def _deployment(self, settings: Settings, state: State, on_event: OnEvent, analyze: Analyze | None) -> Deployment:
        return Deployment(
            settings,
            self._providers,
            state,
            preview=False,
            reference=self._deployed_outputs,
            on_event=on_event,
            analyze=analyze,
        )

    def _run(self, settings: Settings, deployment: Deployment, workers: int) -> None:
        if self._refresh:
            deployment.refresh()
        try:
            run(partial(build, settings.program), deployment, workers)
        except DeploymentError as error:
            if explained := deployment.explained(error):
                raise explained from error
            raise
        deployment.finish()

    def _planned_outputs(self, stack: str) -> Props:
        """What the stack exports, or will export once it is deployed as it was planned."""
        if stack not in self._plans:
            return self._deployed_outputs(stack)
        # One unknown in them would make all of them unknown to the SDK, so it gets a stand-in, whatever its type.
        return {name: _with_stand_ins(value, name, stack) for name, value in self._plans[stack].outputs.items()}

    def _deployed_outputs(self, stack: str) -> Props:
        outputs = self._store.load(stack).outputs()
        if outputs is None:
            raise DeploymentError(
                f"stack {stack} is not deployed: deploy it first (a stack names those it reads in `needs`)"
            )
        return outputs
