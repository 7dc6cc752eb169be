"""The environment MiniStack reads when it is imported, so it must be set before that."""

import os
import shutil
from pathlib import Path

ACCOUNT = "000000000000"
SERVICES = (
    "apigateway",
    "cloudformation",
    "codebuild",
    "ecr",
    "events",
    "iam",
    "kms",
    "lambda",
    "logs",
    "monitoring",
    "s3",
    "scheduler",
    "sns",
    "ssm",
    "states",
    "sts",
)
KEPT = {
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("LOG_LEVEL", "SFN_WAIT_SCALE"),  # MiniStack's, for whoever starts the cloud
    *("KENNEL_TIME_SCALE", "KENNEL_THROTTLE"),  # see core.clock and sagemaker.endpoints.instance
}
DEFAULT_WAIT_SCALE = "0.05"  # a Wait of 30 s becomes 1.5 s: nothing here takes minutes to appear


def prepare(port: int, home: Path) -> None:
    """Wipe ``home`` and set this process's environment for MiniStack and its children.

    Nearly every variable is dropped first: Lambda functions inherit this environment, and neither
    the user's credentials nor a search path for modules may reach them.

    Raises:
        ValueError: ``home`` holds something that no laptop cloud put there.
    """
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    _wipe(home)
    for name in [name for name in os.environ if name not in KEPT]:
        del os.environ[name]
    scratch = home / "tmp"
    scratch.mkdir()
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    os.environ.setdefault("SFN_WAIT_SCALE", DEFAULT_WAIT_SCALE)
    os.environ.update(
        SERVICES=",".join(SERVICES),
        AUTH="true",  # IAM is enforced, always: what works here works with the template's statements alone
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        MINISTACK_HOST="localhost",
        MINISTACK_REGION=region,
        MINISTACK_ACCOUNT_ID=ACCOUNT,
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        PERSIST_STATE="0",
        S3_PERSIST="0",
        LAMBDA_EXECUTOR="local",
        # A Docker daemon that happens to run here is none of our business.
        DOCKER_HOST=f"unix://{home / 'no-docker.sock'}",
        TMPDIR=str(scratch),
    )


def _wipe(home: Path) -> None:
    flag = home / ".laptop-cloud"
    if home.exists() and any(home.iterdir()) and not flag.exists():
        raise ValueError(
            f"--home {home} is not empty and not a laptop cloud's, and it would be wiped; give a new folder"
        )
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    flag.touch()
