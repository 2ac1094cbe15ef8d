"""The agent with its event loop watched: the longest steps so far go to the file `LOOP_WATCH_FILE`, once a second, with
the number of memory blocks of Python's objects.

Removing that file resets the counts: the start is not part of the measurement.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
# pystun3 brings a package `tests` of its own, which would be found instead of this project's.
sys.modules["tests"] = ModuleType("tests")
sys.modules["tests"].__path__ = [str(ROOT / "tests")]
WRITE_SECONDS = 1.0


def main() -> None:
    from tests.bench.loop_watch import LoopWatch

    from wgmesh_agent.cli.main import main as agent_main

    # As the host sees it, which has a disk of its own.
    path = Path(os.environ.get("LOOP_WATCH_FILE", "/var/lib/wgmesh/loop-watch.json"))
    with LoopWatch() as watch:

        def tell() -> None:
            while True:
                if not path.exists():
                    watch.part()
                steps = watch.steps
                told = {
                    "longest": steps.longest,
                    "of": dict(steps.longest_of),
                    "blocks": sys.getallocatedblocks(),
                }
                written = path.with_suffix(".tmp")
                written.write_text(json.dumps(told))
                written.rename(path)
                time.sleep(WRITE_SECONDS)

        threading.Thread(target=tell, daemon=True).start()
        agent_main()


if __name__ == "__main__":
    main()
