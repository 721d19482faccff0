"""A pod of ours on every node of a kind: what makes its devices usable, or watches them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

NAMESPACE = "kube-system"
CONFINED = {"allow_privilege_escalation": False, "read_only_root_filesystem": True, "capabilities": {"drop": ["ALL"]}}
"""The security context of a container that needs no rights on its node."""


def daemon(
    name: str,
    called: str,
    where: Mapping[str, str],
    pod: Mapping[str, Any],
    opts: pulumi.ResourceOptions,
    *,
    reads: str = "",
) -> kubernetes.apps.v1.DaemonSet:
    """The DaemonSet `called` on the nodes with the labels `where`, whatever taints they have.

    `reads` is its configuration: pods start anew when it changes.
    """
    labels = {"app.kubernetes.io/name": called}
    metadata: Any = {
        "name": called,
        "namespace": NAMESPACE,
        "labels": labels,
        # A deployment does not wait for it: the image may be copied after this has made the repository.
        "annotations": {"pulumi.com/skipAwait": "true"},
    }
    template: dict[str, Any] = {
        "metadata": {
            "labels": labels,
            **({"annotations": {"slipway/reads": sha256(reads.encode()).hexdigest()[:16]}} if reads else {}),
        },
        "spec": {
            "priority_class_name": "system-node-critical",
            "automount_service_account_token": False,
            "node_selector": dict(where),
            "tolerations": [{"operator": "Exists"}],
            "security_context": {"seccomp_profile": {"type": "RuntimeDefault"}},
            **pod,
        },
    }
    spec: Any = {
        "selector": {"match_labels": labels},
        "update_strategy": {"type": "RollingUpdate"},
        "template": template,
    }
    return kubernetes.apps.v1.DaemonSet(f"{name}-{called}", metadata=metadata, spec=spec, opts=opts)
