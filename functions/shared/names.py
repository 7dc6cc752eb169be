"""The id of a run, with which the names of all its resources begin."""

import hashlib
import re


def run_id(execution_name: str) -> str:
    """Return an id for the run that fits into SageMaker's 63 characters and is unique to the execution.

    Names of executions may be longer and contain other characters. Six digits of a hash keep the ids different. It has
    no capitals, because SageMaker has returned names in lower case, and policies compare them by case.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", execution_name.lower()).strip("-")[:16].rstrip("-")
    return f"{plain}-{hashlib.sha256(execution_name.encode()).hexdigest()[:6]}"
