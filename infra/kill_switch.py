"""Stopping a stack's spending from the command line: ask its kill-switch, and show what it did or would do."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from infra.reach import Deployed

OUTPUT: Final = "stop_function_name"


class NotStopped(Exception):
    """The switch could not be asked, or refused: the text says why."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that spends."""

    kind: str
    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    change: bool
    why: str
    outcome: str
    """`done` or `failed`; empty where nothing was to be done, or it was a dry run."""

    def words(self) -> str:
        """What is, or would be, another than before."""
        if not self.change:
            return "no"
        pairs = {name: (self.before.get(name), value) for name, value in self.after.items()}
        return ", ".join(f"{name}: {_value(was)} → {_value(is_)}" for name, (was, is_) in pairs.items() if was != is_)


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What the switch of one stack did, or would do."""

    stack: str
    act: bool
    record: str | None
    """What an undo is asked for by; None where nothing was recorded."""
    items: Sequence[Item]
    problems: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def table(self) -> Table:
        """To read in a terminal."""
        table = Table(title=f"{self.stack}: {self._says()}", title_justify="left", title_style="bold", box=None)
        for name in ("what", "name", "changed" if self.act else "would change", "why"):
            table.add_column(name, overflow="fold")
        for each in sorted(self.items, key=lambda each: not each.change):
            cells = each.kind, each.name, each.words(), each.why + (" (failed)" if each.outcome == "failed" else "")
            table.add_row(*map(Text, cells), style=None if each.change else "dim")
        return table

    def _says(self) -> str:
        changed = sum(each.change for each in self.items)
        if not changed:
            return "nothing to do"
        if not self.act:
            return f"{changed} would change; nothing was done (--act does it)"
        failed = sum(each.outcome == "failed" for each in self.items)
        return f"{changed - failed} changed" + (f", {failed} failed" if failed else "") + f"; record {self.record}"


def stop(
    deployed: Deployed, *, act: bool = False, undo: str | None = None, overwrite: bool = False, reason: str = ""
) -> Stopped:
    """Ask a stack's switch. Raises NotDeployed and NotStopped.

    Without `act` it only says what it would do. `undo` names a record: what that stopped is put back, and what was
    changed since only with `overwrite`.
    """
    asked = {"by": deployed.client("sts").get_caller_identity()["Arn"], "reason": reason, "act": act}
    if undo:
        asked |= {"undo": undo, "overwrite": overwrite}
    answer = deployed.client("lambda").invoke(FunctionName=deployed.output(OUTPUT), Payload=json.dumps(asked).encode())
    told = json.load(answer["Payload"])
    stack = deployed.settings.stack
    if answer.get("FunctionError"):
        raise NotStopped(f"{stack}: {told.get('errorMessage', told)}")
    return Stopped(
        stack=stack,
        act=told["act"],
        record=told["record"],
        items=[Item(**each) for each in told["decisions"]],
        problems=told["problems"],
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(each)}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
