"""What every product shares: network, key, data lake, alerts, and the cluster with its GPUs."""

from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field, StringConstraints, model_validator

from components import (
    Alerts,
    AlertsSpec,
    ApiGatewayAccount,
    Budget,
    BudgetSpec,
    Cluster,
    ClusterSpec,
    Dashboard,
    DataLake,
    DataLakeSpec,
    Experiments,
    ExperimentsSpec,
    GpuDevicePlugin,
    GpuMetrics,
    GpuNodeGroup,
    GpuPool,
    Held,
    Karpenter,
    KarpenterPool,
    Key,
    KeySpec,
    KillSwitch,
    KillSwitchSpec,
    Ledger,
    LedgerSpec,
    Network,
    NetworkSpec,
    Queues,
    QueuesSpec,
    Runbook,
    SpendingMonitor,
    SpendingSpec,
    Team,
    TeamSpec,
    Watched,
    check_quotas,
)
from components.gpu import check_pools
from components.images import login
from components.team import TeamName
from infra.contract import Platform
from infra.stack import Stack

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
"""A name that AWS and Kubernetes both take: lower-case letters, digits and hyphens."""


class PlatformStack(Stack):
    """One environment's platform."""

    network: NetworkSpec
    alerts: AlertsSpec
    cluster: ClusterSpec
    gpus: dict[Label, GpuPool] = Field(min_length=1)
    """Groups of GPU nodes by name; pods choose one by the label `slipway/pool`."""
    teams: dict[TeamName, TeamSpec] = Field(min_length=1)
    """Who shares the cluster: a namespace each."""
    queues: QueuesSpec
    key: KeySpec = KeySpec()
    data_lake: DataLakeSpec = DataLakeSpec()
    ledger: LedgerSpec = LedgerSpec()
    experiments: ExperimentsSpec = ExperimentsSpec()
    budget: BudgetSpec = BudgetSpec()
    spending: SpendingSpec = SpendingSpec()
    kill_switch: KillSwitchSpec = KillSwitchSpec()

    @model_validator(mode="after")
    def _one_access_each(self) -> "PlatformStack":
        for role in self._developers().keys() & set(self.cluster.admins):
            raise ValueError(f"{role} is an administrator already: remove it from cluster.admins or from its team")
        return self

    @model_validator(mode="after")
    def _promises_can_be_kept(self) -> "PlatformStack":
        check_pools(self.gpus, zones=self.network.zones, version=self.cluster.version)
        check_quotas(self.gpus, self.teams, self.queues)
        return self

    def _developers(self) -> dict[str, list[str]]:
        """Every team role with the namespaces of its teams: EKS knows a role once."""
        roles = sorted({role for team in self.teams.values() for role in team.developers})
        return {role: [name for name, team in self.teams.items() if role in team.developers] for role in roles}

    def build(self) -> dict[str, pulumi.Input[Any]]:
        name = pulumi.get_stack()
        key = Key(name, self.key)
        scaled = any(pool.scaling == "karpenter" for pool in self.gpus.values())
        network = Network(name, self.network, karpenter=scaled, kms_key_arn=key.arn)
        lake = DataLake(name, self.data_lake, kms_key_arn=key.arn)
        ledger = Ledger(name, self.ledger, kms_key_arn=key.arn, access_logs_bucket=lake.access_logs_bucket)
        experiments = Experiments(
            name,
            self.experiments,
            bucket=lake.bucket,
            bucket_arn=lake.arn,
            prefix="platform/experiments",
            kms_key_arn=key.arn,
        )
        ApiGatewayAccount(name)
        alerts = Alerts(name, self.alerts, kms_key_arn=key.arn)
        cluster = Cluster(
            name,
            self.cluster,
            subnet_ids=network.private_subnet_ids,
            kms_key_arn=key.arn,
            developers=self._developers(),
        )
        ready = pulumi.ResourceOptions(depends_on=[cluster])
        inside = kubernetes.Provider(name, kubeconfig=cluster.kubeconfig, opts=ready)
        in_cluster = pulumi.ResourceOptions(providers=[inside])
        plugin = GpuDevicePlugin(name, pools=self.gpus, kms_key_arn=key.arn, opts=in_cluster)
        metrics = GpuMetrics(
            name,
            pools=self.gpus,
            cluster_name=cluster.name,
            alerts_topic_arn=alerts.topic_arn,
            kms_key_arn=key.arn,
            opts=in_cluster,
        )
        images = [plugin.images, metrics.images]
        parts: list[Any] = [metrics]
        karpenter = None
        if scaled:
            karpenter = Karpenter(
                name,
                cluster_name=cluster.name,
                kms_key_arn=key.arn,
                replicas=min(2, self.cluster.system_nodes.min_size),
                opts=in_cluster,
            )
            images.append(karpenter.images)
        for pool, spec in self.gpus.items():
            nodes: dict[str, Any] = {
                "pool": pool,
                "subnet_ids": network.private_subnet_ids,
                "zones": self.network.zones,
                "vpc_id": network.vpc_id,
                "cluster_security_group_id": cluster.security_group_id,
                "kms_key_arn": key.arn,
                "kubernetes_version": self.cluster.version,
            }
            if spec.scaling == "karpenter" and karpenter:
                KarpenterPool(f"{name}-{pool}", spec, karpenter=karpenter, opts=in_cluster, **nodes)
            else:
                group = GpuNodeGroup(
                    f"{name}-{pool}",
                    spec,
                    cluster_name=cluster.name,
                    alerts_topic_arn=alerts.topic_arn,
                    opts=ready,
                    **nodes,
                )
                parts.append(group)
        teams = {
            team: Team(
                team,
                share,
                pools=self.gpus,
                cluster_name=cluster.name,
                data_bucket_arn=lake.arn,
                kms_key_arn=key.arn,
                opts=in_cluster,
            )
            for team, share in self.teams.items()
        }
        queues = Queues(
            name,
            self.queues,
            pools=self.gpus,
            teams=self.teams,
            namespaces={team: each.namespace for team, each in teams.items()},
            kms_key_arn=key.arn,
            opts=in_cluster,
        )
        switch = KillSwitch(
            name,
            self.kill_switch,
            held=Held(
                cluster_name=cluster.name,
                cluster_security_group_id=cluster.security_group_id,
                queues=sorted(self.teams),
                pools=sorted(pool for pool, spec in self.gpus.items() if spec.scaling == "karpenter"),
                vpc_id=network.vpc_id,
                subnet_ids=network.private_subnet_ids,
                security_group_id=network.workload_security_group_id,
            ),
            ledger_bucket=ledger.bucket,
            ledger_bucket_arn=ledger.arn,
            kms_key_arn=key.arn,
            alerts_topic_arn=alerts.topic_arn,
            opts=in_cluster,
        )
        usd_per_month = pulumi.Config().require_float("usd_per_month")
        spending = SpendingMonitor(
            name,
            self.spending,
            usd_per_month=usd_per_month,
            watched=Watched(cluster.name, self.gpus),
            bucket=lake.bucket,
            bucket_arn=lake.arn,
            prefix="platform",
            kms_key_arn=key.arn,
            alerts_topic_arn=alerts.topic_arn,
        )
        parts += [switch, spending]
        Budget(
            name,
            self.budget,
            usd_per_month=usd_per_month,
            alerts_topic_arn=alerts.topic_arn,
            stop_topic_arn=switch.topic_arn,
        )
        guides = [guide for part in parts for guide in getattr(part, "guides", ())]
        runbook = Runbook(name, guides=guides)
        Dashboard(
            name,
            charts=[chart for part in parts for chart in getattr(part, "charts", ())],
            alarms=[guide.alarm for guide in guides],
        )
        return {
            **vars(
                Platform(
                    vpc_id=network.vpc_id,
                    private_subnet_ids=network.private_subnet_ids,
                    workload_security_group_id=network.workload_security_group_id,
                    kms_key_arn=key.arn,
                    data_bucket=lake.bucket,
                    data_bucket_arn=lake.arn,
                    ledger_bucket=ledger.bucket,
                    ledger_bucket_arn=ledger.arn,
                    mlflow_arn=experiments.arn,
                    alerts_topic_arn=alerts.topic_arn,
                    cluster_name=cluster.name,
                )
            ),
            "image_copies": pulumi.Output.all(*(each.copies for each in (*images, queues.images))).apply(
                lambda copies: [login(), *sorted({command for each in copies for command in each})]
            ),
            "runbook_url": runbook.url,
            "stop_function_name": switch.function_name,
            "stop_topic_arn": switch.topic_arn,
        }
