"""Every field that the state machines send is one for which docs/decisions/pipeline.md gives evidence.

Step Functions has lists of its own: an optimized integration takes some fields of its API, and an SDK integration those
of the SDK's version. A field that it does not know fails the run with States.Runtime, which no Catch takes. If an
expression makes the request, it fails not before the task runs.
"""

import itertools
import json
import re
from collections.abc import Iterator

import pytest
from botocore.model import ListShape, MapShape, StructureShape
from botocore.validate import ParamValidator

from cloud.core.protocol import problems_of
from cloud.stepfunctions import integrations
from tests.contract.conftest import ROOT, evaluated, states_of
from tests.contract.test_permissions import HOLDERS, INPUTS, Resolver, sample_run, sample_variables

HEADLINE = "### Every field of a request is one that Step Functions surely knows"
# Of two states that differ in an optional field, the one that a run enters: (with the option, without it).
TWINS = {
    "vpc": [("TrainInVpc", "Train"), ("SearchInVpc", "Search"), ("CreateModelInVpc", "CreateModel")],
    "volume_key": [
        ("ConfigureStaging", "ConfigureStagingWithoutKey"),
        ("ConfigureProduction", "ConfigureProductionWithoutKey"),
    ],
}
OPTIONAL_FIELDS = {"vpc": "VpcConfig", "volume_key": "KmsKeyId"}
VPC = {"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}
NAMES_OF_OPTIONS = ("vpc", "volume_key", "fleet")
# Lambda takes empty lists of subnets and groups for a function that is in no network.
FUNCTIONS = ("CreateModelFunction", "UpdateModelFunctionConfiguration")
OPTIONS = list(itertools.product([False, True], repeat=len(NAMES_OF_OPTIONS)))


def tasks(machine) -> dict[str, dict]:
    """Return the tasks of a machine, also those inside its branches and maps."""
    return {name: state for name, state in states_of(machine) if state["Type"] == "Task"}


def requests(machines, template, vpc, volume_key, fleet) -> Iterator[tuple[str, str, dict]]:
    """Yield the evaluated requests of all tasks: (state, resource, arguments)."""
    variables = {**sample_variables(sample_run(template)), "capacityBefore": 2 if fleet else 1, "failedIn": "Train"}
    run = variables["run"]
    if vpc:
        run["network"] = VPC
    if not volume_key:
        run["endpoint"]["volume_key"] = run["evaluation"]["volume_key"] = run["training"]["volume_key"] = {}
    run["training"]["spot"] = fleet
    run["function"] |= {"provisioned": 1, "provisioned_max": 2}  # No request is sent where none is kept warm.
    context = {"Execution": {"Id": HOLDERS[0], "Name": "x"}, "State": {"RetryCount": 0, "Name": "x"}}
    resolver = Resolver(template)
    not_entered = {
        pair[is_on] for option, is_on in (("vpc", vpc), ("volume_key", volume_key)) for pair in TWINS[option]
    }
    for machine in ("Pipeline", "Teardown"):
        text = json.dumps(machines[machine.lower()])
        for name, value in template["Resources"][machine]["Properties"]["DefinitionSubstitutions"].items():
            text = text.replace(f"${{{name}}}", resolver.resolve(value))
        for name, state in tasks(json.loads(text)).items():
            if name in not_entered:
                continue
            for task_input in INPUTS.get(name, [{"Cause": "no dogs", "Error": "x"}]):
                states = {"context": context, "input": task_input}
                yield name, state["Resource"], evaluated(state["Arguments"], **variables, states=states)


def operation_of(resource):
    service, action = resource.removeprefix("arn:aws:states:::").removeprefix("aws-sdk:").partition(".")[0].split(":")
    return integrations._operation(service, action)


def paths(value, shape, at="") -> Iterator[str]:
    """Yield the dotted names of all fields that a request has; keys of maps are data."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        members = {integrations.member_name(name): member for name, member in shape.members.items()}
        for key, item in value.items():
            inner = list(paths(item, members[key], f"{at}{key}."))
            yield from inner or [f"{at}{key}"]
    elif isinstance(shape, ListShape):
        for item in value:
            yield from paths(item, shape.member, at)
    elif isinstance(shape, MapShape) and isinstance(shape.value, StructureShape):
        for item in value.values():
            yield from paths(item, shape.value, at)


def table() -> dict[str, set[str]]:
    """Return the fields by integration that the document lists."""
    entry = (ROOT / "docs/decisions/pipeline.md").read_text().partition(HEADLINE)[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `([\w:.-]+)` \| (.+?) \| (.+?) \|$", entry, re.MULTILINE)
    return {integration: set(re.findall(r"`([\w.]+)`", fields)) for integration, fields, _ in rows}


def test_every_field_has_evidence_and_no_evidence_is_left_over(machines, template):
    sent: dict[str, set[str]] = {}
    for option in OPTIONS:
        for _, resource, arguments in requests(machines, template, *option):
            integration = resource.removeprefix("arn:aws:states:::")
            sent.setdefault(integration, set()).update(paths(arguments, operation_of(resource).input_shape))
    assert len(sent) > 30
    assert table() == sent


def test_requests_stand_literally_in_the_definitions(machines):
    """AWS checks fields that stand in the definition when it is created, and those of an expression when it runs."""
    all_tasks = [each for machine in machines.values() for each in tasks(machine).items()]
    assert [name for name, state in all_tasks if not isinstance(state["Arguments"], dict)] == []


def without_field(arguments, field):
    """Return arguments without a field, which stands at the top or one level below."""
    return {
        key: {name: item for name, item in value.items() if name != field} if isinstance(value, dict) else value
        for key, value in arguments.items()
        if key != field
    }


def test_twins_differ_in_their_optional_field_alone(machines):
    states = dict(states_of(machines["pipeline"]))
    for field, name, twin in [(OPTIONAL_FIELDS[option], *pair) for option, pairs in TWINS.items() for pair in pairs]:
        with_option, without = states[name], states[twin]
        assert without_field(with_option["Arguments"], field) == without["Arguments"] != with_option["Arguments"]
        same = ("Resource", "TimeoutSeconds", "Retry", "Catch", "Next")
        assert [with_option[key] for key in same] == [without[key] for key in same]


@pytest.mark.parametrize(NAMES_OF_OPTIONS, OPTIONS)
def test_requests_are_what_the_apis_take(machines, template, vpc, volume_key, fleet):
    """With and without each option, botocore's model of the API finds nothing wrong, nor does Step Functions."""
    for name, resource, arguments in requests(machines, template, vpc, volume_key, fleet):
        assert integrations.problems(resource, arguments) == [], name
        shape = operation_of(resource).input_shape
        if resource.endswith(("lambda:invoke", "sns:publish")):
            arguments = arguments | {key: json.dumps(arguments[key]) for key in ("Payload",) if key in arguments}
        request = integrations._to_request(arguments, shape)
        assert ParamValidator().validate(request, shape).generate_report() == "", name
        assert list(problems_of(request, shape)) == [], name
        assert ("VpcConfig" in json.dumps(arguments)) == (
            name in FUNCTIONS or (vpc and name in ("CreateModelInVpc", "Evaluate", "SearchInVpc", "TrainInVpc"))
        ), name
