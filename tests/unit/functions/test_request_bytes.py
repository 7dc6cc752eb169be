"""The bytes of a request that the prices count: of its log line, and of its answer."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from prices import per_million
from serving.model import Prediction
from serving.served_artifact import Label
from tests.prediction_function import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[3]
ID = "00000000-0000-0000-0000-000000000000"
SENT = {"bytes": 100_000, "sent_bytes": 22_000, "model_version": "20261129-101500-0a1b2c", "status": 200}
CALLERS = {
    per_million.REST_API: ("Xk0VpHXqIAMFu_w=", {"key_id": "a1b2c3d4e5", "function_request_id": ID}),
    per_million.FUNCTION_URL: (
        ID,
        {"user_arn": "arn:aws:sts::000000000000:assumed-role/photo-service/i-00000000000000000"},
    ),
    per_million.SIGN_IN: ("Xk0VpHXqIAMFu_w=", {"key_id": "a1b2c3d4e5", "user": ID, "function_request_id": ID}),
}


# A process of its own, because loggers of one name share what the first one set, and other tests make such loggers.
WRITE = """
import json, sys
from classify import app
correlation_id, facts = json.loads(sys.argv[1])
app.logger.set_correlation_id(correlation_id)
app.logger.info("request", extra=facts)
"""


@pytest.mark.parametrize("door", sorted(CALLERS))
def test_the_log_line_has_the_bytes_that_are_charged(door):
    """A line of the longest usual kind: an address of 15 characters, and a role's session as the caller."""
    correlation_id, caller = CALLERS[door]
    facts = {"route": "/classify", **caller, "source": "203.0.113.100", **SENT, "milliseconds": 18.1}
    command = [sys.executable, "-c", WRITE, json.dumps([correlation_id, facts])]
    environment = {**ENVIRONMENT, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "functions")}
    line = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert set(json.loads(line)) == {"level", "message", "timestamp", "correlation_id", *facts}
    assert len(line) == pytest.approx(per_million.LOG_BYTES[door], abs=20)


def test_the_answer_has_the_bytes_that_are_charged():
    """With breeds of usual names, as the server writes it."""
    names = ("German shorthaired pointer", "Beagle", "Basset hound", "Siberian husky", "Pembroke")
    ranking = tuple((Label(f"{n:03}.{name.replace(' ', '_')}", name), 0.1234) for n, name in enumerate(names))
    known = {
        "version": "20261129-101500-0a1b2c",
        "ranking": ranking,
        "dog_probability": 0.9912,
        "is_dog": True,
        "decode_ms": 1.0,
        "model_ms": 7.0,
        "shortest_side": 256,
    }
    prediction = Prediction(**{field.name: known[field.name] for field in fields(Prediction)})
    assert len(JSONResponse(prediction.to_json()).body) == pytest.approx(per_million.ANSWER_BYTES, rel=0.1)
