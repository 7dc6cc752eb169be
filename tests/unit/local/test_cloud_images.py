"""What the laptop's builds read of a Dockerfile, and what of a context becomes an image's files."""

from pathlib import Path

import pytest

from local.cloud.images import ImageError, ImageUri, _copy, stages_of

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = """
ARG BASE=python:3.11
FROM ${BASE} AS serve
WORKDIR /opt/app
# COPY nothing of this
COPY requirements.txt \\
     requirements.txt
ARG HASH
LABEL content=${HASH}
COPY --chown=1:1 code/ code/
FROM serve AS evaluate
COPY extra.txt /etc/
"""


def test_a_later_stage_holds_what_its_base_copies():
    stages = stages_of(DOCKERFILE, {"HASH": "12ab"})
    assert stages["serve"].workdir == stages["evaluate"].workdir == "/opt/app"
    assert stages["serve"].copies == (("requirements.txt", "/opt/app/requirements.txt"), ("code/", "/opt/app/code/"))
    assert stages["evaluate"].copies == (*stages["serve"].copies, ("extra.txt", "/etc/"))
    assert stages["evaluate"].labels == {"content": "12ab"}


@pytest.mark.parametrize("line", ["COPY --from=serve /a /b", 'COPY ["a", "b"]', "COPY a"])
def test_copies_that_cannot_be_followed_are_refused(line):
    with pytest.raises(ImageError, match="plain files and folders"):
        stages_of(f"FROM x AS y\n{line}\n", {})


def test_copies_land_as_docker_puts_them(tmp_path):
    context, root = tmp_path / "context", tmp_path / "root"
    (context / "code/inner").mkdir(parents=True)
    (context / "code/inner/a.py").write_text("a")
    (context / "file.txt").write_text("f")
    _copy(context, "code/", root, "/opt/app/lib/")
    _copy(context, "file.txt", root, "/etc/")
    _copy(context, "file.txt", root, "/etc/renamed")
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert found == ["etc/file.txt", "etc/renamed", "opt/app/lib/inner/a.py"]


@pytest.mark.parametrize("source", ["missing", "../outside"])
def test_what_the_context_does_not_hold_cannot_be_copied(tmp_path, source):
    (tmp_path / "outside").touch()
    (tmp_path / "context").mkdir()
    with pytest.raises(ImageError, match="no such file or folder"):
        _copy(tmp_path / "context", source, tmp_path / "root", "/x")


def test_our_own_dockerfile_has_the_two_targets():
    stages = stages_of((ROOT / "serving/Dockerfile").read_text(), {"CONTENT_HASH": "12ab"})
    assert {"serve", "evaluate"} <= set(stages)
    assert "12ab" in stages["evaluate"].labels.values()
    copied = {source.strip("/") for source, _ in stages["serve"].copies}
    assert {"serving", "dataset"} <= copied


@pytest.mark.parametrize(
    ("uri", "tag", "digest"),
    [
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/a/b:c-1", "c-1", ""),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/a", "latest", ""),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/a@sha256:" + "0" * 64, "", "sha256:" + "0" * 64),
    ],
)
def test_image_uris_name_a_tag_or_a_digest(uri, tag, digest):
    image = ImageUri.parse(uri)
    assert (image.account, image.region, image.tag, image.digest) == ("000000000000", "us-east-1", tag, digest)


def test_what_is_not_in_ecr_is_no_image_uri():
    with pytest.raises(ImageError, match="not a URI of an image in ECR"):
        ImageUri.parse("docker.io/library/python:3.11")
