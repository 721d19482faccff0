"""`python -m infra.rehearsal.emulator --work DIR`: the emulator, until it is told to stop."""

import argparse
import os
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moto.core.config import default_user_config
from moto.iam.models import get_account_id_from, iam_backends
from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from infra.rehearsal.emulator import (
    alarm_history,
    alarms,
    autoscaling,
    bucket_events,
    children,
    cloudtrail,
    events,
    gateway,
    jobs,
    kubernetes_api,
    lambdas,
    logs,
    machines,
    metric_data,
    metrics,
    nodes,
    pace,
    process,
    repairs,
    sagemaker,
    schedules,
)
from infra.rehearsal.emulator.app import Application
from infra.rehearsal.emulator.calls import ACCOUNT, Trail

TICK_SECONDS: Final = 1.0
QUICK_TICK_SECONDS: Final = 0.2
"""Between two rounds where the clock is quick."""


class QuietHandler(MotoRequestHandler):
    """Calls are recorded in calls.jsonl; a line for each in the log as well would hide what matters there."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the work folder")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    default_user_config["iam"]["load_aws_managed_policies"] = True
    default_user_config["stepfunctions"]["execute_state_machine"] = True

    instance = str(uuid.uuid4())
    admin: dict[str, Any] = {
        "health": lambda _: {"instance": instance},
        "fire": _fire,
        "flush": _flush,
        "interrupt": jobs.interrupt,
        "disturb": jobs.disturb,
        "pace": pace.ask,
    }
    application = Application(Trail(work / "calls.jsonl"), admin)
    server = make_server(process.HOST, options.port, application, threaded=True, request_handler=QuietHandler)
    endpoint = f"http://{process.HOST}:{server.server_port}"
    os.environ["MOTO_PORT"] = str(server.server_port)  # where moto's state machines make their calls
    repairs.install()
    machines.install(endpoint)
    lambdas.install(endpoint, work)
    events.install(endpoint)
    bucket_events.install()
    nodes.install()
    kubernetes_api.install(work)
    schedules.install()
    metric_data.install()
    alarms.install()
    alarm_history.install()
    cloudtrail.install()
    logs.install()
    gateway.install()
    sagemaker.install(sagemaker.LiveSettings(endpoint, work))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    for background in (_keep_time, _load_policies):
        threading.Thread(target=background, daemon=True).start()
    process.write_record(work, server.server_port, instance)
    server.serve_forever(poll_interval=0.1)
    children.end_all()
    os._exit(0)  # Nothing is left to save, and the interpreter takes seconds to free what moto holds.


def _fire(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(request.get("schedule"), str):
        raise LookupError('say which one: {"schedule": "group/name"}, or the name of a rule')
    return {"fired": schedules.fire(request["schedule"])}


def _flush(_: Mapping[str, Any]) -> Mapping[str, Any]:
    sagemaker.flush()
    return {}


def _keep_time() -> None:
    """Once a second of the clock's, do what is due."""
    while True:
        time.sleep(max(QUICK_TICK_SECONDS, TICK_SECONDS * pace.clock.second))
        now = time.time()
        pace.clock.tick(now)
        for tick in (schedules.tick, metrics.tick, alarms.tick, autoscaling.tick, lambdas.tick):
            try:
                tick(now)
            except Exception:  # the next second has to come, whatever went wrong in this one
                traceback.print_exc()


def _load_policies() -> None:
    """Read AWS's managed policies now: the first call that needs them would wait for it."""
    get_account_id_from(iam_backends[ACCOUNT].account_id)  # which looks through this account's partitions


if __name__ == "__main__":
    main()
