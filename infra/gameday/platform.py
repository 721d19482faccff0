"""What goes wrong with the platform itself: money runs away, a function is lost, all of it goes down."""

import os
import re
import signal
import time
import uuid
from collections.abc import Sequence
from typing import Final

from botocore.exceptions import ClientError

from infra import kill_switch
from infra.approvals import approve
from infra.gameday import candidates
from infra.gameday.data import OPERATOR, REVIEWER
from infra.gameday.play import QUIET_SECONDS, Missed, Play, Scenario
from infra.gameday.releases import AUTHOR
from infra.gameday.report import Check
from infra.rehearsal import restarts
from infra.rehearsal.emulator import process
from infra.rehearsal.session import ENVIRONMENT
from infra.settings import stacks_of
from stacks.samples.employment import requests

JOBS: Final = 4
INSTANCE: Final = "ml.p4d.24xlarge"
IDLE_SECONDS: Final = 1800
"""How long a job of the sweep would do nothing, if nobody stopped it."""
UNANSWERED: Final = "unanswered"
"""What the application calls it; every other alarm is CloudWatch's."""
UNDO: Final = re.compile(r"--undo (\S+)")
STOPPED: Final = ("Stopping", "Stopped", "Failed", "Completed")


class RunawayCost(Scenario):
    name = "runaway-cost"
    breaks = f"Somebody's script starts {JOBS} trainings on {INSTANCE}, and forgets them."
    alarms = ("spending",)
    decisions = ("stop",)
    cause = (INSTANCE, "stopped")

    def __init__(self) -> None:
        self._jobs: list[str] = []

    def break_it(self, play: Play) -> None:
        stage = play.stage
        sagemaker = stage.clients("sagemaker")
        live = sagemaker.describe_model_package(ModelPackageName=play.before)
        tags = [{"Key": key, "Value": value} for key, value in stage.deployed.settings.tags.items()]
        for number in range(JOBS):
            name = f"{stage.endpoint}-sweep-{number}-{uuid.uuid4().hex[:6]}"
            sagemaker.create_training_job(
                TrainingJobName=name,
                AlgorithmSpecification={
                    "TrainingImage": live["InferenceSpecification"]["Containers"][0]["Image"],
                    "TrainingInputMode": "File",
                    "ContainerEntrypoint": ["python3", "-c", f"import time; time.sleep({IDLE_SECONDS})"],
                },
                RoleArn=stage.outputs["model_role_arn"],
                OutputDataConfig={"S3OutputPath": f"{stage.outputs['models_uri']}/sweep/"},
                ResourceConfig={"InstanceType": INSTANCE, "InstanceCount": 1, "VolumeSizeInGB": 100},
                StoppingCondition={"MaxRuntimeInSeconds": 5 * 86400},
                Tags=tags,
            )
            self._jobs.append(name)
        play.tell("break", f"{JOBS} trainings run on {INSTANCE}")

    def mend(self, play: Play) -> None:
        def stopped() -> bool:
            return all(status in STOPPED for status in self._statuses(play).values())

        play.until(stopped, "the kill-switch has stopped the trainings", QUIET_SECONDS)

    def _statuses(self, play: Play) -> dict[str, str]:
        sagemaker = play.stage.clients("sagemaker")
        return {name: sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] for name in self._jobs}

    def put_back(self, play: Play) -> None:
        for name, status in self._statuses(play).items():
            if status not in STOPPED:
                play.stage.clients("sagemaker").stop_training_job(TrainingJobName=name)
        incident = play.incident()
        if incident and (record := UNDO.search(" ".join(incident.needs))):
            play.person(OPERATOR, "puts back what else was stopped: the endpoint may grow again")
            done = kill_switch.stop(play.stage.deployed, act=True, undo=record[1], reason="a game day is over")
            if done.problems:
                raise Missed(f"not all of {record[1]} could be put back: {'; '.join(done.problems)}")
        play.until(play.quiet, "the alarms are quiet once all is as before", QUIET_SECONDS)

    def more_checks(self, play: Play) -> Sequence[Check]:
        statuses = self._statuses(play)
        told = ", ".join(f"{name.rpartition('-')[0]} {status}" for name, status in statuses.items())
        stopped = all(status in ("Stopping", "Stopped") for status in statuses.values())
        return [Check("every training was stopped, by the platform", stopped, told)]


class LostFunction(Scenario):
    name = "lost-function"
    breaks = "The Lambda function of the data monitor is deleted: nobody watches what the endpoint is asked."
    alarms = ("data-silent",)
    decisions = ("page",)
    cause = ("data-silent", "no longer", "up")
    lost: Final = "data-lost"
    """The alarm on calls of the function that reached nobody."""

    def break_it(self, play: Play) -> None:
        name = f"{play.stage.endpoint}-data"
        play.stage.clients("lambda").delete_function(FunctionName=name)
        play.tell("break", f"the function {name} is gone")

    def mend(self, play: Play) -> None:
        play.person(OPERATOR, "runs `slipway up local`, as the runbook says")
        play.stage.up()

    def put_back(self, play: Play) -> None:
        if not self._is_there(play):
            play.stage.up()
        play.person(OPERATOR, "empties the queue of calls that reached nobody: the first run has read what they would")
        self._empty(play)
        silent = f"{self.lost} is quiet once its queue is empty"
        play.until(lambda: not play.stage.ringing() & {*self.alarms, self.lost}, silent, QUIET_SECONDS)

    def _empty(self, play: Play) -> None:
        """Empty the queue that the alarm `lost` watches."""
        name = f"{play.stage.endpoint}-{self.lost}"
        [alarm] = play.stage.clients("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
        queue = next(each["Value"] for each in alarm["Dimensions"] if each["Name"] == "QueueName")
        sqs = play.stage.clients("sqs")
        sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"])

    def _is_there(self, play: Play) -> bool:
        try:
            play.stage.clients("lambda").get_function(FunctionName=f"{play.stage.endpoint}-data")
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return False
        return True

    def more_checks(self, play: Play) -> Sequence[Check]:
        return [Check("the function is there again", self._is_there(play), f"{play.stage.endpoint}-data")]


class EmulatorRestart(Scenario):
    """There is no alarm for it: what would ring is gone, too. Whoever asks sees that nobody answers."""

    name = "emulator-restart"
    breaks = "The emulator is killed in the middle of a release, and with it goes everything that it holds."
    alarms = (UNANSWERED,)
    decisions = (restarts.DECISION,)
    cause = ("emulator ended", "made again", "UpdateEndpoint")
    second = 1.0
    unanswered: Final = 5
    """So many requests in a row without an answer, and an application calls someone."""

    @property
    def kinds(self) -> set[str]:
        """`up` writes it up."""
        return {restarts.KIND}

    def prepare(self, play: Play) -> None:
        self._arn = candidates.register(play.stage, "", AUTHOR, "The model as it is, packed anew")
        play.person(AUTHOR, f"registers version {self._arn.rpartition('/')[2]}")

    def break_it(self, play: Play) -> None:
        version = self._arn.rpartition("/")[2]
        play.person(REVIEWER, f"approves version {version}; so it is released")
        approve(play.stage.deployed, int(version), REVIEWER, "it is the model that serves, packed anew")
        play.until(lambda: play.stage.status() == "Updating", "the release is under way", QUIET_SECONDS)
        emulator = process.running(play.stage.rehearsal.work)
        assert emulator
        play.broken_at = time.time()
        os.kill(emulator.pid, signal.SIGKILL)
        play.tell("break", f"the emulator (process {emulator.pid}) is killed while version {version} is rolled out")

    def detected(self, play: Play) -> tuple[str, float] | None:
        last = play.traffic.since(play.broken_at)[-self.unanswered :]
        lost = len(last) == self.unanswered and all(each.error for each in last)
        return (UNANSWERED, last[-1].at) if lost and not play.stage.answers() else None

    def answer(self, play: Play) -> None:
        play.tell("alarm", f"{self.unanswered} requests in a row were not answered, and the emulator does not either")
        play.person(OPERATOR, "runs `slipway up local`, as `slipway status` says")
        play.stage.up()

    def mend(self, play: Play) -> None:
        """All of it was done by `up`."""

    def more_checks(self, play: Play) -> Sequence[Check]:
        plan = play.stage.rehearsal.plan(stacks_of([ENVIRONMENT]))
        changes = [step.name for _, each in plan for step in each.steps if step.op not in ("same", "read")]
        found = play.stage.clients("sagemaker-featurestore-runtime").get_record(
            FeatureGroupName=play.stage.outputs["feature_group_name"],
            RecordIdentifierValueAsString=next(requests())["id"],
        )
        return [
            Check("everything that is declared is there again", not changes, ", ".join(changes) or "nothing to change"),
            Check("and so are the data", bool(found.get("Record")), "the first person of 2016 is in the online store"),
        ]
