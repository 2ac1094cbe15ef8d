"""Text of others becomes values in a few modules: functions that accept more than consumers can use are called there
only.

Everywhere else `wgmesh_api.values` and `wgmesh_api.parsed_certificate` are used, which are total.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("proto/wgmesh_api", "operator/wgmesh_operator", "node-agent/wgmesh_agent")
VALUES, CERTIFICATES = "proto/wgmesh_api/values.py", "proto/wgmesh_api/parsed_certificate.py"
AGENT, OPERATOR = "node-agent/wgmesh_agent", "operator/wgmesh_operator"

KERNEL = {
    f"{AGENT}/{name}.py"
    for name in (
        "wireguard/model",
        "linux/route_lookup",
        "linux/wireguard_interface",
        "linux/local_networks",
        "linux/interface_addresses",
        "linux/name_resolution",
        "kube/http_server",
        "mesh/probing/service",
        "mesh/grpc_peer",
        "mesh/join/connection_limiter",
        "gossip/aio/node",
        "gossip/aio/streams",
        "lab/mesh",
    )
}
"""Read what the kernel or the resolver says of this machine and of the sources of packets."""
OWN = {
    f"{AGENT}/{name}.py"
    for name in ("settings/parsing", "settings/bootstrap_table", "cli/ca", "kube/settings")
}
"""Settings and arguments of this machine's user, verified in the same function."""
TYPED = {f"{AGENT}/mesh/dataplane/desired_device.py", f"{AGENT}/wireguard/mtu.py"}
"""Networks of addresses that are parsed already."""
OWN_AGENT = {f"{AGENT}/cli/machine.py", f"{AGENT}/cli/hindrances.py"}
"""What this machine's own agent and programs answer."""
OPERATOR_OBJECTS = {f"{OPERATOR}/decisions/{name}.py" for name in ("model", "membership/routes")} | {
    f"{OPERATOR}/controller.py"
}
"""Fields that the API server has validated, within a fence for each object."""

FIELDS = "proto/wgmesh_api/fields.py"
"""Answers None for what it cannot read."""

PLACES = {
    "ip_address": {VALUES, FIELDS, *KERNEL, *OWN, *OWN_AGENT},
    "ip_network": {VALUES, FIELDS, *KERNEL, *OWN, *TYPED, *OWN_AGENT, *OPERATOR_OBJECTS},
    "fromisoformat": {VALUES, FIELDS},
    "load_pem_x509_certificate": {
        CERTIFICATES,
        "proto/wgmesh_api/certificates.py",
        f"{OPERATOR}/decisions/trust/join_bundles.py",
        f"{AGENT}/kube/certificate.py",
    },
    "load_pem_x509_certificates": {
        CERTIFICATES,
        f"{OPERATOR}/decisions/trust/authority.py",
        f"{AGENT}/kube/certificate.py",
        f"{AGENT}/kube/node_report.py",
        f"{AGENT}/cli/certificate_files.py",
        f"{AGENT}/cli/machine.py",
    },
    "load_der_x509_certificate": {CERTIFICATES},
    "compose": {
        f"{AGENT}/settings/yaml_file.py",
        f"{AGENT}/agent/session.py",
    },  # the latter: a node, not YAML
    "loads": {
        *OWN_AGENT,
        f"{AGENT}/runtime/checksummed_file.py",
        f"{AGENT}/mesh/join/bundle.py",
        f"{AGENT}/kube/api_client.py",
        f"{AGENT}/kube/gossip_keyring.py",
        f"{AGENT}/kube/list_watch.py",
        f"{OPERATOR}/api_client.py",
        f"{OPERATOR}/main.py",
        f"{OPERATOR}/decisions/trust/gossip_key.py",
        f"{OPERATOR}/decisions/trust/join_bundles.py",
    },
}


@cache
def calls() -> dict[str, set[str]]:
    """The modules that call a function or method of each name."""
    found: dict[str, set[str]] = defaultdict(set)
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    function = node.func
                    name = (
                        function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                    )
                    found[name].add(path.relative_to(ROOT).as_posix())
    return found


@pytest.mark.heavy
@pytest.mark.parametrize("function", sorted(PLACES))
def test_a_function_that_accepts_too_much_is_called_in_named_modules_only(function: str) -> None:
    elsewhere = calls()[function] - PLACES[function]
    assert not elsewhere, (
        f"parse by wgmesh_api.values or wgmesh_api.parsed_certificate instead: {sorted(elsewhere)}"
    )
