"""`wgmesh` on a machine whose clock is wrong: `python wrong_clock.py SECONDS ARGUMENTS…`."""

import sys
import time

from wgmesh_agent.cli.main import run, wgmesh

_REAL = time.time
_AHEAD = float(sys.argv[1])


def _wrong() -> float:
    return _REAL() + _AHEAD


if __name__ == "__main__":
    time.time = _wrong
    sys.exit(run(wgmesh(), sys.argv[2:]))
