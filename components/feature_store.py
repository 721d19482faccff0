"""Features, kept twice: the latest of each record for serving, and all of them for training."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pulumi
import pulumi_aws as aws
from pydantic import Field, PositiveInt

from components.alarms import Alarms
from components.dashboard import Chart
from components.dead_letters import DeadLetters
from components.function import Function
from components.iam import allow, document, local_arn, trust, use_key
from components.logs import RetentionDays
from components.runbook import Guide
from components.spec import Spec
from functions.feature_group.core import ON_DEMAND, Shape, classify
from functions.feature_group.migration import group_name, migration
from functions.features import FeatureSchema

NAMESPACE: Final = "Slipway/Features"
GROUP_NAME: Final = re.compile(r"[0-9A-Za-z](-*[0-9A-Za-z]){0,63}")
"""pulumi-aws takes no underscore, which AWS itself does."""
MOST_UNITS: Final = 40_000
"""Read or write capacity units of one feature group.
https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-quotas.html"""
KEPT_BY_KEEPER: Final = ["featureDefinitions", "onlineStoreConfig.ttlDuration", "throughputConfig"]
"""Pulumi would replace the group for a new feature, and sends the other two in one call, which AWS refuses."""


class Throughput(Spec):
    """Capacity that is paid for whether it is used or not; AWS lets a group leave it only once in 24 hours."""

    read_units: int = Field(ge=1, le=MOST_UNITS)
    """Reads of 4 KB a second."""
    write_units: int = Field(ge=1, le=MOST_UNITS)
    """Writes of 1 KB a second."""


class FeatureStoreSpec(Spec):
    """Which version is read, what it may take, and when it wakes someone."""

    version: PositiveInt = 1
    """The version of the schema whose group is read. While a migration lasts there are two."""
    retire_previous: bool = False
    """Whether the protection of the previous version's group is lifted: the deployment without it deletes it."""
    protect: bool = True
    """Whether a change that would delete a group is refused."""
    throughput: Throughput | None = None
    """Without it, capacity follows the requests."""
    fresh_hours: int = Field(default=24, ge=1, le=168)
    """How old the newest features may be (components/freshness_monitor.py tells when they are older)."""
    quarantined_percent: float = Field(default=5, ge=0, lt=100)
    """An alarm tells when more of an hour's rows than this were put in quarantine."""
    memory_mib: int = Field(default=512, ge=128, le=10240)
    """Of the ingestion. Its processor grows with it."""
    timeout_seconds: int = Field(default=900, ge=60, le=900)
    """Of the ingestion; a file that takes longer is carried on by the next run."""
    log_days: RetentionDays = 90
    """How long the ingestion's logs are kept."""


class FeatureStore(pulumi.ComponentResource):
    """Feature groups made from a schema, and the ingestion that lets only fitting rows in."""

    feature_group_name: pulumi.Output[str]
    """The group of the version that is read."""
    feature_schema: pulumi.Output[str]
    """The schema of that version as JSON, and under `groups` those of all groups: what the next deployment compares."""
    incoming_uri: pulumi.Output[str]
    """Where producers put CSV files with a header, or JSON lines."""
    quarantine_uri: pulumi.Output[str]
    offline_uri: pulumi.Output[str]
    """The folder in which SageMaker keeps every group's records."""
    ingest_function_name: pulumi.Output[str]
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: FeatureStoreSpec,
        *,
        schema: FeatureSchema,
        previous_schema: FeatureSchema | None = None,
        deployed_schema: pulumi.Input[str | None],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The group of version 1 is called `name`, that of version 2 `name-v2`.

        `previous_schema` is the version that a migration leaves, as long as it lasts. `deployed_schema` is this stack's
        own last output `feature_schema`, None before there is one: a change that would lose records is refused before
        anything happens. `prefix` is the product's folder in the bucket, which sends its events to EventBridge.

        Raises ValueError for a version to read that no schema has, and for a name that a group cannot have.
        """
        super().__init__("slipway:index:FeatureStore", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        schemas = _by_group(name, schema, previous_schema)
        read = group_name(name, spec.version)
        if read not in schemas:
            there = " and ".join(str(each.version) for each in schemas.values())
            raise ValueError(
                f"features.version is {spec.version}, but {schema.name} has {there}: set it to one of those"
            )
        # Nothing that could lose a record starts before this has been looked at.
        checked = pulumi.Output.from_input(deployed_schema).apply(
            lambda deployed: refuse_losses(name, schemas, json.loads(deployed) if deployed else {})
        )
        folder = f"{prefix}/features"
        self.offline_uri = pulumi.Output.concat("s3://", bucket, "/", folder)
        role, granted = _role(name, bucket_arn, folder, kms_key_arn, child)
        throughput = _throughput(spec.throughput)
        groups = {}
        for group, each in schemas.items():
            kept = spec.protect and not (spec.retire_previous and each is previous_schema)
            groups[group] = _group(
                group,
                each,
                checked=checked,
                offline_uri=self.offline_uri,
                throughput=throughput,
                kms_key_arn=kms_key_arn,
                role_arn=role.arn,
                opts=child.merge(
                    pulumi.ResourceOptions(
                        depends_on=[granted], protect=kept, retain_on_delete=kept, ignore_changes=KEPT_BY_KEEPER
                    )
                ),
            )
        kept_groups = _keep(name, schemas, groups, throughput, spec.log_days, kms_key_arn, child)
        lost = DeadLetters(
            f"{name}-ingest",
            senders=["events.amazonaws.com"],
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        lake = pulumi.Output.concat(bucket_arn, "/", prefix)
        ingest = Function(
            f"{name}-ingest",
            handler="functions.ingest.handler.handler",
            access=[
                allow(["s3:GetObject", "s3:GetObjectVersion"], pulumi.Output.concat(lake, "/incoming/*")),
                allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/ingested/*"}}),
                allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(lake, "/ingested/*")),
                allow(["s3:PutObject"], pulumi.Output.concat(lake, "/quarantine/*")),
                allow(
                    ["sagemaker:BatchWriteRecord", "sagemaker:PutRecord"],
                    *(local_arn("sagemaker", f"feature-group/{group.lower()}") for group in schemas),
                ),
                # A file that takes longer than one run is carried on by the next.
                allow(["lambda:InvokeFunction"], local_arn("lambda", f"function:{name}-ingest")),
                use_key(kms_key_arn, "s3", "sagemaker"),
            ],
            kms_key_arn=kms_key_arn,
            environment={"PREFIX": prefix, "FRESH_HOURS": str(spec.fresh_hours)},
            files={"groups.json": json.dumps({group: json.loads(each.to_json()) for group, each in schemas.items()})},
            memory_mib=spec.memory_mib,
            timeout_seconds=spec.timeout_seconds,
            log_days=spec.log_days,
            dead_letters_arn=lost.queue_arn,
            # The function knows the groups by their names.
            opts=child.merge(pulumi.ResourceOptions(depends_on=kept_groups)),
        )
        _start_with_files(name, bucket, prefix, ingest, lost.queue_arn, child)
        self._watch(name, spec, list(schemas), read, prefix, alerts_topic_arn, lost.guides, child)

        self.feature_group_name = groups[read].feature_group_name
        # Told only once the groups are as the schemas say.
        self.feature_schema = pulumi.Output.all(*(each.id for each in kept_groups)).apply(
            lambda _: _told(schemas, read, spec.retire_previous)
        )
        uri = pulumi.Output.concat("s3://", bucket, "/", prefix)
        self.incoming_uri = pulumi.Output.concat(uri, "/incoming")
        self.quarantine_uri = pulumi.Output.concat(uri, "/quarantine")
        self.ingest_function_name = ingest.name
        self.register_outputs(
            {
                "feature_group_name": self.feature_group_name,
                "feature_schema": self.feature_schema,
                "incoming_uri": self.incoming_uri,
                "quarantine_uri": self.quarantine_uri,
                "offline_uri": self.offline_uri,
                "ingest_function_name": self.ingest_function_name,
            }
        )

    def _watch(
        self,
        name: str,
        spec: FeatureStoreSpec,
        groups: Sequence[str],
        read: str,
        prefix: str,
        alerts_topic_arn: pulumi.Input[str],
        guides: Sequence[Guide],
        opts: pulumi.ResourceOptions,
    ) -> None:
        self.guides, self.charts = list(guides), []
        quarantine = f"The files under `{prefix}/quarantine/{{group}}/` in the data lake: each line has a row and why."
        resend = (
            f"Mend the rows, and put them as a new file under `{prefix}/incoming/`; what is there twice does no harm."
        )
        for group in groups:
            alarms = Alarms(group, alerts_topic_arn, opts)
            count = {"namespace": NAMESPACE, "dimensions": {"feature_group": group}}
            alarms.add(
                "quarantined",
                means=f"More than {spec.quarantined_percent:g} % of an hour's rows for {group} do not fit its schema.",
                look=[quarantine.format(group=group)],
                act=[
                    "A producer has changed: agree with it what the values mean.",
                    "Where the values are right, widen the schema in functions/, and deploy.",
                    resend,
                ],
                comparison_operator="GreaterThanThreshold",
                threshold=spec.quarantined_percent,
                evaluation_periods=1,
                metric_queries=[
                    _metric("bad", "rows_quarantined", group),
                    _metric("good", "rows_accepted", group),
                    {
                        "id": "percent",
                        "expression": "100 * bad / (bad + good)",
                        "label": "% of rows in quarantine",
                        "return_data": True,
                    },
                ],
            )
            alarms.add(
                "refused-file",
                means=f"A whole file for {group} was put in quarantine: its columns are not those of the schema.",
                look=[quarantine.format(group=group)],
                act=[
                    "For a new column: add the feature to the schema in functions/, with required=False, and deploy.",
                    "For a missing one: ask the producer to send it.",
                    "Put the file under another name into the same folder.",
                ],
                **count,
                metric_name="files_quarantined",
                statistic="Sum",
                period=300,
                evaluation_periods=1,
                comparison_operator="GreaterThanThreshold",
                threshold=0,
            )
            self.guides += alarms.guides
            self.charts.append(
                Chart(
                    f"Rows for {group}",
                    [(NAMESPACE, each, "feature_group", group) for each in ("rows_accepted", "rows_quarantined")],
                    unit="rows",
                    period=300,
                )
            )
        alarms = Alarms(f"{name}-features", alerts_topic_arn, opts)
        alarms.add(
            "ingest-broken",
            means=f"The ingestion of {name} failed: rows wait that are not in the feature store.",
            look=[f"The log of the function `{name}-ingest`."],
            act=[
                "Mend what it names. A failed file is tried once more, and is then named in the queue of lost events."
            ],
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": f"{name}-ingest"},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides += alarms.guides
        self.charts.append(
            Chart(
                f"Age of the newest features of {read}",
                [(NAMESPACE, "newest_age_seconds", "feature_group", read)],
                stat="Minimum",
                unit="seconds",
                period=300,
            )
        )


def refuse_losses(name: str, schemas: Mapping[str, FeatureSchema], deployed: Mapping[str, Any]) -> None:
    """Raises ValueError, with the migration, where `schemas` would lose what the deployed groups hold.

    `deployed` is what the output `feature_schema` told last; empty before there is one.
    """
    groups: Mapping[str, Any] = deployed.get("groups", {})
    for group, old in groups.items():
        if group in schemas:
            new = json.loads(schemas[group].to_json())
            reasons: Sequence[str] = classify(Shape.wanted(old), Shape.wanted(new)).breaking
        elif deployed["retire_previous"] and old["version"] < max(each.version for each in schemas.values()):
            reasons = ()
        else:
            reasons = (f"{group} is no longer declared, and has not been retired: leave it as PREVIOUS until it is",)
        if reasons:
            raise ValueError(
                str(
                    migration(
                        name=name,
                        version=old["version"],
                        product=old["name"],
                        stack=pulumi.get_stack(),
                        reasons=reasons,
                    )
                )
            )


def last_output(name: str) -> pulumi.Output[Any]:
    """What this stack's own last deployment exported under this name; None before there was one."""
    own = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    return pulumi.StackReference(own).get_output(name)


def _by_group(name: str, schema: FeatureSchema, previous: FeatureSchema | None) -> dict[str, FeatureSchema]:
    """The schemas by the names of their groups, the older first."""
    if previous and (previous.version, previous.name) != (schema.version - 1, schema.name):
        raise ValueError(
            f"previous_schema is version {previous.version} of {previous.name}, schema is version {schema.version} of "
            f"{schema.name}: they must be versions of one schema that follow each other"
        )
    schemas = {group_name(name, each.version): each for each in (previous, schema) if each}
    for group in schemas:
        if not GROUP_NAME.fullmatch(group):
            raise ValueError(f"{group!r} cannot be a feature group: letters, digits and hyphens, 64 at most")
    return schemas


def _told(schemas: Mapping[str, FeatureSchema], read: str, retire_previous: bool) -> str:
    groups = {group: json.loads(schema.to_json()) for group, schema in schemas.items()}
    return json.dumps({**groups[read], "groups": groups, "retire_previous": retire_previous}, sort_keys=True)


def _role(
    name: str,
    bucket_arn: pulumi.Input[str],
    folder: str,
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """SageMaker's role for the offline store, with what AmazonSageMakerFeatureStoreAccess has, but for this one alone.

    https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonSageMakerFeatureStoreAccess.html
    """
    role = aws.iam.Role(f"{name}-features", assume_role_policy=trust("sagemaker.amazonaws.com"), opts=opts)
    objects = pulumi.Output.concat(bucket_arn, "/", folder, "/*")
    tables = f"table/sagemaker_featurestore/{name.replace('-', '_').lower()}_*"
    granted = aws.iam.RolePolicy(
        f"{name}-features",
        role=role.name,
        policy=document(
            allow(["s3:GetBucketAcl", "s3:GetBucketLocation"], bucket_arn),
            # An Iceberg table is written by reading what it was before.
            allow(["s3:PutObject", "s3:PutObjectAcl", "s3:GetObject"], objects),
            allow(
                ["glue:GetTable", "glue:UpdateTable"],
                *(local_arn("glue", each) for each in ("catalog", "database/sagemaker_featurestore", tables)),
            ),
            use_key(kms_key_arn, "s3", "sagemaker"),
            allow(["kms:DescribeKey"], kms_key_arn),
            # The online store holds its key through a grant.
            allow(["kms:CreateGrant"], kms_key_arn, when={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
        ),
        opts=opts,
    )
    return role, granted


def _throughput(spec: Throughput | None) -> Mapping[str, Any]:
    """As UpdateFeatureGroup takes it."""
    if spec is None:
        return ON_DEMAND
    return {
        "ThroughputMode": "Provisioned",
        "ProvisionedReadCapacityUnits": spec.read_units,
        "ProvisionedWriteCapacityUnits": spec.write_units,
    }


def _group(
    group: str,
    schema: FeatureSchema,
    *,
    checked: pulumi.Output[None],
    offline_uri: pulumi.Input[str],
    throughput: Mapping[str, Any],
    kms_key_arn: pulumi.Input[str],
    role_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> aws.sagemaker.FeatureGroup:
    definitions = [
        aws.sagemaker.FeatureGroupFeatureDefinitionArgs(feature_name=name, feature_type=kind)
        for name, kind in schema.definitions.items()
    ]
    ttl = (
        aws.sagemaker.FeatureGroupOnlineStoreConfigTtlDurationArgs(unit=schema.ttl.unit, value=schema.ttl.value)
        if schema.ttl
        else None
    )
    return aws.sagemaker.FeatureGroup(
        group,
        feature_group_name=group,
        record_identifier_feature_name=schema.record_id,
        event_time_feature_name=schema.event_time,
        feature_definitions=checked.apply(lambda _: definitions),
        online_store_config=aws.sagemaker.FeatureGroupOnlineStoreConfigArgs(
            enable_online_store=True,
            security_config=aws.sagemaker.FeatureGroupOnlineStoreConfigSecurityConfigArgs(kms_key_id=kms_key_arn),
            storage_type="Standard",
            ttl_duration=ttl,
        ),
        offline_store_config=aws.sagemaker.FeatureGroupOfflineStoreConfigArgs(
            s3_storage_config=aws.sagemaker.FeatureGroupOfflineStoreConfigS3StorageConfigArgs(
                s3_uri=offline_uri, kms_key_id=kms_key_arn
            ),
            table_format="Iceberg",
            disable_glue_table_creation=False,
        ),
        throughput_config=aws.sagemaker.FeatureGroupThroughputConfigArgs(
            throughput_mode=throughput["ThroughputMode"],
            provisioned_read_capacity_units=throughput.get("ProvisionedReadCapacityUnits"),
            provisioned_write_capacity_units=throughput.get("ProvisionedWriteCapacityUnits"),
        ),
        role_arn=role_arn,
        opts=opts,
    )


def _keep(
    name: str,
    schemas: Mapping[str, FeatureSchema],
    groups: Mapping[str, aws.sagemaker.FeatureGroup],
    throughput: Mapping[str, Any],
    log_days: RetentionDays,
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> list[aws.lambda_.Invocation]:
    """A function that changes the groups in place, invoked whenever a schema or the throughput changes."""
    keeper = Function(
        f"{name}-keeper",
        handler="functions.feature_group.handler.handler",
        access=[
            allow(
                ["sagemaker:DescribeFeatureGroup", "sagemaker:UpdateFeatureGroup"],
                *(local_arn("sagemaker", f"feature-group/{group.lower()}") for group in schemas),
            )
        ],
        kms_key_arn=kms_key_arn,
        # An update takes minutes, and one kind of change follows the other.
        timeout_seconds=900,
        log_days=log_days,
        opts=opts,
    )
    return [
        aws.lambda_.Invocation(
            f"{group}-schema",
            function_name=keeper.name,
            input=pulumi.Output.json_dumps(
                {
                    "feature_group_name": groups[group].feature_group_name,
                    "schema": json.loads(schema.to_json()),
                    "throughput": throughput,
                }
            ),
            opts=opts.merge(pulumi.ResourceOptions(depends_on=[groups[group], keeper])),
        )
        for group, schema in schemas.items()
    ]


def _start_with_files(
    name: str,
    bucket: pulumi.Input[str],
    prefix: str,
    ingest: Function,
    dead_letters_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> None:
    """Each new object under `incoming/` starts the ingestion."""
    arrived = aws.cloudwatch.EventRule(
        f"{name}-incoming",
        description=f"A file with features of {name} has come",
        event_pattern=pulumi.Output.json_dumps(
            {
                "source": ["aws.s3"],
                "detail-type": ["Object Created"],
                "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": f"{prefix}/incoming/"}]}},
            }
        ),
        opts=opts,
    )
    may = aws.lambda_.Permission(
        f"{name}-incoming",
        action="lambda:InvokeFunction",
        function=ingest.name,
        principal="events.amazonaws.com",
        source_arn=arrived.arn,
        opts=opts,
    )
    aws.cloudwatch.EventTarget(
        f"{name}-incoming",
        rule=arrived.name,
        arn=ingest.arn,
        retry_policy={"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 10},
        dead_letter_config={"arn": dead_letters_arn},
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[may])),
    )


def _metric(id_: str, metric: str, group: str) -> dict[str, Any]:
    """An hour's sum of a metric of a group, as 0 where there is none."""
    return {
        "id": id_,
        "metric": {
            "namespace": NAMESPACE,
            "metric_name": metric,
            "dimensions": {"feature_group": group},
            "period": 3600,
            "stat": "Sum",
        },
    }
