"""The building blocks that teams compose in `stacks/`.

Where annotations name resources they are not evaluated (`from __future__ import annotations`): to load the providers'
modules takes seconds, which a command that builds nothing need not wait for.
"""

from components.alerts import Alerts, AlertsSpec
from components.batch_prediction import BatchPrediction, BatchSpec
from components.budget import Budget, BudgetSpec
from components.cluster import Cluster, ClusterSpec
from components.dashboard import Dashboard
from components.data_lake import DataLake, DataLakeSpec
from components.data_monitor import DataMonitor, DataMonitorSpec
from components.dead_letters import DeadLetters
from components.endpoint import Endpoint
from components.endpoint_spec import AsyncSpec, EndpointSpec, RealTimeSpec, Rollout, ScaleToZeroSpec, ServerlessSpec
from components.experiments import Experiments, ExperimentsSpec
from components.feature_store import FeatureStore, FeatureStoreSpec
from components.freshness_monitor import FreshnessMonitor, FreshnessSpec
from components.gpu import GpuPool, GpuSharing, check_pools
from components.gpu_device_plugin import GpuDevicePlugin
from components.gpu_metrics import GpuMetrics
from components.gpu_node_group import GpuNodeGroup
from components.karpenter import Karpenter, KarpenterPool
from components.keys import Key, KeySpec
from components.kill_switch import Held, KillSwitch, KillSwitchSpec
from components.ledger import Ledger, LedgerSpec
from components.model_registry import CardSpec, ModelRegistry, RegistrySpec
from components.model_role import ModelRole
from components.network import Network, NetworkSpec
from components.nodes import NodePool, Nodes
from components.prediction_api import ApiGatewayAccount, PredictionApi, PredictionApiSpec
from components.quality_monitor import QualityMonitor, QualityMonitorSpec
from components.queues import Queues, QueuesSpec, check_quotas
from components.recovery import Recovery, RecoverySpec, RetrainingSpec
from components.release import Release, ReleaseSpec
from components.runbook import Runbook
from components.service_monitor import ServiceMonitor, ServiceMonitorSpec
from components.spending_monitor import SpendingMonitor, SpendingSpec, Watched
from components.team import Share, Team, TeamName, TeamSpec
from components.training_pipeline import Code, GateSpec, PipelineSpec, TrainingPipeline

__all__ = [
    "Alerts",
    "AlertsSpec",
    "ApiGatewayAccount",
    "AsyncSpec",
    "BatchPrediction",
    "BatchSpec",
    "Budget",
    "BudgetSpec",
    "CardSpec",
    "Cluster",
    "ClusterSpec",
    "Code",
    "Dashboard",
    "DataLake",
    "DataLakeSpec",
    "DataMonitor",
    "DataMonitorSpec",
    "DeadLetters",
    "Endpoint",
    "EndpointSpec",
    "Experiments",
    "ExperimentsSpec",
    "FeatureStore",
    "FeatureStoreSpec",
    "FreshnessMonitor",
    "FreshnessSpec",
    "GateSpec",
    "GpuDevicePlugin",
    "GpuMetrics",
    "GpuNodeGroup",
    "GpuPool",
    "GpuSharing",
    "Held",
    "Karpenter",
    "KarpenterPool",
    "Key",
    "KeySpec",
    "KillSwitch",
    "KillSwitchSpec",
    "Ledger",
    "LedgerSpec",
    "ModelRegistry",
    "ModelRole",
    "Network",
    "NetworkSpec",
    "NodePool",
    "Nodes",
    "PipelineSpec",
    "PredictionApi",
    "PredictionApiSpec",
    "QualityMonitor",
    "QualityMonitorSpec",
    "Queues",
    "QueuesSpec",
    "RealTimeSpec",
    "Recovery",
    "RecoverySpec",
    "RegistrySpec",
    "Release",
    "ReleaseSpec",
    "RetrainingSpec",
    "Rollout",
    "Runbook",
    "ScaleToZeroSpec",
    "ServerlessSpec",
    "ServiceMonitor",
    "ServiceMonitorSpec",
    "Share",
    "SpendingMonitor",
    "SpendingSpec",
    "Team",
    "TeamName",
    "TeamSpec",
    "TrainingPipeline",
    "Watched",
    "check_pools",
    "check_quotas",
]
