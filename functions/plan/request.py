"""Parse the input of an execution, and report all its mistakes at once, in the words of the request."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from dataset.reading import shares_of
from plan import hyperparameters
from shared.contracts import Request
from shared.errors import RequestError
from shared.own_model import OwnPreprocess
from shared.tuning import Tune
from training.hyperparameters import FIELDS, neighbours, shortened

# Step Functions' console fills the input in with a Comment, and CDK's associateWithParent adds the other.
_ADDED_BY_AWS = {"Comment", "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"}
_OF_AN_EVENT = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
_OF_A_PROXY = {"httpMethod", "requestContext", "rawPath", "queryStringParameters", "isBase64Encoded"}
_WRAPPERS = {"input", "Input", "request", "event", "body", "Payload", "StatePayload"}
_OTHER_NAMES = {"version": "promote", "rollback": "promote", "model_version": "promote"}
_SECTIONS: dict[str, list[str]] = {
    "hyperparameters": list(FIELDS),
    "tune": list(Tune.model_fields),
    "preprocess": list(OwnPreprocess.model_fields),
}
_SCHEMA = Request.model_json_schema()
_EXAMPLES = {
    "hyperparameters": '{"epochs": 20}',
    "tune": '{"trials": 64}',
    "ranges": '{"epochs": {"min": 8, "max": 24}}',
    "preprocess": '{"image_size": 224}',
}
_KINDS = {
    "number": "a number",
    "integer": "a whole number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
_MOST_NAMES = 10  # fields that a message names
_REFERENCE = "docs/reference.md lists the fields"


def parse(raw: Any) -> Request:
    """Return the request that an execution's input contains.

    Raises:
        RequestError: fields are unknown or wrong. The message names all of them and says what is expected.
    """
    if not isinstance(raw, dict):
        raise RequestError(f"the execution's input must be a JSON object such as {{}}, not {_shown(raw)}")
    if other := _other_document(raw):
        raise RequestError(f"the execution's input is {other}")
    fields = {name: _whole(value) for name, value in raw.items() if name not in _ADDED_BY_AWS}
    problems: dict[str, str] = dict(_not_finite(fields, ""))
    unknown: list[tuple[str, str]] = []
    request = None
    try:
        request = Request.model_validate(fields, strict=True)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            if each["type"] == "extra_forbidden":
                unknown.append((".".join(map(str, each["loc"][:-1])), str(each["loc"][-1])))
            else:
                path, sentence = _sentence(each)
                if not any(_is_inside(wrong, path) or _is_inside(path, wrong) for wrong in problems):
                    problems[path] = sentence
    given = fields.get("hyperparameters")
    own = {
        name: value
        for name, value in (given.items() if isinstance(given, dict) else ())
        if isinstance(value, str | int | float) and f"hyperparameters.{name}" not in problems
    }
    if isinstance(split := fields.get("split"), str):
        try:
            shares_of(split)
        except ValueError as error:
            problems["split"] = f"split: {error}"
    sentences = [*problems.values(), *_unknown(unknown), *hyperparameters.problems(own)]
    if sentences or request is None:
        raise RequestError("; ".join(sentences))
    return request


def _other_document(raw: dict[str, Any]) -> str:
    """Return what an input is that was meant for something else, and what to do; empty if it may be a request."""
    is_event = raw.keys() <= _OF_AN_EVENT and ("detail" in raw or len(raw) > 2)
    if "detail-type" in raw or is_event:
        return 'an event of EventBridge; give the rule\'s target a constant input, such as "{}"'
    if isinstance(raw.get("Records"), list):
        return 'a notification of S3, SNS or SQS; start the execution with an input such as {"dataset": "dataset/"}'
    if raw.keys() & _OF_A_PROXY:
        return "a request to API Gateway or Lambda; start the execution with the fields alone"
    (name, *others) = raw or [""]
    if name in _WRAPPERS and not others:
        return f"wrapped in '{name}'; give what is inside of it, as a JSON object"
    return ""


def _whole(value: Any) -> Any:
    """Return a value with whole numbers for those that JSONata and JavaScript write as 2.0, wherever they are."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _is_inside(path: str, other: str) -> bool:
    return f"{path}.".startswith(f"{other}.") if other else False


def _not_finite(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Return a sentence for each number, wherever it is, that no field can have."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _not_finite(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _not_finite(each, f"{path}.{index}")
    elif isinstance(value, int | float):
        try:
            if not math.isfinite(value):
                yield path, f"{path}: must be a finite number, not {_shown(value)}"
        except OverflowError:
            yield path, f"{path}: must be below 1e308, not {_shown(value)}"


def _sentence(error: Any) -> tuple[str, str]:
    """Return the field that an error of the library is about, and what the field must be."""
    schema, path = _resolved(_SCHEMA), []
    for part in error["loc"]:
        inside = _inside(schema, part)
        if inside is None:
            break
        schema = _resolved(inside)
        path.append(str(part))
    field = ".".join(path)
    if error["type"] == "value_error":
        message = error["msg"].removeprefix("Value error, ")
        return field, f"{field}: {message}" if field else message
    return field, f"{field}: must be {_expected(schema, path[-1])}, not {_shown(error['input'])}"


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema itself, without a reference and without the null of an optional field."""
    options = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if len(options) == 1:
        schema = options[0]
    reference = schema.get("$ref")
    return _SCHEMA["$defs"][reference.rpartition("/")[2]] if reference else schema


def _inside(schema: Mapping[str, Any], part: str | int) -> Any:
    if isinstance(part, int):
        return schema.get("items")
    if "properties" in schema:
        return schema["properties"].get(part)
    return schema.get("additionalProperties") or None


def _expected(schema: Mapping[str, Any], name: str) -> str:
    options = [_resolved(each) for each in schema.get("anyOf", [schema])]
    choices = [choice for each in options for choice in each.get("enum", [each["const"]] if "const" in each else [])]
    if choices:
        return _joined(choices)
    if "pattern" in schema:
        return "like ml.c7i.xlarge"
    if schema.get("type") == "object":
        return f"an object such as {_EXAMPLES[name]}" if name in _EXAMPLES else "an object"
    if schema.get("type") == "array":
        return (
            f"a list of {schema['minItems']} numbers" if "minItems" in schema else 'a list of names such as ["Beagle"]'
        )
    if len(options) > 1:
        kinds = [kind for kind in _KINDS if kind in [each.get("type") for each in options]]
        words = [_KINDS[kind] for kind in kinds if kind != "integer" or "number" not in kinds]
        return _joined(["true/false" if word == _KINDS["boolean"] else word for word in words])
    return _KINDS[schema["type"]] + _limits(schema)


def _limits(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    found = [f"{word} {schema[key]:,}" for key, word in words.items() if key in schema]
    return f" {' and '.join(found)}" if found else ""


def _joined(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _unknown(fields: list[tuple[str, str]]) -> list[str]:
    """Return sentences about unknown fields, each as its section and its name."""
    sentences: list[str] = []
    strangers: dict[str, list[str]] = {}
    for section, name in fields:
        known = _SECTIONS[section] if section else list(Request.model_fields)
        sentence = _guess(name, known, section)
        if sentence:
            sentences.append(f"{_path(section, name)}: {sentence}")
        else:
            strangers.setdefault(section, []).append(name)
    for section, names in strangers.items():
        known = _SECTIONS.get(section, [])
        fields_are = f"known fields: {', '.join(known)}" if 0 < len(known) <= _MOST_NAMES else _REFERENCE
        shown = ", ".join(_path(section, name) for name in names[:_MOST_NAMES])
        more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        plural = "s" if len(names) > 1 else ""
        sentences.append(f"{shown}{more}: unknown field{plural} ({fields_are})")
    return sentences


def _guess(name: str, known: list[str], section: str) -> str:
    """Return where an unknown field belongs, or what it may mean; empty if nothing is like it."""
    if name.strip("_/$# ").lower() in ("", "comment", "comments", "schema") and name:
        return "a note is written in the field Comment of the whole input"
    matches = neighbours(name, known)
    if not section:
        if name in _OTHER_NAMES:
            return f"unknown field (did you mean '{_OTHER_NAMES[name]}'?)"
        homes = [other for other, names in _SECTIONS.items() if name in names]
        if homes:
            return f"belongs into {' or '.join(homes)}"
        if not matches:
            matches = [f"{other}.{each}" for other, names in _SECTIONS.items() for each in neighbours(name, names, 0.8)]
    if len(matches) > 1:
        return f"{_joined(matches)}?"
    return f"unknown field (did you mean '{matches[0]}'?)" if matches else ""


def _path(section: str, name: str) -> str:
    return f"{section}.{shortened(name)}" if section else shortened(name) or "''"


def _shown(value: Any) -> str:
    """Return a value as the input writes it, shortened."""
    try:
        return shortened(json.dumps(value, ensure_ascii=False))
    except ValueError:  # Python does not write whole numbers of more than 4,300 digits.
        return "a number of thousands of digits"
