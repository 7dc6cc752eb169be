"""``python -m local``: see ``local.cli``."""

import signal
import sys

from local import shell

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while Python still imports needs no traceback
    shell.leave()

    from local.cli import main

    sys.exit(main())
