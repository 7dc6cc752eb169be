"""The drill that stops an update at each of its states, and removes each resource by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.core.processes import free_port
from tests.integration.laptop import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # seconds


def test_a_stop_at_any_state_and_a_hand_leave_one_truth(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local", "drill", "stop-anywhere", "--port", str(free_port())]
    environment = os.environ | {"KENNEL_HOME": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    document = json.loads(ended.stdout)
    assert document["held"], document["promises"]
    assert len(document["promises"]) > 30
