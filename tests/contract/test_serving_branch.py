"""The branch of the pipeline that builds the images of evaluation and server, with scripted answers of an account."""

from collections import ChainMap

import pytest

from cloud.stepfunctions.interpreter import Interpreter, Scope
from tests.contract.conftest import states_of
from tests.contract.test_training_branch import REPOSITORY, Account

FOUND = {"evaluate": f"{REPOSITORY}@sha256:{'e' * 64}", "serve": f"{REPOSITORY}@sha256:{'f' * 64}"}
BUILT = {"evaluate": f"{REPOSITORY}@sha256:{'1' * 64}", "serve": f"{REPOSITORY}@sha256:{'2' * 64}"}


def images(account, targets, machines):
    """Return the images that the later states name, where these targets were missing."""
    build = {"targets": targets, "content_hash": "12ab"} if targets else None
    uris = {name: f"{REPOSITORY}:{name}-12ab" if name in targets else uri for name, uri in FOUND.items()}
    plan = {**uris, "serving_build": build, "repository": REPOSITORY, "context": "b/1.zip", "context_version": "v7"}
    plan["base"] = "python:3@sha256:12"
    branch = machines["pipeline"]["States"]["TrainAndBuildImages"]["Branches"][1]
    return Interpreter(account).run(branch, {}, Scope({}, ChainMap({"run": {"images": plan}})))


@pytest.mark.parametrize("targets", [["evaluate", "serve"], ["evaluate"], ["serve"]], ids=" ".join)
def test_images_that_were_built_are_named_by_the_digests_that_ecr_gives(machines, targets):
    answer = {
        "Images": [
            {"ImageId": {"ImageTag": f"{name}-12ab", "ImageDigest": BUILT[name].partition("@")[2]}}
            for name in reversed(targets)  # ECR promises no order.
        ]
    }
    account = Account(**{"startBuild.sync": [{"Build": {"Id": "kennel-images:1"}}]}, batchGetImage=[answer])
    assert images(account, targets, machines) == {name: (BUILT if name in targets else FOUND)[name] for name in FOUND}
    (asked,) = account.of("batchGetImage")
    assert asked["ImageIds"] == [{"ImageTag": f"{name}-12ab"} for name in targets]
    (build,) = account.of("startBuild.sync")
    assert (build["SourceLocationOverride"], build["SourceVersion"]) == ("b/1.zip", "v7")
    variables = {each["Name"]: each["Value"] for each in build["EnvironmentVariablesOverride"]}
    assert variables["BASE_IMAGE"] == "python:3@sha256:12"


def test_images_that_plan_found_are_those_that_it_looked_up(machines):
    assert images(Account(), [], machines) == FOUND


def test_no_job_and_no_model_names_an_image_by_its_tag(machines):
    """Plan's own URIs of missing images have tags; only the builds' branches read them."""
    states = dict(states_of(machines["pipeline"]))
    readers = {name for name, state in states.items() if "$run.images.serve " in str(state).replace("}", " }")}
    readers |= {name for name, state in states.items() if "$run.images.evaluate " in str(state).replace("}", " }")}
    assert readers == {"TrainAndBuildImages", "ReadServingImages", "ImagesReady", "TakeUpVersion"}
