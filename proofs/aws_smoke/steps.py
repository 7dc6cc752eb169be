"""The steps that prove Kennel on an account, from the definitions to the API."""

import json
import shutil
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from dataset import breed_name
from dataset.photo_bytes import media_type
from local import data, report, stack
from local.api import Api
from local.data import Data
from local.follow import follow
from local.home import LocalError
from local.stack import Stack
from proofs.aws_smoke import sam
from proofs.aws_smoke.account import FOLDER, Account, NotCheckedError, Options
from proofs.aws_smoke.arguments import compare_arguments
from proofs.aws_smoke.concurrency import compare_counts
from proofs.aws_smoke.definitions import definitions
from proofs.aws_smoke.quotas import check_quotas
from proofs.aws_smoke.results import ResultTable
from proofs.aws_smoke.task_fields import TaskAnswer, ask_step_functions, check_fields
from sketchbook import write as draw_sketches

COUNTS = {"train": 12, "valid": 5, "test": 5}  # drawings of each of ten breeds
_SIZE = 160  # side of the drawings in pixels
_INVALID_DEFINITION = '{"StartAt": "Here", "States": {"Here": {"Type": "Pass", "Next": "Nowhere"}}}'


def prove(account: Account, name: str, options: Options, table: ResultTable) -> None:
    """Take all steps, and add a row for each to the table."""
    answers: list[TaskAnswer] = []
    with table.row("Step Functions knows every field of every request") as row:
        answers = ask_step_functions(account, name)
        row.detail = check_fields(answers)
    with table.row("Step Functions computes every request as the laptop does") as row:
        row.detail = compare_arguments(account, answers)
    with table.row("both definitions pass Step Functions' validator"):
        _validate_definitions(account)
    with table.row("the account's quotas let the jobs and the endpoint run") as row:
        row.detail = check_quotas(account, options)
    with table.row("the stack is built and deployed"):
        sam.deploy(account, name, options)
    deployed = stack.describe(account, name)
    with table.row("a dataset is uploaded") as row:
        photos = _draw_dataset()
        data.upload(account, deployed.bucket, photos.archive, photos.key)
        row.detail = ", ".join(f"{number} {split}" for split, number in photos.listing.counts().items())
    with table.row("a run is promoted") as row:
        output = _run_pipeline(account, deployed, photos, name)
        scores = report.evaluation(account, output["run"]["evaluation"]["report_uri"])["challenger"]
        row.detail = f"top-1 {scores['top1']:.1%} on {scores['num_photos']} test photos"
    with table.row("CloudWatch counts the requests at once in staging, as Measure did") as row:
        row.detail = compare_counts(account, output)
    with table.row("the API answers as the model was evaluated") as row:
        row.detail = _classify_test_photos(deployed, photos, scores["top1"])
    with table.row("the API refuses a wrong key and a body that is not a photo") as row:
        row.detail = _send_invalid_requests(deployed)


def _validate_definitions(account: Account) -> None:
    states = account.client("stepfunctions")

    def validate(definition: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = states.validate_state_machine_definition(definition=definition, severity="ERROR")
        except ClientError as error:
            raise NotCheckedError(str(error)) from error
        return answer

    if validate(_INVALID_DEFINITION)["result"] == "OK":
        raise NotCheckedError("the validator of this cloud accepts a definition whose next state does not exist")
    for file, text in definitions(account).items():
        if (answer := validate(text))["result"] != "OK":
            faults = "; ".join(f"{fault.get('location', '')}: {fault['message']}" for fault in answer["diagnostics"])
            raise LocalError(f"{file}: {faults}")


def _draw_dataset() -> Data:
    folder = FOLDER / "sketches"
    if not folder.exists():
        draw_sketches(folder, counts=COUNTS, size=_SIZE)
    return data.prepare(Path(shutil.make_archive(str(folder), "zip", folder)))


def _run_pipeline(account: Account, deployed: Stack, photos: Data, name: str) -> dict[str, Any]:
    """Run the pipeline and return its output."""
    started = account.client("stepfunctions").start_execution(
        stateMachineArn=deployed.pipeline_arn, input=json.dumps({"dataset": photos.key})
    )
    outcome = follow(account, started["executionArn"], jobs=f"{name}-", poll_seconds=account.poll_seconds)
    if outcome.status != "SUCCEEDED":
        raise LocalError(f"the run ended as {outcome.status}: {outcome.error}: {outcome.cause}")
    if outcome.output["status"] != "promoted":
        raise LocalError(f"the gate refused the model: {outcome.output['verdict']['reason']}")
    return outcome.output


def _classify_test_photos(deployed: Stack, photos: Data, top1: float) -> str:
    api = Api(deployed.api_url, deployed.api_key)
    test_photos = list(photos.listing.of("test"))
    num_correct = 0
    for photo in test_photos:
        body = photos.source.read(photo)
        answer = api.classify(body, media_type(body), photo.path)
        if not answer.ok:
            raise LocalError(f"{photo.path}: {answer.status}: {answer.problem}")
        num_correct += answer.document["breed"] == breed_name(photo.label)
    if (
        abs(num_correct - top1 * len(test_photos)) > 1
    ):  # The two highest probabilities of one photo may be almost equal.
        raise LocalError(f"the API names {num_correct} of {len(test_photos)} correctly, the evaluation had {top1:.1%}")
    return f"{num_correct} of {len(test_photos)} named correctly, the evaluation had {top1:.1%}"


def _send_invalid_requests(deployed: Stack) -> str:
    wrong_key = Api(deployed.api_url, "no-such-key").classify(b"x", "image/jpeg")
    no_photo = Api(deployed.api_url, deployed.api_key).classify(b"no photo", "image/jpeg")
    if wrong_key.status != 403:
        raise LocalError(f"a wrong key was answered with {wrong_key.status} instead of 403")
    if not 400 <= no_photo.status < 500:
        raise LocalError(f"a body that is not a photo was answered with {no_photo.status}: {no_photo.problem}")
    return f"403; {no_photo.status}: {no_photo.problem}"
