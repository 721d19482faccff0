"""Pulumi's assets and archives: what a Lambda function's code is on the wire, and the zip that it becomes."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
ASSET: Final = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip file can hold; a fixed one makes equal contents equal bytes."""


def is_archive(value: Any) -> bool:
    """Whether a value is an archive."""
    return isinstance(value, Mapping) and value.get(SIGNATURE) == ARCHIVE


def hashed(archive: Mapping[str, Any]) -> dict[str, Any]:
    """The archive with the hash of what it holds now, so that a change of a file is a change of the archive.

    Raises OSError where a file cannot be read, and ValueError for a kind of asset that is not known.
    """
    return {**archive, "hash": hashlib.sha256(zipped(archive)).hexdigest()}


def zipped(archive: Mapping[str, Any]) -> bytes:
    """The archive as a zip file: the same bytes for the same contents. Raises as `hashed` does."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, contents in sorted(_files(archive)):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            target.writestr(entry, contents, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _files(archive: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    if "assets" in archive:
        for name, asset in archive["assets"].items():
            if is_archive(asset):
                yield from ((f"{name}/{inner}", contents) for inner, contents in _files(asset))
            else:
                yield name, _contents(asset)
    elif "path" in archive:
        root = Path(archive["path"])
        if root.is_dir():
            for path in root.rglob("*"):
                if path.is_file() and ".pulumi" not in path.parts:
                    yield str(path.relative_to(root)), path.read_bytes()
        else:
            with zipfile.ZipFile(root) as source:
                yield from ((name, source.read(name)) for name in source.namelist() if not name.endswith("/"))
    else:
        raise ValueError(f"an archive is made of `assets` or of a `path`, not of {', '.join(archive)}")


def _contents(asset: Mapping[str, Any]) -> bytes:
    if "text" in asset:
        return str(asset["text"]).encode()
    if "path" in asset:
        return Path(asset["path"]).read_bytes()
    raise ValueError(f"an asset is a `text` or a `path`, not {', '.join(asset)}")
