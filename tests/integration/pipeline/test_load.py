"""A load from outside on the deployed API, through both doors."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import load
from local import laptop, stack
from tests.integration.pipeline.kennel import Kennel


@pytest.mark.parametrize("door", ["rest_api", "function_url"])
def test_a_load_tells_statuses_versions_and_instances(
    kennel: Kennel, door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laptop, "find", lambda: kennel.laptop)
    monkeypatch.delenv("KENNEL_API_KEY", raising=False)
    deployed = stack.describe(kennel.laptop)
    arguments = ["--photos", str(kennel.photos / "test"), "--picture", str(tmp_path / "load.png")]
    if door == "function_url":
        name = (urlsplit(kennel.outputs()["FunctionUrl"]).hostname or "").partition(".")[0]
        arguments.append(f"http://localhost:{kennel.port}/_aws/lambda-url/{name}/")
    figures = load.measure([*arguments, "--constant", "--stages", "2s@2,1s@4", "--endpoint", deployed.endpoint_name])
    assert (figures["door"], figures["stopped"], figures["offered"]) == (door, "", 8)
    assert [stage["by_status"] for stage in figures["stages"]] == [{"200": 4}, {"200": 4}]
    assert figures["versions"] == {kennel.record["run"]: 8}
    assert figures["instances"]["least"] >= 1
    assert figures["photos"]["number"] == 18
    assert deployed.api_key not in str(figures)
