"""Keep what a project's release says of its kinds and its chart in the repository, reduced to its structure.

`python -m infra.rehearsal.kubernetes_crds kinds VERSION SOURCE CHARTS FILE…` reads CustomResourceDefinitions and
keeps the newest version of each kind. SOURCE is the address of the folder that the files come from, at their release;
CHARTS says which charts bring them, as `kueue=templates` or `karpenter-crd=templates,karpenter=crds`.

`python -m infra.rehearsal.kubernetes_crds values VERSION SOURCE CHART FILE…` reads a chart's templates, and keeps the
names of the values that they use.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from infra.rehearsal.kubernetes_crds import CHARTS, FOLDER, How, reduced, values_used


def main(arguments: Sequence[str]) -> None:
    """Write a file for each kind, or one chart's entry in charts.json."""
    if len(arguments) < 5 or arguments[0] not in ("kinds", "values"):
        sys.exit("usage: python -m infra.rehearsal.kubernetes_crds kinds|values VERSION SOURCE CHARTS FILE...")
    what, version, source, charts, *files = arguments
    if what == "values":
        known = json.loads(CHARTS.read_text("utf-8")) if CHARTS.exists() else {}
        used = values_used(Path(file).read_text("utf-8") for file in files)
        known[charts] = {"version": version, "source": source, "values": used}
        CHARTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")
        print(CHARTS)
        return
    brought: dict[str, How] = {}
    for chart, _, how in (each.partition("=") for each in charts.split(",")):
        brought[chart] = "crds" if how == "crds" else "templates"
    for file in map(Path, files):
        crd = yaml.safe_load(file.read_text("utf-8"))
        *_, newest = reduced(crd, version=version, source=f"{source}/{file.name}", charts=brought)
        path = FOLDER / f"{newest.kind.lower()}.json"
        path.write_text(json.dumps(asdict(newest), indent=1, sort_keys=True) + "\n", "utf-8")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
