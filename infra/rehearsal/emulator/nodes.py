"""What moto lacks round the nodes of a cluster: the security group that EKS makes, and EC2's placement groups."""

import uuid
from datetime import UTC, datetime
from typing import Any, Final

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2 import urls as ec2_urls
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.responses import EC2Response
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, EC2_RESOURCE_TO_PREFIX
from moto.eks.models import Cluster, EKSBackend

from infra.rehearsal.emulator import kubernetes_api

Json = dict[str, Any]

NAME_LIMIT: Final = 255
"""Of a placement group's name."""

_create_cluster = EKSBackend.create_cluster
_update_cluster = EKSBackend.update_cluster_config
_delete_cluster = EKSBackend.delete_cluster


class WithPlacementGroups(EC2Response):
    """EC2 with placement groups. Nothing is placed: no instance runs here."""

    def _groups(self) -> dict[str, Json]:
        """By name; kept where a reset of moto clears it."""
        return vars(self.ec2_backend).setdefault("placement_groups", {})  # type: ignore[no-any-return]  # vars() are untyped

    def create_placement_group(self) -> ActionResult:
        name, strategy = self._get_param("GroupName"), self._get_param("Strategy", "cluster")
        if not name or len(name) > NAME_LIMIT:
            raise EC2ClientError("InvalidParameterValue", f"Value ({name}) for parameter groupName is invalid.")
        if strategy not in ("cluster", "spread", "partition"):
            raise EC2ClientError("InvalidParameterValue", f"Value ({strategy}) for parameter strategy is invalid.")
        if name in self._groups():
            raise EC2ClientError("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
        key = f"pg-{uuid.uuid4().hex[:17]}"
        arn = f"arn:{self.partition}:ec2:{self.region}:{self.current_account}:placement-group/{name}"
        group: Json = {
            "GroupName": name,
            "Strategy": strategy,
            "State": "available",
            "GroupId": key,
            "GroupArn": arn,
            "CreationTime": datetime.now(UTC),
        }
        if strategy == "partition":
            group["PartitionCount"] = int(self._get_param("PartitionCount", 1))
        if strategy == "spread":
            group["SpreadLevel"] = self._get_param("SpreadLevel", "rack")
        self._groups()[name] = group
        tags = self._parse_tag_specification().get("placement-group", {})
        if tags:
            self.ec2_backend.create_tags([key], tags)
        return ActionResult({"PlacementGroup": self._described(group)})

    def describe_placement_groups(self) -> ActionResult:
        names, keys = self._get_param("GroupNames", []), self._get_param("GroupIds", [])
        groups = self._groups()
        for name in names:
            if name not in groups:
                raise EC2ClientError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
        known = {group["GroupId"] for group in groups.values()}
        for key in keys:
            if key not in known:
                raise EC2ClientError("InvalidPlacementGroupId.Unknown", f"The Placement Group '{key}' is unknown.")
        return ActionResult(
            {
                "PlacementGroups": [
                    self._described(group)
                    for name, group in groups.items()
                    if (not names or name in names) and (not keys or group["GroupId"] in keys)
                ]
            }
        )

    def delete_placement_group(self) -> ActionResult:
        name = self._get_param("GroupName")
        if self._groups().pop(name, None) is None:
            raise EC2ClientError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
        return EmptyResult()

    def _described(self, group: Json) -> Json:
        tags = self.ec2_backend.describe_tags(filters={"resource-id": [group["GroupId"]]})
        return {**group, "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in tags]}


def install() -> None:
    """Route EC2's requests to the class above, and give clusters their security group and their API."""
    EC2_RESOURCE_TO_PREFIX["placement-group"], EC2_PREFIX_TO_RESOURCE["pg"] = "pg", "placement-group"
    for path in ec2_urls.url_paths:
        ec2_urls.url_paths[path] = WithPlacementGroups.dispatch
    EKSBackend.create_cluster = _create  # type: ignore[assignment, method-assign]  # is replaced
    EKSBackend.update_cluster_config = _update  # type: ignore[assignment, method-assign]  # likewise
    EKSBackend.delete_cluster = _delete  # type: ignore[assignment, method-assign]  # likewise


def _create(backend: EKSBackend, name: str, *arguments: Any, **named: Any) -> Cluster:
    cluster = _create_cluster(backend, name, *arguments, **named)
    kubernetes_api.publish(cluster)
    network = cluster.resources_vpc_config
    ec2: EC2Backend = ec2_backends[backend.account_id][backend.region_name]
    subnet = next((each for each in ec2.describe_subnets() if each.id in (network.get("subnetIds") or ())), None)
    if subnet is None:
        return cluster
    group = ec2.create_security_group(
        f"eks-cluster-sg-{name}-{uuid.uuid4().hex[:8]}",
        "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any"
        " managed workloads.",
        vpc_id=subnet.vpc_id,
        tags={"aws:eks:cluster-name": name, f"kubernetes.io/cluster/{name}": "owned"},
    )
    cluster.resources_vpc_config = {**network, "clusterSecurityGroupId": group.id, "vpcId": subnet.vpc_id}
    return cluster


def _update(backend: EKSBackend, name: str, *arguments: Any, **named: Any) -> Any:
    before = dict(backend.clusters[name].resources_vpc_config) if name in backend.clusters else {}
    answer = _update_cluster(backend, name, *arguments, **named)
    cluster = backend.clusters[name]
    cluster.resources_vpc_config = {**before, **(cluster.resources_vpc_config or {})}
    return answer


def _delete(backend: EKSBackend, name: str) -> Cluster:
    cluster = _delete_cluster(backend, name)
    group = cluster.resources_vpc_config.get("clusterSecurityGroupId")
    if group:
        ec2_backends[backend.account_id][backend.region_name].delete_security_group(group_id=group)
    return cluster
