"""The server's process gives up root. These tests need root."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = 65534


def run(code):
    program = f"import os\nfrom serving.__main__ import _drop_root\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_process_becomes_the_user_and_no_groups_remain():
    process = run(f"_drop_root({NOBODY})\nprint(os.getresuid(), os.getresgid(), os.getgroups())")
    assert process.stdout.strip() == f"({NOBODY}, {NOBODY}, {NOBODY}) ({NOBODY}, {NOBODY}, {NOBODY}) []"


def test_process_without_the_right_exits_with_a_message():
    process = run(f"_drop_root({NOBODY})\n_drop_root(0)")
    assert process.returncode == 1
    assert process.stderr.startswith("root may not become user 0 here: ")
