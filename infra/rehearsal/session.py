"""The rehearsal as a whole: the emulator, the stacks deployed to it, and the product that runs on them."""

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pulumi_aws
from botocore.exceptions import ClientError

from infra import reach
from infra.changes import Changes, Deployed, Reviewed, read_states, review, reviewed
from infra.check import Decided, Report, analyze, check, decided
from infra.rehearsal import product, restarts
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.aws.types import TYPES
from infra.rehearsal.emulator import process
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.engine import Engine, Event, Plan, Result, StateError
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.product import Clients
from infra.rehearsal.properties import opened
from infra.rehearsal.samples import Sample
from infra.rehearsal.state import State, StateStore, exported, write_atomically
from infra.settings import ROOT, Settings, load, stacks_of
from infra.teardown import remains, stop_running
from policies.cost.pricing import Line, estimate
from stacks.product import Product

WORK = Path(os.environ.get("SLIPWAY_WORK", ROOT / ".slipway"))
"""Where a rehearsal keeps its state, its log and its port; `slipway down` removes it. SLIPWAY_WORK sets another."""
ENVIRONMENT: Final = "local"

Say = Callable[[str], None]
Watching = Callable[[str, int], AbstractContextManager[Callable[[Event], None]]]
"""`watching(stack, changes)` shows one deployment while it runs."""


class PolicyViolation(Exception):
    """A plan breaks a policy, so that nothing of it was deployed; or, what only a deployment could tell breaks one."""

    def __init__(self, report: Report, *, deployed: bool = False) -> None:
        super().__init__(
            "a policy about the whole stack is broken, as only its deployment could tell; it is recorded, and as it "
            "is: mend it, and run `up` again"
            if deployed
            else "a policy is broken; nothing of the stack was deployed"
        )
        self.report = report


@dataclass
class Deployment:
    """What deploying one stack came to, in one go or in two."""

    settings: Settings
    plan: Plan
    results: list[Result]
    decided: list[Decided] = field(default_factory=list)
    """What the plan left to be decided by the deployment, and how it was."""

    @property
    def steps(self) -> dict[str, int]:
        """How many resources were created, updated, and so on; unchanged ones as the last deployment found them."""
        total: dict[str, int] = {}
        for result in self.results:
            for op, count in result.counts.items():
                total[op] = count if op in ("same", "read") else total.get(op, 0) + count
        return total

    @property
    def changed(self) -> bool:
        """Whether anything was made, changed or deleted."""
        return any(count for op, count in self.steps.items() if op not in ("same", "read"))

    @property
    def outputs(self) -> Mapping[str, Any]:
        """What the stack exports."""
        return self.results[-1].outputs

    @property
    def costs(self) -> list[Line]:
        """What it would cost on AWS a month, the dearest first."""
        return estimate(self.plan.resources)


@dataclass
class Outcome:
    """What `up` came to."""

    emulator: Emulator
    deployments: list[Deployment] = field(default_factory=list)
    products: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By stack: the version that serves, what it was measured at, and the monitor's last report."""
    steps_done: int = 0
    """How many of the steps that make a product live had still to be done."""

    @property
    def changed(self) -> bool:
        """Whether anything was done at all."""
        return self.steps_done > 0 or any(deployment.changed for deployment in self.deployments)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "emulator": self.emulator.endpoint,
            "changed": self.changed,
            "stacks": {
                each.settings.stack: {
                    "steps": {op: each.steps.get(op, 0) for op in ("create", "update", "replace", "delete", "same")},
                    "outputs": {
                        name: "[secret]" if name in each.results[-1].secrets else value
                        for name, value in each.outputs.items()
                    },
                    "decided": [asdict(decision) for decision in each.decided],
                    "usd_per_month": {
                        "floor": round(sum(line.floor_usd for line in each.costs), 2),
                        "ceiling": round(sum(line.ceiling_usd for line in each.costs), 2),
                        "budget": each.settings.usd_per_month,
                    },
                }
                for each in self.deployments
            },
            "product": self.products,
        }


class Rehearsal:
    """The `local` environment on this machine."""

    def __init__(self, work: Path = WORK, *, say: Say, watching: Watching) -> None:
        self.work, self.say, self.watching = work, say, watching
        self.store = StateStore(work)

    # --- looking ----------------------------------------------------------------------------------------------------

    def plan(self, stacks: Sequence[str]) -> list[tuple[Settings, Plan]]:
        """What an `up` of these stacks would do; local ones against what the emulator has, if it runs."""
        emulator = process.running(self.work)
        if emulator is None:
            return self.plan_offline(stacks)
        engine = self._engine(emulator)
        plans = []
        for stack in stacks:
            settings = load(stack)
            if settings.environment == ENVIRONMENT:
                settings = self._with_version(settings, self._clients(emulator, settings))
                plans.append((settings, engine.plan(settings)))
            else:
                plans += self.plan_offline([stack])
        return plans

    def plan_offline(self, stacks: Sequence[str], *, processes: int = 1) -> list[tuple[Settings, Plan]]:
        """What these stacks would make where nothing exists yet, endpoints included. Asks nobody.

        With more `processes` than one, the environments are planned side by side, where the system lets a process be
        copied; to be asked for only by a process that has no threads.
        """
        together: dict[str, list[str]] = {}
        for stack in stacks:  # stacks of one environment read each other
            together.setdefault(load(stack).environment, []).append(stack)
        if processes < 2 or len(together) < 2 or "fork" not in multiprocessing.get_all_start_methods():
            plans = _plan_offline(stacks)
        else:
            for module in {type_.split(":")[1].partition("/")[0] for type_ in TYPES}:
                with suppress(AttributeError):  # `lambda` is called otherwise; what is not here, each imports itself
                    getattr(pulumi_aws, module)
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(min(processes, len(together)), mp_context=context) as pool:
                # The largest first, so that nobody waits for it at the end.
                groups = pool.map(_plan_offline, sorted(together.values(), key=len, reverse=True))
                plans = {stack: plan for group in groups for stack, plan in group.items()}
        return [(_first_version(load(stack)), plans[stack]) for stack in stacks]

    def changes(self, stacks: Sequence[str], since: Sequence[Path] = ()) -> list[Changes]:
        """What the plans of these stacks change about what is deployed, as files in `since` tell it.

        Of local stacks it is the rehearsal's own state, unless a file tells. Stacks that nobody tells of are left out.
        """
        recorded = {
            stack: Deployed("the rehearsal", self.store.load(stack))
            for stack in self.store.stacks()
            if stack in stacks and self.store.load(stack).outputs() is not None
        }
        return [each.changes for each in _reviewed(stacks, recorded | read_states(since))]

    def review(self, stacks: Sequence[str], since: Sequence[Path] = ()) -> list[Reviewed]:
        """The plan of each stack, and what it changes about what is deployed.

        What that is, files in `since` tell, and of local stacks otherwise the emulator, if it runs. A stack that nobody
        tells of is planned as if nothing existed.
        """
        deployed = read_states(since)
        told = {each.settings.stack: each for each in _reviewed(stacks, deployed)}
        if emulator := process.running(self.work):
            engine = self._engine(emulator)
            for stack in stacks:
                settings, state = load(stack), self.store.load(stack)
                if stack not in told and settings.environment == ENVIRONMENT and state.outputs() is not None:
                    chosen = self._with_version(settings, self._clients(emulator, settings))
                    told[stack] = review(chosen, engine, state, "the rehearsal")
        with TemporaryDirectory(prefix="slipway-") as nothing:
            engine = _engine(Path(nothing), None, StateStore(Path(nothing)))
            for stack in stacks:
                if stack not in told:
                    told[stack] = review(_first_version(load(stack)), engine, State(), "")
        return [told[stack] for stack in stacks]

    def export_plans(self, stacks: Sequence[str], folder: Path) -> list[Path]:
        """Write what these stacks come to where nothing exists yet, as states that `changes` reads; no secrets."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        with TemporaryDirectory(prefix="slipway-") as nothing:
            engine = _engine(Path(nothing), None, StateStore(Path(nothing)))
            for settings in map(_first_version, map(load, stacks)):
                engine.plan(settings)
                written.append(folder / f"{settings.stack}.json")
                write_atomically(written[-1], json.dumps(exported(engine.planned(settings.stack)), indent=1))
        return written

    def status(self) -> dict[str, Any]:
        """What there is, and how it is."""
        emulator = process.running(self.work)
        found: dict[str, Any] = {"emulator": emulator.endpoint if emulator else None, "stacks": {}, "product": {}}
        for stack in self.store.stacks():
            state = self.store.load(stack)
            custom = [record for record in state.ordered() if record.custom and not record.type.startswith("pulumi:")]
            found["stacks"][stack] = {"resources": len(custom), "outputs": dict(state.outputs() or {})}
        if emulator:
            for stack, each in found["stacks"].items():
                settings = load(stack)
                if isinstance(settings.program, Product):
                    condition = self._condition if settings.program.endpoint else self._condition_of_files
                    found["product"][stack] = condition(self._clients(emulator, settings), each["outputs"])
        return found

    def _condition(self, clients: Clients, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """How a product is: its endpoint, its alarms, the data monitor's last report."""
        if "endpoint_name" not in outputs:
            return {"endpoint": "none yet"}
        name = outputs["endpoint_name"]
        try:
            status = clients("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
            alarms = clients("cloudwatch").describe_alarms(AlarmNamePrefix=name)["MetricAlarms"]
        except ClientError as error:
            return {"endpoint": name, "status": f"gone: {error}"}
        reports = product.reports(clients, outputs) if "reports_uri" in outputs else []
        last = product.read_report(clients, reports[-1]) if reports else None
        return {
            "endpoint": name,
            "status": status,
            "model_package_arn": product.live(clients, outputs),
            "alarms": {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms},
            "data": {key: last[key] for key in ("status", "summary", "rows", "drifted_features", "time", "uri")}
            if last
            else None,
        }

    def _condition_of_files(self, clients: Clients, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """How a product is that has no endpoint."""
        versions = product.approved_versions(clients, outputs["model_package_group_name"])
        answered = product.was_answered(clients, outputs)
        return {
            "endpoint": "none: files are predicted",
            "version": versions[-1] if versions else "none approved yet",
            "answers": outputs["batch_answers_uri"] if answered else "no file was answered yet",
        }

    # --- doing ------------------------------------------------------------------------------------------------------

    def up(self, stacks: Sequence[str], port: int | None = None) -> Outcome:
        """Start the emulator, deploy the stacks in order, and bring each product to where it serves and is watched.

        Raises PolicyViolation, SettingsError, EmulatorError, DeploymentError or ProductError; whatever was made by
        then is recorded, and the next call carries on from there.
        """
        emulator = process.running(self.work)
        if emulator is None or port not in (None, emulator.port):
            restarts.look(self.work)
            emulator = process.start(self.work, port)
            # A new emulator knows no cluster, so that none has objects either.
            shutil.rmtree(self.work / "kubernetes", ignore_errors=True)
        self.say(emulator.notice or f"AWS emulator at {emulator.endpoint}")
        self._expect_state_of(emulator, stacks)
        engine = self._engine(emulator)
        outcome = Outcome(emulator)
        for stack in stacks:
            settings = load(stack)
            try:
                if isinstance(settings.program, Product):
                    self._up_product(engine, settings, outcome)
                else:
                    outcome.deployments.append(self._deploy(engine, settings))
            finally:
                self._remember(emulator, stack)
        if loss := restarts.untold(self.work):
            self._tell_of(loss, outcome)
        return outcome

    def _tell_of(self, loss: restarts.Loss, outcome: Outcome) -> None:
        """Write up that an emulator was lost, for each product that was in it."""
        made = sum(each.steps.get("create", 0) for each in outcome.deployments)
        for each in outcome.deployments:
            if "endpoint_name" in each.outputs and each.settings.stack in loss.stacks:
                clients = self._clients(outcome.emulator, each.settings)
                reached = reach.Deployed(each.settings, each.outputs, clients)
                incident = restarts.tell(loss, reached, made=made, serves=product.live(clients, each.outputs))
                self.say(
                    f"incident {incident.id} tells of what was lost: `slipway incident show {reached.settings.stack}`"
                )
        restarts.is_told(self.work)

    def _expect_state_of(self, emulator: Emulator, stacks: Sequence[str]) -> None:
        """Raise StateError where a stack is in this very emulator, and its state is not here any more."""
        known = self._deployed()
        missing = [each for each in stacks if known.get(each) == emulator.instance and each not in self.store.stacks()]
        if missing:
            raise StateError(
                f"{', '.join(map(str, map(self.store.path, missing)))}: missing, though the stack is in the emulator. "
                "Put the file back, or begin anew: `slipway down local`, then `slipway up local`"
            )

    def _remember(self, emulator: Emulator, stack: str) -> None:
        """Note down that a stack is in this emulator, all of it or a part: those that come after it are not yet."""
        if stack in self.store.stacks():
            write_atomically(self._record, json.dumps(self._deployed() | {stack: emulator.instance}))

    def _deployed(self) -> dict[str, str]:
        """In which emulator each stack was deployed last."""
        found: dict[str, str] = json.loads(self._record.read_text("utf-8")) if self._record.exists() else {}
        return found

    @property
    def _record(self) -> Path:
        return self.work / "deployed.json"

    def _up_product(self, engine: Engine, settings: Settings, outcome: Outcome) -> None:
        """Deploy a product; train and approve a model first where there is none to serve."""
        assert isinstance(settings.program, Product)
        clients, say = self._clients(outcome.emulator, settings), self.say
        has_endpoint = settings.program.endpoint is not None
        chosen = self._with_version(settings, clients)
        sample = Sample(type(settings.program))
        deployments = []
        if chosen is settings and not product.approved_versions(clients, settings.stack):
            if has_endpoint:
                say(f"{settings.stack}: no approved model yet, so that everything but the endpoint comes first")
            deployments = [self._deploy(engine, settings)]
            outputs = deployments[0].outputs
            product.stand_in(clients, settings.program.image, say)
            product.deliver(clients, outputs, sample, say)
            version = product.train(clients, outputs, sample.dataset, say)
            product.approve(clients, outputs, version, say)
            outcome.steps_done += 1
            chosen = self._with_version(settings, clients)
        if has_endpoint or not deployments:
            deployments.append(self._deploy(engine, chosen))
        last = deployments[-1]
        last.results[:0] = [result for each in deployments[:-1] for result in each.results]
        last.decided[:0] = [decision for each in deployments[:-1] for decision in each.decided]
        outcome.deployments.append(last)
        outputs = last.outputs
        if has_endpoint and not product.was_released(clients, outputs):
            product.release(clients, outputs, say)
            outcome.steps_done += 1
        if "data_schedule_name" in outputs and not product.was_watched(clients, outputs):
            product.send_requests(clients, outputs, sample, say)
            product.run_monitor(clients, outputs, say)
            outcome.steps_done += 1
        if not has_endpoint and not product.was_answered(clients, outputs):
            product.answer_file(clients, outputs, sample, say)
            outcome.steps_done += 1
        outcome.products[settings.stack] = product.summary(clients, outputs)

    def _deploy(self, engine: Engine, settings: Settings) -> Deployment:
        """Plan, check every policy, deploy, and check again what the plan could not tell. Raises PolicyViolation.

        A policy about one resource is asked before it is made; one about the whole stack, when all of it is there.
        """
        plan = engine.plan(settings)
        report = check([(settings, plan)])
        if not report.ok:
            raise PolicyViolation(report)
        changes = sum(step.op not in ("same", "read") for step in plan.steps)
        with self.watching(settings.stack, changes) as watch:
            result = engine.up(settings, on_event=watch, analyze=analyze(settings))
        done = {op: count for op, count in result.counts.items() if op != "read"}
        words = ", ".join(f"{count} {op}" for op, count in done.items())
        self.say(f"{settings.stack}: {words} ({result.seconds:.1f} s)")
        after = check([(settings, replace(plan, resources=result.resources))])
        decisions = decided(report, after)
        if decisions:
            words = ", ".join(f"{count} {each}" for each, count in Counter(one.outcome for one in decisions).items())
            self.say(f"{settings.stack}: {len(decisions)} rules were deferred to the deployment: {words}")
        if not after.ok:
            raise PolicyViolation(after, deployed=True)
        return Deployment(settings, plan, [result], decisions)

    def down(self, names: Sequence[str]) -> dict[str, Any]:
        """Delete what local stacks made; for `local` all that there are, then the emulator and the work folder."""
        everything = ENVIRONMENT in names
        # Examples run on the platform: they go with it, though `local` does not name them.
        wanted = stacks_of([*names, *(self.store.stacks() if everything else ())])
        emulator = process.running(self.work)
        removed: dict[str, int] = {}
        left: dict[str, Any] = {}
        if emulator:
            engine = self._engine(emulator)
            for stack in reversed([each for each in wanted if each in self.store.stacks()]):
                settings = load(stack)
                outputs = dict(self.store.load(stack).outputs() or {})
                group = outputs.get("model_package_group_name")
                stop_running(stack, self._clients(emulator, settings), self.say)
                with self.watching(stack, len(self.store.load(stack).resources)) as watch:
                    result = engine.down(settings, on_event=watch)
                if group:  # the stack leaves a registry where it is, for its versions are no part of the stack
                    clients = self._clients(emulator, settings)
                    product.empty_registry(clients, group)
                    clients("sagemaker").delete_model_package_group(ModelPackageGroupName=group)
                removed[stack] = result.counts.get("delete", 0)
                self.say(f"{stack}: {removed[stack]} deleted")
                if not everything:  # with the emulator goes all of it
                    left[stack] = [
                        each.to_dict() for each in remains(stack, outputs, self._clients(emulator, settings))
                    ]
        if everything:
            if process.stop(self.work):
                self.say("the emulator is stopped")
            shutil.rmtree(self.work, ignore_errors=True)
        return {"deleted": removed, "emulator_stopped": everything, "remains": left}

    # --- parts ------------------------------------------------------------------------------------------------------

    def _engine(self, emulator: Emulator) -> Engine:
        return _engine(self.work, emulator.endpoint, self.store)

    def _clients(self, emulator: Emulator, settings: Settings) -> Clients:
        return Clients(emulator.endpoint, settings.region)

    def _with_version(self, settings: Settings, clients: Clients) -> Settings:
        """The settings with the version that the endpoint was made with, or is to be made with: the newest approved.

        Where the YAML names none, and none is approved, they stay as they are.
        """
        if not _is_to_be_made_with_a_version(settings):
            return settings
        versions = product.approved_versions(clients, settings.stack)
        first = (self.store.load(settings.stack).outputs() or {}).get("first_version")
        chosen = first if first in versions else versions[-1] if versions else None
        return load(settings.stack, {"model_version": int(chosen)}) if chosen else settings


def _engine(work: Path, endpoint: str | None, store: StateStore, *, refresh: bool = True) -> Engine:
    """An engine that deploys to `endpoint`; without one it can only plan."""

    def aws(settings: Settings) -> AwsProvider:
        return AwsProvider(settings.region, settings.account_id, settings.tags, endpoint)

    def kubernetes(_: Settings) -> KubernetesProvider:
        return KubernetesProvider(work)

    return Engine(work, {"aws": aws, "kubernetes": kubernetes}, state=store, refresh=refresh)


def _plan_offline(stacks: Sequence[str]) -> dict[str, Plan]:
    with TemporaryDirectory(prefix="slipway-") as nothing:
        engine = _engine(Path(nothing), None, StateStore(Path(nothing)))
        return {stack: engine.plan(_first_version(load(stack))) for stack in stacks}


def _reviewed(stacks: Sequence[str], deployed: Mapping[str, Deployed]) -> list[Reviewed]:
    """What changes about what is deployed, for the stacks of which that is known. Asks nobody."""

    def planning(work: Path, store: StateStore) -> Engine:
        return _engine(work, None, store, refresh=False)

    settings = [_as_deployed(load(each), deployed[each].state) for each in stacks if each in deployed]
    return reviewed(settings, deployed, planning)


def _is_to_be_made_with_a_version(settings: Settings) -> bool:
    """Whether it is a product with an endpoint, and its YAML leaves open which version that is made with."""
    program = settings.program
    return isinstance(program, Product) and program.endpoint is not None and program.model_version is None


def _as_deployed(settings: Settings, state: State) -> Settings:
    """The settings with the version of the model that the endpoint was made with, if there is one."""
    first = opened(state.outputs() or {}).get("first_version")
    if _is_to_be_made_with_a_version(settings) and first:
        return load(settings.stack, {"model_version": int(first)})
    return settings


def _first_version(settings: Settings) -> Settings:
    """The settings with an endpoint: what is checked is what a product comes to, not only where it begins."""
    if _is_to_be_made_with_a_version(settings):
        return load(settings.stack, {"model_version": 1})
    return settings
