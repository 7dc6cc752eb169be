"""``python -m proofs.audit PIP_AUDIT``: print known vulnerabilities of what is shipped, and of this environment.

What is shipped are the lists of packages by which the functions, the layer and the images are built. Their versions
may differ from this environment's.

It also prints how many packages could be looked up. If pip-audit cannot reach the advisories, it ends with success
and with the words "no known vulnerabilities".
"""

import json
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from proofs.lock import entries

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = (
    "functions/requirements.txt",
    "functions/admit/requirements.txt",
    "layers/jobs/requirements.txt",
    "serving/requirements.txt",
    "serving/requirements-evaluate.txt",
    "training/requirements-cpu.txt",
    "training/requirements-cuda.txt",
)
ENVIRONMENT = "this environment"


class AuditError(Exception):
    """pip-audit failed; the message is its output."""


def main(program: str) -> int:
    """Run pip-audit on all packages; return 1 if it finds a known vulnerability or fails, else 0."""
    lists = pinned(SHIPPED)
    try:
        packages = audit(program, lists)
    except AuditError as error:
        print(f"pip-audit failed:\n{error}", file=sys.stderr)
        return 1
    audited = {pin: package for pin, package in packages.items() if "vulns" in package}
    found = [(pin, each) for pin, package in sorted(audited.items()) for each in package["vulns"]]
    for pin, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "none yet"
        where = ", ".join(lists.get(pin, [ENVIRONMENT]))
        print(f"{' '.join(pin)} ({where}): {vulnerability['id']}, fixed in: {fixed}", file=sys.stderr)
    for kind, pins in (("shipped", lists.keys()), ("only installed here", packages.keys() - lists.keys())):
        print(f"pip-audit: {len(pins & audited.keys())} of {len(pins)} packages that are {kind} were looked up")
    print(f"pip-audit: {len(found)} known vulnerabilities")
    if not audited:
        print("pip-audit: PyPI's advisories cannot be reached from here, so NOTHING WAS AUDITED", file=sys.stderr)
    return 1 if found else 0


def pinned(paths: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Return names and versions of all packages in some lists, each with the lists that have it.

    PyPI's advisories do not know builds such as torch's ``2.13.0+cpu``, so they are looked up as ``2.13.0``.
    """
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        for entry in entries((ROOT / path).read_text()):
            name, version = entry.partition(";")[0].strip().split("==")
            found[_normal(name), version.partition("+")[0]].append(path)
    return dict(found)


def audit(program: str, pins: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return what pip-audit says about some packages and those of this environment, by name and version.

    Raises:
        AuditError: it failed.
    """
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for name, version in pins:
        versions[name].append(version)
    # pip-audit takes each name once a call.
    rounds = [
        [f"{name}=={each[number]}" for name, each in versions.items() if number < len(each)]
        for number in range(max(map(len, versions.values()), default=0))
    ]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        calls = [pool.submit(_run, program, "--path", sysconfig.get_path("purelib"))]
        for number, lines in enumerate(rounds):
            path = Path(folder, f"{number}.txt")
            path.write_text("\n".join(lines))
            calls.append(pool.submit(_run, program, "--no-deps", "--disable-pip", "--requirement", str(path)))
        answers = [package for call in calls for package in call.result()]
    # A package that could not be looked up has no version, but its name and version are in the reason.
    return {(_normal(each["name"]), _version(each)): each for each in answers}


def _run(program: str, *arguments: str) -> list[dict[str, Any]]:
    command = [program, *arguments, "--format", "json", "--progress-spinner", "off"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(process.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise AuditError(process.stderr) from None
    return packages


def _version(package: Mapping[str, Any]) -> str:
    reason = re.search(r"\(([^()]+)\)$", package.get("skip_reason", ""))
    version = package.get("version") or (reason[1] if reason else "")
    return str(version).partition("+")[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
