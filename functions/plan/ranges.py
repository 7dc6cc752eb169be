"""Check the ranges of a search, and write them as the training program and SageMaker read them."""

import json
import math
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

from plan.tunable import TUNABLE, Range, Tunable, default_ranges
from shared.errors import RequestError
from training.hyperparameters import FIELDS, neighbours, shortened, unquoted

MAX_TRIALS = 750
_DIGITS = 4  # significant digits of a number that is chosen from an interval


def parse(raw: Mapping[str, Any], fixed: Mapping[str, Any], mode: str) -> dict[str, Range]:
    """Return the whole ranges of a search; the defaults of the mode if the request names none.

    Args:
        raw: the request's ``tune.ranges``.
        fixed: the request's ``hyperparameters``; those are not searched.
        mode: ``head`` or ``full``.

    Raises:
        RequestError: the message names every wrong range.
    """
    if not raw:
        ranges = {name: each for name, each in default_ranges(mode).items() if name not in fixed}
        if not ranges:
            raise RequestError(
                "tune.ranges: hyperparameters fixes all that is searched by default; "
                "leave some of them out there, or name ranges here"
            )
        return ranges
    parsed, problems = {}, []
    for name, each in raw.items():
        try:
            parsed[name] = _range(name, each, fixed, mode)
        except ValueError as error:
            problems.append(f"tune.ranges.{shortened(name)}: {error}")
    if any(problem.endswith("unknown hyperparameter") for problem in problems):
        problems.append(f"can be searched: {', '.join(TUNABLE)}")
    if problems:
        raise RequestError("; ".join(problems))
    return parsed


def backbones(raw: Mapping[str, Any]) -> list[str]:
    """Return the backbones that a search chooses among; none if it does not search them.

    Raises:
        RequestError: they are no list of different names.
    """
    if "backbone" not in raw:
        return []
    try:
        return [str(each) for each in _range("backbone", raw["backbone"], {}, "head")]
    except ValueError as error:
        raise RequestError(f"tune.ranges.backbone: {error}") from None


def num_combinations(ranges: Mapping[str, Range]) -> float:
    """Return how many different sets of hyperparameters the ranges contain; infinity for very many."""
    return math.prod(_num_values(name, each) for name, each in ranges.items())


def for_sagemaker(ranges: Mapping[str, Range]) -> dict[str, list[dict[str, str | list[str]]]]:
    """Return the ranges in the form of CreateHyperParameterTuningJob, which takes all values as text."""
    result: dict[str, list[dict[str, str | list[str]]]] = {
        f"{kind}ParameterRanges": [] for kind in ("Continuous", "Integer", "Categorical")
    }
    scales = {"linear": "Linear", "log": "Logarithmic"}
    for name, each in ranges.items():
        if isinstance(each, list):
            result["CategoricalParameterRanges"].append({"Name": name, "Values": [str(value) for value in each]})
            continue
        item: dict[str, str | list[str]] = {"Name": name, "MinValue": str(each["min"]), "MaxValue": str(each["max"])}
        item["ScalingType"] = scales[str(each["scale"])]
        result[f"{TUNABLE[name].kind.capitalize()}ParameterRanges"].append(item)
    return result


def _range(name: str, raw: Any, fixed: Mapping[str, Any], mode: str) -> Range:
    if name not in TUNABLE:
        if name in FIELDS:
            raise ValueError("cannot be searched, because it does not decide how good the model becomes")
        close = " or ".join(f"'{each}'" for each in neighbours(name, TUNABLE))
        raise ValueError("unknown hyperparameter" + (f" (did you mean {close}?)" if close else ""))
    tunable = TUNABLE[name]
    if tunable.mode not in ("", mode):
        raise ValueError(f"only mode {tunable.mode} reads it, and this training is in mode {mode}; leave it out")
    if name in fixed:
        raise ValueError("hyperparameters fixes it, too; leave it out in one of them")
    if isinstance(raw, list):
        return _values(raw, tunable)
    if not isinstance(raw, dict) or tunable.kind == "categorical":
        form = "a list of values" if tunable.kind == "categorical" else 'a list of values or {"min": …, "max": …}'
        raise ValueError(f"must be {form}")
    return _interval(raw, tunable)


def _values(raw: list[Any], tunable: Tunable) -> Range:
    if not raw:
        raise ValueError("the list is empty; give at least one value")
    if tunable.kind == "categorical":
        raw = [unquoted(value) if isinstance(value, str) else value for value in raw]  # as the training reads them
    for value in raw:
        if tunable.kind == "categorical":
            if not isinstance(value, str) or (tunable.values and value not in tunable.values):
                raise ValueError(f"must contain {' or '.join(tunable.values) or 'names'}, not {_shown(value)}")
        else:
            _check_number(value, tunable)
    if len(set(raw)) < len(raw):
        raise ValueError("a value is in the list twice")
    if len(raw) > 30:
        raise ValueError(f"has {len(raw)} values; SageMaker allows 30")
    return list(raw)


def _interval(raw: dict[str, Any], tunable: Tunable) -> Range:
    if unknown := raw.keys() - {"min", "max", "scale"}:
        raise ValueError(f"unknown field {', '.join(map(shortened, sorted(unknown)))}; a range has min, max and scale")
    if missing := {"min", "max"} - raw.keys():
        raise ValueError(f"{' and '.join(sorted(missing))} missing; a range has min and max")
    scale = raw.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise ValueError(f"scale must be linear or log, not {_shown(scale)}")
    for value in (raw["min"], raw["max"]):
        _check_number(value, tunable)
    if raw["min"] > raw["max"]:
        raise ValueError(f"min ({raw['min']:g}) is above max ({raw['max']:g}); exchange them")
    if raw["min"] == raw["max"]:
        raise ValueError(f"min and max are both {raw['min']:g}; give that value in hyperparameters instead")
    if scale == "log" and raw["min"] <= 0:
        raise ValueError(f"with a log scale min must be above 0, not {raw['min']:g}")
    return {"min": raw["min"], "max": raw["max"], "scale": scale}


def _check_number(value: Any, tunable: Tunable) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must contain numbers, not {_shown(value)}")
    if tunable.kind == "integer" and not isinstance(value, int):
        raise ValueError(f"must contain whole numbers, not {_shown(value)}")
    if not tunable.low <= value <= tunable.high:  # This also refuses nan.
        raise ValueError(f"must be between {tunable.low:.10g} and {tunable.high:.10g}, not {_shown(value)}")


def _shown(value: Any) -> str:
    """Return a value as the input writes it, shortened; a text in the quotes of a sentence."""
    return shortened(f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _num_values(name: str, each: Range) -> float:
    if isinstance(each, list):
        return len(each)
    if TUNABLE[name].kind == "integer":
        return int(each["max"]) - int(each["min"]) + 1
    # As in training/search.py: fractions have four digits, and only fewer than the most trials are counted.
    low, high = Decimal(repr(float(each["min"]))), Decimal(repr(float(each["max"])))
    rounding = Context(prec=_DIGITS, Emin=-307)
    for count in range(2, MAX_TRIALS + 1):
        if (low := rounding.next_plus(low)) >= high:
            return count
    return math.inf
