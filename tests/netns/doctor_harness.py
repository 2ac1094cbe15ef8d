"""Running `wgmesh doctor` in a host, and breaking things for it to find."""

import json
from typing import Any

from tests.netns.mesh_harness import wgmesh

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


def finding_of(document: dict[str, Any], about: str, code: str) -> dict[str, str]:
    """The one finding of a kind about something, which must be there."""
    assert code in found(document, about), document["findings"]
    return found(document, about)[code]


def block(host: Host, rule: str) -> None:
    """Adds a rule to the host's input, as `ip saddr 10.0.0.1 udp dport 1 drop`."""
    host.run(["nft", "-f", "-"], text=RULES.format(f"add rule inet doctor input {rule}"))
