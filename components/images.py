"""Images that nodes need from elsewhere, in repositories of our own: nodes have no way to the internet."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.iam import account_id, region

FORGET_UNTAGGED = {
    "rulePriority": 1,
    "description": "Images that no tag names any more",
    "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14},
    "action": {"type": "expire"},
}


@dataclass(frozen=True)
class Image:
    """One image, where its makers publish it."""

    source: str
    """Registry and repository: `nvcr.io/nvidia/k8s-device-plugin`."""
    tag: str

    @property
    def short(self) -> str:
        """The last part of its name."""
        return self.source.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.source}:{self.tag}"


class Images(pulumi.ComponentResource):
    """A repository for each image, and the commands that fill them once, before what runs them starts."""

    urls: dict[str, pulumi.Output[str]]
    """By source, with the tag."""
    repositories: dict[str, pulumi.Output[str]]
    """By source, without."""
    copies: pulumi.Output[list[str]]
    """A command for each: copies the image from its makers' registry to ours."""

    def __init__(
        self,
        name: str,
        *,
        images: Sequence[Image],
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Repositories are called `<name>/<last part of the source>`."""
        super().__init__("slipway:index:Images", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        self.urls, self.repositories = {}, {}
        for image in images:
            repository = aws.ecr.Repository(
                f"{name}-{image.short}",
                name=f"{name}/{image.short}",
                # What a tag names never changes, so the version pins the image.
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration={"scan_on_push": True},
                encryption_configurations=[{"encryption_type": "KMS", "kms_key": kms_key_arn}],
                opts=child,
            )
            aws.ecr.LifecyclePolicy(
                f"{name}-{image.short}",
                repository=repository.name,
                policy=json.dumps({"rules": [FORGET_UNTAGGED]}),
                opts=child,
            )
            self.repositories[image.source] = repository.repository_url
            self.urls[image.source] = pulumi.Output.concat(repository.repository_url, ":", image.tag)
        self.copies = pulumi.Output.all(
            *(pulumi.Output.concat(f"crane copy {image} ", self.urls[image.source]) for image in images)
        ).apply(list)
        self.register_outputs({"copies": self.copies})


def login() -> str:
    """The command that lets `crane` write to this account's registry for twelve hours."""
    registry = f"{account_id()}.dkr.ecr.{region()}.amazonaws.com"
    return (
        f"aws ecr get-login-password --region {region()} | crane auth login {registry} --username AWS --password-stdin"
    )
