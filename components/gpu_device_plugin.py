"""What makes a node's GPUs, or shares of them, and its EFAs visible to Kubernetes."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.daemon import CONFINED, NAMESPACE, daemon
from components.gpu import EFA_LABEL, PLUGIN_LABEL, GpuPool, GpuSharing
from components.images import Image, Images

NVIDIA = Image("nvcr.io/nvidia/k8s-device-plugin", "v0.20.0")
EFA = Image("602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/aws-efa-k8s-device-plugin", "v0.5.20")
NAME = "nvidia-device-plugin"
EFA_NAME = "aws-efa-k8s-device-plugin"
MPS_NAME = "nvidia-mps"
SOCKETS = "/var/lib/kubelet/device-plugins"
MPS_FOLDER = "/run/nvidia/mps"
ALL_GPUS = [
    {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
    {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "compute,utility"},
]
SMALL = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}


class GpuDevicePlugin(pulumi.ComponentResource):
    """NVIDIA's device plugin, once for each way in which pools share GPUs, and Amazon's for EFA where a pool has it.

    A pool's nodes say by the label `nvidia.com/device-plugin.config` which of them they run; the plugin reads its
    configuration from a file, so that it needs no access to the cluster. Images come from repositories of our own.
    """

    images: Images

    def __init__(
        self,
        name: str,
        *,
        pools: Mapping[str, GpuPool],
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("slipway:index:GpuDevicePlugin", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        efa = any(pool.efa for pool in pools.values())
        self.images = Images(
            f"{name}-devices", images=[NVIDIA, *([EFA] if efa else [])], kms_key_arn=kms_key_arn, opts=child
        )
        image = self.images.urls[NVIDIA.source]
        ways = {pool.plugin: pool.sharing for pool in pools.values() if pool.os == "al2023"}
        for way, sharing in sorted(ways.items()):
            _plugin(name, way, sharing, image, child)
            if sharing and sharing.kind == "mps":
                _mps(name, way, image, child)
        if efa:
            _efa(name, self.images.urls[EFA.source], child)
        self.register_outputs({"copies": self.images.copies})


def configuration(sharing: GpuSharing | None) -> dict[str, Any]:
    """What the device plugin reads: https://github.com/NVIDIA/k8s-device-plugin#configuration-option-details."""
    mig = sharing is not None and sharing.kind == "mig"
    config: dict[str, Any] = {"version": "v1", "flags": {"migStrategy": "mixed" if mig else "none"}}
    if sharing and not mig:
        way = {"time-slicing": "timeSlicing", "mps": "mps"}[sharing.kind]
        # Who asks for two shares gets no more of the GPU than who asks for one, so asking for two is refused.
        config["sharing"] = {
            way: {
                "renameByDefault": True,
                "failRequestsGreaterThanOne": True,
                "resources": [{"name": "nvidia.com/gpu", "replicas": sharing.replicas}],
            }
        }
    return config


def _plugin(
    name: str,
    way: str,
    sharing: GpuSharing | None,
    image: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    config = json.dumps(configuration(sharing), sort_keys=True)
    called = f"{NAME}-{way}"
    file = kubernetes.core.v1.ConfigMap(
        f"{name}-{called}",
        metadata={"name": called, "namespace": NAMESPACE},
        data={"config.yaml": config},
        opts=opts,
    )
    mounts = [{"name": "sockets", "mount_path": SOCKETS}, {"name": "config", "mount_path": "/config"}]
    # It announces the GPUs to the kubelet through a socket in this folder of the node.
    volumes: list[dict[str, Any]] = [
        {"name": "sockets", "host_path": {"path": SOCKETS}},
        {"name": "config", "config_map": {"name": called}},
    ]
    env = [*ALL_GPUS, {"name": "CONFIG_FILE", "value": "/config/config.yaml"}]
    context: dict[str, Any] = CONFINED
    if sharing and sharing.kind == "mps":
        mounts += [{"name": "mps", "mount_path": "/mps"}, {"name": "mps-memory", "mount_path": "/dev/shm"}]
        volumes += _mps_volumes()
        env += [{"name": "MPS_ROOT", "value": MPS_FOLDER}]
    if sharing and sharing.kind == "mig":
        # NVIDIA's driver shows a GPU's partitions only to who administers the machine.
        context = {"read_only_root_filesystem": True, "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}
        env += [{"name": "NVIDIA_MIG_MONITOR_DEVICES", "value": "all"}]
    daemon(
        name,
        called,
        {PLUGIN_LABEL: way},
        {
            "containers": [
                {
                    "name": NAME,
                    "image": image,
                    "command": [NAME],
                    "env": env,
                    "resources": SMALL,
                    "security_context": context,
                    "volume_mounts": mounts,
                }
            ],
            "volumes": volumes,
        },
        opts.merge(pulumi.ResourceOptions(depends_on=[file])),
        reads=config,
    )


def _mps(name: str, way: str, image: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
    """The daemon that runs the work of several processes on one GPU at a time."""
    mounts = [{"name": "mps", "mount_path": "/mps"}, {"name": "mps-memory", "mount_path": "/dev/shm"}]
    daemon(
        name,
        f"{MPS_NAME}-{way}",
        {PLUGIN_LABEL: way},
        {
            # Its clients are processes of other pods.
            "host_pid": True,
            "init_containers": [
                {
                    "name": "mount",
                    "image": image,
                    "command": ["mps-control-daemon", "mount-shm"],
                    "resources": SMALL,
                    "security_context": {"privileged": True},
                    "volume_mounts": [{"name": "mps", "mount_path": "/mps", "mount_propagation": "Bidirectional"}],
                }
            ],
            "containers": [
                {
                    "name": "daemon",
                    "image": image,
                    "command": ["mps-control-daemon"],
                    "env": [*ALL_GPUS, {"name": "CONFIG_FILE", "value": "/config/config.yaml"}],
                    "resources": SMALL,
                    "security_context": {"privileged": True},
                    "volume_mounts": [*mounts, {"name": "config", "mount_path": "/config"}],
                }
            ],
            "volumes": [*_mps_volumes(), {"name": "config", "config_map": {"name": f"{NAME}-{way}"}}],
        },
        opts,
    )


def _mps_volumes() -> list[dict[str, Any]]:
    return [
        {"name": "mps", "host_path": {"path": MPS_FOLDER, "type": "DirectoryOrCreate"}},
        {"name": "mps-memory", "host_path": {"path": f"{MPS_FOLDER}/shm"}},
    ]


def _efa(name: str, image: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
    """As Amazon's chart has it: it offers the devices in /dev/infiniband, and sees those of the node's network."""
    daemon(
        name,
        EFA_NAME,
        {EFA_LABEL: "true"},
        {
            "host_network": True,
            "containers": [
                {
                    "name": EFA_NAME,
                    "image": image,
                    "resources": {"requests": {"cpu": "10m", "memory": "20Mi"}, "limits": {"memory": "64Mi"}},
                    "security_context": {"privileged": True},
                    "volume_mounts": [
                        {"name": "sockets", "mount_path": SOCKETS},
                        {"name": "devices", "mount_path": "/dev/infiniband"},
                    ],
                }
            ],
            "volumes": [
                {"name": "sockets", "host_path": {"path": SOCKETS}},
                {"name": "devices", "host_path": {"path": "/dev/infiniband"}},
            ],
        },
        opts,
    )
