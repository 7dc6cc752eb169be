"""Runs whose challenger the gate refuses."""

import json
import re
import shutil
from pathlib import Path

from tests.integration.pipeline.kennel import Kennel, Rerun


def test_photo_in_two_splits_is_refused_and_the_champion_stays(kennel: Kennel, tmp_path: Path) -> None:
    leaky = shutil.copytree(kennel.photos, tmp_path / "leaky")
    source = sorted((leaky / "train" / "003.Dalmatian").iterdir())[0]
    shutil.copy(source, leaky / "test" / "003.Dalmatian" / "copied.jpg")
    champion = kennel.champion()
    execution = kennel.finish(kennel.start({"dataset": kennel.upload("leaky", leaky)}))
    assert execution["status"] == "SUCCEEDED"
    output = json.loads(execution["output"])
    assert output["status"] == "refused"
    assert "test/003.Dalmatian/copied.jpg is also train/003.Dalmatian/" in output["verdict"]["reason"]
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
    assert rerun.record["trained"] == kennel.record["trained"]
    assert rerun.record["evaluation"]["challenger"]["top1"] == kennel.record["evaluation"]["challenger"]["top1"]
    assert {"Train", "ReuseTraining"} & {state["name"] for state in rerun.record["states"]} == {"ReuseTraining"}
