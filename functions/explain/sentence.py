"""Find the sentence that a person needs in the report of a failed task."""

import re

# Reports are JSON, but they are searched as text, because Step Functions cuts long ones off. The first pattern that is
# found decides: a function's or an evaluation's own words, then a job's reason, then the message of a build's phase.
_PATTERNS = (
    re.compile(r'"(?:errorMessage|ExitMessage)": ?"(.*?)"[,}]'),
    re.compile(r'"FailureReason": ?"(.*?)"[,}]'),
    re.compile(r'"Message": ?"([^"]+)"'),
)


def sentence_of(report: str) -> str:
    """Return the part of a failure's cause that says why, or all of it where no such part is known."""
    matches = (pattern.search(report) for pattern in _PATTERNS)
    return next((match[1] for match in matches if match), report)
