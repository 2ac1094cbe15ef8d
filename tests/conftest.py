"""For all tests: examples are drawn by chance, and no test asserts a time, as these machines are noisy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("wgmesh", deadline=None, print_blob=True)
settings.load_profile("wgmesh")
