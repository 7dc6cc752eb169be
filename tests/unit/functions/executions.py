"""Histories of executions in the form in which GetExecutionHistory tells them."""

import json
from datetime import UTC, datetime, timedelta

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)


def at(seconds):
    """The moment so many seconds after the beginning."""
    return BEGIN + timedelta(seconds=seconds)


class Execution:
    """Writes events one after the other; each line of an execution follows its own last event."""

    def __init__(self):
        self.events = [{"id": 1, "previousEventId": 0, "type": "ExecutionStarted", "timestamp": BEGIN}]

    def add(self, kind, seconds, before, **details):
        number = len(self.events) + 1
        event = {"id": number, "previousEventId": before, "type": kind, "timestamp": at(seconds)}
        self.events.append(event | details)
        return number

    def enter(self, name, seconds, before=None, kind="Task"):
        before = len(self.events) if before is None else before
        return self.add(f"{kind}StateEntered", seconds, before, stateEnteredEventDetails={"name": name})

    def schedule(self, resource, parameters, seconds, before):
        service, _, action = resource.rpartition(":")
        named = {"resourceType": service, "resource": action}
        details = {**named, "region": "us-east-1", "parameters": json.dumps(parameters)}
        number = self.add("TaskScheduled", seconds, before, taskScheduledEventDetails=details)
        return self.add("TaskStarted", seconds, number, taskStartedEventDetails=named)

    def submit(self, seconds, before, output):
        return self.add("TaskSubmitted", seconds, before, taskSubmittedEventDetails={"output": json.dumps(output)})

    def succeed(self, seconds, before, output):
        return self.add("TaskSucceeded", seconds, before, taskSucceededEventDetails={"output": json.dumps(output)})

    def fail(self, seconds, before, error, cause="", kind="TaskFailed"):
        details = {"error": error, "cause": cause}
        return self.add(kind, seconds, before, **{f"t{kind[1:]}EventDetails": details})

    def exit(self, name, seconds, before):
        return self.add("TaskStateExited", seconds, before, stateExitedEventDetails={"name": name, "output": "{}"})

    def task(self, name, resource, parameters, begin, end, output=None, submitted=None, before=None):
        """Add a whole state with one task that succeeds; return the id of its last event."""
        number = self.schedule(resource, parameters, begin, self.enter(name, begin, before))
        if submitted is not None:
            number = self.submit(begin, number, submitted)
        return self.exit(name, end, self.succeed(end, number, output or {}))

    def function(self, name, function, begin, end, payload=None, asked=None):
        """Add a state whose task calls a function of the stack ``kennel``."""
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:kennel-{function}"
        parameters = {"FunctionName": arn, "Payload": asked or {}}
        return self.task(name, "lambda:invoke", parameters, begin, end, {"Payload": payload, "StatusCode": 200})

    def stop(self, seconds, kind="ExecutionAborted"):
        """Add the end of an execution that somebody stops; it names no event before it."""
        return self.add(kind, seconds, 0)
