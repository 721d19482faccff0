"""What the platform stack offers to every product stack: the one list of names that crosses stacks."""

from dataclasses import dataclass, fields
from typing import Self

import pulumi


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The platform stack exports these fields under these names; product stacks read them back.

    A field that one side lacks is an error when types are checked, not when AWS is asked.
    """

    vpc_id: pulumi.Input[str]
    private_subnet_ids: pulumi.Input[list[str]]
    workload_security_group_id: pulumi.Input[str]
    """Lets a model or a job call the VPC's endpoints, and nothing else."""
    kms_key_arn: pulumi.Input[str]
    """The key that encrypts what products store."""
    data_bucket: pulumi.Input[str]
    """The data lake's bucket; a product keeps to the prefix `<product>/`."""
    data_bucket_arn: pulumi.Input[str]
    ledger_bucket: pulumi.Input[str]
    """Where it is written, for good, which model was live when."""
    ledger_bucket_arn: pulumi.Input[str]
    mlflow_arn: pulumi.Input[str]
    """Where training runs are recorded."""
    alerts_topic_arn: pulumi.Input[str]
    cluster_name: pulumi.Input[str]

    @classmethod
    def of(cls, stack: str) -> Self:
        """The outputs of a deployed platform stack, `platform-<environment>`."""
        reference = pulumi.StackReference(f"{pulumi.get_organization()}/{pulumi.get_project()}/{stack}")
        return cls(**{field.name: reference.require_output(field.name) for field in fields(cls)})
