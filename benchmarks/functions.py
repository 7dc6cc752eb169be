"""Lambda handlers, each in an interpreter of its own that has what Lambda has: boto3 and the function's packages."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import NULL_CLASS
from benchmarks.servers import Question, System, started
from local.home import ROOT, LocalError

OURS = "classify.app"
PEERS = {"boto3 alone": "lambda_bare", "boto3 and Powertools, validating": "lambda_powertools"}
# First the packages of Lambda's runtime, then those of functions/requirements.txt with their dependencies.
_RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
_INSTALLED = (
    *("aws_lambda_powertools", "typing_extensions"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
)
_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "ENDPOINT_NAME": "kennel",
    "MODEL_FUNCTION": "kennel-model",
    "HOSTING_PARAMETER": "/kennel/hosting",
    "BUCKET": "kennel",
    "ALLOWED_ORIGIN": "none",
    "SHRINK_PHOTOS": "auto",
    "POWERTOOLS_SERVICE_NAME": "kennel",
    "POWERTOOLS_METRICS_NAMESPACE": "Kennel",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}


@dataclass(frozen=True)
class HandlerRunner:
    """Starts interpreters, each for one handler.

    Attributes:
        packages: Folder with only the packages that Lambda would have.
        endpoint_url: URL of a server that answers InvokeEndpoint and Invoke.
    """

    packages: Path
    endpoint_url: str

    def run(self, module: str, requests: int = 0, size: int = 1000, hosting: str = "instances") -> dict[str, Any]:
        """Run a handler, and return the times that ``benchmarks/lambda_runtime.py`` measures.

        Args:
            module: Module of the handler.
            requests: Number of warm requests.
            size: Size of the photo, bytes.
            hosting: What has the model that our function asks: ``instances`` or ``function``.

        Raises:
            LocalError: The handler failed.
        """
        process = subprocess.run(
            [sys.executable, "-S", str(ROOT / "benchmarks/lambda_runtime.py"), module, str(requests), str(size)],
            env=_ENVIRONMENT
            | {"PYTHONPATH": str(self.packages), "AWS_ENDPOINT_URL": self.endpoint_url, "HOSTING": hosting},
            input=(ROOT / "events/classify.json").read_bytes(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if process.returncode:
            raise LocalError(f"{module} failed: {process.stderr.decode(errors='replace')[-500:]}")
        times: dict[str, Any] = json.loads(process.stderr)
        return times


@contextmanager
def handler_runner() -> Iterator[HandlerRunner]:
    """Yield a runner whose handlers call an endpoint that answers at once.

    Raises:
        LocalError: The endpoint does not start, or a package is missing.
    """
    endpoint = System("endpoint", "", (sys.executable, "-m", "benchmarks.client", "{port}"), {"PYTHONPATH": str(ROOT)})
    with tempfile.TemporaryDirectory() as folder, started(endpoint, Question(b"", "image/jpeg", NULL_CLASS)) as server:
        packages = Path(folder)
        for name in (*_RUNTIME, *_INSTALLED):
            _link(packages, name)
        for path in (
            "functions/classify",
            "functions/prices",
            "functions/shared",
            *(f"benchmarks/peers/{peer}.py" for peer in PEERS.values()),
        ):
            (packages / Path(path).name).symlink_to(ROOT / path)
        yield HandlerRunner(packages, f"http://127.0.0.1:{server.port}")


def _link(folder: Path, package: str) -> None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LocalError(f"the package {package} is not installed; `make run` installs it")
    origin = Path(spec.origin)
    source = origin.parent if origin.name == "__init__.py" else origin
    (folder / source.name).symlink_to(source)
