"""``python -m proofs.audit PIP_AUDIT``: print known vulnerabilities of the installed packages.

It also prints how many packages could be looked up. If pip-audit cannot reach the advisories, it ends with success
and with the words "no known vulnerabilities".
"""

import json
import subprocess
import sys
import sysconfig


def main(program: str) -> int:
    """Run pip-audit on this environment; return 1 if it finds a known vulnerability or fails, else 0."""
    folder = sysconfig.get_path("purelib")
    process = subprocess.run(
        [program, "--path", folder, "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(process.stdout)["dependencies"]
    except ValueError:
        print(f"pip-audit failed:\n{process.stderr}", file=sys.stderr)
        return 1
    audited = [package for package in packages if "vulns" in package]
    vulnerabilities = [(package, each) for package in audited for each in package["vulns"]]
    for package, vulnerability in vulnerabilities:
        fixed = ", ".join(vulnerability["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in: {fixed}", file=sys.stderr)
    print(
        f"pip-audit: {len(audited)} of {len(packages)} packages looked up, {len(vulnerabilities)} known vulnerabilities"
    )
    if not audited:
        print("pip-audit: PyPI's advisories cannot be reached from here, so NOTHING WAS AUDITED", file=sys.stderr)
    return 1 if vulnerabilities else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
