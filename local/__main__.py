"""``python -m local``: see ``local.cli``."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while Python still imports needs no traceback

from local.cli import main  # noqa: E402

sys.exit(main())
