"""`python -m infra.rehearsal.emulator --work DIR`: the emulator, until it is told to stop."""

import argparse
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("AWS_ACCESS_KEY_ID", "emulator")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "emulator")

from moto.core.config import default_user_config
from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from infra.rehearsal.emulator import alarms, events, lambdas, logs, process, repairs, sagemaker
from infra.rehearsal.emulator.app import Application
from infra.rehearsal.emulator.calls import Trail

TICK_SECONDS = 1.0


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
    default_user_config["iam"]["load_aws_managed_policies"] = True

    instance = str(uuid.uuid4())
    admin: dict[str, Any] = {"health": lambda _: {"instance": instance}, "fire": _fire, "flush": _flush}
    application = Application(Trail(options.work / "calls.jsonl"), admin)
    server = make_server(process.HOST, options.port, application, threaded=True, request_handler=QuietHandler)
    endpoint = f"http://{process.HOST}:{server.server_port}"
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    repairs.install()
    lambdas.install(endpoint)
    events.install(endpoint)
    alarms.install()
    logs.install()
    sagemaker.install(sagemaker.LiveSettings(endpoint, options.work))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    threading.Thread(target=_keep_time, daemon=True).start()
    started = {"port": server.server_port, "pid": os.getpid(), "instance": instance, "started": time.time()}
    draft = process.record(options.work).with_suffix(".draft")
    draft.write_text(json.dumps(started), "utf-8")
    draft.replace(process.record(options.work))
    server.serve_forever()
    sys.exit(0)


def _fire(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"fired": events.fire(request["schedule"])}


def _flush(_: Mapping[str, Any]) -> Mapping[str, Any]:
    sagemaker.flush()
    return {}


def _keep_time() -> None:
    """Once a second, do what is due."""
    while True:
        time.sleep(TICK_SECONDS)
        events.tick(time.time())
        alarms.tick(time.time())


if __name__ == "__main__":
    main()
