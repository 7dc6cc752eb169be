"""Look whether the artifact of a version is still the file that its evaluation judged."""

import hashlib
from typing import TYPE_CHECKING

from shared.errors import TamperedError
from shared.reports import read_report
from shared.s3 import parse_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 1 << 20  # bytes


def problem(s3: "S3Client", artifact_uri: str, report_sha256: str = "") -> str:
    """Return in words what is wrong with an artifact; nothing if it is the file that was judged.

    The bytes are compared and not the ETag, because a bucket that KMS encrypts gives a file that was put back another
    ETag (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Reports of earlier releases name no digest.

    Args:
        report_sha256: SHA-256 of the report that names the artifact's digest, hexadecimal, from the registry; empty for
            a version of a release that did not record it.
    """
    location = parse_uri(artifact_uri)
    try:
        body = s3.get_object(Bucket=location.bucket, Key=location.key)["Body"]
    except s3.exceptions.NoSuchKey:
        return "is gone"
    try:
        judged = _judged(s3, artifact_uri, report_sha256)
    except TamperedError as error:
        body.close()
        return f"cannot be compared with the one that was judged: {error}"
    if not judged:
        body.close()
        return ""
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(_CHUNK):
        digest.update(chunk)
    return "" if digest.hexdigest() == judged else "is another file than the one that was judged"


def _judged(s3: "S3Client", artifact_uri: str, report_sha256: str) -> str:
    """Return the digest of the archive that was judged; empty if no report names it.

    Raises:
        TamperedError: the registry knows another report.
    """
    report_uri = f"{artifact_uri.rpartition('/artifact/')[0]}/report"
    try:
        report = read_report(s3, report_uri, report_sha256)
    except (s3.exceptions.ClientError, ValueError):
        if report_sha256:
            raise TamperedError(f"its report {report_uri}/evaluation.json is gone or unreadable") from None
        return ""
    return str(report.get("artifact_sha256", ""))
