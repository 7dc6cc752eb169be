"""Tests of what the ranks agree on, without a process group."""

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from training import distributed
from training.distributed import Cores, World, machine_id, share_cores


def rank(number: int, world_size: int, host: str) -> World:
    return World(number, world_size, 0, 1, torch.device("cpu"), "gloo", host)


def share(monkeypatch: pytest.MonkeyPatch, *ranks: tuple[str, str, int]) -> Cores:
    """Share the cores of ranks that are given as (machine, host, usable cores)."""

    def gather(world: World, value: Any) -> list[Any]:
        assert value == ranks[world.rank]
        return list(ranks)

    monkeypatch.setattr(distributed, "gather", gather)
    monkeypatch.setattr(distributed, "machine_id", lambda: ranks[0][0])
    monkeypatch.setattr(distributed, "num_cores", lambda: ranks[0][2])
    return share_cores(rank(0, len(ranks), ranks[0][1]))


def test_two_hosts_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = share(monkeypatch, ("m", "algo-1", 2), ("m", "algo-2", 2))
    assert cores.taken == [1, 1]
    assert cores.sentence() == "rank 0 on algo-1: 1 of 2 cores; rank 1 on algo-2: 1 of 2 cores"


def test_machines_with_one_hostname_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    # Containers on different machines may have the same hostname: it must not count.
    monkeypatch.setattr(socket, "gethostname", lambda: "aws")
    assert share(monkeypatch, ("m", "algo-1", 2), ("n", "algo-2", 2)).taken == [2, 2]


def test_a_machine_with_more_ranks_than_cores_gives_each_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = share(monkeypatch, ("m", "algo-1", 2), ("m", "algo-1", 2), ("m", "algo-1", 2), ("n", "algo-2", 8))
    assert cores.taken == [1, 1, 1, 8]


def test_a_gpu_is_called_experimental_in_the_log() -> None:
    cuda = World(0, 1, 0, 1, torch.device("cuda", 0), "none", "here")
    words = "device cuda:0 is experimental: no test of this program has run on a GPU, see docs/proven.md"
    assert cuda.notices == [words]
    assert rank(0, 1, "here").notices == []


def test_the_machine_is_known_by_the_kernels_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("one\n")
    monkeypatch.setattr(distributed, "_BOOT_ID", boot)
    first = machine_id()
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    assert machine_id() == first
    boot.write_text("another\n")
    assert machine_id() != first


def test_macos_tells_its_boot_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(command: tuple[str, ...], **options: Any) -> "subprocess.CompletedProcess[str]":
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "0C4A8F6E\n", "")

    monkeypatch.setattr(distributed, "_BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(subprocess, "run", run)
    assert machine_id() == "0C4A8F6E\n"
    assert asked == [("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")]


def test_without_an_id_of_the_boot_the_hostname_must_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(distributed, "_MACOS_BOOT_ID", (str(tmp_path / "no-sysctl"),))
    monkeypatch.setattr(socket, "gethostname", lambda: "somewhere")
    assert machine_id() == "somewhere"
