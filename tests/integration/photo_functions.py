"""The server's image on the laptop cloud, for tests of functions that have a model."""

import hashlib
from pathlib import Path
from typing import Any

from serving.served_artifact import pack, write_artifact
from tests.integration.builds import build
from tests.integration.colours import coloured_artifact
from tests.integration.laptop import REPOSITORY, ROLE, ROOT, Cloud, await_function

_CONTENT = "photo-function"
IMAGE = f"{REPOSITORY}:serve-{_CONTENT}"


def build_server(cloud: Cloud) -> None:
    """Build the server's image of this repository."""
    paths = [ROOT / "serving/requirements.txt", ROOT / "serving/Dockerfile"]
    paths += [path for folder in ("dataset", "serving") for path in (ROOT / folder).rglob("*.py")]
    files = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    ended = build(cloud, files, "serve", _CONTENT)
    assert ended["buildStatus"] == "SUCCEEDED", ended["phases"]


def coloured_model(folder: Path) -> tuple[bytes, str]:
    """Return the coloured model as the function gets it, and the SHA-256 of its manifest."""
    (folder / "model").mkdir()
    write_artifact(coloured_artifact(folder), folder / "model")
    pack(folder / "model", folder / "model.tar.gz")
    return (folder / "model.tar.gz").read_bytes(), hashlib.sha256(
        (folder / "model/manifest.json").read_bytes()
    ).hexdigest()


def make_function(client: Any, name: str, timeout: int, uri: str, manifest: str) -> None:
    """Make a function from the server's image, as the pipeline does, and wait until it is ready."""
    client.create_function(
        FunctionName=name,
        PackageType="Image",
        Code={"ImageUri": IMAGE},
        ImageConfig={"EntryPoint": ["python", "-m", "serving.function"]},
        Role=ROLE,
        MemorySize=1769,
        Timeout=timeout,
        Environment={"Variables": {"KENNEL_ARTIFACT": uri, "KENNEL_MANIFEST": manifest}},
    )
    await_function(client, name)
