"""A pretend AWS: run a program against it, then look at what it was asked for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import MockCallArgs, MockResourceArgs

ACCOUNT = "123456789012"
REGION = "us-east-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/ours"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alerts"

CONFIG = {
    "aws:region": REGION,
    "aws:allowedAccountIds": json.dumps([ACCOUNT]),
    "aws:defaultTags": json.dumps(
        {"tags": {"owner": "team", "product": "churn", "environment": "local", "cost-center": "7"}}
    ),
    "slipway:usd_per_month": "100",
}

PLATFORM = {
    "vpc_id": "vpc-1",
    "private_subnet_ids": ["subnet-a", "subnet-b"],
    "workload_security_group_id": "sg-workload",
    "kms_key_arn": KEY,
    "data_bucket": "lake",
    "data_bucket_arn": "arn:aws:s3:::lake",
    "alerts_topic_arn": TOPIC,
    "cluster_name": "platform-local",
}


@dataclass
class PretendAws(pulumi.runtime.Mocks):
    """Creates whatever it is asked to, and remembers the inputs."""

    resources: list[MockResourceArgs] = field(default_factory=list)

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.resources.append(args)
        if args.typ == "pulumi:pulumi:StackReference":
            return args.name, {"outputs": PLATFORM}
        if not args.custom:
            return "", {}
        made = {
            "arn": f"arn:aws:pretend:::{args.name}",
            "name": args.name,
            "bucket": args.name,
            "keyId": args.name,
            "url": f"https://queue/{args.name}",
            "repositoryUrl": f"registry/{args.name}",
            "latestVersion": 1,
            "endpoint": "https://cluster",
            "certificateAuthority": {"data": "certificate"},
            "prefixListId": "pl-s3",
        }
        return f"{args.name}-id", {**made, **args.inputs}

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"asks AWS while it is built: {args.token}")

    def inputs(self, kind: type[pulumi.Resource]) -> dict[str, dict[str, Any]]:
        """The inputs of all resources of this kind, by name (the order of creation is chance)."""
        found = [each for each in self.resources if each.typ == kind.pulumi_type]
        return {each.name: each.inputs for each in sorted(found, key=lambda each: each.name)}

    def only(self, kind: type[pulumi.Resource]) -> dict[str, Any]:
        """The inputs of the one resource of this kind."""
        [inputs] = self.inputs(kind).values()
        return inputs

    def statements(self, kind: type[pulumi.Resource], name: str, key: str = "policy") -> list[dict[str, Any]]:
        """The statements of the policy document that a resource carries."""
        return list(json.loads(self.inputs(kind)[name][key])["Statement"])


def up(
    program: Callable[[], Any], *, stack: str = "churn-local", config: Mapping[str, str] | None = None
) -> PretendAws:
    """Run `program` to its end, as `pulumi up` would, and return the AWS it ran against."""
    aws = PretendAws()
    pulumi.runtime.set_all_config(dict(config or CONFIG))
    pulumi.runtime.set_mocks(aws, project="slipway", stack=stack, organization="organization")
    pulumi.runtime.test(program)()
    return aws
