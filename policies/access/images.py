"""Where container images come from, and whether their names may come to mean others."""

import json
import re
from fnmatch import fnmatchcase

import pulumi

from policies.limits import limits


def registry_of(image: str) -> str:
    """The host of an image's name; Docker Hub's where it names none."""
    first, slash, _ = str(image).partition("/")
    return first if slash and re.search(r"[.:]|^localhost$", first) else "docker.io"


def of_our_account(image: str) -> bool:
    """Whether an image is in the registry of the account that is deployed to: there, tags do not move."""
    accounts = pulumi.Config("aws").get("allowedAccountIds")
    return any(registry_of(image).startswith(f"{each}.dkr.ecr.") for each in json.loads(accounts or "[]"))


def is_ours(image: str) -> bool:
    """Whether an image comes from a registry of ours, or from one that policies/limits.yaml names."""
    return of_our_account(image) or any(fnmatchcase(registry_of(image), each) for each in limits().image_registries)


def registry_sentence(where: str, image: str) -> str:
    """What to say of an image from elsewhere."""
    return (
        f"{where} comes from {registry_of(image)}: copy it into the account's registry, or name that one in "
        "image_registries of policies/limits.yaml"
    )


def digest(image: str) -> str:
    """An image's digest; '' where it is named by a tag."""
    return str(image).partition("@")[2]


def tag(image: str) -> str:
    """An image's tag; '' where it names none."""
    return str(image).partition("@")[0].rpartition("/")[2].partition(":")[2]


def fixed_tag(image: str) -> bool:
    """Whether it names a digest, or a tag that is made to stay."""
    return bool(digest(image)) or tag(image) not in ("", "latest")


def pinned(image: str) -> bool:
    """Whether it means the same image for ever: by its digest, or by a tag in our own registry, where none moves."""
    return bool(digest(image)) or (fixed_tag(image) and of_our_account(image))
