"""The memberlist file: a JSON list of members and services for other programs on the machine.

`{"members": {NAME: {"addr", "st", "rtt", "tags"}}, "services": {NAME: {"nodes", "port", "tags"}},
"lastUpdate"}` with `st` a status word, `rtt` whole milliseconds (0 if not known) and `lastUpdate` unix
seconds. Services come from tags `svc:NAME` = `port=80,key=value,…`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypedDict

SERVICE_PREFIX = "svc:"
_RESERVED_PREFIX = "_"


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member in the file. `rtt_ms` is None if unknown; reserved tags may be in `tags`."""

    name: str
    addr: str
    status: str
    rtt_ms: float | None
    tags: Mapping[str, str]


class _Service(TypedDict):
    nodes: list[str]
    port: int
    tags: dict[str, str]


def render(members: Iterable[MemberRecord], last_update: int) -> bytes:
    """Returns the file's content: the same bytes for the same members in any order, without tags that begin with
    `_`.

    A service is offered by each member that has its tag, whatever that member's status. If members disagree on its
    port or tags, the first by name counts. An invalid port counts as 0.
    """
    ordered = sorted(members, key=lambda member: member.name)
    services: dict[str, _Service] = {}
    for member in ordered:
        for key, value in sorted(member.tags.items()):
            if key.startswith(SERVICE_PREFIX) and key != SERVICE_PREFIX:
                _add_service(services, key.removeprefix(SERVICE_PREFIX), value, member.name)
    document = {
        "members": {
            member.name: {
                "addr": member.addr,
                "st": member.status,
                "rtt": round(member.rtt_ms or 0.0),
                "tags": {
                    key: value
                    for key, value in sorted(member.tags.items())
                    if not key.startswith(_RESERVED_PREFIX)
                },
            }
            for member in ordered
        },
        "services": dict(sorted(services.items())),
        "lastUpdate": last_update,
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"


def parse_service(value: str) -> tuple[int, dict[str, str]]:
    """Parses a service tag's value into port (0 if missing or invalid) and the other keys."""
    port, tags = 0, {}
    for item in value.split(","):
        key, _, text = item.strip().partition("=")
        if key == "port":
            port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
        elif key:
            tags[key] = text
    return (port if port <= 65535 else 0), tags


def _add_service(services: dict[str, _Service], name: str, value: str, node: str) -> None:
    port, tags = parse_service(value)
    service = services.setdefault(name, _Service(nodes=[], port=0, tags={}))
    service["nodes"].append(node)
    service["port"] = service["port"] or port
    service["tags"] = {**tags, **service["tags"]}
