"""Keep a project's CustomResourceDefinitions in the repository, reduced to their structure.

`python -m infra.rehearsal.kubernetes_crds VERSION SOURCE CHARTS FILE…` reads CRDs as YAML; SOURCE is the address of the
folder that the files come from, at their release; CHARTS says which charts bring them, as `kueue=templates` or
`karpenter-crd=templates,karpenter=crds`. The newest version of each kind is kept.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from infra.rehearsal.kubernetes_crds import FOLDER, How, reduced


def main(arguments: Sequence[str]) -> None:
    """Write one file for each kind."""
    if len(arguments) < 4:
        sys.exit("usage: python -m infra.rehearsal.kubernetes_crds VERSION SOURCE CHARTS FILE...")
    version, source, charts, *files = arguments
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
