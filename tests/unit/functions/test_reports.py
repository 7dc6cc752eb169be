"""The evaluation's report is read only if it is the one whose digest the job told SageMaker."""

import hashlib
import json

import pytest

from plan import artifacts
from shared.errors import TamperedError
from shared.reports import digest_in, read_report
from tests.unit.functions.buckets import Bucket

REPORT = json.dumps({"artifact_sha256": hashlib.sha256(b"weights").hexdigest()}).encode()
SHA256 = hashlib.sha256(REPORT).hexdigest()
ARTIFACT, KEY = "runs/r/artifact/model.tar.gz", "runs/r/report/evaluation.json"


def bucket(report=REPORT, artifact=b"weights"):
    return Bucket({key: body for key, body in {ARTIFACT: artifact, KEY: report}.items() if body is not None})


def test_digest_of_the_report_comes_from_the_jobs_exit_message():
    assert digest_in(json.dumps({"report_sha256": SHA256})) == SHA256


@pytest.mark.parametrize("message", ["", "killed", "{}", "[]", '{"report_sha256": ""}', '{"report_sha256": "abc"}'])
def test_job_that_tells_no_digest_is_refused_with_what_to_do(message):
    with pytest.raises(TamperedError, match=r"no SHA-256 of its report.*EvaluationImage"):
        digest_in(message)


def test_report_is_read_only_if_it_is_the_jobs_own():
    assert read_report(bucket(), "s3://b/runs/r/report", SHA256)["artifact_sha256"]
    better = REPORT.replace(b"{", b'{"top1": 1.0, ')
    with pytest.raises(TamperedError, match=r"^the report s3://b/runs/r/report/evaluation.json is not the one that"):
        read_report(bucket(better), "s3://b/runs/r/report", SHA256)


def test_report_of_an_earlier_release_is_read_as_it_is():
    assert read_report(bucket(b"{}"), "s3://b/runs/r/report", "") == {}


@pytest.mark.parametrize(
    ("report", "artifact", "problem"),
    [
        (REPORT, b"weights", ""),
        (REPORT, b"Weights", "is another file than the one that was judged"),
        (REPORT, None, "is gone"),
        (None, b"weights", "its report s3://b/runs/r/report/evaluation.json is gone"),
        (b"{}", b"Weights", "cannot be compared with the one that was judged: the report s3://b/runs/r/report/"),
    ],
)
def test_artifact_is_compared_with_what_the_report_of_the_registry_says(report, artifact, problem):
    """Whoever replaces an artifact can replace its report, too, but not what the registry knows of the report."""
    found = artifacts.problem(bucket(report, artifact), f"s3://b/{ARTIFACT}", SHA256)
    assert found == problem if not problem else problem in found
