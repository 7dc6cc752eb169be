"""Check a state machine's definition as AWS does before it accepts one. This module does not depend on MiniStack.

JSONata is the only query language here. The rules come from
https://docs.aws.amazon.com/step-functions/latest/dg/statemachine-structure.html and the pages of the states,
https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html (scopes),
https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html (expressions and ``$states``).
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from cloud.stepfunctions import expressions, integrations

State = dict[str, Any]

_COMMON = {"Type", "Comment", "QueryLanguage"}
_TRANSITION = {"Next", "End", "Assign", "Output"}
_ERROR_HANDLING = {"Retry", "Catch"}
# By type of a state: the fields that it may have besides _COMMON, and the fields that it must have.
_FIELDS = {
    "Pass": (_TRANSITION, set()),
    "Task": (
        _TRANSITION | _ERROR_HANDLING | {"Resource", "Arguments", "Credentials", "TimeoutSeconds", "HeartbeatSeconds"},
        {"Resource"},
    ),
    "Choice": ({"Choices", "Default", "Assign", "Output"}, {"Choices"}),
    "Wait": (_TRANSITION | {"Seconds", "Timestamp"}, set()),
    "Parallel": (_TRANSITION | _ERROR_HANDLING | {"Branches", "Arguments"}, {"Branches"}),
    "Map": (  # Only the fields of an inline Map, because the laptop cloud has no distributed Map.
        _TRANSITION
        | _ERROR_HANDLING
        | {"ItemProcessor", "Items", "ItemSelector", "MaxConcurrency"}
        | {"ToleratedFailureCount", "ToleratedFailurePercentage"},
        {"ItemProcessor"},
    ),
    "Succeed": ({"Output"}, set()),
    "Fail": ({"Error", "Cause"}, set()),
}
_RETRIER = {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy"}
_CATCHER = {"ErrorEquals", "Next", "Assign", "Output", "Comment"}
_RULE = {"Condition", "Next", "Assign", "Output", "Comment"}
# Fields without expressions, and those whose parts are checked one by one.
_WITHOUT_EXPRESSIONS = {"Type", "Comment", "QueryLanguage", "Next", "Default", "Resource", "ErrorEquals", "Retry"}
_WITHOUT_EXPRESSIONS |= {"Branches", "ItemProcessor", "Choices", "Catch"}
# The fields of JSONPath alone, and those of a state that is the same in both languages.
_JSONPATH = {"InputPath", "OutputPath", "Parameters", "Result", "ResultPath", "ResultSelector", "ItemsPath"}
_JSONPATH |= {"SecondsPath", "TimestampPath", "TimeoutSecondsPath", "HeartbeatSecondsPath", "MaxConcurrencyPath"}
_JSONPATH |= {"ErrorPath", "CausePath", "ToleratedFailureCountPath", "ToleratedFailurePercentagePath"}
_IN_ANY_LANGUAGE = {"Type", "Comment", "QueryLanguage", "Next", "End"}
MAX_SECONDS = 99_999_999  # Step Functions accepts no longer time.
# What a definition may contain has RFC 3339's form; what an expression may give, that of Java's ISO_OFFSET_DATE_TIME.
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_OFFSET_DATE_TIME = re.compile(
    r"(?P<year>\d{4}|\+\d{5,9}|-\d{4,9})-(?P<date>\d\d-\d\d)T(?P<time>\d\d:\d\d(:\d\d)?)(\.(?P<fraction>\d{0,9}))?"
    r"(Z|(?P<offset>[+-]\d\d(:[0-5]\d(:[0-5]\d)?)?))",
    re.ASCII | re.IGNORECASE,
)
_MAX_OFFSET = timedelta(hours=18)
_VARIABLE = re.compile(r"(?!\d)\w{1,80}")


def problems(definition: Any) -> list[str]:
    """Return every reason for which AWS would refuse a definition, each with the path of the field.

    Args:
        definition: The parsed definition.
    """
    if not isinstance(definition, dict):
        return ["Definition must be a valid JSON object"]
    try:
        return _problems(definition)
    except (AttributeError, TypeError) as error:  # For example, a field is a list and must be an object.
        return [f"a field has a wrong type: {error}"]


def to_json(text: str) -> str:
    """Return a definition file's text as JSON.

    Args:
        text: Either JSON, which is returned as it is, or YAML.

    Raises:
        ValueError: The text is not valid YAML, or has values that JSON does not have, such as bytes.
    """
    if text.lstrip().startswith("{"):
        return text
    try:
        return json.dumps(yaml.safe_load(text))
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(f"Invalid State Machine Definition: INVALID_YAML_DESCRIPTION: {error}") from None


def parse_timestamp(text: str) -> datetime:
    """Parse a Timestamp that an expression gave, as Java does by its ISO_OFFSET_DATE_TIME.

    Returns:
        The time; the nearest one that Python has, for years that it has not.

    Raises:
        ValueError: The text has another form, or there is no such date or time.
    """
    match = _OFFSET_DATE_TIME.fullmatch(text)
    if match is None or (match["fraction"] is not None and match["time"].count(":") == 1):
        raise ValueError(f"'{text}' is not a date and time with a zone, such as 2026-03-14T01:59:00Z")
    year, fraction = int(match["year"]), (match["fraction"] or "0")[:6]
    # The calendar repeats itself every 400 years.
    shown = year if 1 < year < datetime.max.year else 2000 + year % 400
    offset = match["offset"] or "+00"
    moment = datetime.fromisoformat(
        f"{shown:04}-{match['date']}T{match['time']}{offset}{'' if ':' in offset else ':00'}"
    )
    if abs(moment.utcoffset() or timedelta()) > _MAX_OFFSET:
        raise ValueError(f"'{text}' has a zone that is more than 18 hours away")
    if shown != year:
        return (datetime.max if year > 0 else datetime.min).replace(tzinfo=UTC)
    return moment.replace(microsecond=int(fraction.ljust(6, "0")))


def _is_rfc3339(text: str) -> bool:
    if not _TIMESTAMP.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _problems(definition: dict[str, Any]) -> list[str]:
    allowed = {"StartAt", "States", "Comment", "QueryLanguage", "TimeoutSeconds", "Version"}
    problems = [*_fields("", definition, allowed, {"StartAt", "States"})]
    problems += _number("", definition, "TimeoutSeconds", 1, MAX_SECONDS)
    if "States" in definition:
        problems += _machine("", definition, frozenset(), definition.get("QueryLanguage", "JSONPath"))
    names = [name for machine in machines_of(definition) for name in machine["States"]]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    problems += [f"DUPLICATE_STATE_NAME: Duplicate State name: {name}" for name in duplicates]
    return problems


def machines_of(machine: Any) -> Iterator[dict[str, Any]]:
    """Yield a state machine, and the machines inside its Parallel and Map states."""
    if not isinstance(machine, dict) or not isinstance(machine.get("States"), dict):
        return
    yield machine
    for state in machine["States"].values():
        for inner in inner_machines(state).values():
            yield from machines_of(inner)


def inner_machines(state: State) -> dict[str, Any]:
    """Return the machines inside a state by their path in it."""
    inner = {f"/Branches[{index}]": branch for index, branch in enumerate(state.get("Branches", []))}
    return inner | ({"/ItemProcessor": state["ItemProcessor"]} if "ItemProcessor" in state else {})


def _machine(at: str, machine: dict[str, Any], outer: frozenset[str], language: str) -> Iterator[str]:
    states = machine.get("States")
    if not isinstance(states, dict) or not states:
        yield f"Value cannot be empty at {at}/States"
        return
    assigned = {name: frozenset(_assigned(state)) for name, state in states.items()}
    for name in sorted(set().union(*assigned.values())):
        if not _VARIABLE.fullmatch(name) or name == "states":
            yield f"'{name}' is not a valid name of a variable at {at}/States"
        if name in outer:
            yield f"Variable '{name}' is assigned in an outer scope already at {at}/States"
    for name, state in states.items():
        if not 1 <= len(name) <= 80:
            yield f"INVALID_STATE_NAME: A state's name has 1 to 80 characters at {at}/States/{name}"
        # What a state assigns itself comes after its branches, so a branch may use the same names.
        others = frozenset().union(*(names for other, names in assigned.items() if other != name))
        yield from _state(f"{at}/States/{name}", state, outer | others, language)
    yield from _transitions(at, machine)


def _assigned(state: State) -> Iterator[str]:
    return (name for rule in rules_of(state) for name in rule.get("Assign", {}))


def _transitions(at: str, machine: dict[str, Any]) -> Iterator[str]:
    states = machine["States"]
    if "StartAt" in machine and machine["StartAt"] not in states:
        yield f"MISSING_TRANSITION_TARGET: Missing 'Next' target: {machine['StartAt']} at {at}/StartAt"
    for name, state in states.items():
        for path, target in _targets(state):
            if target not in states:
                yield f"MISSING_TRANSITION_TARGET: Missing 'Next' target: {target} at {at}/States/{name}/{path}"
    if not any(state.get("End") is True or state.get("Type") in ("Succeed", "Fail") for state in states.values()):
        yield "MISSING_END_STATE: Workflow has no terminal state at null"
        return
    reached, todo = set(), [machine.get("StartAt")]
    while todo:
        name = todo.pop()
        if name in states and name not in reached:
            reached.add(name)
            todo += [target for _, target in _targets(states[name])]
    for name in states:
        if name not in reached:
            yield f'MISSING_TRANSITION_TARGET: State "{name}" is not reachable. at {at}/States/{name}'


def _targets(state: State) -> Iterator[tuple[str, Any]]:
    """Yield the states that may follow a state, each with the path of the field that names it."""
    for kind in ("Choices", "Catch"):
        for index, rule in enumerate(state.get(kind, [])):
            if "Next" in rule:
                yield f"{kind}[{index}]/Next", rule["Next"]
    yield from ((name, state[name]) for name in ("Next", "Default") if name in state)


def rules_of(state: State) -> list[dict[str, Any]]:
    """Return the parts of a state that may contain Next, Assign and Output: itself, its choices and its catchers."""
    return [state, *state.get("Choices", []), *state.get("Catch", [])]


def _state(at: str, state: State, variables: frozenset[str], machine_language: str) -> Iterator[str]:
    kind = state.get("Type")
    if kind is None:
        yield f"These fields are required: [Type] at {at}"
        return
    if kind not in _FIELDS:
        kinds = "Task, Wait, Pass, Succeed, Fail, Choice, Parallel, Map"
        yield f"The field 'Type' should have one of these values: [{kinds}] at {at}/Type"
        return
    language = state.get("QueryLanguage", machine_language)
    if language == "JSONPath" and machine_language == "JSONata":
        yield f"'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine at {at}"
    elif language != "JSONata" and state.keys() - _IN_ANY_LANGUAGE:
        yield f'The laptop cloud runs only states in JSONata: "QueryLanguage": "JSONata" at {at}'
        return
    allowed, required = _FIELDS[kind]
    yield from _fields(at, state, allowed | _COMMON, required)
    if allowed >= _TRANSITION and ("Next" in state) == (state.get("End") is True):
        yield f"One of the fields Next and End is required, and only one at {at}"
    yield from _expressions(at, state)
    yield from _error_handling(at, state)
    if check := _CHECKS.get(kind):
        yield from check(at, state)
    for path, inner in inner_machines(state).items():
        more = {"ProcessorConfig"} if "Item" in path else set()
        yield from _fields(at + path, inner, {"StartAt", "States", "Comment"} | more, {"StartAt", "States"})
        if "States" in inner:
            yield from _machine(at + path, inner, variables, machine_language)


def _fields(at: str, node: dict[str, Any], allowed: set[str], required: set[str]) -> Iterator[str]:
    for name in sorted(node.keys() - allowed):
        if name in _JSONPATH:
            words = f"The QueryLanguage is set to 'JSONata', but field '{name}' is only supported for the 'JSONPath'"
            yield f"{words} QueryLanguage at {at}"
        else:
            yield f"Field '{name}' is not supported at {at or '/'}"
    if missing := sorted(required - node.keys(), reverse=True):
        yield f"These fields are required: [{', '.join(missing)}] at {at or '/'}"


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{%")


def _number(at: str, node: dict[str, Any], name: str, low: int, high: int, whole: bool = True) -> Iterator[str]:
    """Check that a field, if present, is a number in a range."""
    if name not in node:
        return
    value, kinds = node[name], int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        yield f"The value of the field '{name}' must be from {low} to {high}, not {value} at {at}/{name}"


def _number_or_expression(
    at: str, state: State, name: str, low: int, high: int = MAX_SECONDS, whole: bool = True
) -> Iterator[str]:
    if not _is_expression(state.get(name)):
        yield from _number(at, state, name, low, high, whole)


def _task(at: str, state: State) -> Iterator[str]:
    yield from _number_or_expression(at, state, "TimeoutSeconds", 1)
    yield from _number_or_expression(at, state, "HeartbeatSeconds", 1)
    timeout, heartbeat = state.get("TimeoutSeconds", MAX_SECONDS), state.get("HeartbeatSeconds", 1)
    if isinstance(timeout, int) and isinstance(heartbeat, int) and heartbeat >= timeout > 1:
        yield f"HeartbeatSeconds must be smaller than TimeoutSeconds at {at}/HeartbeatSeconds"
    if "Credentials" in state:
        yield from _credentials(f"{at}/Credentials", state["Credentials"])
    for problem in integrations.problems(str(state.get("Resource")), state.get("Arguments", "{% $states.input %}")):
        concerns_resource = problem.startswith(("The resource", "The laptop cloud has no"))
        yield f"{problem} at {at}/{'Resource' if concerns_resource else 'Arguments'}"


def _credentials(at: str, credentials: Any) -> Iterator[str]:
    if not isinstance(credentials, dict) or "RoleArn" not in credentials:
        yield f"The field 'RoleArn' is required but was missing at {at}"
    else:
        yield f"The laptop cloud does not support them; a task acts with the state machine's role at {at}"


def _choice(at: str, state: State) -> Iterator[str]:
    if not state.get("Choices"):
        yield f"Value cannot be empty at {at}/Choices"
    for index, rule in enumerate(state.get("Choices", [])):
        yield from _fields(f"{at}/Choices[{index}]", rule, _RULE, {"Condition", "Next"})
        condition = rule.get("Condition", True)
        if not isinstance(condition, bool) and not _is_expression(condition):
            yield f"The value must be a boolean or an expression at {at}/Choices[{index}]/Condition"


def _wait(at: str, state: State) -> Iterator[str]:
    if ("Seconds" in state) == ("Timestamp" in state):
        yield f"Exactly one of the fields Seconds and Timestamp is required at {at}"
    yield from _number_or_expression(at, state, "Seconds", 0)
    if "Timestamp" in state and not _is_expression(state["Timestamp"]) and not _is_rfc3339(state["Timestamp"]):
        yield f"String does not match RFC3339 timestamp at {at}/Timestamp"


def _parallel(at: str, state: State) -> Iterator[str]:
    if not state.get("Branches"):
        yield f"Value cannot be empty at {at}/Branches"


def _map(at: str, state: State) -> Iterator[str]:
    if state.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("Mode", "INLINE") != "INLINE":
        words = "The mode must be INLINE, because the laptop cloud has no distributed Map"
        yield f"{words} at {at}/ItemProcessor/ProcessorConfig/Mode"
    if not isinstance(state.get("Items", []), list) and not _is_expression(state["Items"]):
        yield f"The value must be an array or an expression at {at}/Items"
    for name, high in (("MaxConcurrency", MAX_SECONDS), ("ToleratedFailureCount", MAX_SECONDS)):
        yield from _number_or_expression(at, state, name, 0, high)
    yield from _number_or_expression(at, state, "ToleratedFailurePercentage", 0, 100, whole=False)


def _fail(at: str, state: State) -> Iterator[str]:
    for name in ("Error", "Cause"):
        if not isinstance(state.get(name, ""), str):
            yield f"The value must be a string at {at}/{name}"


_CHECKS: dict[str, Callable[[str, State], Iterator[str]]] = {
    "Task": _task,
    "Choice": _choice,
    "Wait": _wait,
    "Parallel": _parallel,
    "Map": _map,
    "Fail": _fail,
}


def _error_handling(at: str, state: State) -> Iterator[str]:
    """Check retriers and catchers."""
    for kind, allowed, required in (("Retry", _RETRIER | {"Comment"}, set()), ("Catch", _CATCHER, {"Next"})):
        rules = state.get(kind, [])
        for index, rule in enumerate(rules):
            path, names = f"{at}/{kind}[{index}]", rule.get("ErrorEquals", [])
            yield from _fields(path, rule, allowed, required | {"ErrorEquals"})
            if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
                yield f"The value must be a list of one or more names of errors at {path}/ErrorEquals"
            if "States.ALL" in names and (len(names) > 1 or index < len(rules) - 1):
                yield f"States.ALL must be the only name, and in the last rule at {path}/ErrorEquals"
            yield from _number(path, rule, "IntervalSeconds", 1, MAX_SECONDS)
            yield from _number(path, rule, "MaxAttempts", 0, MAX_SECONDS)
            yield from _number(path, rule, "BackoffRate", 1, MAX_SECONDS, whole=False)
            interval = rule.get("IntervalSeconds", 1)
            min_delay = interval + 1 if isinstance(interval, int) else 1
            yield from _number(path, rule, "MaxDelaySeconds", min_delay, 31_622_400)
            if rule.get("JitterStrategy", "NONE") not in ("FULL", "NONE"):
                yield f"The value must be FULL or NONE at {path}/JitterStrategy"


def _expressions(at: str, state: State) -> Iterator[str]:
    """Check the brackets of expressions, the expressions, and that they read only what exists where they stand."""
    parts = [("", state)]
    for kind in ("Choices", "Catch"):
        parts += [(f"/{kind}[{index}]", rule) for index, rule in enumerate(state.get(kind, []))]
    for path, rule in parts:
        for name in [name for name in rule if name not in _WITHOUT_EXPRESSIONS]:
            absent = _absent(state, rule, name)
            for location, text in _located(f"{at}{path}/{name}", rule[name]):
                if text.startswith("{%") != text.endswith("%}"):
                    yield f"An expression begins with {{% and ends with %}}: {text} at {location}"
                elif text.startswith("{%"):
                    found = expressions.problems(text[2:-2].strip(), absent)
                    yield from (f"{problem} at {location}" for problem in found)


def _absent(state: State, rule: State, field: str) -> tuple[str, ...]:
    """Return the members of ``$states`` that do not exist in a field of a state, a choice or a catcher."""
    after_work = field in ("Output", "Assign")
    has_result = after_work and rule is state and state["Type"] in ("Task", "Parallel", "Map")
    has_error = after_work and "ErrorEquals" in rule
    return ("result",) * (not has_result) + ("errorOutput",) * (not has_error)


def _located(at: str, node: Any) -> Iterator[tuple[str, str]]:
    """Yield every string in a JSON value with its path."""
    if isinstance(node, str):
        yield at, node
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _located(f"{at}/{name}", child)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _located(f"{at}[{index}]", child)


def texts_of(node: Any) -> Iterator[str]:
    """Yield every string in a JSON value."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from texts_of(child)
