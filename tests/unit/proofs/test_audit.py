"""Known holes in packages: what is told when pip-audit finds some, none, or nothing to look up."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from proofs import audit

SOUND = {"name": "numpy", "version": "2.3.0", "vulns": []}
HOLED = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}


def answering(folder: Path, text: str) -> str:
    """A program in pip-audit's place: its advisories cannot be had everywhere."""
    program = folder / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({text!r})\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND, UNKNOWN], 0, "1 of 2 packages looked up, 0 known holes"),
        ([SOUND, HOLED], 1, "pillow 1.0: CVE-1, fixed in: 1.1, 2.0"),
        ([UNKNOWN], 0, "NOTHING WAS AUDITED"),
    ],
)
def test_audit_tells_what_was_looked_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packages: list[dict[str, Any]], code: int, said: str
) -> None:
    assert audit.main(answering(tmp_path, json.dumps({"dependencies": packages, "fixes": []}))) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_audit_that_fails_is_no_success(tmp_path: Path) -> None:
    assert audit.main(answering(tmp_path, "")) == 1
