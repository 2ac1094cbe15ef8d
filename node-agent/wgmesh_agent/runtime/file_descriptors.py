"""The process's limit of descriptors, raised at start because distributions set 1,024."""

from __future__ import annotations

import contextlib
import resource

WANTED = 65536


def raise_limit() -> int:
    """Raises the soft limit to the hard one, at most WANTED; returns the resulting limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid it: then the limit stays, and its users read it.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
