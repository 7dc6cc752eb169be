"""``python -m proofs.audit PIP_AUDIT``: known holes in the installed packages, and how many could be looked up at all.

pip-audit itself ends with success, and the words "no known vulnerabilities", where it reaches no advisories.
"""

import json
import subprocess
import sys
import sysconfig


def main(program: str) -> int:
    """Ask pip-audit about this environment; 1 when a package has a known hole, or pip-audit failed."""
    packages = sysconfig.get_path("purelib")
    asked = subprocess.run(
        [program, "--path", packages, "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        print(f"pip-audit failed:\n{asked.stderr}", file=sys.stderr)
        return 1
    audited = [package for package in found if "vulns" in package]
    holes = [(package, hole) for package in audited for hole in package["vulns"]]
    for package, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {hole['id']}, fixed in: {fixed}", file=sys.stderr)
    print(f"pip-audit: {len(audited)} of {len(found)} packages looked up, {len(holes)} known holes")
    if not audited:
        print("pip-audit: PyPI's advisories cannot be reached from here, so NOTHING WAS AUDITED", file=sys.stderr)
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
