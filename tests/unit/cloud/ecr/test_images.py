"""Stages that are read from a Dockerfile, and files that are copied from a context into an image."""

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


def test_a_later_stage_contains_the_copies_of_its_base():
    stages = stages_of(DOCKERFILE, {"HASH": "12ab"})
    assert stages["serve"].workdir == stages["evaluate"].workdir == "/opt/app"
    assert stages["serve"].copies == (("requirements.txt", "/opt/app/requirements.txt"), ("code/", "/opt/app/code/"))
    assert stages["evaluate"].copies == (*stages["serve"].copies, ("extra.txt", "/etc/"))
    assert stages["evaluate"].labels == {"content": "12ab"}


@pytest.mark.parametrize("line", ["COPY --from=serve /a /b", 'COPY ["a", "b"]', "COPY a"])
def test_unsupported_copies_are_refused(line):
    with pytest.raises(ImageError, match="plain files and folders"):
        stages_of(f"FROM x AS y\n{line}\n", {})


def test_files_are_copied_to_where_docker_copies_them(tmp_path):
    context, root = tmp_path / "context", tmp_path / "root"
    (context / "code/inner").mkdir(parents=True)
    (context / "code/inner/a.py").write_text("a")
    (context / "file.txt").write_text("f")
    copy_into(context, "code/", root, "/opt/app/lib/")
    copy_into(context, "file.txt", root, "/etc/")
    copy_into(context, "file.txt", root, "/etc/renamed")
    copied = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert copied == ["etc/file.txt", "etc/renamed", "opt/app/lib/inner/a.py"]


def test_working_directories_are_joined():
    stages = stages_of("FROM x AS y\nWORKDIR /opt\nWORKDIR app\nCOPY a a\nFROM y AS z\nWORKDIR /srv\n", {})
    assert (stages["y"].workdir, stages["z"].workdir) == ("/opt/app", "/srv")
    assert stages["y"].copies == (("a", "/opt/app/a"),)


def test_a_stage_inherits_how_its_base_is_started():
    stages = stages_of(
        """
FROM x AS base
ARG PLACE=app
ENV HOME_OF=/opt/$PLACE PATH="/opt/bin:$PATH" GREETING='hello you'
ENV OLD the old form
WORKDIR $HOME_OF
ENTRYPOINT ["python", "-m", "serving"]
CMD ["--help"]
FROM base AS same
FROM base AS other
ENTRYPOINT ["python", "-m", "other"]
FROM base AS both
CMD ["first"]
ENTRYPOINT exec python $HOME
""",
        {},
    )
    base = stages["base"]
    environment = {"HOME_OF": "/opt/app", "PATH": "/opt/bin:$PATH", "GREETING": "hello you", "OLD": "the old form"}
    assert base.environment == environment
    assert (base.workdir, base.entrypoint, base.cmd) == ("/opt/app", ("python", "-m", "serving"), ("--help",))
    assert stages["same"] == base
    # A new ENTRYPOINT drops the CMD of the base, but not a CMD of its own stage.
    assert (stages["other"].entrypoint, stages["other"].cmd) == (("python", "-m", "other"), ())
    assert (stages["both"].entrypoint, stages["both"].cmd) == (("/bin/sh", "-c", "exec python $HOME"), ("first",))


@pytest.mark.parametrize("line", ["ENV A=1 B", "ENV A='1"])
def test_a_broken_env_is_refused(line):
    with pytest.raises(ImageError, match=r"^ENV A="):
        stages_of(f"FROM x AS y\n{line}\n", {})


@pytest.mark.parametrize("source", ["missing", "../outside"])
def test_files_outside_the_context_cannot_be_copied(tmp_path, source):
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


def test_a_uri_outside_ecr_is_not_parsed():
    assert ImageUri.parse("docker.io/library/python:3.11") is None


@pytest.fixture
def repository():
    """Return the URI of a new repository in the emulator's ECR, which runs in this process."""
    name = f"images-{uuid.uuid4().hex[:8]}"
    emulator.call_json("ecr", "AmazonEC2ContainerRegistry_V20150921.CreateRepository", {"repositoryName": name})
    region, account = emulator.scope()
    return f"{account}.dkr.ecr.{region}.amazonaws.com/{name}"


def push(home, context, uri, dockerfile, **files):
    for name, text in {"Dockerfile": dockerfile, **files}.items():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(text)
    return home.push(context, context / "Dockerfile", "serve", {}, uri)


def test_simultaneous_pushes_keep_their_files_apart(tmp_path, repository, monkeypatch):
    home, plain = Images(tmp_path), "FROM x AS serve\nCOPY {0} {0}\n"

    def copy_during_another_push(*arguments):
        monkeypatch.undo()
        push(home, tmp_path / "two", f"{repository}:two", plain.format("b"), b="2")
        copy_into(*arguments)

    monkeypatch.setattr(images, "copy_into", copy_during_another_push)
    push(home, tmp_path / "one", f"{repository}:one", plain.format("a"), a="1")
    for tag, files in (("one", {"a": "1"}), ("two", {"b": "2"})):
        root = home.find(f"{repository}:{tag}").root
        assert {path.name: path.read_text() for path in root.iterdir()} == files
    assert len(list((tmp_path / "images").iterdir())) == 2  # No unfinished folder is left.


def test_image_has_its_files_before_ecr_names_it(tmp_path, repository, monkeypatch):
    def refuse(*_):
        assert [len(path.name) for path in (tmp_path / "images").iterdir()] == [64]  # The name is a digest.
        raise emulator.CallError(500, "no")

    monkeypatch.setattr(emulator, "call_json", refuse)
    with pytest.raises(ImageError, match=r"^no$"):
        push(Images(tmp_path), tmp_path / "context", f"{repository}:one", "FROM x AS serve\nCOPY a a\n", a="1")


def test_image_without_files_can_be_pushed(tmp_path, repository):
    home = Images(tmp_path)
    push(home, tmp_path / "context", f"{repository}:one", "FROM x AS serve\n")
    assert list(home.find(f"{repository}:one").root.iterdir()) == []


def test_image_knows_how_it_is_started(tmp_path, repository):
    home = Images(tmp_path)
    dockerfile = 'FROM x AS serve\nENV A=1\nWORKDIR /opt/app\nENTRYPOINT ["python", "-m", "a"]\nCMD ["b"]\n'
    push(home, tmp_path / "context", f"{repository}:one", dockerfile)
    image = home.find(f"{repository}:one")
    assert image[1:] == ("/opt/app", {"A": "1"}, ("python", "-m", "a"), ("b",))
    assert home.is_own(f"{repository}:none")
    assert not home.is_own(repository.replace("000000000000", "123456789012"))


def test_image_of_another_account_region_or_repository_is_refused(tmp_path, repository):
    home = Images(tmp_path)
    push(home, tmp_path / "context", f"{repository}:one", "FROM x AS serve\n")
    assert home.has(f"{repository}:one")
    for foreign in (repository.replace("000000000000", "123456789012"), repository.replace("us-east-1", "eu-west-1")):
        with pytest.raises(ImageError, match="the laptop cloud has only images that its own CodeBuild built; "):
            home.has(f"{foreign}:one")
    sentence = f"^The repository with name '.*-none' does not exist in the registry with id '{'0' * 12}'$"
    with pytest.raises(ImageError, match=sentence):
        home.has(f"{repository}-none:one")
