"""Runs that are stopped, started twice, or that left their lock behind."""

import json
import os
import signal
import subprocess
import sys

from tests.integration.pipeline.kennel import DEADLINE, DEPLOYED, ROOT, Kennel, environment, has_job, wait_for


def test_second_run_at_once_is_refused_and_a_stopped_run_leaves_nothing(kennel: Kennel) -> None:
    request = {"dataset": kennel.dataset, "reuse": False}
    first = kennel.start(request)
    wait_for(lambda: has_job(kennel, "InProgress"))
    second = kennel.finish(kennel.start(request))
    assert (second["status"], second["error"]) == ("FAILED", "RunInProgressError")
    assert first in second["cause"]
    kennel.client("stepfunctions").stop_execution(executionArn=first)
    wait_for(lambda: not has_job(kennel, "InProgress") and not has_job(kennel, "Stopping"))
    wait_for(lambda: not kennel.is_locked())
    assert has_job(kennel, "Stopped")
    assert kennel.endpoints() == ["kennel"]


def test_lock_of_a_run_that_is_gone_is_taken_over(kennel: Kennel) -> None:
    gone = kennel.outputs()["PipelineArn"].replace("stateMachine", "execution") + ":gone"
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=gone, Type="String")
    execution = kennel.finish(kennel.start({"dataset": "datasets/nothing/"}))
    assert execution["error"] == "DatasetError"  # Otherwise it would be RunInProgressError.
    assert not kennel.is_locked()


def test_ctrl_c_stops_the_run_and_the_champion_serves_on(kennel: Kennel) -> None:
    champion = kennel.champion()
    command = [sys.executable, "-m", DEPLOYED, "run"]
    process = subprocess.Popen(
        [*command, "--data", str(kennel.photos), "--event", "events/pipeline-anew.json"],
        cwd=ROOT,
        env=environment(kennel.home),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: has_job(kennel, "InProgress"))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert "what served before still serves" in output
    assert json.loads((kennel.home / "last-run.json").read_text())["status"] == "stopped"
    assert not has_job(kennel, "InProgress")
    assert not has_job(kennel, "Stopping")
    assert not kennel.is_locked()
    assert kennel.endpoints() == ["kennel"]
    assert kennel.champion() == champion
