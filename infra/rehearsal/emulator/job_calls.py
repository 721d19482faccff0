"""The operations on SageMaker's jobs, for the class that answers its requests."""

from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.sagemaker.models import SageMakerModelBackend

from infra.rehearsal.emulator import jobs
from infra.rehearsal.emulator.processing_jobs import ProcessingJob
from infra.rehearsal.emulator.training_jobs import TrainingJob
from infra.rehearsal.emulator.transform_jobs import TransformJob

SORTED_BY = {"CreationTime": "CreationTime", "Name": "{noun}Name", "Status": "{noun}Status"}


class JobCalls(BaseResponse):
    """Create, Describe, List and Stop of training, processing and transform jobs."""

    sagemaker_backend: SageMakerModelBackend

    def create_training_job(self) -> ActionResult:
        return jobs.create(TrainingJob(self.sagemaker_backend, self.params))

    def describe_training_job(self) -> ActionResult:
        return self._describe("TrainingJob")

    def list_training_jobs(self) -> ActionResult:
        return self._list("TrainingJob")

    def stop_training_job(self) -> ActionResult:
        return self._stop("TrainingJob")

    def create_processing_job(self) -> ActionResult:
        return jobs.create(ProcessingJob(self.sagemaker_backend, self.params))

    def describe_processing_job(self) -> ActionResult:
        return self._describe("ProcessingJob")

    def list_processing_jobs(self) -> ActionResult:
        return self._list("ProcessingJob")

    def stop_processing_job(self) -> ActionResult:
        return self._stop("ProcessingJob")

    def create_transform_job(self) -> ActionResult:
        return jobs.create(TransformJob(self.sagemaker_backend, self.params))

    def describe_transform_job(self) -> ActionResult:
        return self._describe("TransformJob")

    def list_transform_jobs(self) -> ActionResult:
        return self._list("TransformJob")

    def stop_transform_job(self) -> ActionResult:
        return self._stop("TransformJob")

    def _describe(self, noun: str) -> ActionResult:
        return ActionResult(jobs.find(self.sagemaker_backend, noun, self.params[f"{noun}Name"]).describe())

    def _stop(self, noun: str) -> ActionResult:
        jobs.find(self.sagemaker_backend, noun, self.params[f"{noun}Name"]).stop()
        return EmptyResult()

    def _list(self, noun: str) -> ActionResult:
        known = getattr(self.sagemaker_backend, jobs.TABLES[noun]).values()
        keys = {word: member.format(noun=noun) for word, member in SORTED_BY.items()}
        rows = jobs.ordered([job.summary() for job in known], self.params, keys, "Ascending")
        status, name = f"{noun}Status", f"{noun}Name"
        return jobs.page(rows, self.params, f"{noun}Summaries", status=status, name=name)
