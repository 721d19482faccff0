"""What moto lacks of the services that the platform's stacks use: stored and answered as told, with nothing behind it.

Only operations that a stack needs are here. Every other one stays an error that names itself.
"""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from botocore import xform_name
from moto.budgets import urls as budgets_urls
from moto.budgets.models import Budget, Notification
from moto.budgets.responses import BudgetsResponse
from moto.ce import urls as ce_urls
from moto.ce.responses import CostExplorerResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.core.utils import get_service_model
from moto.eks import urls as eks_urls
from moto.eks.responses import EKSResponse

Json = dict[str, Any]


class KeepsFields(BaseResponse):
    """Answers a Describe with every field that the Create was told, moto's own values going first."""

    def kept(self) -> dict[str, Json]:
        """What Creates were told, by the ARN of what they made; kept where a reset of moto clears it."""
        raise NotImplementedError

    def serialized(self, action_result: ActionResult) -> Any:
        status, headers, body = super().serialized(action_result)
        verb, noun = _split(self._get_action())
        if isinstance(action_result.result, Exception) or verb not in ("Create", "Describe"):
            return status, headers, body
        answer = json.loads(body)
        member, shape = self._described(noun)
        described = answer[member] if member else answer
        arn = next((described[key] for key in (f"{noun}Arn", f"{_lower(noun)}Arn", "arn") if key in described), None)
        if arn is None:
            return status, headers, body
        if verb == "Create":
            self.kept()[arn] = dict(self._parameters())
        for key, value in self.kept().get(arn, {}).items():
            if key in shape:
                described.setdefault(key, value)
        return status, headers, json.dumps(answer)

    def _described(self, noun: str) -> tuple[str | None, frozenset[str]]:
        """The member of the answer that describes a `noun` (None: the answer itself), and the fields it may have."""
        model = get_service_model(self.boto3_service_name)
        shape = model.operation_model(self._get_action()).output_shape
        name = next((member for member in shape.members if member.lower() == noun.lower()), None)
        return name, frozenset(shape.members[name].members if name else shape.members)

    def _parameters(self) -> Mapping[str, Any]:
        if not self.automated_parameter_parsing:
            self.parse_parameters(self.normalized_request)
        parameters: Mapping[str, Any] = self.params
        return parameters


def _split(action: str) -> tuple[str, str]:
    """`CreateModelPackage` → (`Create`, `ModelPackage`)."""
    verb, noun = re.fullmatch(r"([A-Z][a-z]+)(\w*)", action).groups()  # type: ignore[union-attr]  # AWS names them so
    return verb, noun


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


class NotThere(ServiceException):
    """The error of EKS and Application Auto Scaling for what does not exist."""

    code = "ResourceNotFoundException"


class InUse(ServiceException):
    """EKS's error for what exists already."""

    code = "ResourceInUseException"


class NoSuchMonitor(ServiceException):
    """Cost Explorer's error for an anomaly monitor that does not exist."""

    code = "UnknownMonitorException"


class NoSuchSubscription(ServiceException):
    """Cost Explorer's error for a subscription to anomalies that does not exist."""

    code = "UnknownSubscriptionException"


class NoSuchBudget(ServiceException):
    """The error of Budgets for what does not exist."""

    code = "NotFoundException"


def _present(values: Mapping[str, Any], *names: str) -> Json:
    return {name: values[name] for name in names if values.get(name) is not None}


class EksResponse(KeepsFields, EKSResponse):
    """EKS with add-ons, access entries and pod identity associations, all of them kept with their cluster."""

    def kept(self) -> dict[str, Json]:
        return vars(self.eks_backend).setdefault("kept", {})  # type: ignore[no-any-return]  # vars() are untyped

    def _rows(self, kind: str) -> dict[str, Json]:
        """The rows of one kind in the cluster that the request names."""
        cluster = self.eks_backend.describe_cluster(self._parameters()["clusterName"])
        return vars(cluster).setdefault("rows", {}).setdefault(kind, {})  # type: ignore[no-any-return]  # vars() are untyped

    def _row(self, kind: str, key: str) -> Json:
        try:
            return self._rows(kind)[key]
        except KeyError:
            raise NotThere(f"No {kind} found for {key} in cluster {self.params['clusterName']}") from None

    def _add(self, kind: str, key: str, row: Json) -> Json:
        rows = self._rows(kind)
        if key in rows:
            raise InUse(f"{kind} {key} already exists in cluster {self.params['clusterName']}")
        now = datetime.now(UTC)
        rows[key] = {**row, "createdAt": now, "modifiedAt": now, "tags": row.get("tags") or {}}
        return rows[key]

    def _arn(self, kind: str, *rest: str) -> str:
        cluster = self.params["clusterName"]
        return f"arn:{self.partition}:eks:{self.region}:{self.current_account}:{kind}/{'/'.join((cluster, *rest))}"

    def _updated(self, kind: str) -> ActionResult:
        """The answer of an update that is done at once."""
        update = {"id": str(uuid.uuid4()), "status": "Successful", "type": kind, "createdAt": datetime.now(UTC)}
        return ActionResult({"update": update})

    def update_cluster_config(self) -> ActionResult:
        super().update_cluster_config()
        params = self._parameters()
        cluster = self.eks_backend.describe_cluster(params["name"])
        self.kept().setdefault(cluster.arn, {}).update(
            _present(params, "accessConfig", "upgradePolicy", "zonalShiftConfig", "deletionProtection", "storageConfig")
        )
        return self._updated("ConfigUpdate")

    def update_cluster_version(self) -> ActionResult:
        params = self._parameters()
        self.eks_backend.describe_cluster(params["name"]).version = params["version"]
        return self._updated("VersionUpdate")

    def update_nodegroup_version(self) -> ActionResult:
        params = self._parameters()
        group = self.eks_backend.describe_nodegroup(params["clusterName"], params["nodegroupName"])
        for name in ("version", "releaseVersion", "launchTemplate"):
            if params.get(name):
                setattr(group, xform_name(name), params[name])
        return self._updated("VersionUpdate")

    def create_addon(self) -> ActionResult:
        params = self._parameters()
        name = params["addonName"]
        row = {
            **_present(params, "clusterName", "addonName", "addonVersion", "serviceAccountRoleArn", "tags"),
            **_present(params, "configurationValues", "namespaceConfig"),
            "addonArn": self._arn("addon", name, str(uuid.uuid4())),
            "status": "ACTIVE",
            "health": {"issues": []},
        }
        return ActionResult({"addon": self._add("addon", name, row)})

    def describe_addon(self) -> ActionResult:
        return ActionResult({"addon": self._row("addon", self._parameters()["addonName"])})

    def update_addon(self) -> ActionResult:
        params = self._parameters()
        row = self._row("addon", params["addonName"])
        row.update(_present(params, "addonVersion", "serviceAccountRoleArn", "configurationValues"))
        row["modifiedAt"] = datetime.now(UTC)
        return self._updated("AddonUpdate")

    def delete_addon(self) -> ActionResult:
        row = self._row("addon", self._parameters()["addonName"])
        del self._rows("addon")[row["addonName"]]
        return ActionResult({"addon": {**row, "status": "DELETING"}})

    def list_addons(self) -> ActionResult:
        return ActionResult({"addons": sorted(self._rows("addon"))})

    def create_access_entry(self) -> ActionResult:
        params = self._parameters()
        principal = params["principalArn"]
        kind, _, name = principal.rpartition(":")[2].partition("/")
        entry_arn = self._arn("access-entry", kind, self.current_account, name, str(uuid.uuid4()))
        row = {
            **_present(params, "clusterName", "principalArn", "tags"),
            "kubernetesGroups": params.get("kubernetesGroups") or [],
            "username": params.get("username") or principal,
            "type": params.get("type") or "STANDARD",
            "accessEntryArn": entry_arn,
            "policies": {},
        }
        return ActionResult({"accessEntry": self._add("access entry", principal, row)})

    def describe_access_entry(self) -> ActionResult:
        return ActionResult({"accessEntry": self._row("access entry", self._parameters()["principalArn"])})

    def update_access_entry(self) -> ActionResult:
        params = self._parameters()
        row = self._row("access entry", params["principalArn"])
        row.update(_present(params, "kubernetesGroups", "username"), modifiedAt=datetime.now(UTC))
        return ActionResult({"accessEntry": row})

    def delete_access_entry(self) -> ActionResult:
        principal = self._parameters()["principalArn"]
        self._row("access entry", principal)
        del self._rows("access entry")[principal]
        return EmptyResult()

    def list_access_entries(self) -> ActionResult:
        wanted = self._parameters().get("associatedPolicyArn")
        rows = self._rows("access entry")
        return ActionResult(
            {"accessEntries": sorted(key for key, row in rows.items() if not wanted or wanted in row["policies"])}
        )

    def associate_access_policy(self) -> ActionResult:
        params = self._parameters()
        now = datetime.now(UTC)
        policies = self._row("access entry", params["principalArn"])["policies"]
        policy = {**_present(params, "policyArn", "accessScope"), "associatedAt": now, "modifiedAt": now}
        policies[params["policyArn"]] = policy
        return ActionResult({**_present(params, "clusterName", "principalArn"), "associatedAccessPolicy": policy})

    def list_associated_access_policies(self) -> ActionResult:
        params = self._parameters()
        policies = self._row("access entry", params["principalArn"])["policies"]
        answer = {"associatedAccessPolicies": list(policies.values())}
        return ActionResult({**_present(params, "clusterName", "principalArn"), **answer})

    def disassociate_access_policy(self) -> ActionResult:
        params = self._parameters()
        policies = self._row("access entry", params["principalArn"])["policies"]
        if policies.pop(params["policyArn"], None) is None:
            raise NotThere(f"{params['policyArn']} is not associated with {params['principalArn']}")
        return EmptyResult()

    def create_pod_identity_association(self) -> ActionResult:
        params = self._parameters()
        taken = [(row["namespace"], row["serviceAccount"]) for row in self._rows("pod identity association").values()]
        if (params["namespace"], params["serviceAccount"]) in taken:
            raise InUse(f"{params['namespace']}/{params['serviceAccount']} has a pod identity association already")
        key = f"a-{uuid.uuid4().hex[:17]}"
        row = {
            **_present(params, "clusterName", "namespace", "serviceAccount", "roleArn", "tags"),
            **_present(params, "disableSessionTags", "targetRoleArn", "policy"),
            "associationArn": self._arn("podidentityassociation", key),
            "associationId": key,
        }
        return ActionResult({"association": self._add("pod identity association", key, row)})

    def describe_pod_identity_association(self) -> ActionResult:
        row = self._row("pod identity association", self._parameters()["associationId"])
        return ActionResult({"association": row})

    def update_pod_identity_association(self) -> ActionResult:
        params = self._parameters()
        row = self._row("pod identity association", params["associationId"])
        row.update(_present(params, "roleArn", "disableSessionTags", "targetRoleArn", "policy"))
        row["modifiedAt"] = datetime.now(UTC)
        return ActionResult({"association": row})

    def delete_pod_identity_association(self) -> ActionResult:
        row = self._row("pod identity association", self._parameters()["associationId"])
        del self._rows("pod identity association")[row["associationId"]]
        return ActionResult({"association": row})

    def list_pod_identity_associations(self) -> ActionResult:
        wanted = _present(self._parameters(), "namespace", "serviceAccount")
        rows = self._rows("pod identity association").values()
        return ActionResult({"associations": [row for row in rows if wanted.items() <= row.items()]})

    def _tags_of(self, arn: str) -> dict[str, str]:
        """The tags of anything in EKS that has an ARN; moto knows only a cluster's."""
        for cluster in self.eks_backend.clusters.values():
            if cluster.arn == arn:
                return cluster.tags
            for group in cluster.nodegroups.values():
                if group.arn == arn:
                    return group.tags
            for rows in vars(cluster).get("rows", {}).values():
                for row in rows.values():
                    if arn in (row.get("addonArn"), row.get("accessEntryArn"), row.get("associationArn")):
                        return row["tags"]  # type: ignore[no-any-return]  # rows are untyped
        raise NotThere(f"no resource {arn}")

    def list_tags_for_resource(self) -> ActionResult:
        return ActionResult({"tags": self._tags_of(unquote(self._parameters()["resourceArn"]))})

    def tag_resource(self) -> ActionResult:
        params = self._parameters()
        self._tags_of(unquote(params["resourceArn"])).update(params["tags"])
        return EmptyResult()

    def untag_resource(self) -> ActionResult:
        params = self._parameters()
        tags = self._tags_of(unquote(params["resourceArn"]))
        for key in params["tagKeys"]:
            tags.pop(key, None)
        return EmptyResult()


class BudgetResponse(BudgetsResponse):
    """Budgets that can be changed, tagged, and asked for their subscribers."""

    def _budget(self, name: str) -> Budget:
        account = self._get_param("AccountId") or self.current_account
        self.backend.describe_budget(account_id=account, budget_name=name)  # says that there is none, as AWS does
        return self.backend.budgets[account][name]

    def _notification(self) -> Notification:
        name, wanted = self._get_param("BudgetName"), self._get_param("Notification")
        for notification in self._budget(name).notifications:
            if _comparable(notification.details) == _comparable(wanted):
                return notification
        raise NoSuchBudget(f"budget {name} has no such notification")

    def create_budget(self) -> str:
        answer = super().create_budget()
        vars(self._budget(self._get_param("Budget")["BudgetName"]))["tags"] = self._get_param("ResourceTags") or []
        return answer

    def update_budget(self) -> str:
        new = self._get_param("NewBudget")
        budget = self._budget(new["BudgetName"])
        budget.budget = {
            **Budget(dict(new), []).budget,
            "TimePeriod": new.get("TimePeriod") or budget.budget["TimePeriod"],
        }
        return "{}"

    def describe_notifications_for_budget(self) -> str:
        self._budget(self._get_param("BudgetName"))
        return super().describe_notifications_for_budget()

    def describe_subscribers_for_notification(self) -> str:
        return json.dumps({"Subscribers": self._notification().subscribers})

    def update_notification(self) -> str:
        old, new = self._get_param("OldNotification"), self._get_param("NewNotification")
        for notification in self._budget(self._get_param("BudgetName")).notifications:
            if _comparable(notification.details) == _comparable(old):
                notification.details = new
        return "{}"

    def _tagged(self) -> Json:
        return vars(self._budget(self._get_param("ResourceARN").rpartition("/")[2]))

    def list_tags_for_resource(self) -> str:
        return json.dumps({"ResourceTags": self._tagged().get("tags", [])})

    def tag_resource(self) -> str:
        holder, new = self._tagged(), self._get_param("ResourceTags")
        holder["tags"] = merged_tags(holder.get("tags", []), new)
        return "{}"

    def untag_resource(self) -> str:
        holder, gone = self._tagged(), self._get_param("ResourceTagKeys")
        holder["tags"] = [tag for tag in holder.get("tags", []) if tag["Key"] not in gone]
        return "{}"


def _comparable(notification: Mapping[str, Any]) -> Json:
    """What tells one notification from another: its threshold type has a default, its state does not count."""
    named = {key: value for key, value in notification.items() if key != "NotificationState"}
    return {"ThresholdType": "PERCENTAGE", **named, "Threshold": float(notification["Threshold"])}


class AnomalyResponse(CostExplorerResponse):
    """Cost Explorer with anomaly monitors and subscriptions: kept and told. Nothing costs anything here, so none is
    ever found."""

    def _rows(self, kind: str) -> dict[str, Json]:
        return vars(self.ce_backend).setdefault(kind, {})  # type: ignore[no-any-return]  # vars() are untyped

    def _monitor(self, arn: str) -> Json:
        try:
            return self._rows("monitors")[arn]
        except KeyError:
            raise NoSuchMonitor(f"there is no anomaly monitor {arn}") from None

    def _subscription(self, arn: str) -> Json:
        try:
            return self._rows("subscriptions")[arn]
        except KeyError:
            raise NoSuchSubscription(f"there is no subscription {arn}") from None

    def _arn(self, kind: str) -> str:
        return f"arn:aws:ce::{self.current_account}:{kind}/{uuid.uuid4()}"

    def _made(self, kind: str, arn: str, row: Json) -> None:
        self._rows(kind)[arn] = row
        self.ce_backend.tag_resource(arn, json.loads(self.body).get("ResourceTags") or [])

    def create_anomaly_monitor(self) -> str:
        arn = self._arn("anomalymonitor")
        self._made("monitors", arn, {**json.loads(self.body)["AnomalyMonitor"], "MonitorArn": arn})
        return json.dumps({"MonitorArn": arn})

    def get_anomaly_monitors(self) -> str:
        asked = json.loads(self.body).get("MonitorArnList") or list(self._rows("monitors"))
        return json.dumps({"AnomalyMonitors": [self._monitor(arn) for arn in asked]})

    def update_anomaly_monitor(self) -> str:
        told = json.loads(self.body)
        self._monitor(told["MonitorArn"]).update(told)
        return json.dumps({"MonitorArn": told["MonitorArn"]})

    def delete_anomaly_monitor(self) -> str:
        self._monitor(json.loads(self.body)["MonitorArn"])
        del self._rows("monitors")[json.loads(self.body)["MonitorArn"]]
        return "{}"

    def create_anomaly_subscription(self) -> str:
        told, arn = json.loads(self.body)["AnomalySubscription"], self._arn("anomalysubscription")
        for monitor in told["MonitorArnList"]:
            self._monitor(monitor)
        self._made("subscriptions", arn, {**told, "SubscriptionArn": arn, "AccountId": self.current_account})
        return json.dumps({"SubscriptionArn": arn})

    def get_anomaly_subscriptions(self) -> str:
        asked = json.loads(self.body).get("SubscriptionArnList") or list(self._rows("subscriptions"))
        return json.dumps({"AnomalySubscriptions": [self._subscription(arn) for arn in asked]})

    def update_anomaly_subscription(self) -> str:
        told = json.loads(self.body)
        self._subscription(told["SubscriptionArn"]).update(told)
        return json.dumps({"SubscriptionArn": told["SubscriptionArn"]})

    def delete_anomaly_subscription(self) -> str:
        self._subscription(json.loads(self.body)["SubscriptionArn"])
        del self._rows("subscriptions")[json.loads(self.body)["SubscriptionArn"]]
        return "{}"


def merged_tags(old: list[dict[str, str]], new: list[dict[str, str]]) -> list[dict[str, str]]:
    """`old` with `new` put over it: a key that is there already gets the new value."""
    merged = {tag["Key"]: tag["Value"] for tag in (*old, *new)}
    return [{"Key": key, "Value": value} for key, value in merged.items()]


EKS_PATHS = (
    "clusters/(?P<name>[^/]+)/updates",
    "clusters/(?P<name>[^/]+)/node-groups/(?P<nodegroupName>[^/]+)/update-version",
    "clusters/(?P<name>[^/]+)/addons",
    "clusters/(?P<name>[^/]+)/addons/(?P<addonName>[^/]+)",
    "clusters/(?P<name>[^/]+)/addons/(?P<addonName>[^/]+)/update",
    "clusters/(?P<name>[^/]+)/access-entries",
    "clusters/(?P<name>[^/]+)/access-entries/(?P<principalArn>.+)",
    "clusters/(?P<name>[^/]+)/pod-identity-associations",
    "clusters/(?P<name>[^/]+)/pod-identity-associations/(?P<associationId>[^/]+)",
)
"""The paths of the operations above that moto has no route for."""


def install() -> None:
    """Route moto's requests for these services to the classes above; before its server answers the first one."""
    for path in eks_urls.url_paths:
        eks_urls.url_paths[path] = EksResponse.dispatch
    for path in EKS_PATHS:
        eks_urls.url_paths[f"{{0}}/{path}$"] = EksResponse.dispatch
    budgets_urls.url_paths["{0}/$"] = BudgetResponse.dispatch
    ce_urls.url_paths["{0}/$"] = AnomalyResponse.dispatch
