"""The environment variables that MiniStack reads when it is imported; they must be set before that."""

import os
import shutil
from pathlib import Path

ACCOUNT = "000000000000"
SERVICES = (
    "apigateway",
    "cloudformation",
    "codebuild",
    "cognito-idp",
    "dynamodb",
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
KEPT_VARIABLES = {
    *("PATH", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("LOG_LEVEL", "SFN_WAIT_SCALE"),  # MiniStack reads these.
    # core/clock.py, core/containers.py, core/quotas.py, sagemaker/endpoints/instance.py and
    # stepfunctions/integrations.py read these.
    *("KENNEL_TIME_SCALE", "KENNEL_NAMESPACES", "KENNEL_QUOTAS", "KENNEL_THROTTLE", "KENNEL_FIELDS"),
    "KENNEL_STOPS",  # stepfunctions/hooks.py reads it.
}
DEFAULT_WAIT_SCALE = "0.05"  # A Wait of 30 s takes 1.5 s here, because no resource takes minutes to appear.


def prepare(port: int, home: Path) -> None:
    """Empty ``home`` and set this process's environment for MiniStack and its children.

    All variables except a few are removed first. Lambda functions inherit this environment, and they must receive
    neither the user's credentials nor a search path for modules; their home is a scratch folder. Other users of the
    machine cannot read what the cloud writes.

    Args:
        port: Port on loopback that the cloud will serve.
        home: Folder for the files of jobs and logs; it is created if missing.

    Raises:
        ValueError: ``home`` contains files that were not written by a laptop cloud.
    """
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    os.umask(0o077)
    _wipe(home)
    for name in [name for name in os.environ if name not in KEPT_VARIABLES]:
        del os.environ[name]
    scratch = home / "tmp"
    scratch.mkdir()
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    os.environ.setdefault("SFN_WAIT_SCALE", DEFAULT_WAIT_SCALE)
    os.environ.update(
        SERVICES=",".join(SERVICES),
        AUTH="true",  # IAM is always enforced, so that a template that works here grants every right it needs.
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
        # MiniStack must not find a Docker daemon that happens to run on this machine.
        DOCKER_HOST=f"unix://{home / 'no-docker.sock'}",
        HOME=str(scratch),  # The user's own home has secrets, such as the credentials of their AWS account.
        TMPDIR=str(scratch),
        STATE_DIR=str(home / "state"),  # MiniStack writes keys there, by default into a folder that all users share.
        PYTHONUTF8="1",  # The functions' locale on AWS is UTF-8; that of the user's shell may be another.
        NO_PROXY="localhost,127.0.0.1,::1",  # A proxy of the whole Mac is asked unless this names the host.
    )


def _wipe(home: Path) -> None:
    marker = home / ".laptop-cloud"
    if home.exists() and any(home.iterdir()) and not marker.exists():
        raise ValueError(
            f"--home {home} contains files that are not from a laptop cloud, and they would be deleted; "
            "give a new or empty folder"
        )
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # A folder that was there has the mode that its maker gave it.
    marker.touch()
