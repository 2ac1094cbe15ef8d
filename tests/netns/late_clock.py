"""`wgmesh` on a machine whose clock is set late: `python late_clock.py FILE ARGUMENTS…`; 1970 while FILE is there."""

import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

from wgmesh_agent.agent import launch
from wgmesh_agent.cli.main import run, wgmesh
from wgmesh_agent.mesh.join import joiner

_REAL = time.time
_STARTED = _REAL()
_UNSET = Path(sys.argv[1])


def _behind() -> float:
    return _STARTED if _UNSET.exists() else 0.0


def _time() -> float:
    return _REAL() - _behind()


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) - timedelta(seconds=_behind())


if __name__ == "__main__":
    time.time = _time
    for module in (joiner, launch):
        vars(module)["datetime"] = _Datetime
    sys.exit(run(wgmesh(), sys.argv[2:]))
