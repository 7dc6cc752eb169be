"""A bucket of S3 in memory."""

import base64
import hashlib
import io

import boto3
from botocore.response import StreamingBody


class Bucket:
    """Objects by their keys, as ``GetObject`` and ``ListObjectsV2`` of boto3's client answer."""

    exceptions = boto3.client("s3", region_name="us-east-1").exceptions

    def __init__(self, files):
        self.files = files

    def get_object(self, *, Key, **_):
        if Key not in self.files:
            raise self.exceptions.NoSuchKey({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": StreamingBody(io.BytesIO(self.files[Key]), len(self.files[Key]))}

    def list_objects_v2(self, *, Prefix, **_):
        return {"KeyCount": sum(key.startswith(Prefix) for key in self.files)}


class VersionedBucket:
    """A bucket with versions, which keeps the digest of an object that came with one, as S3 does.

    Attributes:
        versions: the versions of each key, the newest last, as (bytes, whether S3 knows their SHA-256).
        uploads: number of objects that were put by a client.
    """

    exceptions = boto3.client("s3", region_name="us-east-1").exceptions

    def __init__(self, files=()):
        self.versions = {key: [(content, False)] for key, content in dict(files).items()}
        self.uploads, self.reads = 0, 0

    def put_object(self, *, Key, Body, ChecksumSHA256=None, **_):
        content = Body if isinstance(Body, bytes) else Body.read()
        if ChecksumSHA256:
            assert base64.b64encode(hashlib.sha256(content).digest()).decode() == ChecksumSHA256
        self.versions.setdefault(Key, []).append((content, ChecksumSHA256 is not None))
        self.uploads += 1
        return {"VersionId": self.newest(Key), "ETag": f"of {Key}"}

    def newest(self, key):
        return f"v{len(self.versions[key]) - 1}"

    def _find(self, key, version):
        if key not in self.versions:
            answer = {"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
            raise self.exceptions.ClientError(answer, "HeadObject")
        return self.versions[key][int(version[1:]) if version else -1]

    def head_object(self, *, Key, VersionId="", ChecksumMode="", **_):
        content, known = self._find(Key, VersionId)
        answer = {"VersionId": VersionId or self.newest(Key), "ETag": f"of {Key}"}
        if known and ChecksumMode == "ENABLED":
            checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
            answer |= {"ChecksumSHA256": checksum, "ChecksumType": "FULL_OBJECT"}
        return answer

    def get_object(self, *, Key, VersionId="", **_):
        content, _known = self._find(Key, VersionId)
        self.reads += 1
        return {"Body": StreamingBody(io.BytesIO(content), len(content))}

    def list_objects_v2(self, *, Prefix, MaxKeys=1000, **_):
        keys = sorted(key for key in self.versions if key.startswith(Prefix))[:MaxKeys]
        contents = [{"Key": key, "ETag": f"of {key}"} for key in keys]
        return {"KeyCount": len(keys)} | ({"Contents": contents} if keys else {})
