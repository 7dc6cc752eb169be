"""What the laptop's builds read of a Dockerfile, and what of a context becomes an image's files."""

import uuid

import pytest

from cloud.core import emulator
from cloud.core.uris import ImageUri
from cloud.ecr import images
from cloud.ecr.images import ImageError, Images, copy_into, stages_of

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
    copy_into(context, "code/", root, "/opt/app/lib/")
    copy_into(context, "file.txt", root, "/etc/")
    copy_into(context, "file.txt", root, "/etc/renamed")
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert found == ["etc/file.txt", "etc/renamed", "opt/app/lib/inner/a.py"]


def test_working_directories_are_joined():
    stages = stages_of("FROM x AS y\nWORKDIR /opt\nWORKDIR app\nCOPY a a\nFROM y AS z\nWORKDIR /srv\n", {})
    assert (stages["y"].workdir, stages["z"].workdir) == ("/opt/app", "/srv")
    assert stages["y"].copies == (("a", "/opt/app/a"),)


@pytest.mark.parametrize("source", ["missing", "../outside"])
def test_what_the_context_does_not_hold_cannot_be_copied(tmp_path, source):
    (tmp_path / "outside").touch()
    (tmp_path / "context").mkdir()
    with pytest.raises(ImageError, match="no such file or folder"):
        copy_into(tmp_path / "context", source, tmp_path / "root", "/x")


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
    assert ImageUri.parse("docker.io/library/python:3.11") is None


@pytest.fixture
def repository():
    """A repository of the emulator's ECR, in this process; its URI."""
    name = f"images-{uuid.uuid4().hex[:8]}"
    emulator.call_json("ecr", "AmazonEC2ContainerRegistry_V20150921.CreateRepository", {"repositoryName": name})
    region, account = emulator.scope()
    return f"{account}.dkr.ecr.{region}.amazonaws.com/{name}"


def push(home, context, uri, dockerfile, **files):
    for name, text in {"Dockerfile": dockerfile, **files}.items():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(text)
    return home.push(context, context / "Dockerfile", "serve", {}, uri)


def test_pushes_at_once_keep_to_their_own_files(tmp_path, repository, monkeypatch):
    home, plain = Images(tmp_path), "FROM x AS serve\nCOPY {0} {0}\n"

    def copy_during_another_push(*arguments):
        monkeypatch.undo()
        push(home, tmp_path / "two", f"{repository}:two", plain.format("b"), b="2")
        copy_into(*arguments)

    monkeypatch.setattr(images, "copy_into", copy_during_another_push)
    push(home, tmp_path / "one", f"{repository}:one", plain.format("a"), a="1")
    for tag, files in (("one", {"a": "1"}), ("two", {"b": "2"})):
        root = home.workdir(f"{repository}:{tag}")
        assert {path.name: path.read_text() for path in root.iterdir()} == files
    assert len(list((tmp_path / "images").iterdir())) == 2  # nothing half made is left


def test_image_has_its_files_before_ecr_names_it(tmp_path, repository, monkeypatch):
    def refuse(*_):
        assert [len(path.name) for path in (tmp_path / "images").iterdir()] == [64]  # a digest
        raise emulator.CallError(500, "no")

    monkeypatch.setattr(emulator, "call_json", refuse)
    with pytest.raises(ImageError, match=r"^no$"):
        push(Images(tmp_path), tmp_path / "context", f"{repository}:one", "FROM x AS serve\nCOPY a a\n", a="1")


def test_image_of_nothing_copied_can_be_pushed(tmp_path, repository):
    home = Images(tmp_path)
    push(home, tmp_path / "context", f"{repository}:one", "FROM x AS serve\n")
    assert list(home.workdir(f"{repository}:one").iterdir()) == []


def test_image_of_another_account_or_repository_is_not_taken_for_ours(tmp_path, repository):
    home = Images(tmp_path)
    push(home, tmp_path / "context", f"{repository}:one", "FROM x AS serve\n")
    assert home.has(f"{repository}:one")
    for foreign in (repository.replace("000000000000", "123456789012"), repository.replace("us-east-1", "eu-west-1")):
        with pytest.raises(ImageError, match="the laptop cloud has images that its own CodeBuild built, which"):
            home.has(f"{foreign}:one")
    sentence = f"^The repository with name '.*-none' does not exist in the registry with id '{'0' * 12}'$"
    with pytest.raises(ImageError, match=sentence):
        home.has(f"{repository}-none:one")
