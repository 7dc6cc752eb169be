"""Handlers in interpreters of their own, which hold what Lambda's hold: boto3 and a function's own packages."""

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
# Lambda's own, then those of functions/requirements.txt, with what they need.
_RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
_BUILT = (
    *("aws_lambda_powertools", "typing_extensions"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
)
_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "ENDPOINT_NAME": "kennel",
    "BUCKET": "kennel",
    "ALLOWED_ORIGIN": "none",
    "POWERTOOLS_SERVICE_NAME": "kennel",
    "POWERTOOLS_METRICS_NAMESPACE": "Kennel",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}


@dataclass(frozen=True)
class Lambda:
    """Starts interpreters, each for one handler.

    packages: a folder with nothing else than Lambda would have. endpoint_url: of a server that answers InvokeEndpoint.
    """

    packages: Path
    endpoint_url: str

    def run(self, module: str, requests: int = 0, size: int = 1000) -> dict[str, Any]:
        """The times that ``benchmarks/lambda_runtime.py`` took of a handler.

        Raises:
            LocalError: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-S", str(ROOT / "benchmarks/lambda_runtime.py"), module, str(requests), str(size)],
            env=_ENVIRONMENT | {"PYTHONPATH": str(self.packages), "AWS_ENDPOINT_URL": self.endpoint_url},
            input=(ROOT / "events/classify.json").read_bytes(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            raise LocalError(f"{module} failed: {done.stderr.decode(errors='replace')[-500:]}")
        times: dict[str, Any] = json.loads(done.stderr)
        return times


@contextmanager
def lambdas() -> Iterator[Lambda]:
    """A place for handlers to run, before an endpoint that costs nothing.

    Raises:
        LocalError: the endpoint does not start, or a package is missing.
    """
    endpoint = System("endpoint", "", (sys.executable, "-m", "benchmarks.client", "{port}"), {"PYTHONPATH": str(ROOT)})
    with tempfile.TemporaryDirectory() as folder, started(endpoint, Question(b"", "image/jpeg", NULL_CLASS)) as server:
        packages = Path(folder)
        for name in (*_RUNTIME, *_BUILT):
            _link(packages, name)
        for own in (
            "functions/classify",
            "functions/shared",
            *(f"benchmarks/peers/{each}.py" for each in PEERS.values()),
        ):
            (packages / Path(own).name).symlink_to(ROOT / own)
        yield Lambda(packages, f"http://127.0.0.1:{server.port}")


def _link(folder: Path, package: str) -> None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LocalError(f"the package {package} is missing here; `make run` installs it")
    origin = Path(spec.origin)
    source = origin.parent if origin.name == "__init__.py" else origin
    (folder / source.name).symlink_to(source)
