"""Runs that Plan or the gate refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest

from proofs.drills.hands import HANDS
from tests.integration.pipeline.kennel import Kennel, Rerun


def test_photo_in_two_splits_is_refused_early_and_the_champion_stays(kennel: Kennel, tmp_path: Path) -> None:
    leaky = shutil.copytree(kennel.photos, tmp_path / "leaky")
    source = sorted((leaky / "train" / "003.Dalmatian").iterdir())[0]
    shutil.copy(source, leaky / "test" / "003.Dalmatian" / "copied.jpg")
    champion = kennel.champion()
    execution = kennel.finish(kennel.start({"dataset": kennel.upload("leaky", leaky)}))
    assert (execution["status"], execution["error"]) == ("FAILED", "DatasetError")
    assert "test/003.Dalmatian/copied.jpg is also train/003.Dalmatian/" in execution["cause"]
    assert '{"leaks": "drop"}' in execution["cause"]
    assert kennel.champion() == champion
    assert not kennel.is_locked()


def test_refused_run_exits_with_3(rerun: Rerun) -> None:
    assert rerun.code == 3, rerun.output
    assert "REFUSED" in rerun.output
    assert re.search(r"✗  floor +top-1 ", rerun.output)
    assert "below the floor of 100.0%" in rerun.output
    assert rerun.record["status"] == "refused"


def test_refused_challenger_is_registered_as_rejected_with_its_reason(kennel: Kennel, rerun: Rerun) -> None:
    sagemaker = kennel.client("sagemaker")
    rejected = sagemaker.list_model_packages(ModelPackageGroupName="kennel", ModelApprovalStatus="Rejected")
    arns = [package["ModelPackageArn"] for package in rejected["ModelPackageSummaryList"]]
    reasons = [sagemaker.describe_model_package(ModelPackageName=arn)["ApprovalDescription"] for arn in arns]
    assert reasons.count(rerun.record["verdict"]["reason"]) == 1


def test_same_run_once_more_reuses_the_training_and_says_so(kennel: Kennel, rerun: Rerun) -> None:
    assert f"reused  {kennel.record['trained']['job']}\n" in rerun.output
    assert rerun.num_jobs == 0
    unpinned = {"version_id": ""}  # A training that is reused is known by its ETag alone.
    assert rerun.record["trained"] | unpinned == kennel.record["trained"] | unpinned
    assert rerun.record["evaluation"]["challenger"]["top1"] == kennel.record["evaluation"]["challenger"]["top1"]
    assert {"Train", "ReuseTraining"} & {state["name"] for state in rerun.record["states"]} == {"ReuseTraining"}


@pytest.mark.parametrize(
    "words", ["the rollback alarms are deleted", "the API key is out of its plan", "the artifact is another file"]
)
def test_what_a_hand_changed_is_refused_by_plan_until_it_is_mended(kennel: Kennel, words: str) -> None:
    [(remove, refusal)] = [(remove, refusal) for each, remove, refusal in HANDS if each == words]
    mend = remove(kennel.drill_cloud())
    try:
        execution = kennel.finish(kennel.start({"dataset": kennel.dataset}))
    finally:
        mend()
    assert execution["error"] in ("ChampionError", "StackError")
    assert refusal in execution["cause"]
    assert not kennel.is_locked()


def test_pointer_that_says_none_is_refused_while_a_model_serves(kennel: Kennel) -> None:
    ssm, champion = kennel.client("ssm"), kennel.champion()
    version = champion["model_package_arn"].rpartition("/")[2]
    ssm.put_parameter(Name="/kennel/champion", Value="none", Overwrite=True)
    try:
        execution = kennel.finish(kennel.start({"dataset": kennel.dataset}))
    finally:
        ssm.put_parameter(Name="/kennel/champion", Value=json.dumps(champion), Overwrite=True)
    assert execution["error"] == "ChampionError"
    assert f'start a run with {{"promote": {version}}}, the version that serves' in execution["cause"]
