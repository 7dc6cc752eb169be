"""S3: buckets are encrypted as templates ask, and a bucket that contains objects is not deleted."""

from collections.abc import Mapping
from typing import Any

from ministack.services import s3
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (
        s3,
        (
            "_bucket_default_sse_headers",
            "_build_object_record",
            "_delete_bucket",
            "_delete_bucket_encryption",
            "_put_bucket_encryption",
        ),
    ),
    (
        provisioners,
        (
            "_RESOURCE_HANDLERS",
            "_S3_BUCKET_CONFIGURATIONS",
        ),
    ),
)


def keep_full_buckets() -> None:
    """Let a stack's deletion fail when a bucket contains objects; MiniStack deletes the objects with the bucket."""

    def delete(name: str, _properties: dict[str, Any]) -> None:
        status, _, _ = s3._delete_bucket(name)
        if status == 409:
            raise ValueError("The bucket you tried to delete is not empty (Service: S3, Status Code: 409)")

    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::S3::Bucket"] = {**handlers["AWS::S3::Bucket"], "delete": delete}


def name_contents() -> None:
    """Give an object that is put without a type of its content the one that AWS gives it."""
    build = s3._build_object_record

    def build_with_type(body: bytes, headers: Mapping[str, str], *rest: Any, **options: Any) -> Any:
        return build(body, {"content-type": "binary/octet-stream", **headers}, *rest, **options)

    s3._build_object_record = build_with_type


def encrypt_buckets() -> None:
    """Encrypt buckets as their templates ask, and others with AES256, as AWS does since 2023.

    MiniStack's CloudFormation ignores BucketEncryption, and its S3 says nothing of the default.
    """
    default = s3._bucket_default_sse_headers
    s3._bucket_default_sse_headers = lambda name: default(name) or {"x-amz-server-side-encryption": "AES256"}
    encryption = ("BucketEncryption", _encryption_xml, s3._put_bucket_encryption, s3._delete_bucket_encryption)
    provisioners._S3_BUCKET_CONFIGURATIONS += (encryption,)


def _encryption_xml(properties: Mapping[str, Any]) -> bytes:
    default = properties["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
    members = "".join(f"<{name}>{value}</{name}>" for name, value in default.items())
    rule = f"<Rule><ApplyServerSideEncryptionByDefault>{members}</ApplyServerSideEncryptionByDefault></Rule>"
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ServerSideEncryptionConfiguration xmlns="{namespace}">{rule}</ServerSideEncryptionConfiguration>'.encode()
