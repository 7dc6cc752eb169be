"""KMS: the keys that encrypt objects and topics, and the policies of keys."""

import json
from typing import Any

from ministack.services import kms, s3, sns

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (kms, ("_resolve_key",)),
    (
        s3,
        (
            "_bucket_default_sse_headers",
            "_buckets",
        ),
    ),
    (sns, ("_topic_by_arn_any_scope",)),
)


def key_of(action: str, resource: str) -> str | None:
    """Return the ARN of the KMS key that an action on an S3 object or a topic uses; None when it uses none."""
    service, _, rest = resource.removeprefix("arn:aws:").partition(":")
    name = None
    if service == "s3":
        bucket, _, key = rest.lstrip(":").partition("/")
        stored = None if action == "s3:PutObject" else s3._buckets.get(bucket, {}).get("objects", {}).get(key)
        headers = stored["preserved_headers"] if stored else s3._bucket_default_sse_headers(bucket)
        name = headers.get("x-amz-server-side-encryption-aws-kms-key-id")
    elif service == "sns" and (topic := sns._topic_by_arn_any_scope(resource)):
        name = topic["attributes"].get("KmsMasterKeyId")
    return key_arn(name) if name else None


def key_policy(arn: str) -> Any:
    """Return the policy of a KMS key as a document."""
    return json.loads(kms._resolve_key(arn)["Policy"])


def key_arn(name: str) -> str:
    """Return the ARN of the KMS key with an ARN, id or alias; return the name itself when there is no such key."""
    record = kms._resolve_key(name)
    return record["Arn"] if record else name
