"""The project's root folder, and the ``.kennel`` folder (or ``KENNEL_HOME``) in which the runner keeps its files."""

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("KENNEL_HOME", ROOT / ".kennel")).resolve()
LAST_RUN = HOME / "last-run.json"


class LocalError(RuntimeError):
    """Something that the user can mend; the message is the sentence that they read."""


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    os.replace(temporary, path)
