"""The request's hyperparameters, by the rules of the training program, which is in the layer of this function."""

from collections.abc import Mapping
from typing import Any

from training.hyperparameters import Hyperparameters, from_strings, problems_of, shortened, unquoted


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return hyperparameters as a training job gets them."""
    return {name: unquoted(str(value).lower() if isinstance(value, bool) else value) for name, value in values.items()}


def typed(values: Mapping[str, Any]) -> Hyperparameters:
    """Return hyperparameters as the training program reads them; ``problems`` has nothing against these."""
    return from_strings(texts(values))


def problems(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each hyperparameter that the training program would refuse."""
    wrong = problems_of(texts(values))
    if "tune" in wrong:
        wrong["tune"] = "a search is the request's field tune; leave it out here"
    sentences = [f"hyperparameters.{shortened(name)}: {problem}" for name, problem in wrong.items()]
    if "is unknown" in wrong.values():
        sentences.append("docs/reference.md lists the hyperparameters")
    return sentences
