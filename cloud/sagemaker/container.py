"""A container of a job or an endpoint: an image's files and ``/opt/ml`` in a folder of this machine, and its process.

Where the kernel allows no namespaces, the container's paths are rewritten to that folder.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloud.core import containers, processes
from cloud.ecr.images import ContainerImage
from cloud.sagemaker.opt_ml import CONTAINER_ROOT, OptMlFolder


class SageMakerContainer:
    """One container.

    Attributes:
        opt_ml: the folder that is ``/opt/ml`` in the container, or replaces it.
    """

    def __init__(self, root: Path, image: ContainerImage | None, mark: str) -> None:
        """Fill the container's folder.

        Args:
            root: the folder; it does not exist yet.
            image: the container's image; None for an image that is not on this machine.
            mark: the mark of the container's processes.
        """
        self._root, self._mark = root, mark
        self._image = image
        self._workdir = image.workdir if image else CONTAINER_ROOT
        if image:
            # Each container has a copy, so that no program can change the image.
            shutil.copytree(image.root, root)
        self.opt_ml = OptMlFolder(root / "opt" / "ml")
        for path in (CONTAINER_ROOT, self._workdir, "/root"):
            self._here(path).mkdir(parents=True, exist_ok=True)
        containers.open_up(root)

    def start(
        self,
        command: Sequence[str],
        defaults: Mapping[str, str],
        environment: Mapping[str, str],
        binds: Sequence[tuple[str, str, bool]] = (),
        own_pids: bool = True,
    ) -> subprocess.Popen[bytes]:
        """Start the container's process.

        Args:
            command: the program and its arguments, with the container's paths.
            defaults: variables that the image and the request may override.
            environment: variables of the request, with the container's paths.
            binds: what ``containers.Container`` calls so.
            own_pids: what ``containers.Container`` calls so.

        Raises:
            OSError: the program cannot be started.
        """
        machine = processes.clean_environment(self._here("/tmp"))  # noqa: S108 - the container's
        in_namespaces = containers.available()
        if in_namespaces:
            machine = containers.environment_of(machine)
        variables = {**defaults, **(self._image.variables(machine) if self._image else {}), **environment}
        if in_namespaces:
            container = containers.Container(self._root, binds, self._workdir, own_pids)
            return containers.spawn(command, {**machine, **variables}, self._mark, container)
        variables = machine | self.opt_ml.environment(variables)
        return processes.spawn(self.opt_ml.command(command), variables, self._mark, self._here(self._workdir))

    def _here(self, path: str) -> Path:
        """Return the path on this machine for a path in the container."""
        return self._root / path.lstrip("/")
