"""Two laptop clouds for all tests of the pipeline: one on which a first model serves, and one on which nothing ran.

Runs that need no training of their own name the photos of the first one, whose model they then reuse.
"""

import json
import socket
from collections.abc import Iterator

import pytest

from sketchbook import write
from tests.integration.pipeline.kennel import BREEDS_USED, COUNTS, Again, Kennel, free_port, run_local, swap


@pytest.fixture(scope="session")
def kennel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kennel]:
    """A cloud with the stack deployed and a first model promoted."""
    home = tmp_path_factory.mktemp("home")
    photos = write(tmp_path_factory.mktemp("data") / "sketches", seed=5, counts=COUNTS, breeds=BREEDS_USED, size=160)
    swap(*(sorted((photos / "test" / name).iterdir())[0] for name in ("003.Dalmatian", "008.Samoyed")))
    port = free_port()
    try:
        done = run_local(home, "run", "--data", str(photos), "--port", str(port))
        assert done.returncode == 0, done.stdout + done.stderr
        yield Kennel(home, port, photos, json.loads((home / "last-run.json").read_text()), done.stdout)
    finally:
        assert run_local(home, "down").returncode == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the laptop cloud still listens after down"


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kennel]:
    """A cloud with the stack deployed, on which no run was started; tests leave no endpoint and no champion on it."""
    home, port = tmp_path_factory.mktemp("bare"), free_port()
    photos = write(tmp_path_factory.mktemp("data") / "sketches", seed=5, counts=COUNTS, breeds=BREEDS_USED, size=160)
    try:
        done = run_local(home, "up", "--port", str(port))
        assert done.returncode == 0, done.stdout + done.stderr
        yield Kennel(home, port, photos, {}, done.stdout)
    finally:
        assert run_local(home, "down").returncode == 0


@pytest.fixture(scope="session")
def again(kennel: Kennel, tmp_path_factory: pytest.TempPathFactory) -> Again:
    """The same photos against a floor of 1.0, which the two swapped ones keep out of reach."""
    event, jobs = tmp_path_factory.mktemp("event") / "event.json", kennel.training_jobs()
    event.write_text('{"min_top1": 1.0}')
    done = kennel.local("run", "--data", str(kennel.photos), "--event", str(event))
    record = json.loads((kennel.home / "last-run.json").read_text())
    return Again(done.returncode, done.stdout + done.stderr, record, len(kennel.training_jobs() - jobs))
