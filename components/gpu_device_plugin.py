"""What makes a node's GPUs visible to Kubernetes."""

import json

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.gpu_node_group import GPU, GPU_LABEL

VERSION = "v0.18.2"
NAME = "nvidia-device-plugin"
SOCKETS = "/var/lib/kubelet/device-plugins"
FORGET_UNTAGGED = {
    "rulePriority": 1,
    "description": "Images that no tag names any more",
    "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14},
    "action": {"type": "expire"},
}


class GpuDevicePlugin(pulumi.ComponentResource):
    """NVIDIA's device plugin on every GPU node, from a repository of our own.

    Nodes have no way to the internet, so its image is copied once, before the first GPU node starts:
    `crane copy nvcr.io/nvidia/k8s-device-plugin:<VERSION> <repository_url>:<VERSION>`.
    """

    repository_url: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("slipway:index:GpuDevicePlugin", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        repository = aws.ecr.Repository(
            f"{name}-images",
            name=f"{name}/k8s-device-plugin",
            # What a tag names never changes, so the version pins the image.
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": kms_key_arn}],
            opts=child,
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-images", repository=repository.name, policy=json.dumps({"rules": [FORGET_UNTAGGED]}), opts=child
        )
        labels = {"app.kubernetes.io/name": NAME}
        kubernetes.apps.v1.DaemonSet(
            f"{name}-{NAME}",
            metadata={
                "name": NAME,
                "namespace": "kube-system",
                "labels": labels,
                # A deployment does not wait for it: the image may be copied after this has made the repository.
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec={
                "selector": {"match_labels": labels},
                "update_strategy": {"type": "RollingUpdate"},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "priority_class_name": "system-node-critical",
                        "automount_service_account_token": False,
                        "node_selector": {GPU_LABEL: "true"},
                        "tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
                        "security_context": {"seccomp_profile": {"type": "RuntimeDefault"}},
                        "containers": [
                            {
                                "name": NAME,
                                "image": pulumi.Output.concat(repository.repository_url, ":", VERSION),
                                "resources": {
                                    "requests": {"cpu": "50m", "memory": "64Mi"},
                                    "limits": {"memory": "128Mi"},
                                },
                                "security_context": {
                                    "allow_privilege_escalation": False,
                                    "read_only_root_filesystem": True,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                                "volume_mounts": [{"name": "sockets", "mount_path": SOCKETS}],
                            }
                        ],
                        # It announces the GPUs to the kubelet through a socket in this folder of the node.
                        "volumes": [{"name": "sockets", "host_path": {"path": SOCKETS}}],
                    },
                },
            },
            opts=child,
        )
        self.repository_url = repository.repository_url
        self.register_outputs({"repository_url": self.repository_url})
