"""The notebook runs with the unmodified SageMaker SDK against the laptop cloud, and leaves nothing behind."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloud.core import root_key
from cloud.core.processes import free_port
from sketchbook import write
from tests.contract.test_notebook import script_cells
from tests.integration.laptop import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # seconds; the machine may be shared

JUPYTER = ROOT / ".tools/notebook/bin/jupyter"
BREEDS = ("Dalmatian", "Doberman", "Samoyed")
COUNTS = {"train": 12, "valid": 6, "test": 6}
REQUEST = {"training_instance_count": 1, "hyperparameters": {"epochs": 10}}


class Home:
    """A folder in which the runner keeps its files, with a laptop cloud.

    Attributes:
        folder: the folder.
        port: port of the cloud.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()

    def local(self, *arguments: str) -> None:
        """Run a command of ``python -m local``, which must succeed."""
        command = [sys.executable, "-m", "local", *arguments]
        environment = {**os.environ, "KENNEL_HOME": str(self.folder)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}:\n{done.stdout}{done.stderr}"

    def client(self, service: str) -> Any:
        """Return a boto3 client of the laptop cloud's root."""
        key = root_key.read(self.folder / "cloud")
        keys = {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret}
        make: Any = boto3.client
        return make(service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1", **keys)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A laptop cloud on which a model serves, and on which the notebook has run."""
    assert JUPYTER.exists(), "`make notebook` installs what this test needs"
    folder = tmp_path_factory.mktemp("notebook")
    photos = write(folder / "sketches", seed=5, counts=COUNTS, breeds=BREEDS, size=160)
    (folder / "request.json").write_text(json.dumps(REQUEST))
    home = Home(folder / "home")
    try:
        request = str(folder / "request.json")
        home.local("run", "--data", str(photos), "--event", request, "--port", str(home.port))
        home.local("notebook", "--run")
        yield home
    finally:
        home.local("down")


@pytest.fixture(scope="module")
def shown(home: Home) -> dict[str, str]:
    """What each code cell shows, by the headline above it."""
    cells = json.loads((home.folder / "kennel.ipynb").read_text())["cells"]
    assert [(each["cell_type"], "".join(each["source"])) for each in cells] == script_cells()
    headlines = ["".join(each["source"]).splitlines()[0].lstrip("# ") for each in cells[::2]]
    return {headline: text_of(cell) for headline, cell in zip(headlines, cells[1::2], strict=True)}


def text_of(cell: dict[str, Any]) -> str:
    """Return the text that a cell shows, without colours and without the breaks of long lines."""
    outputs = [each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell["outputs"]]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join("".join(text) for text in outputs))


def cell(shown: dict[str, str], begin: str) -> str:
    """Return what the cell below a headline with this beginning shows."""
    [text] = [text for headline, text in shown.items() if headline.startswith(begin)]
    return text


def test_the_log_of_the_last_training_is_shown(shown: dict[str, str]) -> None:
    text = cell(shown, "Follow")
    assert "epoch=10/10" in text
    assert "Final Resource Status" in text
    assert "Completed" in text


def test_two_instances_train_one_model(home: Home, shown: dict[str, str]) -> None:
    text = cell(shown, "Train")
    assert "epoch=5/5" in text
    assert "2 rank(s), parameters equal" in text
    jobs = home.client("sagemaker").list_training_jobs(NameContains="by-hand-")["TrainingJobSummaries"]
    [name] = [each["TrainingJobName"] for each in jobs if re.fullmatch(r"by-hand-\d{14}", each["TrainingJobName"])]
    streams = home.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )
    assert len(streams["logStreams"]) == 2


def test_four_trials_differ_and_have_an_objective(home: Home, shown: dict[str, str]) -> None:
    sagemaker = home.client("sagemaker")
    [tuning] = sagemaker.list_hyper_parameter_tuning_jobs(NameContains="by-hand")["HyperParameterTuningJobSummaries"]
    assert tuning["HyperParameterTuningJobStatus"] == "Completed"
    trials = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=tuning["HyperParameterTuningJobName"]
    )["TrainingJobSummaries"]
    assert [each["TrainingJobStatus"] for each in trials] == ["Completed"] * 4
    assert len({tuple(sorted(each["TunedHyperParameters"].items())) for each in trials}) == 4
    for each in trials:
        assert 3e-4 <= float(each["TunedHyperParameters"]["learning_rate"]) <= 3e-2
        assert 2 <= int(each["TunedHyperParameters"]["epochs"]) <= 10
        assert 0 < each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] <= 1
    text = cell(shown, "Tune")
    assert all(each["TrainingJobName"] in text for each in trials)


def test_both_endpoints_know_the_photos(shown: dict[str, str]) -> None:
    rows = re.findall(r"^(\w+) +(\w+) +([\d.]+%) +(\w+) +([\d.]+%)$", cell(shown, "Ask"), re.MULTILINE)
    assert rows
    assert all(known == first == second and p == q for known, first, p, second, q in rows)
    assert {row[0] for row in rows} <= set(BREEDS)


def test_only_what_served_before_is_left(home: Home, shown: dict[str, str]) -> None:
    sagemaker, s3 = home.client("sagemaker"), home.client("s3")
    assert [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]] == ["kennel"]
    assert not sagemaker.list_endpoint_configs(NameContains="by-hand")["EndpointConfigs"]
    assert not sagemaker.list_models(NameContains="by-hand")["Models"]
    iam = home.client("iam")
    names = [each["RoleName"] for each in iam.list_roles()["Roles"]]
    names += [each["PolicyName"] for each in iam.list_policies(Scope="Local")["Policies"]]
    assert not [name for name in names if name.startswith("by-hand")]
    for bucket in s3.list_buckets()["Buckets"]:
        assert s3.list_objects_v2(Bucket=bucket["Name"], Prefix="by-hand/")["KeyCount"] == 0
