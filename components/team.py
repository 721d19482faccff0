"""A team's place in the cluster."""

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import NonNegativeInt, PositiveInt

from components.gpu_node_group import GPU
from components.iam import RoleArn
from components.spec import Spec

POD_IDENTITY_AGENT = "169.254.170.23/32"
"""Where the agent on each node hands pods their role's credentials."""


class TeamSpec(Spec):
    """How much a team may use at once, and who works there."""

    gpus: NonNegativeInt
    cpus: PositiveInt = 16
    memory_gib: PositiveInt = 64
    developers: tuple[RoleArn, ...] = ()
    """Roles that may change what runs in the team's namespace, and nothing else in the cluster."""


class TeamNamespace(pulumi.ComponentResource):
    """A namespace of restricted pods with a GPU quota, closed to the network but for AWS and DNS."""

    def __init__(self, name: str, spec: TeamSpec, *, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:index:TeamNamespace", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        namespace = kubernetes.core.v1.Namespace(
            name,
            metadata={
                "name": name,
                "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
            },
            opts=child,
        )
        inside = child.merge(pulumi.ResourceOptions(depends_on=[namespace]))
        kubernetes.core.v1.ResourceQuota(
            f"{name}-quota",
            metadata={"name": "quota", "namespace": name},
            spec={
                "hard": {
                    f"requests.{GPU}": str(spec.gpus),
                    "requests.cpu": str(spec.cpus),
                    "requests.memory": f"{spec.memory_gib}Gi",
                    "limits.memory": f"{spec.memory_gib}Gi",
                }
            },
            opts=inside,
        )
        _close_network(name, inside)
        self.register_outputs({})


def _close_network(namespace: str, opts: pulumi.ResourceOptions) -> None:
    """Deny all traffic, then let pods out to what they cannot do without."""
    kubernetes.networking.v1.NetworkPolicy(
        f"{namespace}-deny",
        metadata={"name": "deny", "namespace": namespace},
        spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
        opts=opts,
    )
    kubernetes.networking.v1.NetworkPolicy(
        f"{namespace}-allow-aws",
        metadata={"name": "allow-aws", "namespace": namespace},
        spec={
            "pod_selector": {},
            "policy_types": ["Egress"],
            "egress": [
                {
                    "to": [
                        {
                            "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}},
                            "pod_selector": {"match_labels": {"k8s-app": "kube-dns"}},
                        }
                    ],
                    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
                },
                # The network has no way to the internet: HTTPS leads to its own endpoints and to S3, nowhere else.
                {"to": [{"ip_block": {"cidr": "0.0.0.0/0"}}], "ports": [{"protocol": "TCP", "port": 443}]},
                {"to": [{"ip_block": {"cidr": POD_IDENTITY_AGENT}}], "ports": [{"protocol": "TCP", "port": 80}]},
            ],
        },
        opts=opts,
    )
