"""What a GPU node does before it joins the cluster: join its own disks, and cut its GPUs where they are shared so."""

import textwrap
from base64 import b64encode

from components.gpu import GpuPool, GpuSharing
from components.gpu_instances import instance

BOUNDARY = "slipway"
JOIN_DISKS = """\
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  instance:
    localStorage:
      strategy: RAID0
"""
"""Containers and their images go to the instance's own NVMe disks where it has some: a root volume fills up."""
BOTTLEROCKET_DISKS = """\
[settings.bootstrap-commands.local-disks]
commands = [
  ["apiclient", "ephemeral-storage", "init"],
  ["apiclient", "ephemeral-storage", "bind", "--dirs", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods"],
]
mode = "always"
essential = true
"""
# Partitions do not outlive a reboot, so they are made at each one; and before the kubelet, so that the device plugin
# finds them. An A100 takes up the mode only when it is reset.
CUT = """\
#!/bin/bash
set -euo pipefail
cat >/usr/local/sbin/cut-gpus <<'EOF'
#!/bin/bash
set -euo pipefail
nvidia-smi --multi-instance-gpu=1
if nvidia-smi --query-gpu=mig.mode.current --format=csv,noheader | grep --invert-match --quiet Enabled; then
  nvidia-smi --gpu-reset
fi
nvidia-smi mig --destroy-compute-instance || true
nvidia-smi mig --destroy-gpu-instance || true
nvidia-smi mig --create-gpu-instance {profiles} --default-compute-instance
EOF
chmod 755 /usr/local/sbin/cut-gpus
cat >/etc/systemd/system/cut-gpus.service <<'EOF'
[Unit]
Description=Cut each GPU into partitions
Before=kubelet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/cut-gpus
[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload
systemctl enable --now cut-gpus.service
"""


def managed(pool: GpuPool) -> str:
    """The user data of a managed node group's launch template, in base64."""
    if pool.os == "bottlerocket":
        text = BOTTLEROCKET_DISKS + (_bottlerocket(pool, pool.sharing) if pool.sharing else "")
    else:
        text = _parts([("application/node.eks.aws", JOIN_DISKS), *_shell(pool)])
    return b64encode(text.encode()).decode()


def karpenter(pool: GpuPool) -> str | None:
    """The user data of a node class, where Karpenter adds its own and joins the disks itself."""
    if not pool.sharing:
        return None
    if pool.os == "bottlerocket":
        return _bottlerocket(pool, pool.sharing)
    shell = _shell(pool)
    return _parts(shell) if shell else None


def _shell(pool: GpuPool) -> list[tuple[str, str]]:
    if not pool.sharing or pool.sharing.kind != "mig":
        return []
    profiles = ",".join([str(pool.sharing.profile)] * pool.units_per_gpu)
    return [("text/x-shellscript; charset=us-ascii", CUT.replace("{profiles}", profiles))]


def _bottlerocket(pool: GpuPool, sharing: GpuSharing) -> str:
    """Its settings: it runs the device plugin itself."""
    if sharing.kind == "mig":
        return textwrap.dedent(f"""\
            [settings.kubelet-device-plugins.nvidia]
            device-partitioning-strategy = "mig"

            [settings.kubelet-device-plugins.nvidia.mig.profile]
            "{instance(pool.instance_types[0]).gpu.key}" = "{sharing.profile}"
            """)
    return textwrap.dedent(f"""\
        [settings.kubelet-device-plugins.nvidia]
        device-sharing-strategy = "time-slicing"

        [settings.kubelet-device-plugins.nvidia.time-slicing]
        replicas = {sharing.replicas}
        rename-by-default = true
        fail-requests-greater-than-one = true
        """)


def _parts(parts: list[tuple[str, str]]) -> str:
    """A MIME document, as cloud-init and EKS's nodeadm read it."""
    head = f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="{BOUNDARY}"\n\n'
    return (
        head + "".join(f"--{BOUNDARY}\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts) + f"--{BOUNDARY}--\n"
    )
