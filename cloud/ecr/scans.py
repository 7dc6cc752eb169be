"""What ECR says of its scans: nothing here looks for holes, and images here have no operating system to look at."""

import json
from collections.abc import Mapping
from typing import Any

from cloud.core import emulator

# AWS's answer for an image without an operating system, such as one FROM scratch.
_UNSUPPORTED = {
    "status": "FAILED",
    "description": "UnsupportedImageError: The operating system and/or package manager are not supported.",
}
_TARGET = "AmazonEC2ContainerRegistry_V20150921."


def describe(request: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Answer DescribeImageScanFindings: the status of its operation over HTTP, and the document.

    Args:
        request: The operation's request.
    """
    name, image = request["repositoryName"], request["imageId"]
    headers = {"x-amz-target": f"{_TARGET}BatchGetImage", "content-type": "application/x-amz-json-1.1"}
    looked_up = json.dumps({"repositoryName": name, "imageIds": [image]}).encode()
    status, _, body = emulator.answer("ecr", "POST", "/", headers, looked_up, {})
    answer = json.loads(body)
    if status != 200:
        return status, answer
    _, account = emulator.scope()
    where = f"in the repository with name '{name}' in the registry with id '{account}'"
    if not answer["images"]:
        called = ", ".join(f"{key}:'{value}'" for key, value in image.items())
        return 400, {
            "__type": "ImageNotFoundException",
            "message": f"The image with imageId {{{called}}} does not exist within the repository with name '{name}' "
            f"in the registry with id '{account}'",
        }
    found = answer["images"][0]["imageId"]
    described = emulator.call_json("ecr", f"{_TARGET}DescribeRepositories", {"repositoryNames": [name]})
    if not described["repositories"][0]["imageScanningConfiguration"]["scanOnPush"]:
        digest = f"{{imageDigest:'{found['imageDigest']}'}}"
        return 400, {
            "__type": "ScanNotFoundException",
            "message": f"Image scan does not exist for the image with '{digest}' {where}",
        }
    return 200, {
        "registryId": account,
        "repositoryName": name,
        "imageId": found,
        "imageScanStatus": _UNSUPPORTED,
    }


def install() -> None:
    """Let ECR answer what its scans found."""
    emulator.add_operation("ecr", "DescribeImageScanFindings", describe)
