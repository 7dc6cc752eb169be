"""The audit of packages: its exit code and output for each answer of pip-audit."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from proofs import audit

SAFE = {"name": "numpy", "version": "2.3.0", "vulns": []}
VULNERABLE = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}


def fake_pip_audit(folder: Path, text: str) -> str:
    """Write a program that prints an answer as pip-audit does, because advisories cannot be downloaded everywhere."""
    program = folder / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({text!r})\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("packages", "code", "output"),
    [
        ([SAFE, UNKNOWN], 0, "1 of 2 packages looked up, 0 known vulnerabilities"),
        ([SAFE, VULNERABLE], 1, "pillow 1.0: CVE-1, fixed in: 1.1, 2.0"),
        ([UNKNOWN], 0, "NOTHING WAS AUDITED"),
    ],
)
def test_audit_says_how_many_packages_were_looked_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packages: list[dict[str, Any]], code: int, output: str
) -> None:
    assert audit.main(fake_pip_audit(tmp_path, json.dumps({"dependencies": packages, "fixes": []}))) == code
    captured = capsys.readouterr()
    assert output in captured.out + captured.err


def test_failed_audit_is_an_error(tmp_path: Path) -> None:
    assert audit.main(fake_pip_audit(tmp_path, "")) == 1
