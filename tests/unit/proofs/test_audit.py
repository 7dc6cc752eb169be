"""The audit of packages: its exit code and output for each answer of pip-audit, about what is shipped too."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from proofs import audit

# For an environment it tells of its packages; for a list it answers about each line, and wants each name once.
FAKE = """#!{python}
import json, sys
text, vulnerable = {text!r}, {vulnerable!r}
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
if "--requirement" in arguments:
    pins = [line.split("==") for line in open(arguments["--requirement"]).read().split()]
    assert len({{name for name, _ in pins}}) == len(pins)
    assert not any("+" in version for _, version in pins)
    found = [{{"id": "CVE-2", "fix_versions": []}}]
    text = json.dumps({{"dependencies": [
        {{"name": name, "version": version, "vulns": found if f"{{name}}=={{version}}" == vulnerable else []}}
        for name, version in pins]}})
print(text)
"""
SAFE = {"name": "numpy", "version": "2.3.0", "vulns": []}
VULNERABLE = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}


def fake_pip_audit(folder: Path, text: str, vulnerable: str = "") -> str:
    """Write a program that answers as pip-audit does, because advisories cannot be downloaded everywhere."""
    program = folder / "pip-audit"
    program.write_text(FAKE.format(python=sys.executable, text=text, vulnerable=vulnerable))
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("packages", "code", "output"),
    [
        ([SAFE, UNKNOWN], 0, "1 of 2 packages that are only installed here were looked up"),
        ([SAFE, UNKNOWN], 0, "0 known vulnerabilities"),
        ([SAFE, VULNERABLE], 1, "pillow 1.0 (this environment): CVE-1, fixed in: 1.1, 2.0"),
        ([UNKNOWN], 0, "NOTHING WAS AUDITED"),
    ],
)
def test_audit_says_how_many_packages_were_looked_up(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    packages: list[dict[str, Any]],
    code: int,
    output: str,
) -> None:
    monkeypatch.setattr(audit, "SHIPPED", ())
    assert audit.main(fake_pip_audit(tmp_path, json.dumps({"dependencies": packages, "fixes": []}))) == code
    captured = capsys.readouterr()
    assert output in captured.out + captured.err


def shipped_pillow() -> str:
    return next(version for name, version in audit.pinned(audit.SHIPPED) if name == "pillow")


def test_a_hole_in_what_is_shipped_is_found_although_this_environment_has_a_newer_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = json.dumps({"dependencies": [{"name": "pillow", "version": "99.0", "vulns": []}]})
    version = shipped_pillow()
    assert audit.main(fake_pip_audit(tmp_path, newer, f"pillow=={version}")) == 1
    found = capsys.readouterr()
    lists = "functions/requirements.txt, serving/requirements.txt, serving/requirements-evaluate.txt, training/"
    assert f"pillow {version} ({lists}" in found.err
    looked_up, shipped = re.search(r"(\d+) of (\d+) packages that are shipped", found.out).groups()  # type: ignore[union-attr]
    assert looked_up == shipped
    assert int(shipped) > 60


def test_a_build_of_torch_is_looked_up_by_its_release() -> None:
    assert audit.pinned(["training/requirements-cpu.txt"])["torch", "2.13.0"] == ["training/requirements-cpu.txt"]


def test_every_list_by_which_images_and_functions_are_built_is_audited() -> None:
    files = {
        str(path.relative_to(audit.ROOT))
        for folder in ("functions", "layers", "serving", "training")
        for path in (audit.ROOT / folder).rglob("requirements*.txt")
    }
    assert files == set(audit.SHIPPED)


def test_failed_audit_is_an_error(tmp_path: Path) -> None:
    assert audit.main(fake_pip_audit(tmp_path, "")) == 1
