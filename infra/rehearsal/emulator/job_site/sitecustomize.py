"""Python imports this when it starts in a process that a job has started: it is as shut off as the job itself."""

from infra.rehearsal.emulator import job_runner

job_runner.shut_off()
