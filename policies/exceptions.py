"""Exceptions to rules, as `policies/exceptions.yaml` lists them: who allowed what, why, and until when.

An entry is for one rule and one resource, never for a pattern. One that has expired, or that is not as it must be,
excepts nothing: what it was for is violated again, and the report names the entry.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, field_validator, model_validator

FILE: Final = Path(__file__).with_name("exceptions.yaml")
SHOWN: Final = "policies/exceptions.yaml"
LONGEST_DAYS: Final = 90
NEAR_DAYS: Final = 14
"""From so many days before its end on, an exception is warned of."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Exemption(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Text
    resource: Text
    """Its URN, `type::name`, or its name; the stack's own name for what is said of the whole stack."""
    stack: Text | None = None
    owner: Text
    reason: Text
    ticket: Text
    expires: date
    """The last day on which it holds, in UTC."""

    @field_validator("expires", mode="before")
    @classmethod
    def _a_day(cls, value: Any) -> Any:
        if isinstance(value, datetime) or not isinstance(value, date | str):
            raise ValueError("write a day, such as 2027-01-31")
        return value

    @model_validator(mode="after")
    def _one_resource(self) -> "Exemption":
        if any(each in self.resource for each in "*?") or (self.stack and any(each in self.stack for each in "*?")):
            raise ValueError("resource, stack: name one each; there are no patterns")
        if self.resource.startswith("urn:"):
            if _parts(self.resource) is None:
                raise ValueError("resource: no URN; copy it from a report, or write type::name")
            if self.stack not in (None, stack_of(self.resource)):
                raise ValueError(f"stack: {self.stack!r}, but the URN is of stack {stack_of(self.resource)!r}")
        elif self.stack is None and "::" not in self.resource:
            raise ValueError("stack: missing; a name alone says not which resource of which stack")
        return self

    def covers(self, rule: str, urn: str, stack: str) -> bool:
        """Whether it is for what `rule` says of `urn` in `stack`; '' stands for the stack itself."""
        return rule == self.rule and self.may_be_in(stack) and self._names(urn, stack)

    def may_be_in(self, stack: str) -> bool:
        """Whether its resource may be one of `stack`."""
        meant = stack_of(self.resource) if self.resource.startswith("urn:") else self.stack
        return meant in (None, stack)

    def _names(self, urn: str, stack: str) -> bool:
        if not urn:
            return self.resource == stack
        if self.resource.startswith("urn:"):
            return self.resource == urn
        found = _parts(urn)
        return found is not None and self.resource in (found[1], "::".join(found))

    def days_left(self, today: date) -> int:
        """0 on its last day, less when it has expired."""
        return (self.expires - today).days

    def __str__(self) -> str:
        """Who answers for it, and until when: what a report says of it."""
        return f"{self.ticket}, {self.owner}, until {self.expires}: {self.reason}"


def stack_of(urn: str) -> str:
    """The stack in a URN; '' where it is none."""
    return urn.removeprefix("urn:pulumi:").partition("::")[0] if urn.startswith("urn:pulumi:") else ""


def _parts(urn: str) -> tuple[str, str] | None:
    """The type and the name in a URN."""
    parts = urn.split("::", 3)
    return (parts[2].rpartition("$")[2], parts[3]) if urn.startswith("urn:pulumi:") and len(parts) == 4 else None


@dataclass(frozen=True)
class Exceptions:
    """What a file says on a day."""

    today: date
    entries: tuple[Exemption, ...] = ()
    faults: tuple[str, ...] = ()
    """What is wrong with other entries, each with file, entry and key. They except nothing."""

    def of(self, rule: str, urn: str, stack: str) -> tuple[Exemption | None, Exemption | None]:
        """What is in force for this, and what was but has expired."""
        found = [each for each in self.entries if each.covers(rule, urn, stack)]
        by_end = sorted(found, key=lambda each: each.expires)
        in_force = next((each for each in reversed(by_end) if each.days_left(self.today) >= 0), None)
        return in_force, None if in_force else next(reversed(by_end), None)

    def near(self, entry: Exemption) -> str:
        """A warning where it ends soon, else ''."""
        left = entry.days_left(self.today)
        if not 0 <= left <= NEAR_DAYS:
            return ""
        ends = "today" if left == 0 else f"in {left} day{'s' if left > 1 else ''}"
        return f"it ends {ends}: mend what it is for, or have it decided anew"


def read(path: Path, today: date) -> Exceptions:
    """What the file says. Never raises for what stands in it: whatever is wrong is among the faults."""
    try:
        listed = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        return Exceptions(today, faults=(f"{SHOWN}: cannot be read: {error}",))
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        return Exceptions(today, faults=(f"{SHOWN}: write a list of entries, each with {', '.join(KEYS)}",))
    entries: list[Exemption] = []
    faults: list[str] = []
    for number, raw in enumerate(listed, 1):
        try:
            entry = Exemption.model_validate(raw)
        except ValidationError as error:
            faults += _faults(number, raw, error)
            continue
        if entry.days_left(today) > LONGEST_DAYS:
            last = today + timedelta(days=LONGEST_DAYS)
            faults.append(
                f"{_place(number, raw)}, expires: {entry.expires} is more than {LONGEST_DAYS} days ahead; "
                f"set {last} at the latest"
            )
        else:
            entries.append(entry)
    return Exceptions(today, tuple(entries), tuple(faults))


KEYS: Final = tuple(Exemption.model_fields)


def _faults(number: int, raw: Any, error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        key = ".".join(map(str, fault["loc"]))
        said = {
            "extra_forbidden": f"there is no such key; there are {', '.join(KEYS)}",
            "missing": "missing",
        }.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        yield f"{_place(number, raw)}{', ' if key else ': '}{f'{key}: ' if key else ''}{said}"


def _place(number: int, raw: Any) -> str:
    rule = raw.get("rule") if isinstance(raw, dict) else None
    return f"{SHOWN}, entry {number}" + (f" ({rule})" if rule else "")


def today() -> date:
    """Today, in UTC: the day on which an exception ends is the same everywhere."""
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class Use:
    """A sentence of a rule that an exception covers."""

    entry: Exemption
    urn: str
    """'' for the stack itself."""
    stack: str
    sentence: str


@dataclass
class Ledger:
    """Which exceptions rules met. Under Pulumi it is one for the whole life of a pack's process."""

    exceptions: Exceptions
    uses: list[Use] = field(default_factory=list)
    undecided: set[Exemption] = field(default_factory=set)
    """Those for what a rule could not decide yet: they may be needed."""

    def note(self, use: Use) -> None:
        """An exception was used; a preview and its update say so once."""
        if use not in self.uses:
            self.uses.append(use)

    def used(self, entry: Exemption, stack: str) -> bool:
        """Whether it was needed in `stack`, or may be."""
        return entry in self.undecided or any(each.entry == entry and each.stack == stack for each in self.uses)


_current: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


@cache
def _of_process() -> Ledger:
    return Ledger(read(FILE, today()))


def ledger() -> Ledger:
    """The ledger of this check, or else of this process."""
    return _current.get() or _of_process()


def keep(own: Ledger) -> None:
    """From now on this context has a ledger of its own."""
    _current.set(own)


def idle(
    of: Ledger, rules: Iterable[str], judged: Mapping[str, Iterable[str]], *, everywhere: bool = False
) -> Iterator[tuple[Exemption, str]]:
    """The entries for `rules` that except nothing, and why. `judged`: the URNs of each stack that was judged.

    What names no stack may be in one that was not judged, unless they were judged `everywhere`.
    """
    wanted = set(rules)
    urns = {stack: ("", *each) for stack, each in judged.items()}
    for entry in of.exceptions.entries:
        stacks = [stack for stack in urns if entry.may_be_in(stack)]
        if entry.rule not in wanted or not stacks or any(of.used(entry, stack) for stack in stacks):
            continue
        there = any(entry.covers(entry.rule, urn, stack) for stack in stacks for urn in urns[stack])
        if there or everywhere or stack_named(entry):
            why = "the rule has nothing against it" if there else f"there is no such resource in {', '.join(stacks)}"
            yield entry, f"{why}: take the entry out of {SHOWN}"


def stack_named(entry: Exemption) -> bool:
    """Whether it says which stack it is about."""
    return bool(entry.stack) or entry.resource.startswith("urn:")
