"""The command ``python -m local.aws_smoke``; the program is proofs/aws_smoke/."""

import runpy

if __name__ == "__main__":
    runpy.run_module("proofs.aws_smoke", run_name="__main__", alter_sys=True)
