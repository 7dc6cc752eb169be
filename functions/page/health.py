"""Whether a model serves, as the pipeline and teardown last wrote it down."""

import time
from functools import cache, lru_cache
from typing import TYPE_CHECKING, cast

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

_SECONDS = 10  # An answer is valid for so long, so that strangers cannot use up the account's calls to the parameters.
_NO_CHAMPION = "none"


def problem(parameter: str) -> str:
    """Return why no model serves, or an empty string if one does.

    Args:
        parameter: name of the champion's parameter.
    """
    return _problem(parameter, int(time.time() // _SECONDS))


@lru_cache(maxsize=1)
def _problem(parameter: str, _period: int) -> str:
    try:
        value = _ssm().get_parameter(Name=parameter)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            return "it is not known whether a model serves; try again shortly"
        value = _NO_CHAMPION
    except BotoCoreError:
        return "it is not known whether a model serves; try again shortly"
    return "no model is serving yet; try again later" if value == _NO_CHAMPION else ""


@cache
def _ssm() -> "SSMClient":
    """Return the client. Only the health check needs it, so files of the page start without it."""
    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    return cast("SSMClient", botocore.session.get_session().create_client("ssm", config=config))
