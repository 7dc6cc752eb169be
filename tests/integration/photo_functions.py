"""The server's image on the laptop cloud, for tests of functions that have a model."""

from tests.integration.builds import build
from tests.integration.laptop import REPOSITORY, ROOT, Cloud

_CONTENT = "photo-function"
IMAGE = f"{REPOSITORY}:serve-{_CONTENT}"


def build_server(cloud: Cloud) -> None:
    """Build the server's image of this repository."""
    paths = [ROOT / "serving/requirements.txt", ROOT / "serving/Dockerfile"]
    paths += [path for folder in ("dataset", "serving") for path in (ROOT / folder).rglob("*.py")]
    files = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    ended = build(cloud, files, "serve", _CONTENT)
    assert ended["buildStatus"] == "SUCCEEDED", ended["phases"]
