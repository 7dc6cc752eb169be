"""Bills of materials (CycloneDX 1.6) of what is shipped, from the very lists of packages by which pip installs it.

``python -m plan.sbom FOLDER`` writes those of the functions and of the layer, when ``sam build`` makes the layer. Plan
writes those of the images beside their build context. pip installs no package that is not in a list, and no file that
has not one of its hashes, so the lists are all that a bill of materials can tell of Python's packages. What the base
image brings is in the base's own, which its digest names.

It imports the standard library only, because the layer is built with any Python 3.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# The lists of each part, below the project's folder or the layer's.
LISTS = {
    "functions": ("functions/requirements.txt",),
    "admit": ("functions/admit/requirements.txt",),
    "layer": ("layers/jobs/requirements.txt",),
    "serve": ("serving/requirements.txt",),
    "evaluate": ("serving/requirements.txt", "serving/requirements-evaluate.txt"),
    "train": ("training/requirements-{device}.txt",),
}
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)([^\n]*(?:\n[ \t][^\n]*)*)", re.MULTILINE)


def bill(name: str, version: str, lists: Iterable[str], base: str = "") -> dict[str, Any]:
    """Return the bill of materials of one part.

    Args:
        name: what it is, such as ``kennel-serve``.
        version: the hash of its content, or another version.
        lists: the texts of the lists of packages by which it is built.
        base: the image it is built on, if it is an image.
    """
    packages = {component["bom-ref"]: component for text in lists for component in map(_package, _PIN.finditer(text))}
    components = [packages[reference] for reference in sorted(packages)]
    if base:
        components.insert(0, _base(base))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # The same content has the same number, so that a bill that is written again is the same file.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([name, version, components]))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container" if base else "application",
                "bom-ref": name,
                "name": name,
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def _package(pin: re.Match[str]) -> dict[str, Any]:
    name, version, rest = re.sub(r"[-_.]+", "-", pin[1]).lower(), pin[2], pin[3]
    url = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
    return {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        # pip takes one of these files, by platform.
        "externalReferences": [
            {"type": "distribution", "url": url, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for digest in re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)
        ],
    }


def _base(image: str) -> dict[str, Any]:
    name, _, digest = image.partition("@")
    reference = {"type": "container", "bom-ref": image, "name": name}
    return reference | ({"version": digest} if digest else {})


def main(project: str, folder: str) -> int:
    """Write the bills of the functions and of the layer into a folder; return the exit code."""
    for name in ("functions", "admit", "layer"):
        texts = [Path(project, path).read_text() for path in LISTS[name]]
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{name}.cdx.json").write_text(json.dumps(bill(f"kennel-{name}", "1", texts), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
