"""A cloud of one kind of thing, kept in a folder so that it outlives a process, and the provider that talks to it."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import pulumi

from infra.rehearsal.provider import UNKNOWN, Diff, Props, ProviderError, symbol
from infra.rehearsal.state import write_atomically
from infra.settings import Settings
from infra.stack import Stack

Build = Callable[[], object]
"""A program; what it returns is exported if it is a dict."""


class Thing(pulumi.CustomResource):
    """Has a `name` it gets from the provider unless it is given one, a `handle` and a `serial` only the cloud can tell.

    `kind` cannot be changed in place; `fixed` says that two cannot exist side by side.
    """

    handle: pulumi.Output[str]
    serial: pulumi.Output[int]
    label: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, /, **inputs: Any) -> None:
        missing = {"handle": None, "serial": None, "name": None, "label": None}
        super().__init__("cloud:index:Thing", name, missing | inputs, opts)


class Other(pulumi.CustomResource):
    """The same under another type's name."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, /, **inputs: Any) -> None:
        super().__init__("cloud:index:Other", name, inputs, opts)


class Group(pulumi.ComponentResource):
    """A component with one thing in it, named after it."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, /, **inputs: Any) -> None:
        super().__init__("test:index:Group", name, None, opts)
        self.thing = Thing(f"{name}-thing", pulumi.ResourceOptions(parent=self), **inputs)
        self.handle = self.thing.handle
        self.register_outputs({"handle": self.handle})


class Cloud:
    """The provider. `calls` lists what it was asked; a creation asked for twice with one token happens once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "things").mkdir(parents=True, exist_ok=True)
        self.calls: list[tuple[str, str]] = []
        self.failing: dict[tuple[str, str], str] = {}
        """What is refused, by call and a thing's name without its random end, and with which words."""
        self.during: Callable[[str, str], None] = lambda call, name: None
        self.settings: Props = {}
        self._lock = Lock()

    def configure(self, inputs: Props) -> "Cloud":
        other = Cloud(self.folder)
        other.calls, other.settings = self.calls, inputs
        return other

    @property
    def things(self) -> dict[str, Props]:
        """What exists, by the name the program gave."""
        made = [json.loads(path.read_text()) for path in (self.folder / "things").glob("id-*")]
        return {thing["name"].rpartition("-")[0] or thing["name"]: thing for thing in made}

    @property
    def creations(self) -> list[str]:
        try:
            return (self.folder / "creations").read_text().split()
        except FileNotFoundError:
            return []

    def lose_everything(self) -> None:
        for path in (self.folder / "things").iterdir():
            path.unlink()

    def check(self, type_: str, name: str, old_inputs: Props | None, new_inputs: Props) -> Props:
        if "forbidden" in new_inputs:
            raise ProviderError("forbidden is no input of a Thing")
        generated = (old_inputs or {}).get("name") or f"{name}-{os.urandom(3).hex()}"
        return {"name": generated} | new_inputs

    def preview(self, type_: str, name: str, inputs: Props) -> Props:
        return inputs | {"id": symbol("id", name), "handle": symbol("handle", name), "serial": UNKNOWN}

    def diff(self, type_: str, old_inputs: Props, new_inputs: Props, ignore: Sequence[str]) -> Diff:
        names = sorted(old_inputs.keys() | new_inputs.keys())
        changed = tuple(name for name in names if old_inputs.get(name) != new_inputs.get(name) and name not in ignore)
        replaces = tuple(name for name in changed if name in ("kind", "name"))
        return Diff(changed, replaces, delete_before_replace=bool(new_inputs.get("fixed")))

    def create(self, type_: str, inputs: Props, token: str) -> tuple[str, Props]:
        name = self._asked("create", inputs["name"])
        id_ = f"id-{token}"
        path = self.folder / "things" / id_
        if not path.exists():
            if inputs.get("fixed") and name in self.things:
                raise ProviderError(f"there is a {name} already")
            with self._lock, (self.folder / "creations").open("a") as log:
                outputs = inputs | {"handle": f"handle:{inputs['name']}", "serial": len(self.creations) + 1}
                write_atomically(path, json.dumps(outputs))
                log.write(f"{name}\n")
        self.during("created", name)
        return id_, json.loads(path.read_text())

    def read(self, type_: str, id_: str, inputs: Props, outputs: Props) -> Props | None:
        self._asked("read", inputs.get("name", id_))
        path = self.folder / "things" / id_
        return dict(json.loads(path.read_text())) if path.exists() else None

    def update(self, type_: str, id_: str, old_inputs: Props, new_inputs: Props, outputs: Props) -> Props:
        name = self._asked("update", new_inputs["name"])
        changed = new_inputs | {"handle": outputs["handle"], "serial": outputs["serial"]}
        write_atomically(self.folder / "things" / id_, json.dumps(changed))
        self.during("updated", name)
        return changed

    def delete(self, type_: str, id_: str, inputs: Props, outputs: Props) -> None:
        name = self._asked("delete", inputs["name"])
        (self.folder / "things" / id_).unlink(missing_ok=True)
        self.during("deleted", name)

    def invoke(self, token: str, arguments: Mapping[str, Any]) -> Props:
        if token != "cloud:index:greet":
            raise ProviderError(f"there is no function {token}")
        return {"greeting": f"hello {arguments['name']}"}

    def _asked(self, call: str, full_name: str) -> str:
        """Note the call, and refuse it where it is to fail; the thing's name as the program gave it."""
        name = full_name.rpartition("-")[0] or full_name
        with self._lock:
            self.calls.append((call, name))
        self.during(call, name)
        if (call, name) in self.failing:
            raise ProviderError(self.failing[call, name])
        return name


def settings(build: Build, stack: str = "thing-local", needs: Sequence[str] = ()) -> Settings:
    """The settings of a stack whose program is `build`."""

    class Program(Stack):
        @property
        def needs(self) -> Sequence[str]:
            return needs

        def build(self) -> Mapping[str, pulumi.Input[Any]]:
            exports = build()
            return exports if isinstance(exports, dict) else {}

    config = {"aws:region": "eu-west-1", "slipway:stack": "thing"}
    return Settings(stack, "local", "eu-west-1", "123456789012", 10.0, {"owner": "us"}, Program(), config)
