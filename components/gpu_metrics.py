"""What GPUs do, as CloudWatch sees it: NVIDIA's exporter on every GPU node, and alarms for each pool.

Container Insights, the add-on, counts a cluster's GPUs too, but knows neither pools nor Xid errors. So the exporter's
figures are read where they are made, by a CloudWatch agent in the same pod, which writes them to a log group in the
embedded metric format: nothing listens on the network, and nothing has to find anything.
"""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.alarms import Alarms
from components.daemon import CONFINED, NAMESPACE, daemon
from components.dashboard import Chart
from components.gpu import POOL_LABEL, GpuPool
from components.iam import allow, document, region, trust_pods
from components.images import Image, Images
from components.logs import RetentionDays
from components.runbook import Guide

EXPORTER = Image("nvcr.io/nvidia/k8s/dcgm-exporter", "4.5.3-4.8.2-distroless")
AGENT = Image("public.ecr.aws/cloudwatch-agent/cloudwatch-agent", "1.300069.0b1529")
METRICS_NAMESPACE = "Slipway/Gpu"
NAME = "gpu-metrics"
PORT = 9400
SECONDS = 60
FIELDS = {
    "DCGM_FI_DEV_GPU_UTIL": "Share of the time in which some code ran on the GPU (in %).",
    "DCGM_FI_DEV_GPU_TEMP": "Temperature (in C).",
    "DCGM_FI_DEV_FB_USED": "Memory in use (in MiB).",
    "DCGM_FI_DEV_POWER_USAGE": "Power (in W).",
    "DCGM_FI_DEV_XID_ERRORS": "The last Xid error since the driver started; 0: none.",
}
"""None of the profiling fields: they take administrator's rights on the node."""
HOT_CELSIUS = 85
"""NVIDIA's data-centre GPUs slow down from about 87 to 93 degrees."""
IDLE_PERCENT = 5
IDLE_PERIODS = 6
"""Of five minutes each."""


class GpuMetrics(pulumi.ComponentResource):
    """Utilisation, temperature, memory, power and Xid errors of each pool's GPUs; alarms where they tell of trouble."""

    images: Images
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        *,
        pools: Mapping[str, GpuPool],
        cluster_name: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        log_days: RetentionDays = 7,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`name` is the cluster's, and its metrics' dimension `ClusterName`. `opts` holds the cluster's provider."""
        super().__init__("slipway:index:GpuMetrics", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        self.images = Images(f"{name}-metrics", images=[EXPORTER, AGENT], kms_key_arn=kms_key_arn, opts=child)
        group = aws.cloudwatch.LogGroup(
            f"{name}-{NAME}",
            name=log_group(name),
            retention_in_days=log_days,
            kms_key_id=kms_key_arn,
            opts=child,
        )
        role = aws.iam.Role(f"{name}-{NAME}", assume_role_policy=trust_pods(), opts=child)
        granted = aws.iam.RolePolicy(
            f"{name}-{NAME}",
            role=role.name,
            policy=document(
                allow(
                    ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                    group.arn,
                    pulumi.Output.concat(group.arn, ":*"),
                )
            ),
            opts=child,
        )
        identity = aws.eks.PodIdentityAssociation(
            f"{name}-{NAME}",
            cluster_name=cluster_name,
            namespace=NAMESPACE,
            service_account=NAME,
            role_arn=role.arn,
            opts=child,
        )
        account = kubernetes.core.v1.ServiceAccount(
            f"{name}-{NAME}",
            metadata={"name": NAME, "namespace": NAMESPACE},
            automount_service_account_token=False,
            opts=child,
        )
        ready = child.merge(pulumi.ResourceOptions(depends_on=[granted, identity, account]))
        for pool, spec in pools.items():
            _exporter(name, pool, spec, self.images, ready)
        alarms = Alarms(name, alerts_topic_arn, child)
        self.charts = []
        for pool, spec in pools.items():
            _alarms(alarms, name, pool, spec)
            self.charts += _charts(name, pool)
        self.guides = alarms.guides
        self.register_outputs({"copies": self.images.copies})


def log_group(cluster: str) -> str:
    """Where a cluster's GPU figures are written, from which CloudWatch makes metrics."""
    return f"/slipway/{cluster}/gpu"


def fields() -> str:
    """What the exporter exports, as it reads it."""
    return "".join(f"{field}, gauge, {means}\n" for field, means in FIELDS.items())


def agent_configuration(cluster: str) -> dict[str, Any]:
    """What the CloudWatch agent does: read the exporter beside it, and write each pool's figures as metrics."""
    return {
        "agent": {"region": region()},
        "logs": {
            "metrics_collected": {
                "prometheus": {
                    "cluster_name": cluster,
                    "log_group_name": log_group(cluster),
                    "prometheus_config_path": "/etc/prometheus/prometheus.yaml",
                    "emf_processor": {
                        "metric_namespace": METRICS_NAMESPACE,
                        "metric_declaration": [
                            {
                                "source_labels": ["Pool"],
                                "label_matcher": ".+",
                                "dimensions": [["ClusterName", "Pool"]],
                                "metric_selectors": [f"^{field}$" for field in FIELDS],
                            }
                        ],
                    },
                }
            },
            "force_flush_interval": 5,
        },
    }


def scrape_configuration(cluster: str, pool: str) -> dict[str, Any]:
    """What is read: the exporter in the same pod, whose figures belong to this pool."""
    labels = {"ClusterName": cluster, "Pool": pool}
    return {
        "global": {"scrape_interval": f"{SECONDS}s", "scrape_timeout": "10s"},
        "scrape_configs": [
            {
                "job_name": "gpu",
                "sample_limit": 10000,
                "static_configs": [{"targets": [f"localhost:{PORT}"], "labels": labels}],
            }
        ],
    }


def _exporter(cluster: str, pool: str, spec: GpuPool, images: Images, opts: pulumi.ResourceOptions) -> None:
    called = f"{NAME}-{pool}"
    texts = {
        "fields.csv": fields(),
        "agent.json": json.dumps(agent_configuration(cluster), sort_keys=True),
        "prometheus.yaml": json.dumps(scrape_configuration(cluster, pool), sort_keys=True),
    }
    file = kubernetes.core.v1.ConfigMap(
        f"{cluster}-{called}", metadata={"name": called, "namespace": NAMESPACE}, data=texts, opts=opts
    )
    volumes: list[dict[str, Any]] = [
        {"name": "config", "config_map": {"name": called}},
        {"name": "exporter", "empty_dir": {}},
    ]
    mounts = [{"name": "config", "mount_path": "/etc/gpu"}, {"name": "exporter", "mount_path": "/tmp"}]
    if spec.os == "bottlerocket":
        # It hands GPUs to who mounts this name, and to nobody who just asks by an environment variable.
        volumes.append({"name": "all", "host_path": {"path": "/dev/null"}})
        mounts.append({"name": "all", "mount_path": "/var/run/nvidia-container-devices/all"})
    exporter = {
        "name": "exporter",
        "image": images.urls[EXPORTER.source],
        "args": ["--collectors", "/etc/gpu/fields.csv", "--address", f"127.0.0.1:{PORT}"],
        "env": [
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
            {"name": "DCGM_EXPORTER_KUBERNETES", "value": "false"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "security_context": {**CONFINED, "run_as_non_root": True, "run_as_user": 10001},
        "volume_mounts": mounts,
    }
    agent = {
        "name": "agent",
        "image": images.urls[AGENT.source],
        "env": [{"name": "RUN_WITH_IRSA", "value": "True"}, {"name": "AWS_REGION", "value": region()}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        # It writes what it makes of its configuration beside its program.
        "security_context": {**CONFINED, "read_only_root_filesystem": False},
        "volume_mounts": [
            {"name": "config", "mount_path": "/etc/cwagentconfig/agent.json", "sub_path": "agent.json"},
            {"name": "config", "mount_path": "/etc/prometheus/prometheus.yaml", "sub_path": "prometheus.yaml"},
        ],
    }
    daemon(
        cluster,
        called,
        {POOL_LABEL: pool},
        {"service_account_name": NAME, "containers": [exporter, agent], "volumes": volumes},
        opts.merge(pulumi.ResourceOptions(depends_on=[file])),
        reads=json.dumps(texts, sort_keys=True),
    )


def _alarms(alarms: Alarms, cluster: str, pool: str, spec: GpuPool) -> None:
    def metric(name: str, stat: str, period: int) -> dict[str, Any]:
        return {
            "namespace": METRICS_NAMESPACE,
            "metric_name": name,
            "dimensions": {"ClusterName": cluster, "Pool": pool},
            "statistic": stat,
            "period": period,
        }

    nodes = f"$ kubectl get nodes --selector {POOL_LABEL}={pool} --label-columns node.kubernetes.io/instance-type"
    events = "$ kubectl get events --all-namespaces --field-selector reason=AcceleratedHardwareReady"
    alarms.add(
        f"{pool}-xid",
        means=f"A GPU of pool {pool} has had an Xid error: its driver or the GPU itself failed, and the jobs on it.",
        look=[
            nodes,
            events,
            f"$ kubectl logs --namespace {NAMESPACE} daemonset/{NAME}-{pool} --container exporter",
            "What the number means: https://docs.nvidia.com/deploy/xid-errors/",
        ],
        act=[
            "Errors 13, 31, 43 and 45 come from a program: tell who runs the job.",
            "For others EKS replaces the node by itself within minutes; if it does not, end it:"
            " `kubectl delete node NODE`, and start the job again from its checkpoint.",
        ],
        comparison_operator="GreaterThanThreshold",
        threshold=0,
        evaluation_periods=1,
        **metric("DCGM_FI_DEV_XID_ERRORS", "Maximum", 60),
    )
    alarms.add(
        f"{pool}-hot",
        means=f"A GPU of pool {pool} has been at {HOT_CELSIUS} °C or more for five minutes, and will soon slow down.",
        look=[nodes, f"The chart “{pool}: temperature” on the dashboard."],
        act=[
            "If it is one GPU of many with the same work, end its node: `kubectl delete node NODE`. AWS cools hardware,"
            " so that one hot GPU is a faulty one.",
            "If it is all of them, ask AWS support with the instances' ids.",
        ],
        comparison_operator="GreaterThanOrEqualToThreshold",
        threshold=HOT_CELSIUS,
        evaluation_periods=5,
        datapoints_to_alarm=5,
        **metric("DCGM_FI_DEV_GPU_TEMP", "Maximum", 60),
    )
    # With partitions the driver tells no utilisation but to who administers the machine.
    if not (spec.sharing and spec.sharing.kind == "mig"):
        alarms.add(
            f"{pool}-idle",
            means=f"The GPUs of pool {pool} have been idle (below {IDLE_PERCENT} % on average) for 30 minutes,"
            " and cost what busy ones do.",
            look=[nodes, f"$ kubectl get pods --all-namespaces --output wide | grep {pool}"],
            act=_when_idle(cluster, pool, spec),
            comparison_operator="LessThanThreshold",
            threshold=IDLE_PERCENT,
            evaluation_periods=IDLE_PERIODS,
            datapoints_to_alarm=IDLE_PERIODS,
            **metric("DCGM_FI_DEV_GPU_UTIL", "Average", 300),
        )


def _when_idle(cluster: str, pool: str, spec: GpuPool) -> list[str]:
    ask = "Ask who runs the pods there: a job that hangs or waits for data is ended or mended."
    if spec.scaling == "karpenter":
        return [ask, "Without pods, Karpenter takes a node away within ten minutes."]
    return [
        ask,
        "If nobody needs the nodes, set fewer: `aws eks update-nodegroup-config"
        f" --cluster-name {cluster} --nodegroup-name NAME --scaling-config desiredSize=0`.",
    ]


def _charts(cluster: str, pool: str) -> list[Chart]:
    def of(name: str) -> list[tuple[str, ...]]:
        return [(METRICS_NAMESPACE, name, "ClusterName", cluster, "Pool", pool)]

    return [
        Chart(f"{pool}: utilisation", of("DCGM_FI_DEV_GPU_UTIL"), stat="Average", unit="%"),
        Chart(f"{pool}: temperature", of("DCGM_FI_DEV_GPU_TEMP"), stat="Maximum", unit="°C"),
        Chart(f"{pool}: memory in use", of("DCGM_FI_DEV_FB_USED"), stat="Average", unit="MiB"),
    ]
