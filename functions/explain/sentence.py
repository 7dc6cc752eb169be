"""Find the sentence that a person needs in the report of a failed task."""

import re

# Reports are JSON, but they are searched as text, because Step Functions truncates long reports. The first pattern that
# matches decides: the message of a function or an evaluation, then a job's reason, then the message of a build's phase.
_PATTERNS = (
    re.compile(r'"(?:errorMessage|ExitMessage)": ?"(.*?)"[,}]'),
    re.compile(r'"FailureReason": ?"(.*?)"[,}]'),
    re.compile(r'"Message": ?"([^"]+)"'),
)


def sentence_of(report: str) -> str:
    """Return the part of a report that says why a task failed, or the whole report if no pattern matches."""
    matches = (pattern.search(report) for pattern in _PATTERNS)
    return next((match[1] for match in matches if match), report)
