"""The failures somebody decides on; the state machine's ``ErrorEquals`` and people read their names."""


class RequestError(ValueError):
    """The execution's input is wrong; the message names every field."""


class RunInProgressError(RuntimeError):
    """Another execution holds the endpoint's run lock and is still running."""


class DistributionError(RuntimeError):
    """The ranks of the training job trained apart, so its model proves nothing."""


class SmokeError(RuntimeError):
    """The staging endpoint does not answer as the evaluated model did."""


class MeasurementError(RuntimeError):
    """One instance does not keep the limit of the latency at any rate."""
