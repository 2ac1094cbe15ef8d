"""The process's limit of descriptors, raised at start: distributions give 1,024."""

from __future__ import annotations

import contextlib
import resource

WANTED = 65536


def raise_limit() -> int:
    """Raises the soft limit to the hard one, WANTED at most; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid it: then it is less, and what depends on it reads the limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
