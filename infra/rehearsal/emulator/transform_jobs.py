"""SageMaker batch transform that runs: a model's own server, asked for every record of the objects in S3."""

import csv
import gzip
import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import Model, SageMakerModelBackend

from infra.rehearsal.emulator.endpoints import container_of
from infra.rehearsal.emulator.jobs import Job, JobFailed, JobLog, JobStopped, Json, settings
from infra.rehearsal.emulator.serving import (
    STARTUP_TIMEOUT_SECONDS,
    Answer,
    Container,
    LoadError,
    ModelFailure,
    ModelServer,
)

LOGS: Final = "TransformJobs"
PAYLOAD_MB: Final = 6
"""MaxPayloadInMB where a job does not say it."""
STEP: Final = re.compile(
    r"""\.(?P<name>\w+) | \[(?P<quoted>'[^']*'(?:\s*,\s*'[^']*')*)\] | \[(?P<slice>-?\d*:-?\d*)\]
    | \[(?P<numbers>-?\d+(?:\s*,\s*-?\d+)*)\]""",
    re.VERBOSE,
)


class Path:
    """A JSONPath of the simple form: `$`, `.name`, `['a','b']`, `[0]`, `[0,2]`, `[1:]`.

    Raises NotImplementedError for any other.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps: list[re.Match[str]] = []
        at = 1
        while at < len(text) and (step := STEP.match(text, at)):
            self._steps.append(step)
            at = step.end()
        if not text.startswith("$") or at != len(text):
            raise NotImplementedError(
                f"the path {text!r} is not rehearsed; names ($.a.b), keys ($['a','b']), places ($[0,2]) and slices "
                "($[1:]) are"
            )

    @property
    def is_whole(self) -> bool:
        """Whether it leaves everything as it is."""
        return not self._steps

    def of(self, value: Any) -> Any:
        """What it finds in a value. Raises LookupError and TypeError where there is no such thing."""
        for step in self._steps:
            value = _after(step, value)
        return value


def _after(step: re.Match[str], value: Any) -> Any:
    if step["name"]:
        return value[step["name"]]
    if step["quoted"]:
        names = re.findall("'([^']*)'", step["quoted"])
        return value[names[0]] if len(names) == 1 else {name: value[name] for name in names}
    if step["slice"]:
        start, end = (int(text) if text else None for text in step["slice"].split(":"))
        return value[start:end]
    places = [int(text) for text in step["numbers"].split(",")]
    return value[places[0]] if len(places) == 1 else [value[place] for place in places]


def columns(line: str) -> list[str]:
    """The values of a line of CSV."""
    return next(csv.reader([line]), [])


def csv_line(values: Any) -> str:
    """Values as a line of CSV."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(values if isinstance(values, list) else [values])
    return written.getvalue()


@dataclass(frozen=True)
class Shape:
    """What a job does with records, before and after the model: DataProcessing."""

    is_csv: bool
    asked: Path
    kept: Path
    joins: bool

    def request(self, record: str) -> str:
        """What the model is asked about a record."""
        if self.asked.is_whole:
            return record
        if self.is_csv:
            return csv_line(self.asked.of(columns(record)))
        return json.dumps(self.asked.of(json.loads(record)))

    def result(self, record: str, answer: str) -> str:
        """What is written of the model's answer to a record."""
        if not self.joins and self.kept.is_whole:
            return answer
        if self.is_csv:
            joined = [*(columns(record) if self.joins else ()), *columns(answer)]
            return csv_line(self.kept.of(joined))
        output = json.loads(answer)
        if self.joins:
            source = json.loads(record)
            output = {**(source if isinstance(source, dict) else {"SageMakerInput": source}), "SageMakerOutput": output}
        return json.dumps(self.kept.of(output))


def shape_of(params: Mapping[str, Any]) -> Shape:
    """Read DataProcessing. Raises AWSValidationException, NotImplementedError."""
    processing, source = params.get("DataProcessing") or {}, params["TransformInput"]
    kind = (source.get("ContentType") or "").partition(";")[0].strip().lower()
    joins = processing.get("JoinSource", "None") == "Input"
    shape = Shape(
        kind == "text/csv", Path(processing.get("InputFilter", "$")), Path(processing.get("OutputFilter", "$")), joins
    )
    if (joins or not shape.asked.is_whole or not shape.kept.is_whole) and kind not in (
        *("text/csv", "application/json", "application/jsonlines"),
    ):
        raise AWSValidationException(
            "DataProcessing needs ContentType text/csv, application/json or application/jsonlines, not "
            f"{kind or 'none'}"
        )
    if joins and params["TransformOutput"].get("AssembleWith", "None") != source.get("SplitType", "None"):
        raise AWSValidationException("To join input and output, AssembleWith must be the same as SplitType")
    return shape


class TransformJob(Job):
    """A batch transform job."""

    noun, kind, words = "TransformJob", "transform-job", "transform job"

    def __init__(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> None:
        self._model = _model(backend, params["ModelName"])
        super().__init__(backend, params)
        where = f"transform job {self.name}"
        source = params["TransformInput"]
        if params.get("DataCaptureConfig"):
            raise NotImplementedError(f"{where}: DataCaptureConfig is not rehearsed")
        if source["DataSource"]["S3DataSource"]["S3DataType"] != "S3Prefix":
            raise NotImplementedError(f"{where}: only S3DataType S3Prefix is rehearsed")
        if source.get("SplitType", "None") not in ("None", "Line"):
            raise NotImplementedError(f"{where}: SplitType {source['SplitType']} is not rehearsed, None and Line are")
        self.shape = shape_of(params)
        self.storage.required(self.source_uri)
        self._log = JobLog(self.region, self.role, LOGS, f"{self.name}/i-{uuid.uuid4().hex[:17]}")
        self._data_log = JobLog(self.region, self.role, LOGS, f"{self._log.stream}/data-log")

    @property
    def role(self) -> str:
        return str(self._model.execution_role_arn)

    @property
    def source_uri(self) -> str:
        """Where its objects are."""
        return str(self.params["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])

    def describe(self) -> Json:
        return {
            **{name: value for name, value in self.params.items() if name != "Tags"},
            "TransformJobArn": self.arn,
            "TransformJobStatus": self.status,
            "FailureReason": self.failure_reason,
            "CreationTime": self.created,
            "TransformStartTime": self.started,
            "TransformEndTime": self.ended,
        }

    def summary(self) -> Json:
        """A line of ListTransformJobs."""
        names = ("TransformJobName", "TransformJobArn", "CreationTime", "TransformEndTime", "TransformJobStatus")
        described = self.describe()
        return {
            **{name: described.get(name) for name in (*names, "FailureReason")},
            "LastModifiedTime": self.modified,
        }

    def work(self) -> None:
        self.announce()
        try:
            container = container_of(self.backend, self.params["ModelName"])
        except LoadError as error:
            raise JobFailed(f"ClientError: {error}") from None
        container = replace(container, environment={**container.environment, **(self.params.get("Environment") or {})})
        with self.turn():
            self._serve(container)

    def _serve(self, container: Container) -> None:
        server = ModelServer(container, self.folder, settings().aws, self.region, self._log)
        self.started = self.modified
        try:
            try:
                server.start(STARTUP_TIMEOUT_SECONDS)
            except LoadError as error:
                raise JobFailed(f"AlgorithmError: {error}") from None
            worst = 0
            bucket = self.source_uri.removeprefix("s3://").partition("/")[0]
            for key, name in self.storage.names(self.source_uri):
                worst = max(worst, self._transform(server, f"s3://{bucket}/{key}", name))
            if worst:
                kind = "ClientError" if worst < 500 else "AlgorithmError"
                raise JobFailed(f"{kind}: See job logs for more information")
        finally:
            server.stop()
            self._log.flush()
            self._data_log.flush()

    def _transform(self, server: ModelServer, uri: str, name: str) -> int:
        """Transform one object. Returns 0, or the status that stands for what was wrong with it."""
        target, source = self.params["TransformOutput"], self.params["TransformInput"]
        try:
            body = self.storage.read(uri)
            if source.get("CompressionType", "None") == "Gzip":
                body = gzip.decompress(body)
            written = list(self._answers(server, body))
        except Rejected as error:
            self._data_log.write(f"{uri}: {error}")
            self._log.flush()
            return error.status
        with_lines = target.get("AssembleWith", "None") == "Line"
        out = b"".join(part if not with_lines or part.endswith(b"\n") else part + b"\n" for part in written)
        self.storage.write(f"{target['S3OutputPath'].rstrip('/')}/{name}.out", out, target.get("KmsKeyId") or None)
        self._log.flush()
        return 0

    def _answers(self, server: ModelServer, body: bytes) -> Iterator[bytes]:
        """The answers of the model, a part of the object each. Raises Rejected."""
        for part in self._parts(body):
            if self.stopping.is_set():
                raise JobStopped
            yield self._ask(server, part)

    def _parts(self, body: bytes) -> Iterator[bytes | list[str]]:
        """What goes into one request each: the whole object, or some of its lines."""
        limit = int(self.params.get("MaxPayloadInMB", PAYLOAD_MB)) * 1024 * 1024 or 10**12
        if self.params["TransformInput"].get("SplitType", "None") == "None":
            if len(body) > limit:
                raise Rejected(413, "Too much data for max payload size")
            yield body
            return
        several = self.params.get("BatchStrategy", "MultiRecord") == "MultiRecord"
        waiting: list[str] = []
        size = 0
        for record in body.decode().splitlines():
            if not record:
                continue
            length = len(record.encode()) + 1
            if length > limit:
                raise Rejected(413, "Too much data for max payload size")
            if waiting and (not several or size + length > limit):
                yield waiting
                waiting, size = [], 0
            waiting.append(record)
            size += length
        if waiting:
            yield waiting

    def _ask(self, server: ModelServer, part: bytes | list[str]) -> bytes:
        shape = self.shape
        plain = not shape.joins and shape.asked.is_whole and shape.kept.is_whole
        if plain:
            return self._post(server, part if isinstance(part, bytes) else "\n".join(part).encode()).body
        if isinstance(part, bytes):
            text = part.decode()
            part = text.splitlines() if shape.is_csv else [text]
        try:
            asked = "\n".join(shape.request(record) for record in part)
        except (LookupError, TypeError, ValueError) as error:
            raise Rejected(400, f"InputFilter {shape.asked.text} does not fit a record: {error!r}") from None
        answered = self._post(server, asked.encode()).body.decode()
        answers = [answered] if len(part) == 1 else [line for line in answered.splitlines() if line]
        if len(answers) != len(part):
            raise Rejected(400, f"the model gave {len(answers)} answers to {len(part)} records: they cannot be joined")
        try:
            lines = [shape.result(record, answer.strip()) for record, answer in zip(part, answers, strict=True)]
        except (LookupError, TypeError, ValueError) as error:
            raise Rejected(400, f"OutputFilter {shape.kept.text} does not fit an answer: {error!r}") from None
        return "\n".join(lines).encode()

    def _post(self, server: ModelServer, body: bytes) -> Answer:
        headers = {
            "Content-Type": self.params["TransformInput"].get("ContentType"),
            "Accept": self.params["TransformOutput"].get("Accept"),
        }
        try:
            answer = server.invoke(body, {name: text for name, text in headers.items() if text})
        except ModelFailure as failure:
            raise Rejected(500, str(failure)) from None
        if not 200 <= answer.status < 300:
            said = answer.body.decode(errors="replace")
            raise Rejected(answer.status, f"Bad HTTP status received from algorithm: {answer.status}: {said}")
        return answer


class Rejected(Exception):
    """An object that cannot be transformed; others are."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _model(backend: SageMakerModelBackend, name: str) -> Model:
    model = backend._models.get(name)
    if model is None:
        arn = f"arn:aws:sagemaker:{backend.region_name}:{backend.account_id}:model/{name.lower()}"
        raise AWSValidationException(f'Could not find model "{arn}".')
    return model
