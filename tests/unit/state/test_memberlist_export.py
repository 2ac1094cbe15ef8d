"""The memberlist file: the original's shape, stable bytes, nothing of the program's own."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.state.memberlist_export import MemberRecord, parse_service, render

ALPHA = MemberRecord(
    "alpha",
    "10.232.1.1",
    "alive",
    0.4,
    {"_pk": "x", "_t": "b", "role": "db", "svc:web": "port=80,proto=http"},
)
BETA = MemberRecord("beta", "10.232.1.2", "failed", None, {"svc:web": "port=81,path=/", "svc:dns": "port=53"})


def rendered(*members: MemberRecord) -> Any:
    return json.loads(render(members, 1_700_000_000))


def test_members_services_and_time_as_the_original_writes_them() -> None:
    assert rendered(BETA, ALPHA) == {
        "members": {
            "alpha": {
                "addr": "10.232.1.1",
                "st": "alive",
                "rtt": 0,
                "tags": {"role": "db", "svc:web": "port=80,proto=http"},
            },
            "beta": {
                "addr": "10.232.1.2",
                "st": "failed",
                "rtt": 0,
                "tags": {"svc:dns": "port=53", "svc:web": "port=81,path=/"},
            },
        },
        "services": {
            "dns": {"nodes": ["beta"], "port": 53, "tags": {}},
            "web": {"nodes": ["alpha", "beta"], "port": 80, "tags": {"proto": "http", "path": "/"}},
        },
        "lastUpdate": 1_700_000_000,
    }


def test_the_order_of_members_changes_nothing() -> None:
    assert render([ALPHA, BETA], 1) == render([BETA, ALPHA], 1)


def test_a_mesh_of_nobody_has_empty_lists() -> None:
    assert rendered() == {"members": {}, "services": {}, "lastUpdate": 1_700_000_000}


def test_times_are_whole_milliseconds() -> None:
    far = MemberRecord("far", "10.232.1.3", "alive", 38.6, {})
    assert rendered(far)["members"]["far"]["rtt"] == 39


def test_a_service_without_a_name_is_a_tag_like_others() -> None:
    odd = MemberRecord("odd", "10.232.1.4", "alive", None, {"svc:": "port=1"})
    assert rendered(odd)["services"] == {}


def test_a_port_that_is_none_counts_as_zero() -> None:
    assert parse_service("port=http,x,y=1=2") == (0, {"x": "", "y": "1=2"})
    assert parse_service("port=99999") == (0, {})
    assert parse_service("port=-1") == (0, {})
    assert parse_service("") == (0, {})


@given(st.dictionaries(st.text(), st.text()))
def test_any_tags_make_a_readable_file_without_reserved_ones(tags: dict[str, str]) -> None:
    document = json.loads(render([MemberRecord("n", "a", "alive", 1.0, tags)], 0))
    assert not [key for key in document["members"]["n"]["tags"] if key.startswith("_")]
    assert len(document["members"]["n"]["tags"]) == len([key for key in tags if not key.startswith("_")])


def test_time_of_the_last_update_is_in_the_file() -> None:
    assert json.loads(render([ALPHA], 5))["lastUpdate"] == 5
