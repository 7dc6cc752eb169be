"""The evaluation's report, read only if it is the one that the evaluation job wrote."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from shared.errors import TamperedError
from shared.evaluation import Evaluated
from shared.s3 import read_bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def digest_in(exit_message: str) -> str:
    """Return the SHA-256 of the report, hexadecimal, from the ExitMessage of the evaluation job.

    Raises:
        TamperedError: the message has none.
    """
    try:
        return Evaluated.model_validate_json(exit_message).report_sha256
    except ValidationError:
        raise TamperedError(
            "the evaluation job's ExitMessage has no SHA-256 of its report, so nothing says that the report is the "
            "job's own; if the parameter EvaluationImage names an image, deploy the stack with one of this release"
        ) from None


def read_report(s3: "S3Client", report_uri: str, sha256: str) -> Any:
    """Return ``evaluation.json``, parsed as JSON.

    Args:
        report_uri: the folder of the report.
        sha256: the SHA-256 of the file, hexadecimal; empty for a report of a release that did not record it.

    Raises:
        TamperedError: it is another report.
    """
    uri = f"{report_uri}/evaluation.json"
    content = read_bytes(s3, uri)
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise TamperedError(
            f"the report {uri} is not the one that the evaluation job wrote: its SHA-256 is {found}, not {sha256}; "
            "start the run again"
        )
    return json.loads(content)
