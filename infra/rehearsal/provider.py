"""What the rehearsal's engine asks of a provider; the AWS and the Kubernetes provider answer it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pulumi.runtime.rpc import UNKNOWN as _UNKNOWN_ON_THE_WIRE

UNKNOWN: Final[str] = _UNKNOWN_ON_THE_WIRE
"""Stands in inputs and outputs for a value that only a deployment will give, as it does on Pulumi's wire."""


def symbol(what: str, name: str) -> str:
    """A readable stand-in for a text that only a deployment can tell: `symbol("keyId", "data")`."""
    return f"(known after up: {what} of {name})"


Props = dict[str, Any]
"""Plain JSON values under Pulumi's camelCase names, secrets already opened, `UNKNOWN` where not known yet."""


class ProviderError(Exception):
    """A provider could not do what it was asked: the text says what, to which resource, and how to mend it."""


@dataclass(frozen=True)
class Diff:
    """How new inputs differ from what is deployed; falsy where they do not."""

    changed: tuple[str, ...] = ()
    """The properties that differ, as paths: `scalingConfig.maxSize`."""
    replaces: tuple[str, ...] = ()
    """Those of them that AWS cannot change in place."""
    delete_before_replace: bool = False
    """Whether the old one has to go first, because both cannot exist side by side (they would share a name)."""

    def __bool__(self) -> bool:
        return bool(self.changed)


class Provider(Protocol):
    """One cloud. `type_` is Pulumi's token, such as `aws:s3/bucket:Bucket`; `id_` is the resource's physical id.

    A provider that an explicit provider resource may set up has `configure(inputs) -> Provider` as well.

    Every method but `check`, `diff` and `preview`, which ask nobody, raises ProviderError where the cloud refuses.
    """

    def check(self, type_: str, name: str, old_inputs: Props | None, new_inputs: Props) -> Props:
        """The inputs as they will be deployed: with defaults, default tags and, where none is given, a physical name.

        Keeps the generated name of `old_inputs`. Raises ProviderError for a type or an input that it does not know.
        """
        ...

    def preview(self, type_: str, name: str, inputs: Props) -> Props:
        """The outputs before creation, `id` among them: `inputs`, and what the cloud will add to them.

        An ARN or a name that follows from the inputs is given as it will be. Any other text that only the cloud can
        tell is a stand-in made by `symbol`, so that a document that holds it can still be read and checked. What is
        no text is `UNKNOWN`.
        """
        ...

    def diff(self, type_: str, old_inputs: Props, new_inputs: Props, ignore: Sequence[str]) -> Diff:
        """What differs between deployed and new inputs, leaving out the paths in `ignore`."""
        ...

    def create(self, type_: str, inputs: Props, token: str) -> tuple[str, Props]:
        """Make it, wait until it is usable, and return its id and outputs.

        `token` names this one creation: asked again with the same token, after a crash say, nothing is made twice.
        """
        ...

    def read(self, type_: str, id_: str, inputs: Props, outputs: Props) -> Props | None:
        """Its outputs as the cloud has them now; None where it is gone."""
        ...

    def update(self, type_: str, id_: str, old_inputs: Props, new_inputs: Props, outputs: Props) -> Props:
        """Change it in place, wait until the change is in force, and return its outputs."""
        ...

    def delete(self, type_: str, id_: str, inputs: Props, outputs: Props) -> None:
        """Remove it. One that is gone already is no error."""
        ...

    def invoke(self, token: str, arguments: Mapping[str, Any]) -> Props:
        """Answer a data source such as `aws:index/getCallerIdentity:getCallerIdentity`."""
        ...
