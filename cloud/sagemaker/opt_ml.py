"""A container's files as a folder of this machine, and the rewriting of paths that name them."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud.core import processes

CONTAINER_ROOT = "/opt/ml"
# Matches a path where one can begin: at the start, after "=" (--dir=/opt/ml/model) and after ":" (a search path), but
# not in a URI (s3://bucket).
_PATH = re.compile(r"(?:(?<=^)|(?<=[=:]))/[^/:=][^:=]*")


class OptMlFolder:
    """The folder that replaces ``/opt/ml`` for one host.

    Args:
        root: the folder. It is ``opt/ml`` in a folder that replaces ``/``, which may have files of an image too.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._container = root.parents[1]

    def path(self, container_path: str) -> Path:
        """Return the path on this machine for a path in the container.

        Raises:
            ValueError: the path is not below ``/opt/ml``.
        """
        normalized = Path(os.path.normpath(container_path))
        if not normalized.is_relative_to(CONTAINER_ROOT):
            raise ValueError(f"the path {container_path} is not below {CONTAINER_ROOT}")
        return self.root / normalized.relative_to(CONTAINER_ROOT)

    def rewrite(self, text: str) -> str:
        """Replace each path that begins with ``/opt/ml``, or that the image has, by its path on this machine."""
        return _PATH.sub(lambda match: self._rewrite_path(match[0]), text)

    def _rewrite_path(self, path: str) -> str:
        here = f"{self._container}{path}"
        # Path.is_relative_to compares whole names, so /opt/mlx is another folder.
        return here if Path(path).is_relative_to(CONTAINER_ROOT) or os.path.exists(here) else path

    def is_unreachable(self, text: str) -> bool:
        """Return whether a text names ``/opt/ml`` where ``rewrite`` leaves it alone, as in ``cp x /opt/ml/model``."""
        return bool(re.search(rf"(?<![\w.-]){CONTAINER_ROOT}(?![\w.-])", _PATH.sub("", text)))

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the container's command for this machine: with this folder, and with this Python as ``python``."""
        program, *rest = [self.rewrite(word) for word in words]
        return [sys.executable if program in ("python", "python3") else program, *rest]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the variables with the container's paths rewritten."""
        return {name: self.rewrite(value) for name, value in variables.items()}

    def write_json(self, path: str, document: Any) -> None:
        """Write a document to a path below the root, for example ``input/config/hyperparameters.json``."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1))

    def read_text(self, path: str, limit: int = 1024) -> str:
        """Return the first characters of a file below the root, stripped; empty when there is no such file."""
        file = self.root / path
        return file.read_text("utf-8", "replace").strip()[:limit] if file.is_file() else ""


def resource_config(host: str, hosts: Sequence[str], instance_type: str) -> dict[str, Any]:
    """Return the document ``resourceconfig.json`` of one host, as SageMaker writes it."""
    return {
        "current_host": host,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": sorted(hosts),  # SageMaker sorts them as text, so algo-10 comes before algo-2.
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": instance_type,
                "hosts": sorted(hosts),
            }
        ],
        # All hosts are processes of this machine, so they reach each other on its loopback interface.
        "network_interface_name": "lo0" if sys.platform == "darwin" else "lo",
    }


def threads_per_host(num_hosts: int) -> int:
    """Return how many threads each host of a job may use: its share of this machine's cores, at least 1.

    On AWS each host has a machine of its own. Here each host would otherwise start as many threads as this machine
    has cores, and all of them would compete for the same cores.
    """
    return max(1, processes.num_cores() // num_hosts)
