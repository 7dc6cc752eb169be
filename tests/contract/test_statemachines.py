"""The state machines are whole: names, paths, errors, expressions, arguments and documents fit."""

import json
import re
from collections.abc import Iterator
from types import NoneType
from typing import get_args

import botocore.session
import pytest
import yaml
from pydantic import BaseModel
from ruamel.yaml import YAML

from cloud.events.hooks import is_rate
from cloud.stepfunctions import asl, integrations
from cloud.stepfunctions.expressions import problems
from plan.run import VARIANT
from shared import errors
from shared.contracts import Explanation, Run, Smoke, Verdict
from shared.scaling import Scaling, ScalingPolicies
from tests.contract.conftest import ROOT, states_of

# What a task can fail with, beside what every task can; the modelled errors of aws-sdk: are taken from the models.
STATES_ERRORS = {"States.ALL", "States.TaskFailed", "States.Timeout"}
OPTIMIZED_ERRORS = {
    "codebuild": {"CodeBuild.AWSCodeBuildException", "CodeBuild.CodeBuildException"},
    "lambda": {
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ServiceException",
        "Lambda.TooManyRequestsException",
        *(name for name in vars(errors) if name.endswith("Error")),  # what the functions raise
    },
    "sagemaker": {"SageMaker.AmazonSageMakerException", "SageMaker.ResourceLimitExceededException"},
    "sns": {"SNS.AmazonSNSException"},
}
# The context object as AWS fills it; RetryCount is there in what can be retried alone.
CONTEXT = {"Execution.Id", "Execution.Name", "Execution.StartTime", "State.Name", "State.EnteredTime"}
RETRIED = ("Task", "Parallel", "Map")
# Answered otherwise by the emulator: an empty list here, ImageNotFoundException on AWS.
UNLIKE_AWS = {"arn:aws:states:::aws-sdk:ecr:describeImages"}


def followers(state) -> Iterator[str]:
    for rule in asl.rules_of(state):
        yield from (rule[key] for key in ("Next", "Default") if key in rule)


def expressions(node) -> list[str]:
    return [text[2:-2].strip() for text in asl.texts_of(node) if text.startswith("{%")]


@pytest.fixture(params=["pipeline", "teardown"])
def machine(request, machines):
    return machines[request.param]


@pytest.fixture(params=["pipeline", "teardown"])
def text(request):
    return (ROOT / f"statemachine/{request.param}.asl.yaml").read_text()


def test_yaml_1_1_and_1_2_read_the_same_definition(text):
    """AWS does not say which of them it reads; OFF is false in 1.1 and a word in 1.2."""
    assert YAML(typ="safe", pure=True).load(text) == yaml.safe_load(text)


def test_definition_is_one_document_without_anchors_aliases_and_tags(text):
    events = list(yaml.parse(text, yaml.SafeLoader))
    assert [type(event) for event in events].count(yaml.DocumentStartEvent) == 1
    for event in events:
        assert not isinstance(event, yaml.AliasEvent), event.start_mark
        assert getattr(event, "anchor", None) is None, event.start_mark
        assert getattr(event, "tag", None) is None, event.start_mark


def test_no_key_is_written_twice(text):
    """PyYAML takes the last of them."""
    for node in walk(yaml.compose(text, yaml.SafeLoader)):
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), node.start_mark


def walk(node) -> Iterator[yaml.Node]:
    yield node
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for each in pair:
                yield from walk(each)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from walk(each)


def test_substitutions_stand_in_quotes_or_blocks(text):
    """CloudFormation puts values into the text: unquoted, an endpoint named 123 would be a number."""
    scalars = [event for event in yaml.parse(text, yaml.SafeLoader) if isinstance(event, yaml.ScalarEvent)]
    used = [event for event in scalars if "${" in event.value]
    assert len(used) > 10
    assert [event.value for event in used if event.style not in ('"', ">")] == []


# What the parameters' patterns, stack names and ARNs allow; a role's path may hold nearly everything.
@pytest.mark.parametrize("value", ["123", "1e3", "on", "arn:aws:iam::1:role/a: b #c, {d} [e] & *f !g %h @i |j -k/l"])
def test_substituted_values_do_not_change_what_is_around_them(text, value):
    around = json.dumps(yaml.safe_load(text))
    written = re.sub(r"\$\{\w+\}", lambda _: value, text)
    assert json.dumps(yaml.safe_load(written)) == re.sub(r"\$\{\w+\}", lambda _: value, around)


@pytest.mark.parametrize("sign", ['"', "'", "\\"])
def test_no_parameter_puts_a_quote_or_a_backslash_into_a_definition(template, machines, sign):
    """The definitions have substitutions in double quotes of YAML and in single ones of JSONata."""
    given = [template["Resources"][name.capitalize()]["Properties"]["DefinitionSubstitutions"] for name in machines]
    parameters = set(re.findall(r"'Ref': '(\w+)'", str(given))) & template["Parameters"].keys()
    assert parameters == {"BakeSeconds", "EndpointName", "Hosting", "LogRetentionDays", "RoleArn", "RunbookUrl"}
    assert template["Parameters"]["Hosting"]["AllowedValues"] == ["instances", "function", "auto"]
    for name in ("BakeSeconds", "LogRetentionDays"):
        assert template["Parameters"][name]["Type"] == "Number"
    values = {
        "EndpointName": f"a{sign}",
        "RoleArn": f"arn:aws:iam::123456789012:role/a{sign}/b",
        "RunbookUrl": f"a{sign}",
    }
    for name, value in values.items():
        pattern = template["Parameters"][name]["AllowedPattern"]
        assert not re.fullmatch(pattern, value)
        assert re.fullmatch(pattern, value.replace(sign, ""))


def test_aws_would_take_the_definition(machine):
    """Fields, transitions, scopes of variables, and arguments against the APIs' models."""
    assert asl.problems(machine) == []


def test_every_task_has_a_timeout(machine):
    assert [n for n, s in states_of(machine) if s["Type"] == "Task" and "TimeoutSeconds" not in s] == []


def test_nobody_waits_for_heartbeats(machine):
    """Service integrations send none, so such a task would always time out."""
    assert [name for name, state in states_of(machine) if "HeartbeatSeconds" in state] == []


def test_no_task_calls_what_the_emulator_answers_otherwise(machine):
    assert [name for name, state in states_of(machine) if state.get("Resource") in UNLIKE_AWS] == []


def test_errors_are_those_that_the_state_can_raise(machine):
    for name, state in states_of(machine):
        real = STATES_ERRORS | {error for _, each in [(name, state), *inner(state)] for error in errors_of(each)}
        for rule in [*state.get("Retry", []), *state.get("Catch", [])]:
            assert set(rule["ErrorEquals"]) <= real, f"{name}: {set(rule['ErrorEquals']) - real}"
        for rule in state.get("Retry", []):
            assert "States.ALL" not in rule["ErrorEquals"], name


def inner(state) -> Iterator[tuple[str, dict]]:
    for each in asl.inner_machines(state).values():
        yield from states_of(each)


def errors_of(state) -> set[str]:
    kind, service, action = ["", "", "", *state.get("Resource", "").split(":")][-3:]
    if kind != "aws-sdk":
        return OPTIMIZED_ERRORS.get(service, set())
    model = integrations._operation(service, action).service_model
    return {integrations._refusal(model, code, "", 400).error for code in ("", *integrations._error_classes(model))}


def test_no_caught_failure_of_the_pipeline_ends_as_a_success(machines):
    """From ExplainFailure every path ends in Fail; only steps that may fail lead back to the good end."""
    states = machines["pipeline"]["States"]
    seen, todo = set(), ["ExplainFailure"]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += followers(states[name])
    ends = {name for name in seen if states[name]["Type"] in ("Fail", "Succeed") or "End" in states[name]}
    assert ends == {"Fail"}
    forgiving = {
        name
        for name, state in states.items()
        if name not in seen and any(rule["Next"] != "ExplainFailure" for rule in state.get("Catch", []))
    }
    assert forgiving == {
        "Plan",
        "WriteReceipt",
        "WriteReceiptOfNothing",
        "NotifyResult",
        "ReleaseLock",
        "ExtendLease",
        "EndLease",
        "LimitStagingLogs",
        "LimitLogs",
        "FindModelFunction",  # There is none yet.
        "MeasureFunction",  # A function that is too slow is no failure where an endpoint is measured as well.
        "MakeFunctionUrl",  # It has one.
        "FindLeftFunction",  # There is none, or a role of its own has never made one.
        "DeregisterConcurrency",  # What shall go may be gone, here and below.
        "DeregisterOldEndpoint",
        "DeregisterOldFunction",
        "DeleteOldFunction",
        "DeleteSpentAlarms",
    }
    # A scheduled run that finds nothing to do has begun nothing, and would otherwise alarm somebody each week.
    good, bad = states["Plan"]["Catch"]
    assert (good["ErrorEquals"], good["Next"]) == (["NothingToRebuildError"], "WriteReceiptOfNothing")
    assert (bad["ErrorEquals"], bad["Next"]) == (["States.ALL"], "ExplainFailure")


def test_catchers_take_the_failed_states_name_from_the_context(machines):
    """A name that is copied by hand can be another state's."""
    caught = [
        (name, catcher)
        for name, state in states_of(machines["pipeline"])
        for catcher in state.get("Catch", [])
        if catcher["Next"] == "ExplainFailure"
    ]
    assert len(caught) > 30
    for name, catcher in caught:
        assert catcher["Assign"]["failedIn"] == "{% $states.context.State.Name %}", name
        assert "Output" not in catcher, name  # ExplainFailure reads the error output


def test_choices_that_fail_a_run_hand_on_what_a_catcher_does(machines):
    """Error and Cause as output, and in failedIn the state that the failure is ascribed to."""
    states = machines["pipeline"]["States"]
    failing = [rule for state in states.values() for rule in state.get("Choices", []) if "failedIn" in str(rule)]
    assert len(failing) > 5
    for rule in failing:
        assert rule["Next"] == "ExplainFailure"
        assert rule["Assign"]["failedIn"] in states
        assert rule["Output"].keys() == {"Error", "Cause"}


def test_every_task_before_the_end_is_caught(machines):
    states = machines["pipeline"]["States"]
    assert [name for name, state in states.items() if state["Type"] in RETRIED and "Catch" not in state] == []


def test_expressions_parse(machine):
    found = expressions(machine)
    assert len(found) > 10
    for expression in found:
        assert problems(expression) == []
        assert "$eval" not in expression  # the one function that Step Functions leaves out


def test_no_expression_is_a_program(machine):
    """More than one expression, or one that nobody reads at a glance, belongs in a function of ``functions/``."""
    for expression in expressions(machine):
        code = re.sub(r"'[^']*'", "''", expression)
        assert not re.search(r":=|;|~>|\bfunction\s*\(", code), expression
        assert len(expression) <= 380, expression


def test_expressions_read_what_the_context_object_has(machine):
    for name, state in states_of(machine):
        known = CONTEXT | ({"State.RetryCount"} if state["Type"] in RETRIED else set())
        own = [{key: value for key, value in rule.items() if key not in NESTED} for rule in asl.rules_of(state)]
        for expression in expressions(own):
            assert set(re.findall(r"\$states\.context\.([\w.]+)", expression)) <= known, name


def test_variables_are_assigned_on_every_way_to_where_they_are_read(machine):
    """An unassigned variable is undefined, and undefined is an error that ends the execution."""
    assert set(unassigned(machine, frozenset())) <= READ_IN_TIME


# Read only where an earlier choice took the same turn.
READ_IN_TIME = {
    "Finish: $instances",  # of a promoted run
    "Finish: $scaling",  # likewise
    "RestoreProduction: $previousConfig",  # of a production that was there before and was touched
}
NESTED = ("Branches", "ItemProcessor", "Choices", "Catch")


def unassigned(machine, outer) -> list[str]:
    """Variables read by a state that some way to it has not assigned, as "state: $name"."""
    assigns = [
        rule["Assign"] for state in machine["States"].values() for rule in asl.rules_of(state) if "Assign" in rule
    ]
    known, todo = {machine["StartAt"]: outer}, [machine["StartAt"]]
    while todo:
        name = todo.pop()
        for rule in asl.rules_of(machine["States"][name]):
            # A catcher takes over before the state itself assigns.
            at_hand = known[name] | rule.get("Assign", {}).keys() | implied(rule.get("Condition"), assigns)
            for following in (rule[key] for key in ("Next", "Default") if key in rule):
                narrowed = known.get(following, at_hand) & at_hand
                if narrowed != known.get(following):
                    known[following] = narrowed
                    todo.append(following)
    missing = []
    for name, state in machine["States"].items():
        own = [{key: value for key, value in rule.items() if key not in NESTED} for rule in asl.rules_of(state)]
        read = {variable for expression in expressions(own) for variable in variables(expression)}
        missing += [f"{name}: ${variable}" for variable in sorted(read - known[name])]
        for each in asl.inner_machines(state).values():
            missing += unassigned(each, known[name])
    return missing


def implied(condition, assigns) -> set[str]:
    """Variables that are there when a flag holds: those that every Assign which sets it sets as well."""
    flag = re.fullmatch(r"\{% \$(\w+) %\}", str(condition))
    setting = [set(assign) for assign in assigns if flag and assign.get(flag[1]) is True]
    return set.intersection(*setting) if setting else set()


def variables(expression) -> set[str]:
    """Workflow variables that an expression reads; those that it binds itself or asks $exists of are left out."""
    code = re.sub(r"'[^']*'|\"[^\"]*\"|\$exists\(\$\w+\)", "", expression)
    bound = set(re.findall(r"\$(\w+)\s*:=", code))
    bound |= {name for given in re.findall(r"function\(([^)]*)\)", code) for name in re.findall(r"\$(\w+)", given)}
    return set(re.findall(r"\$([A-Za-z_]\w*)\b(?!\s*\()", code)) - bound - {"states"}


@pytest.mark.parametrize("name", ["pipeline", "teardown"])
def test_substitutions_of_definition_and_template_are_the_same(name, machines, template):
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(machines[name])))
    given = template["Resources"][name.capitalize()]["Properties"]["DefinitionSubstitutions"]
    assert used == set(given)


def test_written_enumerations_have_values_of_the_api(machine):
    checked = 0
    for name, state in states_of(machine):
        found = re.fullmatch(r"arn:aws:states:::(?:aws-sdk:)?(\w+):(\w+)(?:\.sync)?", state.get("Resource", ""))
        service, action = found.groups() if found else ("", "")
        if service in ("sagemaker", "ssm", "applicationautoscaling"):
            name_of_model = service.replace("applicationautoscaling", "application-autoscaling")
            model = botocore.session.get_session().get_service_model(name_of_model)
            shape = model.operation_model(action[0].upper() + action[1:]).input_shape
            checked += len(list(checked_enumerations(state["Arguments"], shape, name)))
    assert checked >= 1


def checked_enumerations(value, shape, where) -> Iterator[str]:
    if isinstance(value, dict) and shape.type_name == "structure":
        for key, item in value.items():
            yield from checked_enumerations(item, shape.members[key], f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from checked_enumerations(item, shape.member, where)
    elif isinstance(value, str) and not value.startswith("{%") and getattr(shape, "enum", []):
        assert value in shape.enum, where
        yield where


DOCUMENTS: dict[str, type[BaseModel]] = {"run": Run, "verdict": Verdict, "smoke": Smoke, "scaling": Scaling}


def test_fields_that_expressions_read_exist_in_the_documents(machines):
    read = {
        (document, path)
        for expression in expressions(machines["pipeline"])
        for document, path in re.findall(r"\$(run|verdict|smoke|scaling)\.([a-z_0-9.]*[a-z_0-9])", expression)
    }
    assert len(read) > 20
    for document, path in sorted(read):
        fields = DOCUMENTS[document].model_fields
        for part in path.split("."):
            assert part in fields, f"${document}.{path}"
            # Of a document or nothing, the document.
            annotation = next((each for each in get_args(fields[part].annotation) if each is not NoneType), None)
            annotation = annotation or fields[part].annotation
            fields = (
                annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
            )


@pytest.mark.parametrize(("name", "document"), [("RememberPolicies", ScalingPolicies), ("ExplainFailure", Explanation)])
def test_fields_of_a_payload_are_those_of_its_document(machines, name, document):
    assigned = expressions(machines["pipeline"]["States"][name]["Assign"])
    read = re.findall(r"\$states\.result\.Payload\.(\w+)", " ".join(assigned))
    assert sorted(read) == sorted(document.model_fields)


def test_both_machines_scale_the_variant_that_plan_names(machines):
    teardown = machines["teardown"]["States"]["DeregisterScalableTarget"]["Arguments"]["ResourceId"]
    assert teardown == f"endpoint/${{EndpointName}}/variant/{VARIANT}"


def test_pointer_that_was_deleted_is_made_again(machines):
    """PutParameter needs a type only for a new parameter, and for those it refuses the request without one.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """
    promote, forget = machines["pipeline"]["States"]["Promote"], machines["teardown"]["States"]["ForgetChampion"]
    for state in (promote, forget):
        assert state["Arguments"]["Name"] == "${ChampionParameter}"
        assert (state["Arguments"]["Type"], state["Arguments"]["Overwrite"]) == ("String", True)


def test_every_state_says_what_it_does(machine):
    """In the console a state is its name and its comment."""
    silent = [state for state, found in states_of(machine) if not found.get("Comment", "").endswith((".", "?"))]
    assert silent == []


def test_schedules_have_the_unit_of_their_number(machine, template):
    """``rate(1 minutes)`` is refused for rules; of schedules AWS does not say."""
    assert [each for each in asl.texts_of([machine, template]) if each.startswith("rate(") and not is_rate(each)] == []


# Errors that pass by themselves, among those that the APIs' models name.
PASSING = re.compile(r"\w+\.(Throttling|TooMany|Internal|Server|ServiceUnavailable|ConcurrentUpdate)\w*Exception")
# Their loop asks again.
ASKED_AGAIN = {"DeleteEndpoint"}


def test_every_call_of_an_sdk_retries_throttling_and_faults_of_its_service(machine):
    """The model names some of them; all others, throttling mostly, have the name of the service's general exception."""
    checked = 0
    for name, state in states_of(machine):
        kind, service, action = ["", "", "", *state.get("Resource", "").split(":")][-3:]
        if kind != "aws-sdk" or name in ASKED_AGAIN:
            continue
        operation = integrations._operation(service, action)
        model = operation.service_model
        named = [integrations._refusal(model, shape.error_code, "", 400).error for shape in operation.error_shapes]
        expected = {integrations._refusal(model, "", "", 400).error, *filter(PASSING.fullmatch, named)}
        retried = {error for rule in state.get("Retry", []) for error in rule["ErrorEquals"]}
        assert expected <= retried, f"{name}: {expected - retried}"
        checked += 1
    assert checked > 10
