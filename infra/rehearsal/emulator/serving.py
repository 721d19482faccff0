"""What answers an endpoint's requests: model servers in processes of their own, and the traffic between them.

The container image is not run: the archive's code runs in the Python of this environment. One process stands for all
instances of a variant. The variant's log says both.
"""

import http.client
import os
import random
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from botocore.exceptions import ClientError

from infra.rehearsal.emulator import calls, children, clients

MODEL_TIMEOUT_SECONDS = 60
"""A model's time to answer: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html."""
STARTUP_TIMEOUT_SECONDS = 480
"""How long a container may take until it answers pings, where the variant does not say (same page)."""


class LoadError(Exception):
    """A variant cannot serve: the text says why, with the model's own last words."""


class NothingServes(Exception):
    """There is no variant that a request could go to."""


class ModelFailure(Exception):
    """The model's container gave no HTTP answer: it died, or took too long."""


class Aws:
    """boto3 clients of the emulator itself, so that what is done for a user leaves the traces a user's call leaves."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def client(self, service: str, region: str, role: str) -> Any:
        """The one client of `service` in `region` that calls as `role`; threads may share it."""
        return clients.client(service, region=region, endpoint=self.endpoint, key=calls.key_of(role))

    def environment(self, region: str, role: str | None) -> dict[str, str]:
        """What a process is told that runs as `role`; without one it has no way to AWS, the user's own included."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "TMPDIR") if name in os.environ}
        alone = {
            **kept,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        if role is None:
            return alone
        return {**alone, "AWS_ACCESS_KEY_ID": calls.key_of(role), "AWS_SECRET_ACCESS_KEY": "rehearsal"}


class Log:
    """One stream of an endpoint's CloudWatch log group; `flush` writes what has been said since the last time."""

    def __init__(self, aws: Aws, region: str, role: str, endpoint: str, variant: str) -> None:
        self._logs = aws.client("logs", region, role)
        self._group = f"/aws/sagemaker/Endpoints/{endpoint}"
        self.stream = f"{variant}/i-{uuid.uuid4().hex[:17]}"
        self.tail: deque[str] = deque(maxlen=30)
        self._lock = threading.Lock()
        self._waiting: list[dict[str, Any]] = []
        self._created = False

    def write(self, line: str) -> None:
        with self._lock:
            self.tail.append(line)
            if line.strip():  # CloudWatch refuses an empty message
                self._waiting.append({"timestamp": int(time.time() * 1000), "message": line})

    def flush(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            if not self._created:
                self._create()
            for start in range(0, len(waiting), 1000):
                self._logs.put_log_events(
                    logGroupName=self._group, logStreamName=self.stream, logEvents=waiting[start : start + 1000]
                )
        except Exception as error:
            print(f"{self._group}/{self.stream}: {len(waiting)} lines are lost: {error}", file=sys.stderr, flush=True)

    def _create(self) -> None:
        with suppress(self._logs.exceptions.ResourceAlreadyExistsException):
            self._logs.create_log_group(logGroupName=self._group)
        self._logs.create_log_stream(logGroupName=self._group, logStreamName=self.stream)
        self._created = True


@dataclass(frozen=True)
class Container:
    """What a variant runs: the model's container definition, or its model package's."""

    image: str
    archive: str
    """`s3://…/model.tar.gz`."""
    environment: Mapping[str, str]
    role: str
    """The ARN of the model's execution role."""
    isolated: bool
    """Whether it is kept from the network, and with it from AWS."""


@dataclass(frozen=True)
class Answer:
    """What the model's container answered."""

    status: int
    body: bytes
    content_type: str
    custom_attributes: str | None


class ModelServer:
    """One process that serves one model archive; one that dies while it serves is started again, as a container is."""

    def __init__(self, container: Container, folder: Path, aws: Aws, region: str, log: Log) -> None:
        self.container, self.log = container, log
        self._folder, self._aws, self._region = folder, aws, region
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._stopping = threading.Event()

    def start(self, timeout: float) -> None:
        """Fetch and unpack the archive, start the process, and wait until it answers pings; `timeout` in seconds.

        Raises LoadError.
        """
        self.log.write(
            f"rehearsal: image {self.container.image} is not run; {self.container.archive} is served by "
            f"Python {sys.version.split()[0]} of this environment, one process for all instances"
        )
        self._unpack()
        self._launch(time.monotonic() + timeout)
        threading.Thread(target=self._supervise, args=(timeout,), daemon=True).start()

    def stop(self) -> None:
        """End the process and remove what was unpacked."""
        self._stopping.set()
        process = self._process
        if process:
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def invoke(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST /invocations. Raises ModelFailure where no answer comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=MODEL_TIMEOUT_SECONDS)
        try:
            connection.request("POST", "/invocations", body, dict(headers))
            response = connection.getresponse()
            content_type = response.getheader("Content-Type", "application/octet-stream")
            custom = response.getheader("X-Amzn-SageMaker-Custom-Attributes")
            return Answer(response.status, response.read(), content_type, custom)
        except TimeoutError:
            raise ModelFailure(
                "Your invocation timed out while waiting for a response from container primary"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise ModelFailure(f"container primary gave no answer: {error!r}") from None
        finally:
            connection.close()

    def _unpack(self) -> None:
        url = self.container.archive
        bucket, _, key = url.removeprefix("s3://").partition("/")
        shutil.rmtree(self._folder, ignore_errors=True)
        model = self._folder / "model"
        model.mkdir(parents=True)
        s3 = self._aws.client("s3", self._region, self.container.role)
        try:
            with tarfile.open(fileobj=s3.get_object(Bucket=bucket, Key=key)["Body"], mode="r|gz") as archive:
                archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later have it
                archive.extractall(model)
        except ClientError as error:
            raise LoadError(f"Failed to download model data from {url}: {error}") from None
        except (tarfile.TarError, OSError, EOFError) as error:
            raise LoadError(f"Model data {url} is not a tar.gz archive that can be unpacked: {error}") from None

    def _launch(self, deadline: float) -> None:
        port_file = self._folder / "port"
        port_file.unlink(missing_ok=True)
        model = self._folder / "model"
        self._process = process = children.spawn(
            [sys.executable, "-P", "-m", "infra.rehearsal.emulator.model_server", str(model), str(port_file)],
            env=self._environment(model),
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        while not port_file.exists():
            if process.poll() is not None:
                reader.join(2)
                raise LoadError(self._unhealthy(f"it exited with code {process.returncode}"))
            if time.monotonic() > deadline:
                process.kill()
                raise LoadError(self._unhealthy("it did not answer in time"))
            if self._stopping.wait(0.02):
                break
        if self._stopping.is_set():  # `stop` may have looked before there was this process
            process.kill()
            raise LoadError("it was stopped")
        self._port = int(port_file.read_text("utf-8"))
        self._ping()

    def _environment(self, model: Path) -> dict[str, str]:
        return {
            **self._aws.environment(self._region, None if self.container.isolated else self.container.role),
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
            "SAGEMAKER_REGION": self._region,
            "OMP_NUM_THREADS": "1",  # one request at a time on a machine that others share
            **self.container.environment,
            "SM_MODEL_DIR": str(model),
        }

    def _ping(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", "/ping")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise LoadError(self._unhealthy(f"/ping: {error!r}")) from None
        finally:
            connection.close()
        if status != 200:
            raise LoadError(self._unhealthy(f"/ping answered {status}"))

    def _unhealthy(self, why: str) -> str:
        said = next((line for line in reversed(self.log.tail) if line.strip()), "nothing")
        return f"The primary container did not pass the ping health check: {why}; its last line: {said.strip()}"

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self.log.write(line.decode(errors="replace").rstrip("\n"))

    def _supervise(self, timeout: float) -> None:
        while self._process:
            self._process.wait()
            if self._stopping.wait(0.2):
                return
            self.log.write(f"the model server exited with code {self._process.returncode}; starting it again")
            try:
                self._launch(time.monotonic() + timeout)
            except LoadError as error:
                self.log.write(str(error))
                if self._stopping.wait(2):
                    return


@dataclass
class Variant:
    """One production variant while it is deployed."""

    name: str
    server: ModelServer
    weight: float
    instances: int | None
    """None for a serverless one."""
    startup_seconds: float = STARTUP_TIMEOUT_SECONDS


@dataclass
class Fleet:
    """The variants of one endpoint configuration, while they are deployed."""

    config_name: str
    capture: Mapping[str, Any]
    """The DataCaptureConfig; empty where nothing is captured."""
    variants: dict[str, Variant]
    shadows: dict[str, Variant] = field(default_factory=dict)
    """Variants that get copies of requests, and whose answers nobody sees."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    busy: int = 0
    """Requests under way; Traffic keeps count."""

    def start(self) -> None:
        """Start every variant's server, side by side. Raises LoadError, with everything stopped again, if one fails."""
        failures: dict[str, Exception] = {}

        def start(variant: Variant) -> None:
            try:
                variant.server.start(variant.startup_seconds)
            except Exception as error:
                failures[variant.name] = error

        threads = [threading.Thread(target=start, args=(variant,)) for variant in self.everyone()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            self.stop()
            raise LoadError("; ".join(f"production variant {name}: {error}" for name, error in failures.items()))

    def everyone(self) -> list[Variant]:
        """Production and shadow variants."""
        return [*self.variants.values(), *self.shadows.values()]

    def stop(self) -> None:
        for variant in self.everyone():
            variant.server.stop()

    def flush_logs(self) -> None:
        for variant in self.everyone():
            variant.server.log.flush()

    def pick(self, target: str | None) -> Variant:
        """The variant a request goes to: the one named, else by weight. Raises NothingServes where there is none."""
        if target:
            if target not in self.variants:
                raise NothingServes(f"it has no variant {target}")
            return self.variants[target]
        variants = list(self.variants.values())
        weights = [variant.weight for variant in variants]
        if not sum(weights):
            raise NothingServes("every variant has weight 0")
        return random.choices(variants, weights)[0]


class Traffic:
    """Which fleet an endpoint's requests go to: the live one, and during a rollout a share of them to the candidate."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.live: Fleet | None = None
        self.candidate: Fleet | None = None
        self.share = 0.0
        """Percent of the requests that the candidate answers."""

    def fleets(self) -> list[Fleet]:
        with self._changed:
            return [fleet for fleet in (self.live, self.candidate) if fleet]

    @contextmanager
    def request(self, target: str | None) -> Iterator[tuple[Fleet, Variant]]:
        """The fleet and variant for one request; neither is stopped before the block ends.

        Raises NothingServes.
        """
        with self._changed:
            shifted = self.candidate and random.random() * 100 < self.share
            fleet = self.candidate if shifted else self.live
            if fleet is None:
                raise NothingServes("nothing is in service")
            variant = fleet.pick(target)
            fleet.busy += 1
        try:
            yield fleet, variant
        finally:
            self._leave(fleet)

    @contextmanager
    def hold(self, fleet: Fleet) -> Iterator[None]:
        """Keep a fleet that is in use already in use a while longer: as long as the block."""
        with self._changed:
            fleet.busy += 1
        try:
            yield
        finally:
            self._leave(fleet)

    def _leave(self, fleet: Fleet) -> None:
        with self._changed:
            fleet.busy -= 1
            self._changed.notify_all()

    def shift(self, candidate: Fleet, share: float) -> None:
        """Send `share` percent of the requests to `candidate`."""
        with self._changed:
            self.candidate, self.share = candidate, share

    def settle(self, keep: Fleet | None) -> None:
        """Send everything to `keep`; every other fleet is stopped once its last request is answered."""
        with self._changed:
            leaving = [fleet for fleet in (self.live, self.candidate) if fleet and fleet is not keep]
            self.live, self.candidate, self.share = keep, None, 0.0
            self._changed.wait_for(lambda: not any(fleet.busy for fleet in leaving), MODEL_TIMEOUT_SECONDS)
        for fleet in leaving:
            fleet.stop()
            fleet.flush_logs()
