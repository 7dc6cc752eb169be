"""Container images as folders of the files that a Dockerfile copies from its context, with their tags in ECR.

No container engine is needed. This machine's Python and packages replace the base image and ``pip install``. An
image's folder contains exactly the files that Docker would copy.
"""

import hashlib
import json
import re
import shlex
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cloud.core import containers, emulator
from cloud.core.uris import ImageUri

_NOT_FOUND = "API error (404): manifest for {uri} not found: manifest unknown: Requested image not found"
_MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class ImageError(Exception):
    """An image cannot be built, stored or found; the message is one sentence."""


class BuildTarget(NamedTuple):
    """One stage of a Dockerfile, with the stages that it is based on.

    Attributes:
        workdir: Working directory in the container.
        copies: Pairs of a source in the context and a destination in the container, in the order in which Docker
            copies them; the pairs of the base come first.
        labels: Labels by name, with the build arguments filled in.
        environment: Variables that ENV sets.
        entrypoint: Words of ENTRYPOINT; empty without one.
        cmd: Words of CMD; empty without one.
    """

    workdir: str
    copies: tuple[tuple[str, str], ...]
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]


_EMPTY = BuildTarget("/", (), {}, {}, (), ())


class ContainerImage(NamedTuple):
    """An image that this machine can run.

    Attributes:
        root: Folder that represents the image's root; nobody may write into it, because other containers use it.
        workdir: Working directory in the container.
        environment: Variables that ENV sets, with the container's paths.
        entrypoint: Words of ENTRYPOINT; empty without one.
        cmd: Words of CMD; empty without one.
    """

    root: Path
    workdir: str
    environment: Mapping[str, str]
    entrypoint: Sequence[str]
    cmd: Sequence[str]

    def variables(self, machine: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that ENV sets, with what they take from the base image filled in, such as ``$PATH``.

        Args:
            machine: The variables of this machine, which stands in for the base image.
        """
        filled = {}
        for name, value in self.environment.items():
            filled[name] = re.sub(r"\$\{?(\w+)\}?", lambda match: machine.get(match[1], ""), value)
        return filled


class Images:
    """The images that this machine has built."""

    def __init__(self, home: Path) -> None:
        """Use a folder for the images' files.

        Args:
            home: The cloud's folder; its subfolder ``images`` contains one folder per image, named by the digest.
        """
        self._home = home / "images"
        self._lock = threading.Lock()

    def push(self, context: Path, dockerfile: Path, target: str, arguments: Mapping[str, str], uri: str) -> str:
        """Build a target of a Dockerfile, push the image and return its digest.

        Args:
            context: Folder that the Dockerfile copies from.
            dockerfile: The Dockerfile.
            target: Name of the stage to build.
            arguments: Build arguments by name.
            uri: URI of the image, with its tag.

        Raises:
            ImageError: The Dockerfile cannot be built from this context, or ECR refuses the image.
        """
        image = _parse_own(uri)
        if not dockerfile.is_file():
            raise ImageError(f"the build's context has no {dockerfile.relative_to(context)}")
        stages = stages_of(dockerfile.read_text(), arguments)
        if target not in stages:
            raise ImageError(f"{dockerfile.name} has no target {target}; it has {', '.join(stages)}")
        stage = stages[target]
        self._home.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=self._home))
        try:
            for source, destination in stage.copies:
                copy_into(context, source, fresh, destination)
            containers.open_up(fresh)
            manifest = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": _MEDIA_TYPE,
                    "config": {"target": target, **stage._asdict()},
                    "files": dict(_digests(fresh)),
                }
            )
            digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
            with self._lock:  # Another build may create the same image at the same time.
                if not (root := self._root(digest)).exists():  # Existing files stay, because jobs may use them.
                    fresh.rename(root)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        # The image is put last, so that ECR never names an image without files.
        put_request = {"imageTag": image.tag, "imageManifest": manifest, "imageManifestMediaType": _MEDIA_TYPE}
        _call_ecr("PutImage", image, put_request)
        return digest

    def is_own(self, uri: str) -> bool:
        """Return whether a URI names an image of the current account; others cannot be looked at."""
        image = ImageUri.parse(uri)
        return image is not None and image.account == emulator.scope()[1]

    def has(self, uri: str) -> bool:
        """Return whether ECR has the image.

        Raises:
            ImageError: The URI is not one of this registry, or the repository does not exist.
        """
        return bool(self._find(uri))

    def resolve(self, uri: str) -> str | None:
        """Return an image's URI with its digest in place of the tag, or None when ECR has no such image."""
        try:
            matches = self._find(uri)
        except ImageError:
            return None
        image = _parse_own(uri)
        registry, _, _ = uri.partition("/")
        return f"{registry}/{image.repository}@{matches[0]['imageId']['imageDigest']}" if matches else None

    def find(self, uri: str) -> ContainerImage:
        """Return an image that can run.

        Raises:
            ImageError: ECR has no such image, or this machine did not build it.
        """
        matches = self._find(uri)
        if not matches:
            raise ImageError(_NOT_FOUND.format(uri=uri))
        root = self._root(matches[0]["imageId"]["imageDigest"])
        if not root.is_dir():
            raise ImageError(f"the laptop cloud runs only images that its own CodeBuild built; {uri} was pushed")
        config = json.loads(matches[0]["imageManifest"])["config"]
        return ContainerImage(
            root, config["workdir"], config["environment"], tuple(config["entrypoint"]), tuple(config["cmd"])
        )

    def _root(self, digest: str) -> Path:
        return self._home / digest.removeprefix("sha256:")  # PYTHONPATH cannot contain a folder with a colon.

    def _find(self, uri: str) -> list[dict[str, Any]]:
        image = _parse_own(uri)
        matches: list[dict[str, Any]] = _call_ecr("BatchGetImage", image, {"imageIds": [image.image_id]})["images"]
        return matches


def stages_of(dockerfile: str, arguments: Mapping[str, str]) -> dict[str, BuildTarget]:
    """Return the stages of a Dockerfile by name, each with what it inherits from its base.

    RUN and other instructions that need a container engine are not read.

    Args:
        dockerfile: Text of the Dockerfile.
        arguments: Build arguments by name.

    Raises:
        ImageError: A COPY or ENV has a form that is not supported here.
    """
    values = dict(arguments)
    stages: dict[str, BuildTarget] = {}
    current = ""
    has_own_cmd = False
    for word, text in _instructions(dockerfile):
        stage = stages.get(current, _EMPTY)
        rest = _filled_in(text, {**values, **stage.environment})
        if word == "ARG":
            name, _, default = rest.partition("=")
            values.setdefault(name, default.strip("\"'"))
        elif word == "FROM":
            base, *names = re.split(r"\s+as\s+", rest, flags=re.IGNORECASE)
            current = names[0].strip() if names else base
            stages[current] = stages.get(base.strip(), _EMPTY)
            has_own_cmd = False
        elif word == "WORKDIR":
            stages[current] = stage._replace(workdir=str(PurePosixPath(stage.workdir, rest)))
        elif word == "LABEL":
            labels = dict(re.findall(r'([\w.-]+)="?([^"\s]*)"?', rest))
            stages[current] = stage._replace(labels={**stage.labels, **labels})
        elif word == "ENV":
            stages[current] = stage._replace(environment={**stage.environment, **_variables(rest)})
        elif word == "CMD":
            stages[current], has_own_cmd = stage._replace(cmd=_words(text)), True
        elif word == "ENTRYPOINT":
            # Docker drops the base's CMD here, because it was meant for another program.
            stages[current] = stage._replace(entrypoint=_words(text), cmd=stage.cmd if has_own_cmd else ())
        elif word == "COPY":
            stages[current] = stage._replace(copies=stage.copies + _copies(rest, stage.workdir))
    return stages


def _filled_in(text: str, values: Mapping[str, str]) -> str:
    """Replace variables by their values; a variable of the base image stays, because its value is not known here."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], match[0]), text)


def _variables(text: str) -> dict[str, str]:
    """Return the variables of an ENV, which has the form ``A=1 B="x y"`` or ``A all the rest``.

    Raises:
        ImageError: It has another form.
    """
    name, _, rest = text.partition(" ")
    if "=" not in name:
        return {name: rest.strip()}
    try:
        pairs = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise ImageError(f"ENV {text}: {error}") from None
    if broken := [name for name, equals, _ in pairs if not equals]:
        raise ImageError(f"ENV {text}: {broken[0]} has no value")
    return {name: value for name, _, value in pairs}


def _words(text: str) -> tuple[str, ...]:
    """Return the words of an ENTRYPOINT or CMD; what is no JSON array of texts is a command for the shell."""
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return tuple(words)
    return ("/bin/sh", "-c", text)


def _copies(text: str, workdir: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of source and destination of one COPY.

    Raises:
        ImageError: It copies something else than files and folders of the context.
    """
    *sources, destination = [each for each in text.split() if not each.startswith("--")]
    if "--from" in text or not sources or text.startswith("["):
        raise ImageError(f"COPY {text}: the laptop cloud copies plain files and folders of the context only")
    # Docker treats a destination that ends in / as a folder; any other becomes the name of the one source.
    target = str(PurePosixPath(workdir, destination)) + ("/" if destination[-1] in "/." else "")
    return tuple((source, target) for source in sources)


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    lines = (line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def copy_into(context: Path, source: str, root: Path, destination: str) -> None:
    """Carry out one COPY of a Dockerfile.

    Args:
        context: Folder of the build's context.
        source: Path of a file or folder in the context.
        root: Folder that represents the image's root.
        destination: Path in the image; a folder when it ends in ``/``.

    Raises:
        ImageError: The context has no such source.
    """
    origin = (context / source).resolve()
    if not origin.is_relative_to(context.resolve()) or not origin.exists():
        raise ImageError(f"COPY {source}: the build's context has no such file or folder")
    path = root / destination.lstrip("/")
    if origin.is_dir():  # Docker copies a folder's content, not the folder itself.
        # The project's .dockerignore excludes compiled files too.
        shutil.copytree(origin, path, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        return
    if destination.endswith("/"):
        path = path / origin.name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(origin, path)


def _digests(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        yield path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


def _parse_own(uri: str) -> ImageUri:
    """Parse the URI of an image in the registry of the current account and region.

    Raises:
        ImageError: The image is in another registry.
    """
    image = ImageUri.parse(uri)
    region, account = emulator.scope()
    if not image or (image.account, image.region) != (account, region):
        raise ImageError(f"the laptop cloud has only images that its own CodeBuild built; {uri} is another")
    return image


def _call_ecr(operation: str, image: ImageUri, request: Mapping[str, Any]) -> Any:
    target = f"AmazonEC2ContainerRegistry_V20150921.{operation}"
    try:
        return emulator.call_json("ecr", target, {"repositoryName": image.repository, **request})
    except emulator.CallError as error:
        if "RepositoryNotFoundException" in str(error):
            registry = f"in the registry with id '{image.account}'"
            raise ImageError(f"The repository with name '{image.repository}' does not exist {registry}") from None
        raise ImageError(str(error)) from None
