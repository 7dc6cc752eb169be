"""Container images as folders: what a Dockerfile copies from its context, kept in ECR by their tags.

No container engine is needed: this machine's own Python and packages stand for the base image and for
``pip install``; the code is exactly what the image would carry, and nothing beside it.
"""

import hashlib
import json
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cloud.core import emulator
from cloud.core.uris import ImageUri

_NOT_FOUND = "API error (404): manifest for {uri} not found: manifest unknown: Requested image not found"
_MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class ImageError(Exception):
    """An image cannot be built, stored or found; the message is one sentence."""


class Target(NamedTuple):
    """One stage of a Dockerfile.

    workdir: in the container.
    copies: (source in the context, destination in the container), in order, those of its base first.
    labels: as given, arguments filled in.
    """

    workdir: str
    copies: tuple[tuple[str, str], ...]
    labels: dict[str, str]


class Images:
    """The images that this machine built."""

    def __init__(self, home: Path) -> None:
        """Args:
        home: folder of the images' roots, by digest.
        """
        self._home = home / "images"
        self._lock = threading.Lock()

    def push(self, context: Path, dockerfile: Path, target: str, arguments: Mapping[str, str], uri: str) -> str:
        """Build a target and push it; returns the image's digest.

        Raises:
            ImageError: the Dockerfile, its context or ECR refuses.
        """
        image = _ours(uri)
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
            manifest = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": _MEDIA_TYPE,
                    "config": {"target": target, "workdir": stage.workdir, "labels": stage.labels},
                    "files": dict(_digests(fresh)),
                }
            )
            digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
            with self._lock:  # another build may make the very same image
                if not (root := self._root(digest)).exists():  # else its files may be in use
                    fresh.rename(root)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        # Last, so that ECR never names an image whose files are not there.
        tagged = {"imageTag": image.tag, "imageManifest": manifest, "imageManifestMediaType": _MEDIA_TYPE}
        _ecr("PutImage", image, tagged)
        return digest

    def has(self, uri: str) -> bool:
        """Whether ECR has the image.

        Raises:
            ImageError: not a URI of this registry, or no such repository.
        """
        return bool(self._find(uri))

    def workdir(self, uri: str) -> Path:
        """The folder that an image's processes start in, with the image's code in it.

        Raises:
            ImageError: ECR has no such image, or this machine did not build it.
        """
        found = self._find(uri)
        if not found:
            raise ImageError(_NOT_FOUND.format(uri=uri))
        root = self._root(found[0]["imageId"]["imageDigest"])
        if not root.is_dir():
            raise ImageError(f"the laptop cloud runs images that its own CodeBuild built; {uri} was pushed")
        workdir: str = json.loads(found[0]["imageManifest"])["config"]["workdir"]
        return root.joinpath(workdir.lstrip("/"))

    def _root(self, digest: str) -> Path:
        return self._home / digest.removeprefix("sha256:")  # a colon would end an entry of PYTHONPATH

    def _find(self, uri: str) -> list[dict[str, Any]]:
        image = _ours(uri)
        found: list[dict[str, Any]] = _ecr("BatchGetImage", image, {"imageIds": [image.image_id]})["images"]
        return found


def stages_of(dockerfile: str, arguments: Mapping[str, str]) -> dict[str, Target]:
    """The named stages of a Dockerfile, of which WORKDIR, COPY, LABEL and ARG are read.

    Raises:
        ImageError: a COPY that this reading does not cover.
    """
    values = dict(arguments)
    stages: dict[str, Target] = {}
    current = ""
    for word, rest in _instructions(dockerfile):
        rest = re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found[1], found[0]), rest)
        if word == "ARG":
            name, _, default = rest.partition("=")
            values.setdefault(name, default.strip("\"'"))
        elif word == "FROM":
            base, *named = re.split(r"\s+as\s+", rest, flags=re.IGNORECASE)
            current = named[0].strip() if named else base
            stages[current] = stages.get(base.strip(), Target("/", (), {}))
        elif word == "WORKDIR":
            stages[current] = stages[current]._replace(workdir=str(PurePosixPath(stages[current].workdir, rest)))
        elif word == "LABEL":
            labels = dict(re.findall(r'([\w.-]+)="?([^"\s]*)"?', rest))
            stages[current] = stages[current]._replace(labels=stages[current].labels | labels)
        elif word == "COPY":
            *sources, destination = [each for each in rest.split() if not each.startswith("--")]
            if "--from" in rest or not sources or rest.startswith("["):
                raise ImageError(f"COPY {rest}: the laptop cloud copies plain files and folders of the context only")
            # Docker: a destination that ends in / is a folder; without, one source takes its name.
            target = str(PurePosixPath(stages[current].workdir, destination)) + ("/" if destination[-1] in "/." else "")
            pairs = tuple((source, target) for source in sources)
            stages[current] = stages[current]._replace(copies=stages[current].copies + pairs)
    return stages


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    lines = (line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def copy_into(context: Path, source: str, root: Path, destination: str) -> None:
    """Do one COPY of a target, below a folder that stands for the image's root.

    Raises:
        ImageError: the context has no such source.
    """
    origin = (context / source).resolve()
    if not origin.is_relative_to(context.resolve()) or not origin.exists():
        raise ImageError(f"COPY {source}: the build's context has no such file or folder")
    place = root / destination.lstrip("/")
    if origin.is_dir():  # its content, as Docker does it
        # .dockerignore keeps compiled files from the context, too.
        shutil.copytree(origin, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        return
    if destination.endswith("/"):
        place = place / origin.name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(origin, place)


def _digests(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        yield path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


def _ours(uri: str) -> ImageUri:
    image = ImageUri.parse(uri)
    region, account = emulator.scope()
    if not image or (image.account, image.region) != (account, region):
        raise ImageError(f"the laptop cloud has images that its own CodeBuild built, which {uri} is not")
    return image


def _ecr(operation: str, image: ImageUri, request: Mapping[str, Any]) -> Any:
    target = f"AmazonEC2ContainerRegistry_V20150921.{operation}"
    try:
        return emulator.call_json("ecr", target, {"repositoryName": image.repository, **request})
    except emulator.CallError as error:
        if "RepositoryNotFoundException" in str(error):
            where = f"in the registry with id '{image.account}'"
            raise ImageError(f"The repository with name '{image.repository}' does not exist {where}") from None
        raise ImageError(str(error)) from None
