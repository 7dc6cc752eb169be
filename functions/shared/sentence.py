"""Find the sentence that a person needs in the report of a failed task."""

import json
import re

# Reports are JSON, but they are searched as text, because Step Functions truncates long reports. The first pattern that
# matches decides: the message of a function or an evaluation, then a job's reason, then the message of a build's phase.
_CHARACTER = r'(?:[^"\\]|\\.)'
_PATTERNS = (
    re.compile(rf'"(?:errorMessage|ExitMessage)": ?("{_CHARACTER}*")'),
    re.compile(rf'"FailureReason": ?("{_CHARACTER}*")'),
    re.compile(rf'"Message": ?("{_CHARACTER}+")'),
)


def sentence_of(report: str) -> str:
    """Return the part of a report that says why a task failed, or the whole report if no pattern matches."""
    matches = (pattern.search(report) for pattern in _PATTERNS)
    text = next((match[1] for match in matches if match), None)
    if text is None:
        return report
    try:
        return str(json.loads(text))
    except ValueError:  # The report is no JSON.
        return text[1:-1]
