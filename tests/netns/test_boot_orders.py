"""A machine boots with things missing: its agent waits, says for what, and is a member when the last has come.

`WGMESH_BOOT_SEEDS=1-20` tries more orders, and so does `make chaos`.
"""

from __future__ import annotations

import os

import pytest
from tests.netns import boots

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]
FIRST, _, LAST = os.environ.get("WGMESH_BOOT_SEEDS", "2-2").partition("-")


@pytest.mark.parametrize("seed", range(int(FIRST), int(LAST or FIRST) + 1))
def test_an_agent_waits_for_what_its_machine_lacks_at_boot(seed: int) -> None:
    took, said = boots.run(seed)
    print(f"a member {took:.1f} s after the last: {said}")
