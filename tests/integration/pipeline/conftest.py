"""Two laptop clouds for all tests of the pipeline: one on which a first model serves, and one without runs.

A run that needs no training of its own names the photos of the first cloud, whose training the pipeline reuses.
"""

import json
import socket
from collections.abc import Iterator

import pytest

from cloud.core.processes import free_port
from sketchbook import write
from tests.integration.pipeline.kennel import BREEDS_USED, COUNTS, Kennel, Rerun, exchange, run_local


@pytest.fixture(scope="session")
def kennel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kennel]:
    """A cloud with the stack deployed and a first model promoted."""
    home = tmp_path_factory.mktemp("home")
    photos = write(tmp_path_factory.mktemp("data") / "sketches", seed=5, counts=COUNTS, breeds=BREEDS_USED, size=160)
    exchange(*(sorted((photos / "test" / breed).iterdir())[0] for breed in ("003.Dalmatian", "008.Samoyed")))
    port = free_port()
    try:
        command = run_local(home, "run", "--data", str(photos), "--port", str(port))
        assert command.returncode == 0, command.stdout + command.stderr
        yield Kennel(home, port, photos, json.loads((home / "last-run.json").read_text()), command.stdout)
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
        command = run_local(home, "up", "--port", str(port))
        assert command.returncode == 0, command.stdout + command.stderr
        yield Kennel(home, port, photos, {}, command.stdout)
    finally:
        assert run_local(home, "down").returncode == 0


@pytest.fixture(scope="session")
def rerun(kennel: Kennel, tmp_path_factory: pytest.TempPathFactory) -> Rerun:
    """A second run with the same photos and a floor of 1.0, which the two exchanged photos keep out of reach."""
    event, jobs = tmp_path_factory.mktemp("event") / "event.json", kennel.training_jobs()
    event.write_text('{"min_top1": 1.0}')
    command = kennel.local("run", "--data", str(kennel.photos), "--event", str(event))
    record = json.loads((kennel.home / "last-run.json").read_text())
    return Rerun(command.returncode, command.stdout + command.stderr, record, len(kennel.training_jobs() - jobs))
