"""`python -m tests.bench.monitors`: what it takes to get from raw data capture to violations.

One core, 50 columns mixed: 30 measurements of 6 to 8 digits, 5 counts, 5 flags and 10 categories of 20. Each figure is
the best of some runs in a process of its own, in seconds of the processor. It writes 100 MB to the folder for temporary
files, and takes some ten minutes; `--quick` reads less.
"""

import argparse
import base64
import importlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
NAMES: Final = [f"c{place}" for place in range(50)]
CATEGORICAL: Final = [place % 5 == 4 for place in range(50)]
ROWS: Final = 20_000
WINDOW: Final = 5
TIERS: Final = ("standard library", "msgspec", "numpy")
FORMS: Final = ("CSV", "CSV, 20 rows a record", "BASE64 of CSV", "JSON, rows of values", "JSON, rows by name")
CHUNK: Final = 1 << 16
Row = list[Any]


def rows(count: int, seed: int) -> Iterator[Row]:
    """Rows without drift."""
    draw = random.Random(seed)
    for _ in range(count):
        row: Row = []
        for place, coded in enumerate(CATEGORICAL):
            if coded:
                row.append(f"k{draw.randrange(20)}")
            elif place % 8 == 5:
                row.append(draw.randrange(100))
            elif place % 8 == 6:
                row.append(int(draw.random() < 0.2))
            else:
                row.append(round(draw.gauss(place, 1 + place / 10), 5))
        yield row


def line(data: str, encoding: str, said: str) -> str:
    """A line of data capture."""
    given = {"observedContentType": "text/csv", "mode": "INPUT", "data": data, "encoding": encoding}
    told = {"observedContentType": "text/csv; charset=utf-8", "mode": "OUTPUT", "data": said, "encoding": "CSV"}
    about = {"eventId": str(uuid.uuid4()), "inferenceTime": "2026-02-14T17:25:49Z"}
    captured = {"endpointInput": given, "endpointOutput": told}
    return json.dumps({"captureData": captured, "eventMetadata": about, "eventVersion": "0"}) + "\n"


def lines(form: str, found: list[Row]) -> Iterator[str]:
    """Data capture of rows in one of FORMS."""
    texts = [",".join(map(str, row)) + "\n" for row in found]
    if form == "CSV, 20 rows a record":
        for start in range(0, len(texts), 20):
            part = texts[start : start + 20]
            yield line("".join(part), "CSV", "".join(f"{answer(text)}\n" for text in part))
        return
    for row, text in zip(found, texts, strict=True):
        said = f"{answer(text)}\n"
        if form == "CSV":
            yield line(text, "CSV", said)
        elif form == "BASE64 of CSV":
            yield line(base64.b64encode(text.encode()).decode(), "BASE64", said)
        else:
            each = row if form == "JSON, rows of values" else dict(zip(NAMES, row, strict=True))
            yield line(json.dumps({"instances": [each]}), "JSON", said)


def answer(text: str) -> float:
    """What the model says to a row of CSV: its length will do."""
    return len(text) / 1000


def chunks(file: Path, times: int = 1) -> Iterator[bytes]:
    """A file's bytes, as S3 gives them, so many times over."""
    for _ in range(times):
        with file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                yield chunk


def speed(file: Path, baseline_file: Path, tier: str, times: int) -> dict[str, Any]:
    """The rows of an hour's capture, WINDOW times a file, that become violations in a second of the processor."""
    from functions.monitoring.baseline import from_json
    from functions.monitoring.capture import profile
    from functions.monitoring.judge import judge

    baseline = from_json(baseline_file.read_text("utf-8"))
    best, judging = float("inf"), float("inf")
    for _ in range(times):
        began = time.process_time()
        window = profile(baseline.schema, chunks(file, WINDOW), tier=tier)
        read = time.process_time()
        violations = judge(baseline, window).violations
        ended = time.process_time()
        best, judging = min(best, ended - began), min(judging, ended - read)
        assert not window.malformed, "the capture should be readable"
        assert not violations, "there is no drift in it"
    return {"rows": window.rows, "rows_per_second": round(window.rows / best), "judging_seconds": round(judging, 3)}


def memory(file: Path, baseline_file: Path, tier: str, times: int) -> dict[str, Any]:
    """The largest memory of a process with boto3 and an S3 client that reads a file so many times over."""
    import boto3

    from functions.monitoring.baseline import from_json
    from functions.monitoring.capture import profile
    from functions.monitoring.judge import judge

    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="-", aws_secret_access_key="-")
    before = _peak_mb()
    baseline = from_json(baseline_file.read_text("utf-8"))
    window = profile(baseline.schema, chunks(file, times), tier=tier)
    judge(baseline, window)
    assert client
    return {
        "capture_mb": round(file.stat().st_size * times / 1e6),
        "rows": window.rows,
        "with_boto3_alone_mb": before,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> int:
    """The process's own peak; getrusage would tell that of the process it was forked from."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))
    assert found
    return int(found[1]) // 1024


def imports(tier: str) -> dict[str, Any]:
    """How long the monitor takes to import once boto3 is there."""
    importlib.import_module("boto3")
    began = time.perf_counter()
    importlib.import_module("functions.data_monitor.handler")
    importlib.import_module("functions.monitoring.capture")._tools(tier)
    return {"seconds": round(time.perf_counter() - began, 3)}


def packed() -> int:
    """The bytes of the data monitor's zip, as components.function.source puts it together."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as zipped:
        folders = (ROOT / "functions/data_monitor", ROOT / "functions/monitoring")
        for path in [*(ROOT / "functions").glob("*.py"), *(path for each in folders for path in each.rglob("*.py"))]:
            zipped.write(path, path.relative_to(ROOT))
    return len(body.getvalue())


CHILDREN: Final[dict[str, Callable[..., dict[str, Any]]]] = {"speed": speed, "memory": memory, "imports": imports}


def child(python: str, what: str, *arguments: object) -> dict[str, Any]:
    """What one of CHILDREN measures, in a process of its own."""
    command = [python, "-m", "tests.bench.monitors", "--child", what, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{what} {arguments} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(figure: str, **values: object) -> None:
    """Print a figure as a line of JSON."""
    print(json.dumps({"figure": figure, **values}), flush=True)


def main() -> None:
    """Measure everything, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, once, and 0.2 GB in place of 2")
    parser.add_argument("--python", default=sys.executable, help="which Python measures; Lambda's is 3.12")
    parser.add_argument("--tiers", nargs="*", default=TIERS, choices=TIERS)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        what, *given = chosen.child
        paths = [Path(each) if os.path.isabs(each) else int(each) if each.isdigit() else each for each in given]
        print(json.dumps(CHILDREN[what](*paths)))
        return
    from functions.monitoring.baseline import fit, to_json, with_predictions

    divisor = 10 if chosen.quick else 1
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        stored = Path(folder, "baseline.json")
        fitted = fit(NAMES, CATEGORICAL, ([str(value) for value in row] for row in rows(10_000, seed=1)))
        sent = [*rows(ROWS // divisor, seed=2)]
        answers = [answer(",".join(map(str, row)) + "\n") for row in sent]
        stored.write_text(to_json(with_predictions(fitted, answers)), "utf-8")
        for form in FORMS:
            file = Path(folder, f"{FORMS.index(form)}.jsonl")
            file.write_text("".join(lines(form, sent)), "utf-8")
            for tier in chosen.tiers:
                told(
                    "speed", form=form, tier=tier, **child(chosen.python, "speed", file, stored, tier, 3 // divisor + 1)
                )
        csv = Path(folder, "0.jsonl")
        one = 20e6 / csv.stat().st_size
        for tier in chosen.tiers:
            for megabytes in (20, 200, 2000 // divisor):
                times = max(1, round(megabytes / 20 * one))
                told("memory", tier=tier, **child(chosen.python, "memory", csv, stored, tier, times))
            runs = [child(chosen.python, "imports", tier)["seconds"] for _ in range(5)]
            told("import beyond boto3", tier=tier, seconds=min(runs))
    told("zip of the data monitor", kilobytes=round(packed() / 1000))


if __name__ == "__main__":
    main()
