"""Errors that somebody decides on: the state machine's ``ErrorEquals`` and people read their names."""


class RequestError(ValueError):
    """The execution's input is wrong. The message names every wrong field."""


class ChampionError(RuntimeError):
    """Champion pointer, endpoint and bucket do not agree. The message says what mends that."""


class RunInProgressError(RuntimeError):
    """Another execution holds the endpoint's run lock and is still running."""


class DistributionError(RuntimeError):
    """The ranks of the training job did not train one model together, so the scores prove nothing."""


class SmokeError(RuntimeError):
    """The endpoint does not answer the golden photos as the evaluated model did."""


class MeasurementError(RuntimeError):
    """One instance exceeds the latency limit at every rate."""


class TuningError(RuntimeError):
    """The search for hyperparameters has no result."""
