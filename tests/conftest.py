"""For all tests: examples are drawn randomly, and no test asserts a time, because these machines are noisy."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell that runs tests in the background may ignore these signals, and the programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("wgmesh", deadline=None, print_blob=True)
settings.register_profile("quick", settings.get_profile("wgmesh"), max_examples=20)
settings.load_profile("wgmesh")
