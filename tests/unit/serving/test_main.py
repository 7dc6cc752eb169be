"""The server's process gives up root; tried where there is root to give up."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = 65534


def run(code):
    program = f"import os\nfrom serving.__main__ import _become\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_process_becomes_the_user_and_no_groups_remain():
    done = run(f"_become({NOBODY})\nprint(os.getresuid(), os.getresgid(), os.getgroups())")
    assert done.stdout.strip() == f"({NOBODY}, {NOBODY}, {NOBODY}) ({NOBODY}, {NOBODY}, {NOBODY}) []"


def test_process_that_may_not_says_so_and_ends():
    done = run(f"_become({NOBODY})\n_become(0)")
    assert done.returncode == 1
    assert done.stderr.startswith("root may not become user 0 here: ")
