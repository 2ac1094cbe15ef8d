"""The collector of cycles, in a process of its own: it is set for the whole of one."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import gc
from wgmesh_agent.daemon.garbage import relieve_garbage_collector
before = gc.get_threshold()
relieve_garbage_collector()
print(gc.get_freeze_count() > 1000, gc.isenabled(), gc.get_threshold()[2] // before[2])
"""


def test_what_is_imported_is_walked_no_more_and_full_collections_are_rare_but_there() -> None:
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True", "100"]
