"""The folder that replaces /opt/ml, and the paths that are rewritten to it."""

import sys
from pathlib import Path

import pytest

from cloud.sagemaker.opt_ml import OptMlFolder, resource_config, threads_per_host

FOLDER = OptMlFolder(Path("/home/me/job/opt/ml"))


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/opt/ml", "/home/me/job/opt/ml"),
        ("/opt/ml/model", "/home/me/job/opt/ml/model"),
        ("--root=/opt/ml/processing", "--root=/home/me/job/opt/ml/processing"),
        ("/opt/ml/a:/opt/ml/b", "/home/me/job/opt/ml/a:/home/me/job/opt/ml/b"),
        ("/opt/mlflow", "/opt/mlflow"),
        ("/srv/opt/ml", "/srv/opt/ml"),
        ("s3://bucket/opt/ml", "s3://bucket/opt/ml"),
    ],
)
def test_rewrite_touches_paths_of_the_container_only(text: str, rewritten: str) -> None:
    assert FOLDER.rewrite(text) == rewritten


def test_rewrite_knows_the_files_of_the_image(tmp_path: Path) -> None:
    folder = OptMlFolder(tmp_path / "opt/ml")
    (tmp_path / "opt/kennel").mkdir(parents=True)
    assert folder.rewrite("/opt/kennel:/opt/other") == f"{tmp_path}/opt/kennel:/opt/other"
    assert folder.rewrite("/opt/kennel/missing.py") == "/opt/kennel/missing.py"
    assert folder.rewrite("s3://opt/kennel") == "s3://opt/kennel"


def test_command_runs_this_python_with_paths_of_this_folder() -> None:
    assert FOLDER.command(["python3", "/opt/ml/input/data/code/launch.py", "--out", "/opt/ml/model"]) == [
        sys.executable,
        "/home/me/job/opt/ml/input/data/code/launch.py",
        "--out",
        "/home/me/job/opt/ml/model",
    ]
    assert FOLDER.command(["bash", "python3"]) == ["bash", "python3"]


def test_path_refuses_paths_outside_opt_ml() -> None:
    assert FOLDER.path("/opt/ml/checkpoints") == Path("/home/me/job/opt/ml/checkpoints")
    for outside in ("/etc/passwd", "/opt/ml/../../etc", "/opt/mlflow"):
        with pytest.raises(ValueError, match="is not below /opt/ml"):
            FOLDER.path(outside)


def test_read_text_is_short_and_accepts_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "failure").write_text("  " + "x" * 2000)
    assert OptMlFolder(tmp_path).read_text("failure") == "x" * 1024
    assert OptMlFolder(tmp_path).read_text("missing") == ""


def test_resource_config_names_this_host_and_all_hosts() -> None:
    config = resource_config("algo-2", ["algo-1", "algo-2"], "ml.m5.large")
    assert (config["current_host"], config["hosts"]) == ("algo-2", ["algo-1", "algo-2"])
    assert config["instance_groups"][0]["hosts"] == ["algo-1", "algo-2"]


def test_hosts_are_sorted_as_text_as_on_aws() -> None:
    hosts = [f"algo-{number}" for number in range(1, 12)]
    config = resource_config("algo-2", hosts, "ml.m5.large")
    assert config["hosts"][:3] == ["algo-1", "algo-10", "algo-11"]


def test_hosts_share_the_cores() -> None:
    assert threads_per_host(1) >= threads_per_host(2) >= 1
    assert threads_per_host(10_000) == 1
