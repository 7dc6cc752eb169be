"""``python -m local`` on a cloud on which the stack is deployed: its commands neither build nor deploy again.

The tests whose subject comes after the deployment use it; ``python -m local run`` itself builds in the fixtures.
"""

import sys

from local import cli, laptop, run, stack


def _up(_port: int) -> tuple[laptop.Laptop, stack.Stack]:
    cloud = run.running()
    return cloud, stack.describe(cloud)


if __name__ == "__main__":
    run.up = _up
    sys.exit(cli.main())
