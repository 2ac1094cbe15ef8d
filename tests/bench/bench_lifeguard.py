"""What local health awareness is worth: slow members, with it and without, in virtual time.

The setting is after "Lifeguard" (Dadgar, Phillips, Currey, arXiv:1707.00788): of 128 members some come to handle no
message for many seconds, again and again, and take others for dead whose answers wait unread.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from tests.bench.measurement import CannotRun, Measurement
from tests.sim.grown import grow
from tests.sim.simulator import Simulator

from wgmesh_agent.gossip.memberlist.config import LAN, Profile
from wgmesh_agent.gossip.serf.events import MemberFailed

TITLE = (
    "128 simulated members of which some stall: the well that are called failed, with Lifeguard and without"
)
SIZE, SLOW = 128, 8
STALL_SECONDS, AWAKE_SECONDS = 16.0, 0.25
SECONDS = 120.0
SEEDS, QUICK_SEEDS = 5, 1
LATEST_SECONDS = 120.0
PLAIN = replace(LAN, awareness_max_multiplier=1, suspicion_max_timeout_mult=1)
"""Neither a score nor late answers slow a member's own probes, and suspicions last no longer for want of others."""


def measure(quick: bool) -> list[Measurement]:
    """One thread. The same seeds for both, so the same members stall and die."""
    seeds = range(QUICK_SEEDS if quick else SEEDS)
    wrongly, wrongly_plain = ([_wrongly(profile, seed) for seed in seeds] for profile in (LAN, PLAIN))
    deaths, deaths_plain = ([_death(profile, seed) for seed in seeds] for profile in (LAN, PLAIN))
    called = f"{SLOW} of {SIZE} stall {STALL_SECONDS:g} s at a time for {SECONDS:g} s: healthy members reported failed"
    fewer = sum(wrongly) < sum(wrongly_plain)
    return [
        Measurement(called, "events", wrongly, "without", wrongly_plain, "fewer", fewer),
        Measurement(
            f"{SIZE} nodes, all healthy: until a failure is known to all",
            "s",
            deaths,
            "without",
            deaths_plain,
        ),
    ]


def _wrongly(profile: Profile, seed: int) -> int:
    """How often, by any member, a member was reported failed that never stalled."""
    simulator = Simulator(seed, profile=profile)
    nodes = grow(simulator, SIZE)
    slow = nodes[:SLOW]
    well = {node.name for node in nodes[SLOW:]}

    def stall() -> None:
        for node in slow:
            simulator.stall(node, STALL_SECONDS)
        simulator.at(simulator.now + STALL_SECONDS + AWAKE_SECONDS, stall)

    simulator.at(2.0, stall)
    simulator.run(SECONDS)
    found = sum(event.member.name in well for node in nodes for event in node.heard(MemberFailed))
    print(f"  seed {seed}, score up to {profile.awareness_max_multiplier - 1}: {found}", flush=True)
    return found


def _death(profile: Profile, seed: int) -> float:
    """Seconds until all know of one, the median of three."""
    found = []
    simulator = Simulator(seed, profile=profile)
    nodes = grow(simulator, SIZE)
    simulator.run(2.0)
    for node in nodes[:3]:
        simulator.kill(node)
        died = simulator.now
        while any(not _knows(other.log, node.name) for other in simulator.running()):
            if simulator.now > died + LATEST_SECONDS:
                raise CannotRun(f"not all of {SIZE} nodes know of a death after {LATEST_SECONDS:g} s")
            simulator.run(0.2)
        found.append(simulator.now - died)
    return statistics.median(found)


def _knows(log: Sequence[tuple[float, object]], name: str) -> bool:
    return any(isinstance(event, MemberFailed) and event.member.name == name for _, event in log)
