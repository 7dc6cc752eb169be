"""The digest of a base image, asked from a registry on this machine as container engines ask."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from plan import base_image
from plan.base_image import ImageReference, pinned

INDEX = b'{"schemaVersion": 2, "manifests": []}'


class Registry(ThreadingHTTPServer):
    """A registry with one image, ``library/python:3.11``; it gives tokens to anybody who asks for one."""

    manifest, wants_token, lie = INDEX, True, ""

    @property
    def name(self):
        return f"127.0.0.1:{self.server_address[1]}/library/python"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        registry: Registry = self.server
        if self.path.startswith("/token?"):
            assert self.path == "/token?service=here&scope=pull"
            return self.answer(200, json.dumps({"token": "anybody"}).encode())
        if registry.wants_token and self.headers.get("Authorization") != "Bearer anybody":
            realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="here",scope="pull"'
            return self.answer(401, b"{}", **{"WWW-Authenticate": realm})
        # Without these, registries answer with a manifest of an older kind, whose digest is another.
        assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
        assert "application/vnd.docker.distribution.manifest.list.v2+json" in self.headers["Accept"]
        if self.path != "/v2/library/python/manifests/3.11":
            return self.answer(404, b"{}")
        digest = registry.lie or f"sha256:{hashlib.sha256(registry.manifest).hexdigest()}"
        return self.answer(200, registry.manifest, **{"Docker-Content-Digest": digest})

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    with Registry(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("wants_token", [True, False])
def test_a_tag_is_named_by_the_digest_that_its_registry_has_now(registry, wants_token):
    registry.wants_token = wants_token
    name = f"{registry.name}:3.11"
    before = pinned(name)
    assert before == f"{name}@sha256:{hashlib.sha256(INDEX).hexdigest()}"
    registry.manifest = INDEX.replace(b"[]", b"[{}]")
    assert pinned(name) == f"{name}@sha256:{hashlib.sha256(registry.manifest).hexdigest()}" != before


def test_a_name_with_a_digest_is_asked_of_nobody():
    assert pinned("127.0.0.1:9/python:3.11@sha256:00") == "127.0.0.1:9/python:3.11@sha256:00"


@pytest.mark.parametrize("fault", ["tag", "lie", "large", "stopped"])
def test_a_name_whose_digest_is_not_known_stays_as_it_is(registry, monkeypatch, fault):
    monkeypatch.setattr(base_image, "_http", base_image.urllib3.PoolManager(timeout=2, retries=False))
    name = f"{registry.name}:{'4' if fault == 'tag' else '3.11'}"
    if fault == "lie":
        registry.lie = f"sha256:{'0' * 64}"
    elif fault == "large":
        registry.manifest = bytes(5 << 20)
    elif fault == "stopped":
        name = "127.0.0.1:9/library/python:3.11"
    assert pinned(name) == name


@pytest.mark.parametrize(
    ("name", "host", "repository", "tag"),
    [
        ("public.ecr.aws/docker/library/python:3.11-slim", "public.ecr.aws", "docker/library/python", "3.11-slim"),
        ("python", "registry-1.docker.io", "library/python", "latest"),
        ("pytorch/pytorch:2.13", "registry-1.docker.io", "pytorch/pytorch", "2.13"),
        ("docker.io/python:3", "registry-1.docker.io", "library/python", "3"),
        ("localhost:5000/a/b", "localhost:5000", "a/b", "latest"),
    ],
)
def test_names_are_read_as_by_container_engines(name, host, repository, tag):
    reference = ImageReference.parse(name)
    assert reference == (host, repository, tag)
    assert reference.manifest_url.startswith("http://" if host.startswith("localhost") else "https://")
