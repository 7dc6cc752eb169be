"""Errors that somebody decides on: the state machine's ``ErrorEquals`` and people read their names."""


class RequestError(ValueError):
    """The execution's input is wrong. The message names every wrong field."""


class ChampionError(RuntimeError):
    """Pointer, endpoint, bucket, registry and scaling do not agree. The message says what mends that."""


class StackError(RuntimeError):
    """A part of the stack that every run needs was deleted by hand. The message says what mends that."""


class QuotaError(RuntimeError):
    """The account's quotas are too small for the run. The message names each, and what mends it."""


class RunInProgressError(RuntimeError):
    """Another execution holds the endpoint's run lock and is still running."""


class TamperedError(RuntimeError):
    """What a step reads is not what the step before has written. The message names the object."""


class DistributionError(RuntimeError):
    """The ranks of the training job did not train one model together, so the scores prove nothing."""


class SmokeError(RuntimeError):
    """The endpoint does not answer the golden photos as the evaluated model did."""


class MeasurementError(RuntimeError):
    """One instance exceeds the latency limit at every rate, or a function with every memory; or it fails."""


class TuningError(RuntimeError):
    """The search for hyperparameters has no result."""


class ScanPendingError(RuntimeError):
    """ECR has not finished its scan of an image; the state machine asks again."""


class NothingToRebuildError(RuntimeError):
    """A run that only rebuilds found nothing to do; the state machine ends it as a success."""


class SpendingLimitError(RuntimeError):
    """A limit for spending is reached. The message names the limit and says how to go on."""
