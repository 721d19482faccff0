"""The boto3 clients with which the emulator calls itself, so that what it does in someone's name is known as theirs."""

import threading
from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config

READ_SECONDS: Final = 60.0
"""botocore's own."""
_lock = threading.Lock()
_kept: dict[tuple[str, str, str, str, float, bool], Any] = {}


@cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


def client(
    service: str, *, region: str, endpoint: str, key: str, read_seconds: float = READ_SECONDS, checks: bool = True
) -> Any:
    """The one client of a service that signs with this access key; threads may share it.

    `checks`: whether parameters are compared with AWS's model before they are sent. All come of one session: each
    session reads a list of AWS's endpoints of its own, which takes longer than many calls.
    """
    place = (service, region, endpoint, key, read_seconds, checks)
    with _lock:
        if place not in _kept:
            _kept[place] = _session().client(
                service,  # type: ignore[call-overload]  # chosen at run time
                region_name=region,
                endpoint_url=endpoint,
                aws_access_key_id=key,
                aws_secret_access_key="rehearsal",
                config=Config(
                    parameter_validation=checks,
                    retries={"total_max_attempts": 1},
                    read_timeout=read_seconds,
                    proxies={},
                ),
            )
        return _kept[place]
