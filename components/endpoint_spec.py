"""What a team may say of an endpoint: four kinds, each with what fits it, in SageMaker's limits."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PositiveInt,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from components.logs import RetentionDays
from components.spec import Spec
from policies.local_disks import has_local_disks

LONGEST_ROLLOUT_SECONDS = 28_800
"""https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_BlueGreenUpdatePolicy.html"""
STARTING_SECONDS = 3600
"""How much of a rollout's time instances may take to start and to stop."""


def _instance(instance_type: str) -> str:
    kind, _, rest = instance_type.partition(".")
    if kind != "ml" or "." not in rest:
        raise ValueError("no SageMaker instance type: set one such as ml.m5.large or ml.g5.xlarge")
    return instance_type


def _scalable(instance_type: str) -> str:
    if _instance(instance_type).startswith("ml.t"):
        raise ValueError("burstable instances cannot autoscale: set one such as ml.m5.large")
    return instance_type


MlInstance = Annotated[str, AfterValidator(_scalable)]
StartSeconds = Annotated[int, Field(ge=60, le=3600)]
InferenceAmi = Literal[
    "al2-ami-sagemaker-inference-gpu-2",
    "al2-ami-sagemaker-inference-gpu-2-1",
    "al2-ami-sagemaker-inference-gpu-3-1",
    "al2-ami-sagemaker-inference-neuron-2",
    "al2023-ami-sagemaker-inference-gpu-4-1",
]
"""The machine images that SageMaker offers; one fixes the GPU driver, and with it the newest CUDA."""


def family(instance_type: str) -> str:
    """`ml.g5.xlarge` → `g5`."""
    return instance_type.split(".")[1]


def has_gpu(instance_type: str) -> bool:
    """Whether it has NVIDIA GPUs."""
    return bool(re.match(r"[gp]\d", family(instance_type)))


def has_neuron(instance_type: str) -> bool:
    """Whether it has AWS's own accelerators."""
    return bool(re.match(r"inf2|trn", family(instance_type)))


def machine_image(instance_type: str) -> InferenceAmi | None:
    """The image that an instance type gets where the spec names none, so that no driver changes unasked."""
    if has_neuron(instance_type):
        return "al2-ami-sagemaker-inference-neuron-2"
    if re.match(r"g7|p6", family(instance_type)):  # Blackwell needs the newer driver.
        return "al2023-ami-sagemaker-inference-gpu-4-1"
    return "al2-ami-sagemaker-inference-gpu-3-1" if has_gpu(instance_type) else None


class Rollout(Spec):
    """How a new model version takes over from the one that serves."""

    kind: Literal["canary", "linear", "all-at-once"] = "canary"
    """First a share and then the rest; share after share; or all in one step."""
    step_percent: int = Field(default=20, ge=1, le=50)
    """The share of a canary (1 to 50 %) or of each linear step (10 to 50 %)."""
    bake_minutes: int = Field(default=5, ge=0, le=60)
    """How long alarms are watched after each step before the next one."""

    @model_validator(mode="after")
    def _fits(self) -> "Rollout":
        if self.kind == "linear" and self.step_percent < 10:
            raise ValueError(f"a linear step is 10 to 50 % of the traffic: set step_percent, now {self.step_percent}")
        if self.minutes * 60 + STARTING_SECONDS > LONGEST_ROLLOUT_SECONDS:
            raise ValueError(
                f"this rollout takes {self.minutes} minutes and an hour for its instances; SageMaker ends it after "
                f"{LONGEST_ROLLOUT_SECONDS // 60}: set fewer bake_minutes or a larger step_percent"
            )
        return self

    @property
    def minutes(self) -> int:
        """How long it takes when nothing goes wrong, instances' own starting time left out."""
        steps = {"canary": 2, "linear": -(-100 // self.step_percent), "all-at-once": 1}
        return steps[self.kind] * self.bake_minutes


class ScheduledCapacity(Spec):
    """New bounds for the capacity, at fixed times."""

    at: Annotated[str, StringConstraints(pattern=r"^(cron\([^()]+\)|at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\))$")]
    """When: `cron(0 7 ? * MON-FRI *)` (minute, hour, day, month, weekday, year) or `at(2026-12-24T18:00:00)`."""
    time_zone: str = "Etc/UTC"
    """Whose hours those are, daylight saving time included: `Europe/Berlin`."""
    min: int = Field(ge=0)
    """The fewest instances from then on."""
    max: PositiveInt
    """The most."""

    @model_validator(mode="after")
    def _agrees(self) -> "ScheduledCapacity":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: raise one or lower the other")
        if self.at.startswith("cron") and len(self.at[5:-1].split()) != 6:
            raise ValueError(f"{self.at} has not the six fields minute, hour, day, month, weekday, year: set all six")
        return self


class EndpointSpec(Spec):
    """What every kind of endpoint has; `kind` says which it is, and without it the endpoint is `real-time`."""

    kind: str
    """`real-time`, `serverless`, `async` or `scale-to-zero`."""
    max_errors_per_minute: int = Field(default=5, ge=0)
    """Failed requests (5xx) a minute from which on a change is taken back."""
    max_latency_ms: PositiveInt = 1000
    """The model's own time for 99 % of requests, above which a change is taken back."""
    rollout: Rollout = Rollout()
    """How a new version takes over."""
    model_download_seconds: StartSeconds | None = None
    """How long the model's files may take to arrive (60 to 3600); without it, SageMaker's own limit."""
    startup_seconds: StartSeconds | None = None
    """How long a container may take until it answers pings (60 to 3600); without it, SageMaker's 8 minutes."""
    log_days: RetentionDays = 90
    """How long the containers' logs are kept."""

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: Any, handler: ModelWrapValidatorHandler["EndpointSpec"]) -> "EndpointSpec":
        if cls is not EndpointSpec or not isinstance(value, dict):
            return handler(value)
        kind = value.get("kind", "real-time")
        if kind not in KINDS:
            raise ValueError(f"there is no kind {kind!r} of endpoint: set one of {', '.join(KINDS)}")
        return KINDS[kind].model_validate(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """That of any kind; `kind` has to be said of every other than the one that is taken without it."""
        found = handler(core_schema)
        told = handler.resolve_ref_schema(found)
        if cls is EndpointSpec:
            told.clear()
            told["anyOf"] = [handler(each.__pydantic_core_schema__) for each in KINDS.values()]
        elif cls in KINDS.values() and cls is not KINDS["real-time"]:
            told["required"] = ["kind", *told.get("required", ())]
        return found


class Machines(EndpointSpec):
    """The instances behind an endpoint."""

    instance_type: MlInstance
    """The type of every instance, with `ml.` before it; one that can be scaled."""
    max_instances: PositiveInt
    """The most there may ever be; the budget is held against them."""
    machine_image: InferenceAmi | None = None
    """The image of GPU and Neuron instances; without it, a fixed one that fits the type."""
    volume_gib: int | None = Field(default=None, ge=1, le=512)
    """The disk of each instance, where its type has none of its own."""
    scale_in_seconds: int | None = Field(default=None, ge=0, le=3600)
    """How long after a change the next instance may leave; 10 minutes without it, 15 with GPUs."""
    scale_out_seconds: int | None = Field(default=None, ge=0, le=3600)
    """How long after a change the next instance may be added: as long as a new one takes to load its model, or it
    would be asked for twice. 5 minutes without it, 10 with GPUs."""
    schedule: tuple[ScheduledCapacity, ...] = ()
    """Bounds that change with the clock."""

    @model_validator(mode="after")
    def _machine_fits(self) -> "Machines":
        accelerated = has_gpu(self.instance_type) or has_neuron(self.instance_type)
        if self.machine_image and not accelerated:
            raise ValueError(f"{self.instance_type} has no accelerator: leave out machine_image")
        if self.machine_image and has_neuron(self.instance_type) != ("neuron" in self.machine_image):
            raise ValueError(
                f"machine_image {self.machine_image} is not for {self.instance_type}: "
                f"set {machine_image(self.instance_type)}"
            )
        if self.volume_gib and has_local_disks(self.instance_type):
            raise ValueError(f"{self.instance_type} has disks of its own, of a fixed size: leave out volume_gib")
        return self

    @property
    def cooldowns(self) -> dict[str, int]:
        """Seconds, in autoscaling's own words."""
        gpu = has_gpu(self.instance_type)
        scale_in = self.scale_in_seconds if self.scale_in_seconds is not None else 900 if gpu else 600
        scale_out = self.scale_out_seconds if self.scale_out_seconds is not None else 600 if gpu else 300
        return {"scale_in_cooldown": scale_in, "scale_out_cooldown": scale_out}


def _can_shift(spec: Machines, at_least: int) -> None:
    if spec.rollout.kind != "all-at-once" and at_least < 2:
        raise ValueError(
            f"a {spec.rollout.kind} rollout needs two instances to tell the new version from the old one: set"
            " min_instances to 2, or rollout: {kind: all-at-once}"
        )


class Shadow(Spec):
    """A second version that gets a copy of some requests; nobody gets its answers, and they are compared later."""

    model_version: PositiveInt
    """The version of the registry that is tried."""
    percent: int = Field(default=10, ge=1, le=100)
    """The share of requests that it gets a copy of."""
    instances: PositiveInt = 1
    """Its own instances, on top of the endpoint's."""


class RealTimeSpec(Machines):
    """Instances that always run, and more of them while there is more to do."""

    kind: Literal["real-time"] = "real-time"
    min_instances: PositiveInt = 1
    """The fewest; two for any rollout but all at once."""
    invocations_per_instance: PositiveInt = 600
    """Requests a minute that one instance should get: about 70 % of what it can do."""
    concurrent_requests_per_instance: PositiveInt | None = None
    """Instead: requests that one instance works on at once. It is measured every 10 seconds, and says more where
    requests differ in length, as with language models."""
    capture_percent: int = Field(default=100, ge=1, le=100)
    """The share of requests and answers kept for the monitors."""
    max_error_percent: float = Field(default=2.0, gt=0, le=50)
    """The share of failed requests (5xx) above which a change is taken back, once `min_requests` came in a minute."""
    min_requests: PositiveInt = 20
    """Requests a minute below which the share of failed ones says nothing."""
    shadow: Shadow | None = None
    """A version that is tried on real requests, unseen."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> "RealTimeSpec":
        if self.min_instances > self.max_instances:
            raise ValueError(
                f"min_instances {self.min_instances} is above max_instances {self.max_instances}: raise one or lower"
                " the other"
            )
        for each in self.schedule:
            if each.min < 1:
                raise ValueError("a real-time endpoint keeps one instance: set min to 1 or more in schedule")
        _can_shift(self, min([self.min_instances, *(each.min for each in self.schedule)]))
        if self.rollout.kind != "all-at-once" and self.max_error_percent >= self.rollout.step_percent:
            raise ValueError(
                f"a version that always fails fails {self.rollout.step_percent} % of the requests in the first step, "
                f"and the alarm waits for more than {self.max_error_percent:g} %: set max_error_percent lower"
            )
        if self.shadow and family(self.instance_type) == "inf1":
            raise ValueError("Inf1 instances have no shadows: leave out shadow, or set another instance_type")
        return self


class ServerlessSpec(EndpointSpec):
    """No instances: SageMaker runs the model when it is asked, and bills the time.

    It has no data capture (so no data monitor), no GPU, no network of ours, and no gradual rollout: a release changes
    over at once, watches the alarms for `bake_minutes`, and goes back by itself.
    """

    kind: Literal["serverless"] = "serverless"
    memory_mib: Literal[1024, 2048, 3072, 4096, 5120, 6144]
    """Memory; processors come with it."""
    max_concurrency: int = Field(ge=1, le=200)
    """Requests at once; more are turned away."""
    provisioned_concurrency: int | None = Field(default=None, ge=1, le=200)
    """How many of them never wait for a start; billed by the hour."""
    max_provisioned_concurrency: int | None = Field(default=None, ge=1, le=200)
    """How far that may grow with use; without it, it does not."""
    max_error_percent: float = Field(default=2.0, gt=0, le=50)
    """The share of failed requests (5xx) above which a change is taken back, once `min_requests` came in a minute."""
    min_requests: PositiveInt = 20
    """Requests a minute below which the share of failed ones says nothing."""
    rollout: Rollout = Rollout(kind="all-at-once")

    @model_validator(mode="after")
    def _concurrency_agrees(self) -> "ServerlessSpec":
        if self.provisioned_concurrency and self.provisioned_concurrency > self.max_concurrency:
            raise ValueError(
                f"provisioned_concurrency {self.provisioned_concurrency} is above max_concurrency "
                f"{self.max_concurrency}: lower it, or raise max_concurrency"
            )
        if self.max_provisioned_concurrency:
            if not self.provisioned_concurrency:
                raise ValueError("max_provisioned_concurrency is for provisioned concurrency: set that, too")
            if not self.provisioned_concurrency <= self.max_provisioned_concurrency <= self.max_concurrency:
                raise ValueError(
                    f"max_provisioned_concurrency {self.max_provisioned_concurrency} has to be from "
                    f"provisioned_concurrency {self.provisioned_concurrency} to max_concurrency {self.max_concurrency}"
                )
        if self.rollout.kind != "all-at-once":
            raise ValueError("serverless endpoints change over at once: set rollout: {kind: all-at-once}")
        return self


class AsyncSpec(Machines):
    """Requests in a queue, answers in S3: for payloads up to 1 GB and work up to an hour; nothing runs when idle.

    It has no data capture: its inputs and answers are in S3 anyway.
    """

    kind: Literal["async"] = "async"
    min_instances: int = Field(default=0, ge=0)
    """The fewest; 0 where nothing may run while nothing waits."""
    backlog_per_instance: PositiveInt = 5
    """Requests that may wait for each instance before there is one more."""
    concurrent_requests_per_instance: int = Field(default=1, ge=1, le=1000)
    """Requests that one instance works on at once."""
    max_wait_minutes: PositiveInt = 60
    """How long the oldest request may wait before someone is called."""
    notify_success: bool = False
    """Whether the product's topic hears of each answer, too; it always hears of failures."""
    rollout: Rollout = Rollout(kind="all-at-once")

    @model_validator(mode="after")
    def _sizes_agree(self) -> "AsyncSpec":
        if self.min_instances > self.max_instances:
            raise ValueError(
                f"min_instances {self.min_instances} is above max_instances {self.max_instances}: raise one or lower"
                " the other"
            )
        _can_shift(self, self.min_instances)
        return self


class ScaleToZeroSpec(Machines):
    """Copies of the model on instances that leave when nobody asks; the first request then fails and wakes it.

    While it is cold (some minutes) requests are refused, and clients have to ask again.
    """

    kind: Literal["scale-to-zero"] = "scale-to-zero"
    max_copies: PositiveInt
    """Copies of the model on all instances."""
    memory_mib: int = Field(ge=128)
    """What each copy needs."""
    cpus: float | None = Field(default=None, ge=0.25)
    """Processors that each copy needs."""
    accelerators: PositiveInt | None = None
    """GPUs that each copy needs."""
    concurrent_requests_per_copy: PositiveInt = 5
    """Requests that one copy works on at once before there is one more."""
    rollout: Rollout = Rollout(kind="all-at-once")
    """Copy after copy is replaced: `step_percent` at a time."""

    @model_validator(mode="after")
    def _fits_the_machine(self) -> "ScaleToZeroSpec":
        accelerated = has_gpu(self.instance_type) or has_neuron(self.instance_type)
        if accelerated and not self.accelerators:
            raise ValueError(f"a copy on {self.instance_type} needs an accelerator: set accelerators to 1 or more")
        if self.accelerators and not accelerated:
            raise ValueError(f"{self.instance_type} has no accelerators: leave them out, or set an ml.g5 or ml.g6")
        if self.rollout.kind == "canary":
            raise ValueError("copies are replaced in steps: set rollout: {kind: linear} or {kind: all-at-once}")
        return self


KINDS: dict[str, type[EndpointSpec]] = {
    "real-time": RealTimeSpec,
    "serverless": ServerlessSpec,
    "async": AsyncSpec,
    "scale-to-zero": ScaleToZeroSpec,
}
