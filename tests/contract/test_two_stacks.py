"""Two stacks in one account and region share nothing: no name, and no right on what the other has."""

import copy
from fnmatch import fnmatchcase
from typing import NamedTuple

import pytest

from cloud.cloudformation.hooks import _SHARED, NAME_LIMITS
from tests.contract.test_names import named
from tests.contract.test_permissions import SCOPE, Resolver, listed

# A stack's name and its endpoint's: alike, one the beginning of the other, and crossed.
PAIRS = [
    (("kennel", "kennel"), ("kennel2", "kennel2")),
    (("kennel", "dogs"), ("kennel-pipeline", "dogs1")),
    (("dogs", "kennel"), ("kennel", "dogs")),
    (("aws0", "a"), ("aws0-a", "a0")),
]
ALARMS = (
    "burst",
    "canary",
    "errors",
    "latency",
    "no-capacity",
    "model-errors",
    "model-time",
    "function-errors",
    "function-throttles",
)
# What a stack has and its runs make, by {stack} and {endpoint}. AWS gives the last ones ids of its own.
MADE = [
    *(SCOPE.arn("sagemaker", f"{kind}/{{endpoint}}-x") for kind in ("training-job", "processing-job", "model")),
    *(SCOPE.arn("sagemaker", f"{kind}/{{endpoint}}-x") for kind in ("hyper-parameter-tuning-job", "endpoint-config")),
    *(SCOPE.arn("sagemaker", f"endpoint/{{endpoint}}{end}") for end in ("", "-x-s")),
    SCOPE.arn("sagemaker", "model-package/{endpoint}/1"),
    SCOPE.arn("sagemaker", "model-package-group/{endpoint}"),
    SCOPE.arn("batch", "job-definition/{endpoint}-x-ec2:1"),
    *(SCOPE.arn("cloudwatch", f"alarm:{{endpoint}}-{end}") for end in ALARMS),
    SCOPE.arn("cloudwatch", "alarm:{stack}-pipeline-failed"),
    SCOPE.arn("cloudwatch", "alarm:TargetTracking-endpoint/{endpoint}/variant/main-AlarmHigh-0"),
    SCOPE.arn("scheduler", "schedule/{stack}/{endpoint}-lease"),
    *(SCOPE.arn("ssm", f"parameter/{{stack}}/{name}") for name in ("champion", "lock")),
    SCOPE.arn("ssm", "parameter/{endpoint}/hosting"),
    *(SCOPE.arn("states", f"execution:{{stack}}-{machine}:x") for machine in ("pipeline", "teardown")),
    SCOPE.arn("cloudwatch", "alarm:TargetTracking-function:{endpoint}-model:live-AlarmHigh-0"),
    SCOPE.arn("ssm", "parameter/{endpoint}/hosting"),
    *(SCOPE.arn("lambda", f"function:{{endpoint}}-model{end}") for end in ("", ":live", ":1")),
    SCOPE.arn("lambda", "function:{stack}-plan"),
    SCOPE.arn("lambda", "function:{endpoint}-model:live"),
    SCOPE.arn("codebuild", "project/{stack}-images"),
    SCOPE.arn("logs", "log-group:/aws/lambda/{stack}-plan:log-stream:x"),
    SCOPE.arn("logs", "log-group:/aws/sagemaker/TrainingJobs:log-stream:{endpoint}-x/algo-1"),
    SCOPE.arn("application-autoscaling", "scalable-target/of-{endpoint}"),
    SCOPE.arn("ecr", "repository/{stack}-images-x"),
    SCOPE.arn("batch", "job/of-{endpoint}"),
]
# The statements that reach what another stack has, beside those on "*", and why nothing comes of it.
SHARED = {
    "SeeWhatServes": "It only reads: a hand may have given the endpoint a configuration of any name.",
    "SeeWhatRunsAndHowLong": "likewise",
    "SeeTheFleet": "likewise",
    "LetApplicationAutoScalingSeeAlarms": "It only reads, and AWS asks for all alarms.",
    "SeeWhetherItsAlarmsAreThere": "It only reads, and asks for alarms by their names; the stack chooses them.",
    "WriteContainerLogs": "SageMaker's log groups are the account's; streams have the names of jobs.",
    "PullImages": "It only reads: an image may be in any repository of the account.",
    "PullTheTrainingImage": "likewise",
    "LookForImagesAndLetTheRegistryReadThem": "likewise",
    "SeeWhichImagesAreThere": "likewise",
    "LetLambdaSeeThatItMayReadTheImage": "likewise",
    "StopJobsOnEc2": "Batch chooses a job's id, and jobs are looked up in the stack's own queues.",
    "EndJobsOnEc2": "likewise",
    "RegisterScaling": "A target's id says nothing; the request names the endpoint.",
    "RestoreScaling": "likewise",
    "CapScaling": "likewise",
    "EndScaling": "likewise",
}


class Deployed(NamedTuple):
    """A stack: its resources' names with type and property, its statements, and the ARNs of what its runs make."""

    names: set[tuple[str, str, str]]
    statements: list[dict]
    made: list[str]


def deployed(template, stack, endpoint, monkeypatch):
    template = copy.deepcopy(template)
    template["Resources"]["ApiApiKey"] = {"Type": "AWS::ApiGateway::ApiKey", "Properties": {}}  # SAM makes it.
    names = set(named(template, stack, endpoint, monkeypatch))
    properties = [resource.get("Properties", {}) for resource in template["Resources"].values()]
    documents = [
        each["PolicyDocument"]
        for owner in properties
        for each in (owner, *owner.get("Policies", []))
        if ("PolicyDocument" in each and "Bucket" not in each)
    ]
    statements = [each for document in Resolver(template).resolve(documents) for each in document["Statement"]]
    return Deployed(names, statements, [arn.format(stack=stack, endpoint=endpoint) for arn in MADE])


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_stacks_have_no_name_in_common(template, monkeypatch, one, other):
    first, second = (deployed(template, *names, monkeypatch) for names in (one, other))
    assert len(first.names) == len(second.names) > 30
    assert not first.names & second.names
    assert not set(first.made) & set(second.made)


def test_second_stack_of_an_endpoint_is_refused_by_names_that_cloudformation_holds(template, monkeypatch):
    """Of the resources that have the endpoint's name, each alone is a reason to refuse."""
    first, second = (deployed(template, stack, "dogs", monkeypatch) for stack in ("kennel", "kennel2"))
    common = {(kind, name) for kind, _, name in first.names & second.names}
    assert common == {
        *(("AWS::CloudWatch::Alarm", f"dogs-{end}") for end in ALARMS if end not in ("burst", "canary")),
        ("AWS::SageMaker::ModelPackageGroup", "dogs"),
        ("AWS::SSM::Parameter", "/dogs/hosting"),
        ("AWS::Logs::LogGroup", "/aws/lambda/dogs-model"),
    }
    assert {kind for kind, _ in common} <= {kind for kind, _ in NAME_LIMITS} - set(_SHARED)


@pytest.mark.parametrize(("one", "other"), [pair[::order] for pair in PAIRS for order in (1, -1)])
def test_no_right_reaches_what_another_stack_has(template, monkeypatch, one, other):
    owner, stranger = (deployed(template, *names, monkeypatch) for names in (one, other))
    reached = {}
    for statement in owner.statements:
        for pattern in listed(statement["Resource"]):
            if statement["Effect"] == "Allow" and pattern != "*":
                found = [arn for arn in stranger.made if fnmatchcase(arn, pattern)]
                if found:
                    reached.setdefault(statement.get("Sid"), []).extend(found)
    assert reached.keys() == SHARED.keys(), reached


def test_rights_on_what_runs_make_are_seen(template, monkeypatch):
    """What the stack itself makes is reached, so the test above would see it."""
    own = deployed(template, "kennel", "dogs", monkeypatch)
    patterns = [pattern for statement in own.statements for pattern in listed(statement["Resource"])]
    reached = {arn for arn in own.made if any(fnmatchcase(arn, pattern) for pattern in patterns if pattern != "*")}
    assert reached == set(own.made)
