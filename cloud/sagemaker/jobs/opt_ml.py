"""A job's ``/opt/ml`` tree as a folder of this machine, and how paths that name it are rewritten."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONTAINER_ROOT = "/opt/ml"
# At the start, after "=" (--dir=/opt/ml/model) or after ":" (a search path), and whole: not /opt/mlx.
_CONTAINER_PATH = re.compile(r"(?:(?<=^)|(?<=[=:]))/opt/ml(?=/|:|$)")


class Tree:
    """One instance's ``/opt/ml``.

    Args:
        root: the folder that stands for ``/opt/ml``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, container_path: str) -> Path:
        """Where a path of the container lies here.

        Raises:
            ValueError: the path is not below ``/opt/ml``.
        """
        inside = Path(os.path.normpath(container_path))
        if not inside.is_relative_to(CONTAINER_ROOT):
            raise ValueError(f"the path {container_path} is not below {CONTAINER_ROOT}")
        return self.root / inside.relative_to(CONTAINER_ROOT)

    def rewrite(self, text: str) -> str:
        """The text with ``/opt/ml`` replaced by this tree wherever it begins a path."""
        return _CONTAINER_PATH.sub(lambda _: str(self.root), text)

    def command(self, entrypoint: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """The container's command as it runs here: this tree, this Python."""
        program, *rest = [self.rewrite(word) for word in (*entrypoint, *arguments)]
        return [sys.executable if program in ("python", "python3") else program, *rest]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Variables with their ``/opt/ml`` paths rewritten."""
        return {name: self.rewrite(value) for name, value in variables.items()}

    def write_json(self, path: str, document: Any) -> None:
        """Write a document at a path below the root, for example ``input/config/hyperparameters.json``."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1))

    def read_text(self, path: str, limit: int = 1024) -> str:
        """The start of a file below the root, stripped; empty when there is none."""
        file = self.root / path
        return file.read_text("utf-8", "replace").strip()[:limit] if file.is_file() else ""


def resource_config(host: str, hosts: Sequence[str], instance_type: str) -> dict[str, Any]:
    """The document ``resourceconfig.json`` as SageMaker writes it."""
    return {
        "current_host": host,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": sorted(hosts),  # as text, so that algo-10 comes before algo-2
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": instance_type,
                "hosts": sorted(hosts),
            }
        ],
        # The hosts are processes of one machine: they meet on its loopback.
        "network_interface_name": "lo0" if sys.platform == "darwin" else "lo",
    }


def threads_per_instance(num_instances: int) -> int:
    """Threads for each instance of a job: its share of this laptop's cores, at least 1.

    On AWS every instance has a machine of its own; here each would start as many threads as the
    laptop has cores, and they would fight.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // num_instances)
