"""What a rehearsal has deployed, kept so that a kill at any instant loses nothing.

Each stack has a snapshot in Pulumi's own deployment format (version 3, which `pulumi stack import` takes) and, while it
is being deployed, a journal: a line is forced to disk before and after each operation. The next run replays it.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from threading import RLock
from typing import Any, Final, Literal, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from filelock import FileLock, Timeout

from infra.rehearsal.properties import SECRET, TAG, opened, rebuild
from infra.rehearsal.provider import Props

PBKDF2_ROUNDS: Final = 1_000_000
"""As in Pulumi's passphrase provider, `sdk/go/common/config/crypt.go`."""
STACK_TYPE: Final = "pulumi:pulumi:Stack"


class StateError(Exception):
    """The recorded state cannot be used: the text says which file, why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One resource in the state. Its properties carry the marks of secrets."""

    urn: str
    type: str
    custom: bool = False
    id: str | None = None
    inputs: Props = field(default_factory=dict)
    outputs: Props = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    """`<urn>::<id>` of the provider resource that manages it."""
    external: bool = False
    """It was read, not made here."""
    protect: bool = False
    retain_on_delete: bool = False
    deleted_with: str = ""
    retired: bool = False
    """It is replaced, and only waits to be deleted."""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    additional_secret_outputs: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)
    """Seconds for `create`, `update` and `delete`."""

    @property
    def name(self) -> str:
        return self.urn.split("::", 3)[3]

    def needs(self) -> set[str]:
        """The URNs that have to exist as long as this one does."""
        named = {self.parent, self.deleted_with, self.provider.rpartition("::")[0], *self.dependencies}
        return {urn for urn in named.union(*self.property_dependencies.values()) if urn}


_NAMES: Final = {
    "parent": "parent",
    "provider": "provider",
    "external": "external",
    "protect": "protect",
    "retain_on_delete": "retainOnDelete",
    "deleted_with": "deletedWith",
    "retired": "delete",
    "dependencies": "dependencies",
    "property_dependencies": "propertyDependencies",
    "additional_secret_outputs": "additionalSecretOutputs",
    "ignore_changes": "ignoreChanges",
    "replace_on_changes": "replaceOnChanges",
    "inputs": "inputs",
    "outputs": "outputs",
    "id": "id",
}
"""Fields that are written only where they say something, and their names in Pulumi's format."""


def _to_json(record: Record) -> dict[str, Any]:
    written: dict[str, Any] = {"urn": record.urn, "custom": record.custom, "type": record.type}
    written |= {name: _plain(value) for key, name in _NAMES.items() if (value := getattr(record, key))}
    if record.custom_timeouts:
        # Go's time.Duration, in nanoseconds.
        written["customTimeouts"] = {name: round(value * 1e9) for name, value in record.custom_timeouts.items()}
    return written


def _plain(value: Any) -> Any:
    """`value` with lists for the tuples at its top, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: list(element) if isinstance(element, tuple) else element for key, element in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _from_json(written: Mapping[str, Any]) -> Record:
    known = {key: written[name] for key, name in _NAMES.items() if name in written}
    for key in ("dependencies", "additional_secret_outputs", "ignore_changes", "replace_on_changes"):
        known[key] = tuple(known.get(key) or ())
    known["property_dependencies"] = {
        name: tuple(urns or ()) for name, urns in (known.get("property_dependencies") or {}).items()
    }
    timeouts = {name: value / 1e9 for name, value in (written.get("customTimeouts") or {}).items() if value}
    return Record(urn=written["urn"], type=written["type"], custom=written["custom"], custom_timeouts=timeouts, **known)


def imported(document: Mapping[str, Any], reveal: Callable[[dict[str, Any]], Any]) -> "State":
    """The live resources of an exported stack; `reveal` gives each encrypted secret a value.

    Raises KeyError, TypeError or ValueError for what is no export of a stack.
    """

    def opening(tagged: dict[str, Any]) -> Any:
        if tagged[TAG] == SECRET and "ciphertext" in tagged:
            return {TAG: SECRET, "value": reveal(tagged)}
        return {key: rebuild(element, opening) for key, element in tagged.items()}

    state = State()
    for written in document["deployment"].get("resources") or ():
        state._put(_from_json(rebuild(written, opening)), retire=False)
    return state


def exported(state: "State") -> dict[str, Any]:
    """A state as `pulumi stack export` writes it, but with no secret in it, encrypted or not."""

    def closing(tagged: dict[str, Any]) -> Any:
        if tagged[TAG] == SECRET:
            return {TAG: SECRET, "ciphertext": ""}
        return {key: rebuild(element, closing) for key, element in tagged.items()}

    return {"version": 3, "deployment": {"resources": rebuild([_to_json(each) for each in state.ordered()], closing)}}


Doing = Literal["creating", "updating", "deleting"]


@dataclass(frozen=True)
class Pending:
    """An operation that was begun and of whose end nothing is recorded."""

    doing: Doing
    record: Record
    """As it will be once the operation is done, but for what only the provider can tell."""
    token: str = ""
    """Names a creation, so that a provider asked twice makes it once."""
    replaces: bool = False
    """The creation takes the place of one that exists, which is deleted later."""
    failed: bool = False
    """The provider refused. Otherwise the process ended, and nobody knows how the operation did."""


class State:
    """The resources of one stack, in memory. Changes are entries: plain JSON, so that a journal can hold them."""

    def __init__(self) -> None:
        self.resources: dict[str, Record] = {}
        self.retired: list[Record] = []
        self.pending: dict[str, Pending] = {}
        self.lock = RLock()

    def begin(self, pending: Pending) -> None:
        """An operation is about to start."""
        self.commit(_pending_to_json(pending) | {"entry": "begin"})

    def fail(self, urn: str) -> None:
        """The provider refused the operation on `urn`."""
        self.commit({"entry": "fail", "urn": urn})

    def forget(self, urn: str) -> None:
        """Nothing came of the operation on `urn`."""
        self.commit({"entry": "forget", "urn": urn})

    def put(self, record: Record, *, retire: bool = False) -> None:
        """`record` is how its resource is now; `retire` keeps the one it replaces, to be deleted later."""
        self.commit({"entry": "put", "resource": _to_json(record), "retire": retire})

    def see(self, record: Record) -> None:
        """`record` is how its resource was found; that settles no operation on it."""
        self.commit({"entry": "see", "resource": _to_json(record)})

    def drop(self, record: Record) -> None:
        """The resource of `record` is gone."""
        self.commit({"entry": "drop", "urn": record.urn, "id": record.id, "retired": record.retired})

    def rename(self, old: str, new: str) -> None:
        """The program calls a resource by another URN now."""
        self.commit({"entry": "rename", "old": old, "new": new})

    def commit(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.apply(entry)

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Make the change that `entry` describes."""
        match entry["entry"]:
            case "begin":
                pending = _pending_from_json(entry)
                self.pending[pending.record.urn] = pending
            case "fail":
                self.pending[entry["urn"]] = replace(self.pending[entry["urn"]], failed=True)
            case "forget":
                self.pending.pop(entry["urn"], None)
            case "put":
                self._put(_from_json(entry["resource"]), entry["retire"])
            case "see":
                self._see(_from_json(entry["resource"]))
            case "drop":
                self._drop(entry["urn"], entry["id"], entry["retired"])
            case "rename":
                self._rename(entry["old"], entry["new"])
            case unknown:
                raise KeyError(unknown)

    def _put(self, record: Record, retire: bool) -> None:
        self.pending.pop(record.urn, None)
        if record.retired:
            self.retired.append(record)
            return
        if retire and record.urn in self.resources:
            self.retired.append(replace(self.resources.pop(record.urn), retired=True))
        self.resources[record.urn] = record

    def _see(self, record: Record) -> None:
        if not record.retired:
            self.resources[record.urn] = record
        same = [(each.urn, each.id) == (record.urn, record.id) for each in self.retired]
        self.retired = [record if found else each for each, found in zip(self.retired, same, strict=True)]

    def _drop(self, urn: str, id_: str | None, retired: bool) -> None:
        pending = self.pending.get(urn)
        if pending and pending.doing != "creating":
            del self.pending[urn]
        if retired:
            self.retired = [record for record in self.retired if (record.urn, record.id) != (urn, id_)]
        else:
            self.resources.pop(urn, None)

    def _rename(self, old: str, new: str) -> None:
        def renamed(record: Record) -> Record:
            return replace(
                record,
                urn=new if record.urn == old else record.urn,
                parent=new if record.parent == old else record.parent,
                deleted_with=new if record.deleted_with == old else record.deleted_with,
                provider=f"{new}::{record.provider.rpartition('::')[2]}"
                if record.provider.rpartition("::")[0] == old
                else record.provider,
                dependencies=tuple(new if urn == old else urn for urn in record.dependencies),
                property_dependencies={
                    name: tuple(new if urn == old else urn for urn in urns)
                    for name, urns in record.property_dependencies.items()
                },
            )

        self.resources = {record.urn: record for record in map(renamed, self.resources.values())}
        self.retired = [renamed(record) for record in self.retired]
        pending = [replace(pending, record=renamed(pending.record)) for pending in self.pending.values()]
        self.pending = {each.record.urn: each for each in pending}

    def ordered(self) -> list[Record]:
        """Every live resource after those it needs, otherwise in the order of their making."""
        result: dict[str, Record] = {}
        seen: set[str] = set()

        def add(record: Record) -> None:
            # A loop on the stack instead of recursion: chains of resources may be longer than Python's call stack.
            stack = [(record, iter(sorted(record.needs())))]
            seen.add(record.urn)
            while stack:
                current, needed = stack[-1]
                for urn in needed:
                    if urn in self.resources and urn not in seen:
                        seen.add(urn)
                        stack.append((self.resources[urn], iter(sorted(self.resources[urn].needs()))))
                        break
                else:
                    result[current.urn] = current
                    stack.pop()

        for record in list(self.resources.values()):
            if record.urn not in seen:
                add(record)
        return list(result.values())

    def outputs(self) -> Props | None:
        """What the stack exports, secrets marked; None where it was never deployed."""
        return next((record.outputs for record in self.resources.values() if record.type == STACK_TYPE), None)


def _pending_to_json(pending: Pending) -> dict[str, Any]:
    return {
        "resource": _to_json(pending.record),
        "type": pending.doing,
        "token": pending.token,
        "replaces": pending.replaces,
        "failed": pending.failed,
    }


def _pending_from_json(written: Mapping[str, Any]) -> Pending:
    return Pending(
        written["type"],
        _from_json(written["resource"]),
        written.get("token", ""),
        written.get("replaces", False),
        written.get("failed", False),
    )


class Cipher:
    """Encrypts as Pulumi's passphrase provider does: AES-256-GCM under a key that PBKDF2 derives."""

    def __init__(self, passphrase: Callable[[], str], salt: str | None = None) -> None:
        self._passphrase = passphrase
        self._salt = salt
        self._known: dict[str, str] = {}
        """Ciphertexts by plaintext, so that a secret that stays the same is written the same."""

    def salted(self, salt: str) -> Self:
        """One with the same passphrase for what was encrypted under `salt`."""
        return type(self)(self._passphrase, salt)

    @property
    def salt(self) -> str:
        """What Pulumi keeps in a state's `secrets_providers`: the salt, and a text to test the passphrase with."""
        if self._salt is None:
            salt = os.urandom(8)
            self._salt = f"v1:{_b64(salt)}:{_encrypt(_key(self._passphrase(), salt), 'pulumi')}"
        return self._salt

    def encrypt(self, plaintext: str) -> str:
        if plaintext not in self._known:
            self._known[plaintext] = _encrypt(self._key(), plaintext)
        return self._known[plaintext]

    def decrypt(self, ciphertext: str) -> str:
        """Raises StateError where the passphrase is not the one the state was encrypted with."""
        plaintext = _decrypt(self._key(), ciphertext)
        self._known[plaintext] = ciphertext
        return plaintext

    def _key(self) -> bytes:
        version, salt, check = self.salt.split(":", 2)
        if version != "v1":
            raise StateError(f"secrets are encrypted in a way this version does not know ({version}); it knows v1")
        key = _key(self._passphrase(), base64.b64decode(salt))
        if check and _decrypt(key, check) != "pulumi":
            raise StateError("the state's salt is damaged")
        return key


@lru_cache(maxsize=32)
def _key(passphrase: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, PBKDF2_ROUNDS, 32)


def _encrypt(key: bytes, plaintext: str) -> str:
    nonce = os.urandom(12)
    return f"v1:{_b64(nonce)}:{_b64(AESGCM(key).encrypt(nonce, plaintext.encode(), None))}"


def _decrypt(key: bytes, text: str) -> str:
    _, nonce, ciphertext = text.split(":")
    try:
        return AESGCM(key).decrypt(base64.b64decode(nonce), base64.b64decode(ciphertext), None).decode()
    except InvalidTag:
        raise StateError(
            "the passphrase is not the one that the state's secrets were encrypted with; "
            "set PULUMI_CONFIG_PASSPHRASE, or restore the file `passphrase` beside `state`"
        ) from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class _Journalled(State):
    """A state whose every change is on disk before it is made in memory."""

    def __init__(self, snapshot: Path, cipher: Cipher) -> None:
        super().__init__()
        self._snapshot, self._cipher = snapshot, cipher
        self._journal = snapshot.with_suffix(".journal.jsonl")
        self._file: int | None = None
        self._serial = 0
        """Counts the snapshots, so that a journal tells which of them it goes on from."""

    def commit(self, entry: dict[str, Any]) -> None:
        with self.lock:
            if self._file is None:
                self._file = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
                self._append({"serial": self._serial, "salt": self._cipher.salt})
                _sync(self._journal.parent)
            self._append(rebuild(entry, self._closed))
            self.apply(entry)

    def _closed(self, tagged: dict[str, Any]) -> Any:
        if tagged[TAG] == SECRET:
            plaintext = json.dumps(opened(tagged.get("value")), separators=(",", ":"))
            return {TAG: SECRET, "ciphertext": self._cipher.encrypt(plaintext)}
        return {key: rebuild(element, self._closed) for key, element in tagged.items()}

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._file is not None
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def replay(self) -> None:
        """Make the changes that a run which was killed had written down."""
        header, *entries = _journal_lines(self._journal) or [{"serial": self._serial}]
        if header.get("serial", 0) < self._serial:
            return  # Killed between the snapshot and the end of the journal: all of it is in the snapshot.
        if header.get("serial") != self._serial:
            raise StateError(
                f"{self._journal} goes on from another {self._snapshot.name} than the one beside it: "
                "put that one back, or, if what it recorded no longer matters, delete the journal"
            )
        if "salt" in header:
            self._cipher = self._cipher.salted(header["salt"])
        for entry in entries:
            try:
                self.apply(rebuild(entry, self._open))
            except (KeyError, TypeError, ValueError) as error:
                raise StateError(f"{self._journal} is damaged at {entry}: {error!r}") from None

    def _open(self, tagged: dict[str, Any]) -> Any:
        if tagged[TAG] == SECRET and "ciphertext" in tagged:
            return {TAG: SECRET, "value": json.loads(self._cipher.decrypt(tagged["ciphertext"]))}
        return {key: rebuild(element, self._open) for key, element in tagged.items()}

    def read(self) -> None:
        """Load the snapshot. Raises StateError where it is not one."""
        try:
            document = json.loads(self._snapshot.read_bytes())
        except FileNotFoundError:
            return
        except ValueError as error:
            raise _corrupt(self._snapshot, f"it is not JSON: {error}") from None
        try:
            if document["version"] != 3:
                raise _corrupt(self._snapshot, f"it is of version {document['version']}, not 3")
            self._serial = document.get("serial", 0)
            deployment = document["deployment"]
            keeper = deployment.get("secrets_providers") or {}
            if keeper.get("type", "passphrase") != "passphrase":
                raise _corrupt(self._snapshot, f"its secrets are kept by {keeper['type']!r}, not by a passphrase")
            if "salt" in (keeper.get("state") or {}):
                self._cipher = self._cipher.salted(keeper["state"]["salt"])
            for written in deployment.get("resources") or ():
                self._put(_from_json(rebuild(written, self._open)), retire=False)
            for written in deployment.get("pending_operations") or ():
                pending = _pending_from_json(rebuild(written, self._open))
                self.pending[pending.record.urn] = pending
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _corrupt(self._snapshot, f"it is not Pulumi's deployment format: {error!r}") from None

    def fold(self) -> None:
        """Write the whole state as a snapshot and end the journal; at no instant is there less than one of them."""
        self._serial += 1
        write_atomically(self._snapshot, json.dumps(self.export(), indent=4) + "\n")
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._journal.unlink(missing_ok=True)

    @property
    def journalled(self) -> bool:
        """Whether there is anything that the snapshot does not hold yet."""
        return self._journal.exists()

    def export(self) -> dict[str, Any]:
        """The state in Pulumi's deployment format."""
        version = f"v{metadata.version('pulumi')}"
        operations = [_pending_to_json(pending) for pending in self.pending.values()]
        resources = [_to_json(record) for record in (*self.ordered(), *self.retired)]
        deployment = {
            "manifest": {
                "time": datetime.now(UTC).isoformat(),
                "magic": hashlib.sha256(version.encode()).hexdigest(),
                "version": version,
            },
            "secrets_providers": {"type": "passphrase", "state": {"salt": self._cipher.salt}},
            "resources": rebuild(resources, self._closed),
        }
        if operations:
            deployment["pending_operations"] = rebuild(operations, self._closed)
        return {"version": 3, "serial": self._serial, "deployment": deployment}


class StateStore:
    """The states of all stacks, under `<work>/state`."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._folder = work / "state"

    def path(self, stack: str) -> Path:
        """The stack's snapshot."""
        return self._folder / f"{stack}.json"

    def stacks(self) -> list[str]:
        """The stacks that something is recorded of."""
        names = {path.name.removesuffix(".json") for path in self._folder.glob("*.json")}
        names |= {path.name.removesuffix(".journal.jsonl") for path in self._folder.glob("*.journal.jsonl")}
        return sorted(names)

    def load(self, stack: str) -> State:
        """What is recorded of `stack`. What is changed in it is not kept. Raises StateError as `open` does."""
        recorded, copy = self._load(stack), State()
        copy.resources, copy.retired, copy.pending = recorded.resources, recorded.retired, recorded.pending
        return copy

    @contextmanager
    def open(self, stack: str) -> Iterator[State]:
        """What is recorded of `stack`, to change: by one process at a time, each change on disk before it counts.

        Raises StateError where the files are damaged, or where another process has it open.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked(stack):
            state = self._load(stack)
            if state.journalled:
                state.fold()
            try:
                yield state
            finally:
                if state.journalled:
                    state.fold()
                if not state.resources and not state.retired and not state.pending:
                    self.path(stack).unlink(missing_ok=True)

    def export(self, stack: str) -> dict[str, Any]:
        """The stack's state as `pulumi stack import` takes it."""
        return self._load(stack).export()

    def _load(self, stack: str) -> _Journalled:
        state = _Journalled(self.path(stack), Cipher(self._passphrase))
        state.read()
        state.replay()
        return state

    @contextmanager
    def _locked(self, stack: str) -> Iterator[None]:
        path = self._folder / f"{stack}.lock"
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            holder = path.read_text().strip()
            raise StateError(
                f"stack {stack} is being changed by process {holder or 'unknown'}: wait until it is done, or end it"
            ) from None
        try:
            path.write_text(f"{os.getpid()}\n")
            yield
        finally:
            lock.release()

    def _passphrase(self) -> str:
        """PULUMI_CONFIG_PASSPHRASE, or one of our own that only this user can read."""
        if given := os.environ.get("PULUMI_CONFIG_PASSPHRASE"):
            return given
        path = self._work / "passphrase"
        if not path.exists():
            self._work.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"passphrase.{secrets.token_hex(4)}")
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
            # A link fails where another process was first: both go on with the same one.
            with suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        return path.read_text().strip()


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at `path`: at any instant there is the old or the new content, never part of one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make the folder's entries, new and renamed files among them, outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _journal_lines(path: Path) -> list[dict[str, Any]]:
    """The journal's lines. The last one may be half written: then its operation was never begun."""
    try:
        *whole, _half = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in whole]
    except ValueError as error:
        raise StateError(
            f"{path} is damaged: {error}. Mend the line, or delete the file and remove by hand what it made"
        ) from None


def _corrupt(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} cannot be read: {why}. "
        "It was left as it is: put a good copy in its place, or move it away and deploy anew"
    )
