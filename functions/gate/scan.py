"""What ECR's scan found in the image that would serve, as a check of the gate."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from shared.contracts import Check, Limits
from shared.errors import ScanPendingError

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

SEVERE = ("CRITICAL", "HIGH")
_COMPLETE, _PENDING = ("COMPLETE", "ACTIVE"), ("PENDING", "IN_PROGRESS")
_LAST_ATTEMPT = 6  # The state machine waits between attempts, minutes in all.
_NUM_NAMED = 3
_ECR_URI = re.compile(r"(\d{12})\.dkr\.ecr\.[^/]+/(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>.+))?")
# ECR's answers that say there are no findings to read; an older role may lack the right to ask.
_NOT_READ = ("ScanNotFoundException", "AccessDeniedException")


class Finding(NamedTuple):
    """One known hole in an image.

    Attributes:
        name: the advisory's name, such as ``CVE-2026-0001``.
        severity: ``CRITICAL``, ``HIGH``, …
        package: the package that has it; may be empty.
    """

    name: str
    severity: str
    package: str


class Scan(NamedTuple):
    """The result of an image's scan.

    Attributes:
        findings: what was found.
        date: the day of the scan or of its newest advisories, such as ``2026-11-29``; may be empty.
        missing: why there is no result, in words; empty if there is one.
    """

    findings: tuple[Finding, ...]
    date: str = ""
    missing: str = ""


def read(ecr: "ECRClient", image: str, attempt: int) -> Scan:
    """Read the scan of an image in ECR.

    Args:
        ecr: the client.
        image: the image's URI.
        attempt: 0, or how often the state machine has asked before.

    Raises:
        ScanPendingError: the scan has not ended yet, and it is worth asking again.
    """
    named = _ECR_URI.fullmatch(image)
    if named is None:
        return Scan((), missing=f"{image or 'the image'} is not in ECR")
    digest, tag = named["digest"], named["tag"]
    findings: list[Finding] = []
    date = ""
    try:
        pages = ecr.get_paginator("describe_image_scan_findings").paginate(
            repositoryName=named["repository"],
            imageId={"imageDigest": digest} if digest else {"imageTag": tag or "latest"},
        )
        for page in pages:
            status = page["imageScanStatus"]
            state = status.get("status", "")
            if state in _PENDING and attempt < _LAST_ATTEMPT:
                raise ScanPendingError(f"the scan of {image} has not ended yet")
            if state not in _COMPLETE:
                return Scan((), missing=f"{state}, {status.get('description', '')}".strip(", "))
            result = page.get("imageScanFindings", {})
            findings += map(_finding, result.get("findings", []))
            findings += map(_enhanced_finding, result.get("enhancedFindings", []))
            at = result.get("vulnerabilitySourceUpdatedAt") or result.get("imageScanCompletedAt")
            date = f"{at:%Y-%m-%d}" if at else date
    except ClientError as error:
        if error.response["Error"]["Code"] not in _NOT_READ:
            raise
        return Scan((), missing=error.response["Error"]["Code"])
    return Scan(tuple(findings), date)


def check(scan: Scan, limits: Limits) -> Check:
    """Check that the image has no severe finding but those that the request accepts."""
    if scan.missing:
        words = f"the image that would serve has no result of a scan ({scan.missing}), "
        words += "which require_scan asks for" if limits.require_scan else "which only require_scan would refuse"
        return Check(name="image", passed=not limits.require_scan, words=words)
    severe = {each.name: each for each in scan.findings if each.severity in SEVERE}
    refused = [each for name, each in sorted(severe.items()) if name not in limits.accept_findings]
    accepted = sorted(severe.keys() & set(limits.accept_findings))
    plural = "" if len(scan.findings) == 1 else "s"
    counts = f"of {len(scan.findings)} finding{plural} in the image that would serve"
    words = f"{counts}, {len(refused)} severe{' and not accepted' if accepted else ''}"
    if refused:
        words += f": {_named(refused)}; build on a patched base, or name them in accept_findings"
    if accepted:
        words += f"; accepted as asked for: {', '.join(accepted)}"
    return Check(name="image", passed=not refused, words=words + (f" (scanned {scan.date})" if scan.date else ""))


def _named(findings: Iterable[Finding]) -> str:
    each = [f"{name} ({severity}{f', {package}' if package else ''})" for name, severity, package in findings]
    more = f" and {len(each) - _NUM_NAMED} more" if len(each) > _NUM_NAMED else ""
    return f"{', '.join(each[:_NUM_NAMED])}{more}"


def _finding(found: Mapping[str, Any]) -> Finding:
    """Return a finding of ECR's basic scan."""
    attributes = {each["key"]: each.get("value", "") for each in found.get("attributes", [])}
    return Finding(found.get("name", ""), found.get("severity", ""), attributes.get("package_name", ""))


def _enhanced_finding(found: Mapping[str, Any]) -> Finding:
    """Return a finding of Amazon Inspector, which scans where the account has turned on enhanced scanning."""
    details = found.get("packageVulnerabilityDetails", {})
    packages = [each.get("name", "") for each in details.get("vulnerablePackages", [])]
    name = details.get("vulnerabilityId") or found.get("title", "")
    return Finding(name, found.get("severity", ""), packages[0] if packages else "")
