"""Every member of every operation is known, or refused by name; botocore's models say which members there are."""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape

from cloud.autoscaling.operations import AutoScaling
from cloud.batch.jobs import Jobs
from cloud.batch.resources import Resources
from cloud.cloudcontrol import operations as cloudcontrol
from cloud.core import members
from cloud.core.protocol import ApiError, JsonApi, Operation, problems_of
from cloud.sagemaker.endpoints.operations import Endpoints
from cloud.sagemaker.jobs.job import JobContext
from cloud.sagemaker.jobs.operations import JobOperations
from cloud.sagemaker.jobs.processing import ProcessingJob
from cloud.sagemaker.jobs.training import TrainingJob
from cloud.sagemaker.registry import Models, Packages
from cloud.sagemaker.store import Store
from cloud.sagemaker.tuning.operations import TuningOperations
from cloud.servicequotas.operations import ServiceQuotas

ROOT = Path(__file__).resolve().parents[4]
FOLDERS = {name: name for name in ("sagemaker", "batch", "cloudcontrol", "codebuild", "stepfunctions")}
FOLDERS |= {"application-autoscaling": "autoscaling", "service-quotas": "servicequotas"}
# Members that are refused at least; a walk that ends early would find fewer.
MIN_REFUSED = {
    "sagemaker": 80,
    "batch": 60,
    "codebuild": 29,
    "stepfunctions": 4,
    "cloudcontrol": 2,
    "application-autoscaling": 1,
    "service-quotas": 4,
}
# The operations of MiniStack's services that the laptop cloud carries out itself
COMPLETED = {
    "codebuild": ("StartBuild",),
    "stepfunctions": (
        *("DescribeExecution", "StartExecution", "StartSyncExecution", "StopExecution", "TestState"),
        "ValidateStateMachineDefinition",
    ),
}
NOTHING = cast(Any, None)  # No operation is carried out here.
# The code puts these together: Scale{direction}Cooldown, {kind}PolicyConfiguration, {kind}JobName.
PUT_TOGETHER = {"ScaleInCooldown", "ScaleOutCooldown", "PredictiveScalingPolicyConfiguration", "ProcessingJobName"}
OURS = "arn:aws:sagemaker:us-east-1:000000000000"
TEXTS = (
    *("a", "s3://b/k", "arn:aws:iam::000000000000:role/r", f"{OURS}:model/m", f"{OURS}:model-package/m", "fs-00000000"),
    *(
        f"{OURS}:model-package-group/m",
        f"{OURS}:training-plan/p",
        f"{OURS}:mlflow-app/a",
        "text/csv",
        "/ping",
        "1",
        "A1::B2::C3",
    ),
    *(f"arn:aws:sagemaker:us-east-1:aws:hub-content/h/{kind}/n" for kind in ("DataSet", "Model")),
)


def scope() -> tuple[str, str]:
    return "us-east-1", "000000000000"


@functools.cache
def model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def operations(service: str) -> dict[str, Operation]:
    """Return the operations that the laptop cloud has of a service."""
    if service == "batch":
        resources = Resources(scope, NOTHING)
        return {**resources.table(), **Jobs(resources, NOTHING, NOTHING).table()}
    if service in COMPLETED:
        return dict.fromkeys(COMPLETED[service], dict)
    if service == "cloudcontrol":
        return cloudcontrol.table()
    if service == "service-quotas":
        return ServiceQuotas(scope).table()
    if service == "application-autoscaling":
        return AutoScaling(scope, (), NOTHING).table()
    store = Store(scope)
    context, models = JobContext(NOTHING, NOTHING, store), Models(store, NOTHING)
    trainings = JobOperations(TrainingJob, context)
    endpoints = Endpoints(store, models, NOTHING, NOTHING)
    return {
        **trainings.table(),
        **JobOperations(ProcessingJob, context).table(),
        **TuningOperations(context, trainings, NOTHING).table(),
        **models.table(),
        **Packages(store).table(),
        **endpoints.table(),
        **store.operations(),
    }


def structures(shape: Shape | None) -> Iterator[StructureShape]:
    """Yield a structure and all those inside it."""
    if isinstance(shape, StructureShape):
        yield shape
        for member in shape.members.values():
            yield from structures(member)
    elif isinstance(shape, ListShape):
        yield from structures(shape.member)
    elif isinstance(shape, MapShape):
        yield from structures(shape.value)


def inputs(service: str) -> Iterator[tuple[str, Shape]]:
    for operation in operations(service):
        if shape := model(service).operation_model(operation).input_shape:
            yield operation, shape


def sample(shape: Shape, path: list[str]) -> Any:
    """Return a value that the model allows, with its required members and those on the path."""
    if isinstance(shape, StructureShape):
        first, rest = (path[0], path[1:]) if path else ("", [])
        names = {*shape.required_members} | ({first} - {""}) or {next(iter(shape.members))}
        return {name: sample(shape.members[name], rest if name == first else []) for name in names}
    if isinstance(shape, ListShape):
        return [sample(shape.member, path)] * max(1, shape.metadata.get("min", 0))
    if isinstance(shape, MapShape):
        return {sample(shape.key, []): sample(shape.value, path)}
    if shape.type_name == "string":
        return text_of(shape)
    if shape.type_name == "boolean":
        return True
    return max(1, shape.metadata.get("min", 1))


def text_of(shape: Shape) -> str:
    rules = shape.metadata
    texts = [*rules.get("enum", ()), *TEXTS]
    texts = [text * max(1, -(-rules.get("min", 1) // len(text))) for text in texts]
    wrapper = StructureShape("Wrapper", {"type": "structure", "members": {}})
    wrapper.__dict__["members"] = {"text": shape}
    return next((text for text in texts if not list(problems_of({"text": text}, wrapper))), texts[0])


def unknown_members(shape: Shape, known: members.Known, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each member that is not known, in a structure whose members are known."""
    if isinstance(shape, StructureShape):
        names = known.get(shape.name, ())
        for name, member in shape.members.items() if names != members.WHOLE else ():
            if name in names:
                yield from unknown_members(member, known, (*path, name))
            else:
                yield (*path, name)
    elif isinstance(shape, ListShape):
        yield from unknown_members(shape.member, known, path)
    elif isinstance(shape, MapShape):
        yield from unknown_members(shape.value, known, path)


@pytest.mark.parametrize("service", FOLDERS)
def test_every_member_that_is_not_known_is_refused_by_name(service: str) -> None:
    known = members.read(FOLDERS[service])
    reached: list[str] = []

    def carry_out(operation: str) -> Operation:
        def note(_: dict[str, Any]) -> dict[str, Any]:
            reached.append(operation)
            return {}

        return note

    api = JsonApi(model(service), {name: carry_out(name) for name in operations(service)}, known)
    refused = 0
    for operation, shape in inputs(service):
        for path in unknown_members(shape, known):
            request = sample(shape, list(path))
            with pytest.raises(ApiError) as error:
                api.call(operation, request)
            assert error.value.message == f"The laptop cloud has no {'.'.join(path)}; leave it out.", request
            refused += 1
    assert not reached
    assert (
        refused
        >= {
            "sagemaker": 80,
            "batch": 60,
            "application-autoscaling": 1,
            "cloudcontrol": 2,
            "codebuild": 29,
            "stepfunctions": 2,
            "service-quotas": 4,
        }[service]
    )


@pytest.mark.parametrize("service", FOLDERS)
def test_known_members_are_those_of_the_model(service: str) -> None:
    known = members.read(FOLDERS[service])
    there = {each.name: {*each.members} for _, shape in inputs(service) for each in structures(shape)}
    lists = {name: names for name, names in known.items() if name in there}
    assert {*known} - {*lists} <= {members.WITHOUT_EFFECT, members.ONLY_DESCRIBED}
    for name, names in lists.items():
        assert names == members.WHOLE or {*names} <= there[name], name
    reachable: set[str] = set()
    for _, shape in inputs(service):
        reachable |= set(listed_structures(shape, known))
    assert reachable == {*lists}


def listed_structures(shape: Shape, known: members.Known) -> Iterator[str]:
    """Yield the names of the structures that a request can have without being refused."""
    if isinstance(shape, StructureShape):
        yield shape.name
        names = known.get(shape.name, ())
        for name, member in shape.members.items() if names != members.WHOLE else ():
            if name in names:
                yield from listed_structures(member, known)
    elif isinstance(shape, ListShape):
        yield from listed_structures(shape.member, known)
    elif isinstance(shape, MapShape):
        yield from listed_structures(shape.value, known)


@pytest.mark.parametrize("service", FOLDERS)
def test_each_known_member_is_read_or_said_to_do_nothing(service: str) -> None:
    """A member that the code nowhere names cannot have an effect, so it must be said to have none."""
    known = members.read(FOLDERS[service])
    code = "".join(file.read_text() for file in sorted((ROOT / "cloud").rglob("*.py")))
    words = {*re.findall(r"\w+", code)}
    silent = {*known[members.WITHOUT_EFFECT], *known.get(members.ONLY_DESCRIBED, ())}
    lists = [names for names in known.values() if isinstance(names, list)]
    named = {name for structure, names in known.items() if isinstance(names, list) for name in names}
    assert lists
    assert sorted(named - silent - words - PUT_TOGETHER) == []


@pytest.mark.parametrize("service", FOLDERS)
def test_members_without_effect_are_documented(service: str) -> None:
    text = (ROOT / "docs/laptop-cloud.md").read_text()
    section = text.partition("## Where it differs from AWS without saying so")[2].partition("\n## ")[0]
    words = {*re.findall(r"\w+", section)}
    assert sorted({*members.read(FOLDERS[service])[members.WITHOUT_EFFECT]} - words) == []


def test_an_empty_member_says_what_its_absence_says() -> None:
    shape = model("sagemaker").operation_model("CreateModel").input_shape
    known = {"CreateModelInput": ["ModelName"]}
    find: Callable[[dict[str, Any]], str | None] = functools.partial(members.first_unknown, shape=shape, known=known)
    for request in ({"VpcConfig": {}}, {"Containers": []}, {"EnableNetworkIsolation": False}):
        assert find(request) is None
    assert find({"ModelName": "m", "EnableNetworkIsolation": True}) == "EnableNetworkIsolation"
