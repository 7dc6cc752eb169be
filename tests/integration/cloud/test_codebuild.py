"""Images that CodeBuild builds from a zip: their tags in ECR never move, and jobs run them."""

import uuid
from typing import Any

import pytest

from tests.integration.builds import build, ended_build, start
from tests.integration.laptop import IMAGE, REPOSITORY, ROLE, Cloud, eventually

DOCKERFILE = """
FROM base AS serve
WORKDIR /opt/app
COPY serving serving
FROM serve AS evaluate
COPY extra.py extra.py
"""


def log(cloud: Cloud, ended: dict[str, Any]) -> list[str]:
    """Return the lines that an ended build has logged."""
    logs = cloud.client("logs")
    stream = {"logGroupName": "/aws/codebuild/images", "logStreamName": ended["id"].partition(":")[2]}

    def events() -> list[Any]:
        try:
            return list(logs.get_log_events(**stream)["events"])
        except logs.exceptions.ResourceNotFoundException:  # A stopped build writes its first line after the answer.
            return []

    return [event["message"] for event in eventually(events, bool)]


def phase_messages(ended: dict[str, Any]) -> str:
    return "".join(context["message"] for phase in ended["phases"] for context in phase.get("contexts", []))


def run_job(cloud: Cloud, image: str, command: str) -> dict[str, Any]:
    sagemaker, name = cloud.client("sagemaker"), f"image-{uuid.uuid4().hex[:8]}"
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={"ImageUri": image, "ContainerEntrypoint": ["python3", "-c", command]},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
    )
    return eventually(
        lambda: dict(sagemaker.describe_processing_job(ProcessingJobName=name)),
        lambda job: bool(job["ProcessingJobStatus"] not in ("InProgress", "Stopping")),
    )


def test_a_job_finds_its_images_files_and_no_others(cloud: Cloud) -> None:
    files = {"serving/Dockerfile": DOCKERFILE, "serving/core.py": "X = 7", "extra.py": "Y = 8", "left_out.py": ""}
    ended = build(cloud, files, "serve evaluate", "a1")
    assert ended["buildStatus"] == "SUCCEEDED", phase_messages(ended)
    evaluate, serve = f"{REPOSITORY}:evaluate-a1", f"{REPOSITORY}:serve-a1"
    assert run_job(cloud, evaluate, "import serving.core, extra")["ProcessingJobStatus"] == "Completed"
    assert run_job(cloud, serve, "import serving.core")["ProcessingJobStatus"] == "Completed"
    for image, module in ((serve, "extra"), (evaluate, "left_out"), (evaluate, "training")):
        assert run_job(cloud, image, f"import {module}")["ProcessingJobStatus"] == "Failed"


def test_a_tag_that_ecr_has_is_not_built_again(cloud: Cloud) -> None:
    files = {"serving/Dockerfile": DOCKERFILE, "serving/core.py": "X = 1", "extra.py": ""}
    ecr = cloud.client("ecr")
    assert build(cloud, files, "serve", "b1")["buildStatus"] == "SUCCEEDED"
    ids = [{"imageTag": "serve-b1"}]
    first = ecr.batch_get_image(repositoryName="model-server", imageIds=ids)["images"][0]["imageId"]["imageDigest"]
    again = build(cloud, files | {"serving/core.py": "X = 2"}, "serve", "b1")
    assert again["buildStatus"] == "SUCCEEDED"
    images = ecr.batch_get_image(repositoryName="model-server", imageIds=ids)["images"]
    assert [image["imageId"]["imageDigest"] for image in images] == [first]


@pytest.mark.parametrize(
    ("files", "targets", "sentence"),
    [
        ({"serving/Dockerfile": DOCKERFILE, "serving/core.py": ""}, "evaluate", "COPY extra.py: the build's context"),
        ({"serving/Dockerfile": DOCKERFILE, "serving/core.py": ""}, "other", "has no target other"),
        ({"serving/core.py": ""}, "serve", "context has no serving/Dockerfile"),
    ],
)
def test_a_build_that_fails_says_why(cloud: Cloud, files: dict[str, str], targets: str, sentence: str) -> None:
    ended = build(cloud, files, targets, uuid.uuid4().hex[:8])
    assert ended["buildStatus"] == "FAILED"
    assert sentence in phase_messages(ended)


def test_a_build_without_a_variable_fails_and_logs_it(cloud: Cloud) -> None:
    ended = ended_build(cloud, start(cloud, {}, REPOSITORY=REPOSITORY, TARGETS="serve"))
    assert ended["buildStatus"] == "FAILED"
    assert phase_messages(ended) == "environment variable CONTENT_HASH is not set"
    assert log(cloud, ended) == [phase_messages(ended)]


def test_a_stopped_build_pushes_no_more_images(cloud: Cloud) -> None:
    targets = [f"t{number}" for number in range(300)]
    files = {"serving/Dockerfile": "\n".join(f"FROM base AS {target}\nCOPY a a" for target in targets), "a": ""}
    started = start(cloud, files, REPOSITORY=REPOSITORY, TARGETS=" ".join(targets), CONTENT_HASH="stopped")
    stopped = cloud.client("codebuild").stop_build(id=started["id"])["build"]
    *pushed, last = log(cloud, stopped)
    assert last == f"stopped before {targets[len(pushed)]}"
    images = cloud.client("ecr").describe_images(repositoryName="model-server", maxResults=1000)["imageDetails"]
    tags = {tag for image in images for tag in image.get("imageTags", ())}
    expected = {f"{target}-stopped" for target in targets[: len(pushed)]}
    assert {tag for tag in tags if tag.endswith("-stopped")} == expected
    assert ended_build(cloud, started)["buildStatus"] == "STOPPED"


def test_a_job_whose_image_is_missing_fails_as_on_aws(cloud: Cloud) -> None:
    image = IMAGE.replace("serve-1", "serve-none")
    ended = run_job(cloud, image, "pass")
    assert ended["ProcessingJobStatus"] == "Failed"
    assert ended["FailureReason"] == (
        f"ClientError: API error (404): manifest for {image} not found: manifest unknown: Requested image not found"
    )


def test_a_model_whose_image_is_missing_is_refused_as_on_aws(cloud: Cloud) -> None:
    cloud.client("s3").put_object(Bucket="contexts", Key="model.tar.gz", Body=b"x")
    sagemaker = cloud.client("sagemaker")
    for image, words in (
        (IMAGE.replace("serve-1", "serve-none"), "Requested image .*:serve-none not found"),
        (IMAGE.replace("model-server", "nothing"), "The repository with name 'nothing' does not exist in the registry"),
        (
            IMAGE.replace("000000000000", "123456789012"),
            "the laptop cloud has only images that its own",
        ),
    ):
        with pytest.raises(sagemaker.exceptions.ClientError, match=words):
            sagemaker.create_model(
                ModelName="no-image",
                ExecutionRoleArn=ROLE,
                PrimaryContainer={"Image": image, "ModelDataUrl": "s3://contexts/model.tar.gz"},
            )


def test_a_scan_here_says_that_it_cannot_look_into_an_image(cloud: Cloud) -> None:
    """AWS answers so for an image without an operating system, and images here have none."""
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="scanned", imageScanningConfiguration={"scanOnPush": True})
    ecr.create_repository(repositoryName="unscanned")
    for name in ("scanned", "unscanned"):
        ecr.put_image(repositoryName=name, imageTag="one", imageManifest='{"schemaVersion": 2}')
    answer = ecr.describe_image_scan_findings(repositoryName="scanned", imageId={"imageTag": "one"})
    assert answer["imageScanStatus"]["status"] == "FAILED"
    assert answer["imageScanStatus"]["description"].startswith("UnsupportedImageError: ")
    assert answer["imageId"]["imageTag"] == "one"
    assert "imageScanFindings" not in answer
    for name, tag, error in (
        ("unscanned", "one", ecr.exceptions.ScanNotFoundException),
        ("scanned", "two", ecr.exceptions.ImageNotFoundException),
        ("none", "one", ecr.exceptions.RepositoryNotFoundException),
    ):
        with pytest.raises(error):
            ecr.describe_image_scan_findings(repositoryName=name, imageId={"imageTag": tag})
