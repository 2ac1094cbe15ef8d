"""The settings table against the issue's lists, and the documentation against the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgmesh_agent.settings.reference import BEGIN, renewed
from wgmesh_agent.settings.setting import Command
from wgmesh_agent.settings.table import SETTINGS, settings_of


def words(text: str) -> list[str]:
    return text.split()


NODE_FLAGS = words(
    """
    config v d name n node-name listen-addr listen-port memberlist-file agent-grpc-bind-socket
    agent-grpc-bind-socket-id dev gossip-port profile backend stun-server state-dir log-format bootstrap-addr
    """
)
BOOTSTRAP_FLAGS = words(
    """
    cidr cidr-ipam ip grpc-bind-addr grpc-bind-port grpc-server-key grpc-server-cert grpc-ca-cert grpc-ca-path
    mesh-encryption-key serf-mode-lan
    """
)
JOIN_FLAGS = ["bundle", "client-key", "client-cert", "ca-cert", "join-timeout"]
CLIENT_FLAGS = ["config", "v", "d", "agent-grpc-socket"]
VARIABLES = words(
    """
    MESH_NAME NODE_NAME CIDR_RANGE CIDR_RANGE_IPAM MESH_IP GRPC_BIND_ADDR GRPC_BIND_PORT SERVER_KEY SERVER_CERT
    CA_CERT CA_PATH ENCRYPTION_KEY SERF_MODE_LAN BOOTSTRAP_ADDR CLIENT_KEY CLIENT_CERT WIREGUARD_LISTEN_ADDR
    WIREGUARD_LISTEN_PORT AGENT_BIND_SOCKET AGENT_BIND_SOCKET_ID AGENT_SOCKET MEMBERLIST_FILE CONFIG
    GOSSIP_PORT PROFILE BACKEND STUN_SERVER STATE_DIR LOG_FORMAT JOIN_TIMEOUT BUNDLE
    """
)
YAML_KEYS = words(
    """
    mesh-name node-name bundle memberlist-file state-dir log-format
    bootstrap.mesh-cidr-range bootstrap.mesh-ipam-cidr-range bootstrap.node-ip bootstrap.grpc-bind-addr
    bootstrap.grpc-bind-port bootstrap.grpc-tls.grpc-server-key bootstrap.grpc-tls.grpc-server-cert
    bootstrap.grpc-tls.grpc-ca-cert bootstrap.grpc-tls.grpc-ca-path bootstrap.mesh-encryption-key
    bootstrap.serf-mode-lan join.bootstrap-endpoint join.client-key join.client-cert join.ca-cert join.timeout
    wireguard.listen-addr wireguard.listen-port wireguard.backend wireguard.stun-server gossip.port gossip.profile
    agent.agent-grpc-bind-socket agent.agent-grpc-bind-socket-id agent.agent-grpc-socket
    """
)


def flags_of(command: Command) -> set[str]:
    return {flag for setting in settings_of(command) for flag in setting.flags}


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (Command.BOOTSTRAP, NODE_FLAGS + BOOTSTRAP_FLAGS),
        (Command.JOIN, NODE_FLAGS + JOIN_FLAGS),
        (Command.CLIENT, CLIENT_FLAGS),
    ],
)
def test_every_flag_promised_is_there(command: Command, flags: list[str]) -> None:
    assert set(flags) <= flags_of(command)


def test_every_variable_promised_is_there() -> None:
    assert {f"WGMESH_{name}" for name in VARIABLES} <= {name for setting in SETTINGS for name in setting.env}


def test_every_yaml_key_promised_is_there() -> None:
    assert set(YAML_KEYS) <= {key for setting in SETTINGS for key in setting.yaml}


@pytest.mark.parametrize("command", list(Command))
def test_no_flag_or_key_means_two_things_to_one_command(command: Command) -> None:
    rows = settings_of(command)
    for spellings in ([s.flags for s in rows], [s.env for s in rows], [s.yaml for s in rows]):
        flat = [name for names in spellings for name in names]
        assert len(flat) == len(set(flat))


def test_a_yaml_key_means_one_thing_in_the_whole_file() -> None:
    keys = [key for setting in SETTINGS for key in setting.yaml]
    assert len(keys) == len(set(keys))


def test_the_documentation_shows_the_table_as_it_is() -> None:
    document = Path(__file__).parents[3] / "docs" / "command-line.md"
    text = document.read_text()
    assert BEGIN in text
    assert renewed(text) == text, "run `python -m wgmesh_agent.settings.reference docs/command-line.md`"
