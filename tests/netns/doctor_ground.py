"""Running `wgmesh doctor` in a host, and breaking things for it to find."""

import json
from typing import Any

from tests.netns.mesh_ground import wgmesh

from wgmesh_agent.lab.host import Host

RULES = "add table inet doctor\nadd chain inet doctor input {{ type filter hook input priority 0; }}\n{}\n"


def doctor(host: Host, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Status and document."""
    done = wgmesh(host, "doctor", *arguments, "-json")
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def found(document: dict[str, Any], about: str) -> dict[str, dict[str, str]]:
    """The findings about something, by code."""
    return {one["code"]: one for one in document["findings"] if one["about"] == about}


def block(host: Host, rule: str) -> None:
    """Adds a rule to the host's input, as `ip saddr 10.0.0.1 udp dport 1 drop`."""
    host.run(["nft", "-f", "-"], text=RULES.format(f"add rule inet doctor input {rule}"))


def unblock(host: Host) -> None:
    host.run(["nft", "-f", "-"], text="add table inet doctor\ndelete table inet doctor\n")
