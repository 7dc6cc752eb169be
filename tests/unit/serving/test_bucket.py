import http.client
from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from serving import bucket
from serving.bucket import BucketError, ObjectVersion, get, sign

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
MOMENT = "20260921T141320Z"
ENVIRONMENT = {"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}


def signed_by_botocore(address, target, token, monkeypatch):
    """Return the Authorization header that AWS's own SDK would send."""
    request = AWSRequest("GET", address + target)
    auth = S3SigV4Auth(Credentials("AKID", "secret", token), "s3", "eu-central-1")
    request.context |= {"timestamp": MOMENT, "payload_signing_enabled": True}
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: datetime.fromtimestamp(NOW, UTC))
    auth.add_auth(request)
    return request.headers["Authorization"]


@pytest.mark.parametrize(
    ("wanted", "more", "address", "target"),
    [
        (
            ObjectVersion("s3://kennel/runs/r-1/model.tar.gz"),
            {},
            "https://kennel.s3.eu-central-1.amazonaws.com",
            "/runs/r-1/model.tar.gz",
        ),
        (
            ObjectVersion("s3://kennel/a b+ü/model.tar.gz", "3/L4kqt=JlcpXroDTDmJ+"),
            {"AWS_SESSION_TOKEN": "token"},
            "https://kennel.s3.eu-central-1.amazonaws.com",
            "/a%20b%2B%C3%BC/model.tar.gz?versionId=3%2FL4kqt%3DJlcpXroDTDmJ%2B",
        ),
        (
            ObjectVersion("s3://my.kennel/model.tar.gz"),
            {},
            "https://s3.eu-central-1.amazonaws.com",
            "/my.kennel/model.tar.gz",
        ),
        (
            ObjectVersion("s3://kennel/model.tar.gz"),
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
            "http://127.0.0.1:4566",
            "/kennel/model.tar.gz",
        ),
    ],
)
def test_request_is_signed_as_awss_sdk_signs_it(wanted, more, address, target, monkeypatch):
    request = sign(wanted, ENVIRONMENT | more, NOW)
    assert (request.address, request.target) == (address, target)
    assert request.headers["x-amz-date"] == MOMENT
    assert request.headers.get("x-amz-security-token") == more.get("AWS_SESSION_TOKEN")
    expected = signed_by_botocore(address, target, more.get("AWS_SESSION_TOKEN"), monkeypatch)
    assert request.headers["authorization"] == expected


def test_region_of_china_has_its_own_domain():
    request = sign(ObjectVersion("s3://kennel/m"), ENVIRONMENT | {"AWS_REGION": "cn-north-1"}, NOW)
    assert request.address == "https://kennel.s3.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize("uri", ["", "model.tar.gz", "https://kennel/m", "s3://kennel", "s3:///key", "s3://Kennel/m"])
def test_what_is_no_object_is_refused(uri):
    with pytest.raises(BucketError, match="is not s3://BUCKET/KEY"):
        sign(ObjectVersion(uri), ENVIRONMENT, NOW)


def test_missing_credentials_are_named():
    with pytest.raises(BucketError, match="AWS_SECRET_ACCESS_KEY is missing"):
        sign(ObjectVersion("s3://kennel/m"), {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKID"}, NOW)


class Answers:
    """Stands for S3: it gives one answer after the other, and counts the requests."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    def __call__(self, _request):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


DENIED = (403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


@pytest.mark.parametrize(
    ("answers", "asked", "words"),
    [
        (((200, b"model"),), 1, None),
        (((503, b"<Error><Code>SlowDown</Code></Error>"), ConnectionResetError(), (200, b"model")), 3, None),
        ((http.client.IncompleteRead(b"mo"), (200, b"model")), 2, None),
        ((DENIED,), 1, r"s3://kennel/m \(version v1\): S3 answered 403 AccessDenied"),
        (((404, b"<Error><Code>NoSuchVersion</Code></Error>"),), 1, "S3 answered 404 NoSuchVersion"),
        (((500, b""),) * 3, 3, "S3 answered 500$"),
        ((TimeoutError("timed out"),) * 3, 3, r"S3 does not answer \(TimeoutError: timed out\)"),
    ],
)
def test_only_what_may_pass_is_tried_again(answers, asked, words, monkeypatch):
    s3 = Answers(*answers)
    monkeypatch.setattr(bucket, "_get_once", s3)
    monkeypatch.setattr(bucket, "_PAUSE_SECONDS", 0)
    wanted = ObjectVersion("s3://kennel/m", "v1")
    if words:
        with pytest.raises(BucketError, match=words):
            get(wanted, ENVIRONMENT)
    else:
        assert get(wanted, ENVIRONMENT) == b"model"
    assert s3.asked == asked
