"""What of a Kubernetes cluster spends, and how it is held: its queues admit no more, Karpenter starts no more nodes.

It speaks to the cluster's API as any client does: to its endpoint, trusting its certificate alone, with a token that is
a signed request to STS (https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html).
"""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import boto3
from botocore.signers import RequestSigner

from functions.kill_switch.core import Found, Kind, Values

QUEUES: Final = "apis/kueue.x-k8s.io/v1beta2/clusterqueues"
POOLS: Final = "apis/karpenter.sh/v1/nodepools"
FOLDERS: Final[Mapping[str, str]] = {"queue": QUEUES, "node-pool": POOLS}
HELD: Final = ("Hold", "HoldAndDrain")
TOKEN_SECONDS: Final = 60
ANSWER_SECONDS: Final = 10.0
MANAGER: Final = "slipway-kill-switch"
"""Whose these fields are from then on: Kubernetes names it to whoever would overwrite them."""


class ClusterError(Exception):
    """The cluster refused something, or cannot be reached: the text says what and why."""


class Api:
    """The API of one EKS cluster, as the role that runs this."""

    def __init__(self, cluster: str) -> None:
        described = boto3.client("eks").describe_cluster(name=cluster)["cluster"]
        certificate = base64.b64decode(described["certificateAuthority"]["data"]).decode()
        self._cluster, self._endpoint = cluster, described["endpoint"]
        self._opener = urllib.request.build_opener(
            # No proxy: the endpoint is in the same network.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=certificate)),
        )

    def get(self, path: str) -> dict[str, Any] | None:
        """An object; None where there is none."""
        return self._ask("GET", path)

    def patch(self, path: str, change: Mapping[str, Any]) -> None:
        """Set some fields of an object, and no others."""
        if self._ask("PATCH", f"{path}?fieldManager={MANAGER}", json.dumps(change).encode()) is None:
            raise ClusterError(f"{self._cluster}: {path} is gone")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any] | None:
        request = urllib.request.Request(
            f"{self._endpoint}/{path}",
            data=body,
            method=method,
            headers={
                "Authorization": f"Bearer {token(self._cluster)}",
                "Accept": "application/json",
                **({"Content-Type": "application/merge-patch+json"} if body else {}),
            },
        )
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            told = error.read().decode("utf-8", "replace")
            if error.code == 404:
                return None
            raise ClusterError(f"{self._cluster}: {method} {path}: {error.code} {_message(told)}") from None
        except OSError as error:
            raise ClusterError(f"{self._cluster}: {method} {path}: {error}") from error


def token(cluster: str) -> str:
    """What tells EKS who asks: a request that only this role can sign, and only STS answers."""
    session = boto3.Session()
    client = session.client("sts")
    # The session's own are botocore's, which boto3 does not type.
    events: Any = client.meta.events
    signer = RequestSigner(
        client.meta.service_model.service_id,
        session.region_name,
        "sts",
        "v4",
        session.get_credentials(),  # type: ignore[arg-type]  # a function always has some
        events,
    )
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": f"https://sts.{session.region_name}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": cluster},
            "context": {},
        },
        region_name=session.region_name,
        expires_in=TOKEN_SECONDS,
        operation_name="",
    )
    return f"k8s-aws-v1.{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}"


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


class Cluster:
    """A cluster's queues and pools of nodes.

    Nodes that run go on until they are empty: what runs is not thrown out.
    """

    kinds: tuple[Kind, ...] = ("queue", "nodes")

    def __init__(self, api: Api, *, queues: Sequence[str], pools: Sequence[str], drain: bool) -> None:
        """`drain` also stops what the queues have admitted."""
        self._api, self._queues, self._pools = api, queues, pools
        self._hold = "HoldAndDrain" if drain else "Hold"

    def find(self) -> Iterator[Found]:
        """Every queue and pool that there is."""
        for queue in self._queues:
            now = self.read("queue", f"queue/{queue}")
            if now is not None:
                held = now["stopPolicy"] in HELD and self._hold == "Hold"
                yield Found(
                    kind="queue",
                    name=f"queue/{queue}",
                    now=now,
                    stopped=now if held else {"stopPolicy": self._hold},
                    note="it admits nothing more" + (", and what runs is stopped" if self._hold != "Hold" else ""),
                )
        for pool in self._pools:
            now = self.read("nodes", f"node-pool/{pool}")
            if now is not None:
                # Pods ask for CPUs whatever else they ask for, so that without any there is no node for them.
                names = {*(now["limits"] or {}), "cpu"}
                yield Found(
                    kind="nodes",
                    name=f"node-pool/{pool}",
                    now=now,
                    stopped={"limits": {name: "0" for name in sorted(names)}},
                    note="no node is started, and those that run go once they are empty",
                )

    def read(self, kind: Kind, name: str) -> Values | None:
        """How something is now; None where it is gone."""
        found = self._api.get(_path(name))
        if found is None:
            return None
        spec = found["spec"]
        return {"stopPolicy": spec.get("stopPolicy", "None")} if kind == "queue" else {"limits": spec.get("limits")}

    def change(self, kind: Kind, name: str, values: Values) -> None:
        """Set what was read."""
        if kind == "queue":
            self._api.patch(_path(name), {"spec": dict(values)})
            return
        wanted, now = values["limits"], (self.read(kind, name) or {}).get("limits") or {}
        # A merge keeps what it does not name, and takes away what it says is null.
        limits = None if wanted is None else {**dict.fromkeys(now.keys() - wanted.keys()), **wanted}
        self._api.patch(_path(name), {"spec": {"limits": limits}})


def _path(name: str) -> str:
    kind, _, called = name.partition("/")
    return f"{FOLDERS[kind]}/{called}"
