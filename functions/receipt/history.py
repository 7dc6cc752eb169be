"""What the history of an execution tells: its tasks with their times, and the number of its state transitions."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

_ENDS = {"TaskSucceeded", "TaskFailed", "TaskTimedOut", "TaskSubmitFailed", "TaskStartFailed"}
_OVER = {"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"}


@dataclass
class Task:
    """One attempt of a task.

    Attributes:
        state: the state that it belongs to.
        resource: what it calls, such as ``lambda:invoke`` or ``aws-sdk:sagemaker:createEndpoint``.
        parameters: its request.
        begun: when it was scheduled.
        ended: when its result came; None while it goes on, and for one that ended with a branch beside it or with the
            execution.
        succeeded: whether it ended well.
        submitted: the first answer to a request whose end is waited for.
        output: the result.
        error: name of the error that it ended with; empty if it succeeded.
        timeout: seconds that it may take at most; infinite if the history tells none.
    """

    state: str
    resource: str
    parameters: dict[str, Any]
    begun: datetime
    ended: datetime | None = None
    succeeded: bool = False
    submitted: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    timeout: float = math.inf

    def end(self, now: datetime) -> datetime:
        """Return when it ended; for one without an end, now, or when its time was over if that is earlier."""
        return self.ended or self.begun + timedelta(seconds=min((now - self.begun).total_seconds(), self.timeout))


@dataclass(frozen=True)
class History:
    """An execution so far.

    Attributes:
        tasks: all attempts of all tasks, in the order of their beginning.
        transitions: number of state transitions. AWS counts each step that is executed, and each retry.
            https://aws.amazon.com/step-functions/pricing/
        over: when the execution ended, however that was; None while it runs.
        begun: when it began; None for a history without events.
    """

    tasks: list[Task]
    transitions: int
    over: datetime | None = None
    begun: datetime | None = None

    def of(self, *resources: str) -> list[Task]:
        """Return the tasks that call one of these."""
        return [task for task in self.tasks if task.resource in resources]

    def run(self) -> dict[str, Any] | None:
        """Return the ``Run`` document that Plan has decided, of whichever release; None if it has decided none."""
        plans = [task for task in self.tasks if task.state == "Plan" and task.succeeded]
        payload = plans[-1].output.get("Payload") if plans else None
        return payload if isinstance(payload, dict) else None


def read(events: Iterable[Mapping[str, Any]]) -> History:
    """Return what the events of GetExecutionHistory tell.

    An event names the one before it, and only the entering of a state names the state, so the state of a task is found
    by going back; branches of a Parallel state write their events in turns.

    Args:
        events: all of them, oldest first.
    """
    states: dict[int, str] = {}
    open_tasks: dict[int, Task] = {}  # by the id of the task's latest event
    tasks, transitions, attempted = list[Task](), 0, set[int]()
    visits: dict[int, int] = {}  # by an event's id, the id of the event with which its state was entered
    begun: datetime | None = None
    over: datetime | None = None
    for event in events:
        begun = begun or event["timestamp"]
        number, before, kind = event["id"], event.get("previousEventId", 0), event["type"]
        over = event["timestamp"] if kind in _OVER else None  # A redrive goes on after the end.
        if entered := event.get("stateEnteredEventDetails"):
            states[number], visits[number] = entered["name"], number
            transitions += 1
            continue
        states[number], visits[number] = states.get(before, ""), visits.get(before, 0)
        if details := event.get("taskScheduledEventDetails"):
            if visits[number] in attempted:
                transitions += 1
            attempted.add(visits[number])
            resource = f"{details['resourceType']}:{details['resource']}"
            parameters = _document(details.get("parameters"))
            timeout = details.get("timeoutInSeconds", math.inf)
            task = Task(states[number], resource, parameters, event["timestamp"], timeout=timeout)
            tasks.append(task)
            open_tasks[number] = task
        elif task_before := open_tasks.pop(before, None):
            open_tasks[number] = task_before
            if submitted := event.get("taskSubmittedEventDetails"):
                task_before.submitted = _document(submitted.get("output"))
            elif kind in _ENDS:
                task_before.ended, task_before.succeeded = event["timestamp"], kind == "TaskSucceeded"
                task_before.error = event.get(f"t{kind[1:]}EventDetails", {}).get("error", "")
                task_before.output = _document(event.get("taskSucceededEventDetails", {}).get("output"))
    return History(tasks, transitions, over, begun)


def _document(text: str | None) -> dict[str, Any]:
    """Return a JSON object; an empty one for what is none, such as text that was cut off."""
    try:
        document = json.loads(text or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
