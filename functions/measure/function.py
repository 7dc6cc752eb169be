"""Measure the function that has the model: cold starts and warm requests with each size of memory.

Each change of the configuration of ``$LATEST``, to which no alias ever points, makes Lambda start new environments.
See "The memory of a function is measured" in docs/decisions/deployment-and-scaling.md.
"""

import itertools
import json
import math
import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from measure.probe import quantile
from shared import function_answers
from shared.errors import MeasurementError
from shared.function_answers import ModelAnswer
from shared.scaling import FunctionSizes, MemorySize

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

SIZES = (1024, 1769, 3008)  # MB: 0.58, 1 and 1.7 cores; new accounts may have no more
_NUM_COLD, _NUM_WARM, _NUM_WARM_UP = 10, 200, 5
_FEWEST = 3  # cold starts of the first size when the time is over; the other sizes are left out then
_LATEST = "$LATEST"
_COLD_START = "KENNEL_COLD_START"  # The model does not read it; another value makes Lambda start new environments.
_LOOK_AGAIN = 0.2  # seconds
# A refused request is sent again after a second; its time does not count.
_THROTTLED, _FAULT_OF_LAMBDA, _PAUSE, _MOST_REFUSED = 429, 500, 1.0, 20


class MeasuredFunction:
    """The unpublished version of the function under test.

    Args:
        client: Lambda.
        asked_once: Lambda without retries, which would look like slow answers.
        name: name of the function.
        photos: JPEGs, sent in turns.
    """

    def __init__(self, client: "LambdaClient", asked_once: "LambdaClient", name: str, photos: Sequence[bytes]) -> None:
        self._client, self._asked_once, self._name = client, asked_once, name
        self._photos = itertools.cycle(photos)
        self._starts = itertools.count(1)
        config = client.get_function_configuration(FunctionName=name)
        self._variables = dict(config.get("Environment", {}).get("Variables", {}))
        self._variables.pop(_COLD_START, None)  # of a measurement that ended early
        self._logging: Any = config.get("LoggingConfig", {})
        self._memory_mb = config.get("MemorySize", 0)
        self._num_requests = self._bytes_in = self._bytes_out = 0
        self._gb_seconds = 0.0

    def start_anew(self, memory_mb: int) -> None:
        """Give the function so many MB, and let its next request meet a cold start, of which Lambda tells."""
        # Beyond the level INFO, Lambda may not tell what it bills.
        self._configure(memory_mb, self._variables | {_COLD_START: str(next(self._starts))}, "INFO")

    def leave_with(self, memory_mb: int) -> None:
        """Give the function so many MB, the variables that it had, and the log that docs/function.md asks for."""
        self._configure(memory_mb, self._variables, "WARN")

    def _configure(self, memory_mb: int, variables: dict[str, str], level: Literal["INFO", "WARN"]) -> None:
        self._client.update_function_configuration(
            FunctionName=self._name,
            MemorySize=memory_mb,
            Environment={"Variables": variables},
            LoggingConfig=self._logging | {"LogFormat": "JSON", "SystemLogLevel": level},
        )
        self._memory_mb = memory_mb
        while (config := self._client.get_function_configuration(FunctionName=self._name))[
            "LastUpdateStatus"
        ] == "InProgress":
            time.sleep(_LOOK_AGAIN)
        if config["LastUpdateStatus"] != "Successful":
            raise MeasurementError(
                f"the function {self._name} could not be given {memory_mb:,} MB: "
                f"{config.get('LastUpdateStatusReason', config['LastUpdateStatus'])}"
            )

    def ask(self) -> tuple[float, ModelAnswer]:
        """Send the next photo; return the milliseconds until the answer, and the answer.

        Raises:
            MeasurementError: the answer is not one to a photo, or Lambda refuses the request again and again.
        """
        photo, refusal = next(self._photos), ""
        for _ in range(_MOST_REFUSED):
            began = time.perf_counter()
            try:
                answer = function_answers.ask(self._asked_once, self._name, _LATEST, photo)
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status != _THROTTLED and status < _FAULT_OF_LAMBDA:
                    raise
                refusal = str(error)
                time.sleep(_PAUSE)
                continue
            milliseconds = 1e3 * (time.perf_counter() - began)
            self._count(photo, answer, milliseconds)
            if answer.status != 200:
                raise MeasurementError(
                    f"the function {self._name} answers a golden photo with status {answer.status}: "
                    f"{_words(answer)}; read its log"
                )
            return milliseconds, answer
        raise MeasurementError(
            f"Lambda refused {_MOST_REFUSED} requests in a row to the function {self._name}: {refusal}; start the run "
            "again when fewer executions go on at once, or ask AWS for more concurrency"
        )

    def _count(self, photo: bytes, answer: ModelAnswer, milliseconds: float) -> None:
        self._num_requests += 1
        self._bytes_in += len(photo)
        self._bytes_out += len(answer.body)
        billed = answer.report.gb_seconds if answer.report else milliseconds / 1e3 * self._memory_mb / 1024
        self._gb_seconds += billed

    def sent(self) -> dict[str, float]:
        """Return what was sent and billed so far, by the names of the fields of ``FunctionMeasurement``."""
        return {
            "num_requests": self._num_requests,
            "gb_seconds": round(self._gb_seconds, 3),
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
        }


def measure(function: MeasuredFunction, run: str, first_mb: int, max_p99_ms: float, deadline: float) -> FunctionSizes:
    """Measure as many sizes of memory as there is time for.

    Args:
        function: what is measured; it is left with the last size.
        run: id of the run.
        first_mb: MB of the size that is measured in any case.
        max_p99_ms: milliseconds of a warm request; if the first size does not keep it, larger ones come before smaller.
        deadline: until when, by ``time.monotonic``.

    Raises:
        MeasurementError: the function fails, or does not start anew.
    """
    began = time.monotonic()
    first = _measure_size(function, first_mb, deadline)
    seconds = time.monotonic() - began
    sizes, left_out = [first], list[str]()
    if (num_cold := len(first.cold_ms)) < _NUM_COLD:
        left_out.append(f"{first_mb:,} MB: there was time for {num_cold} of {_NUM_COLD} cold starts")
    for memory_mb in sorted(set(SIZES) - {first_mb}, reverse=first.warm_p99_ms > max_p99_ms):
        slowdown = max(first_mb / memory_mb, 1)  # A function has a core for each 1,769 MB.
        if time.monotonic() + slowdown * seconds > deadline:
            left_out.append(f"{memory_mb:,} MB: there was no time for it")
        else:
            sizes.append(_measure_size(function, memory_mb, deadline))
    return FunctionSizes(run=run, sizes=sizes, left_out=left_out)


def _measure_size(function: MeasuredFunction, memory_mb: int, deadline: float) -> MemorySize:
    cold = list[tuple[float, ModelAnswer]]()
    for _ in range(2 * _NUM_COLD):
        if len(cold) == _NUM_COLD or (len(cold) >= _FEWEST and time.monotonic() > deadline):
            break
        function.start_anew(memory_mb)
        milliseconds, answer = function.ask()
        if _is_cold(milliseconds, answer):
            cold.append((milliseconds, answer))
    if len(cold) < _FEWEST:
        raise MeasurementError(
            f"of {2 * _NUM_COLD} requests after a change of the function's configuration only {len(cold)} met a cold "
            "start, so nothing can be said about it; start the run again"
        )
    for _ in range(_NUM_WARM_UP):
        function.ask()
    asked = [function.ask() for _ in range(_NUM_WARM)]
    warm = [each for each in asked if not (each[1].report and each[1].report.init_ms is not None)]
    times = [milliseconds for milliseconds, _ in warm]
    hops = [milliseconds - answer.report.duration_ms for milliseconds, answer in warm if answer.report]
    return MemorySize(
        memory_mb=memory_mb,
        cold_ms=[round(milliseconds, 1) for milliseconds, _ in cold],
        init_ms=[round(answer.report.init_ms or 0.0, 1) for _, answer in cold if answer.report],
        cold_billed_ms=statistics.median(_billed_ms(each) for each in cold),
        warm_p50_ms=round(quantile(times, 0.5), 1),
        warm_p99_ms=round(quantile(times, 0.99), 1),
        billed_ms=round(statistics.fmean(_billed_ms(each) for each in warm), 2),
        hop_ms=round(max(statistics.median(hops), 0.0), 1) if hops else 0.0,
        is_told=all(answer.report for _, answer in (*cold, *warm)),
    )


def _is_cold(milliseconds: float, answer: ModelAnswer) -> bool:
    """Whether a request waited for an initialization.

    Lambda may have initialized the environment before the request came (proactive initialization). Then its report
    tells an initialization that took longer than the request.
    """
    report = answer.report
    return not report or (report.init_ms is not None and report.init_ms <= milliseconds)


def _billed_ms(asked: tuple[float, ModelAnswer]) -> float:
    milliseconds, answer = asked
    return answer.report.billed_ms if answer.report else math.ceil(milliseconds)


def _words(answer: ModelAnswer) -> str:
    """Return what the function, or Lambda, says of an answer that is none."""
    document = json.loads(answer.body)
    error = document.get("error", {})
    words = error.get("message") or f"{document.get('errorType')}: {document.get('errorMessage')}"
    return str(words)
