"""A function that has the model, in memory, as boto3's client of Lambda answers about it."""

import base64
import io
import json

import boto3

CLIENT_ERROR = boto3.client("lambda", region_name="us-east-1").exceptions.ClientError


class Clock:
    """A clock that only sleeping, and the function's answers, move on."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def monotonic(self):
        return self.now

    perf_counter = monotonic


class TimedFunction:
    """One function, whose requests take a core ``core_ms``; a function has a core for each 1,769 MB.

    Attributes:
        config: its configuration, as GetFunctionConfiguration answers.
        updates: the requests of UpdateFunctionConfiguration.
        asked: the photos, with the qualifier.
    """

    def __init__(self, clock, core_ms=30.0, start_ms=2000.0, hop_ms=4.0, update_seconds=2.0):
        self._clock, self._core_ms, self._start_ms, self._hop_ms = clock, core_ms, start_ms, hop_ms
        self._update_seconds, self._ready_at, self._is_new = update_seconds, 0.0, True
        self.config = {
            "FunctionName": "kennel-model",
            "MemorySize": 1769,
            "Environment": {"Variables": {"KENNEL_ARTIFACT": "s3://b/model.tar.gz"}},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/kennel-model"},
        }
        self.updates, self.asked = [], []
        self.refusals, self.proactive = [], 0  # answers of Lambda itself; starts that were made before a request came
        self.answer, self.is_silent, self.last_status = {"status": 200, "body": {"class": "a"}}, False, "Successful"

    def get_function_configuration(self, *, FunctionName):
        assert FunctionName == "kennel-model"
        is_updating = self._clock.now < self._ready_at
        return {**self.config, "LastUpdateStatus": "InProgress" if is_updating else self.last_status}

    def update_function_configuration(self, *, FunctionName, **request):
        assert FunctionName == "kennel-model"
        assert self._clock.now >= self._ready_at, "an update is in progress"
        self.updates.append(request)
        self.config |= request
        self._ready_at, self._is_new = self._clock.now + self._update_seconds, True

    def get_account_settings(self):
        return {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 900}}

    def invoke(self, *, FunctionName, Qualifier, LogType, Payload):
        assert (FunctionName, LogType) == ("kennel-model", "Tail")
        if self.refusals:
            code, status = self.refusals.pop()
            raise CLIENT_ERROR(
                {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Invoke"
            )
        memory = self.config["MemorySize"]
        cores = min(memory / 1769, 1)
        duration, init = self._core_ms / cores, self._start_ms / cores if self._is_new else None
        waited = 0.0 if init is None or self.proactive else init
        self.proactive -= bool(init and self.proactive)
        self._is_new = False
        self._clock.now += (duration + waited + self._hop_ms) / 1e3
        self.asked.append((base64.b64decode(json.loads(Payload)["photo"]), Qualifier))
        log = f"REPORT RequestId: 1\tDuration: {duration:.2f} ms\tBilled Duration: {duration + (init or 0):.0f} ms\t"
        log += f"Memory Size: {memory} MB\tMax Memory Used: 170 MB\t"
        log += f"Init Duration: {init:.2f} ms\t" if init is not None else ""
        answer = {"Payload": io.BytesIO(json.dumps(self.answer).encode())}
        if not self.is_silent:
            answer["LogResult"] = base64.b64encode(f"START\nEND\n{log}\n".encode()).decode()
        if "errorType" in self.answer:
            answer["FunctionError"] = "Unhandled"
        return answer
