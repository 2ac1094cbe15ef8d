"""`bootstrap` and `join`: what people type becomes settings, the daemon gets them, its status is the exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.unit.mesh.join.bundle_fixtures import bundle_bytes, make_authority

from wgmesh_agent.cli import main as entry
from wgmesh_agent.cli import node
from wgmesh_agent.runtime.log_levels import Verbosity
from wgmesh_agent.settings.model import BootstrapSettings, GossipProfile, HostPort, JoinSettings


class Daemon(ModuleType):
    """Stands for wgmesh_agent.agent.launch."""

    def __init__(self) -> None:
        super().__init__("wgmesh_agent.agent.launch")
        self.ran: list[Any] = []
        self.status = 0

    def run_bootstrap(self, settings: BootstrapSettings) -> int:
        self.ran.append(settings)
        return self.status

    def run_join(self, settings: JoinSettings) -> int:
        self.ran.append(settings)
        return self.status


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = Daemon()
    monkeypatch.setitem(sys.modules, "wgmesh_agent.agent.launch", daemon)
    # This process runs other tests afterwards, which need the libraries complete.
    monkeypatch.setattr(node, "leave_out", lambda *, tls: None)
    return daemon


def test_bootstrap_as_users_of_the_original_type_it(cli: Any, daemon: Daemon) -> None:
    assert cli("bootstrap", "-dev").code == 0
    (settings,) = daemon.ran
    assert isinstance(settings, BootstrapSettings)
    assert settings.node.dev
    assert settings.node.verbosity is Verbosity.DEFAULT


def test_join_as_users_of_the_original_type_it(cli: Any, daemon: Daemon) -> None:
    line = "join -v -dev -n xoJbYw07PM -bootstrap-addr 10.0.0.1:5000"
    assert cli(*line.split()).code == 0
    (settings,) = daemon.ran
    assert isinstance(settings, JoinSettings)
    assert settings.node.dev
    assert settings.node.mesh_name == "xoJbYw07PM"
    assert settings.node.verbosity is Verbosity.VERBOSE
    assert settings.bootstrap_addrs == (HostPort("10.0.0.1", 5000),)


def test_bootstrap_with_every_flag_of_the_original(cli: Any, daemon: Daemon, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.touch()
    line = (
        f"bootstrap -name blue -node-name n1 -cidr 10.9.0.0/16 -cidr-ipam 10.9.8.0/24 -ip 10.9.1.7 "
        f"-grpc-bind-addr 127.0.0.1 -grpc-bind-port 5001 -grpc-server-key {pem} -grpc-server-cert={pem} "
        f"--grpc-ca-path {tmp_path} -mesh-encryption-key {'A' * 43}= -serf-mode-lan=false -listen-addr eth0%1 "
        "-listen-port 1 -memberlist-file /m -agent-grpc-bind-socket /s -agent-grpc-bind-socket-id 1:2 -d"
    )
    outcome = cli(*line.split())
    assert outcome.code == 0, outcome.err
    (settings,) = daemon.ran
    assert (settings.node.mesh_name, settings.node.node_name) == ("blue", "n1")
    assert str(settings.cidr_ipam[0]) == "10.9.8.0/24"
    assert settings.encryption_key == bytes(32)
    assert settings.gossip_profile is GossipProfile.WAN
    assert settings.node.agent_socket_owner == (1, 2)
    assert str(settings.node.listen_addr) == "eth0%1"
    assert settings.node.verbosity is Verbosity.DEBUG


@pytest.mark.parametrize("args", [["-v", "join"], ["join", "-v"], ["--verbose", "join", "-v"]])
def test_common_flags_stand_before_or_after_the_command(cli: Any, daemon: Daemon, args: list[str]) -> None:
    assert cli(*args, "-dev", "-n", "blue", "-bootstrap-addr", "b").code == 0
    assert daemon.ran[0].node.verbosity is Verbosity.VERBOSE


def test_a_config_file_before_the_command_is_read(cli: Any, daemon: Daemon, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("mesh-name: blue\njoin:\n  bootstrap-endpoint: b\n")
    assert cli("-config", str(config), "join", "-dev").code == 0
    assert daemon.ran[0].node.mesh_name == "blue"


def test_the_environment_is_read(cli: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WGMESH_MESH_NAME", "blue")
    monkeypatch.setenv("WGMESH_BOOTSTRAP_ADDR", "b")
    assert cli("join", "-dev").code == 0
    assert daemon.ran[0].node.mesh_name == "blue"


def test_a_flag_that_was_given_to_another_command_before_is_forgotten(cli: Any, daemon: Daemon) -> None:
    cli("bootstrap", "-dev", "-n", "blue")
    cli("bootstrap", "-dev")
    assert daemon.ran[1].node.mesh_name != "blue"


def test_the_daemons_status_is_the_exit_code(cli: Any, daemon: Daemon) -> None:
    daemon.status = 1
    assert cli("bootstrap", "-dev").code == 1


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("join -dev -bootstrap-addr b", "-n"),
        ("join -n blue -bootstrap-addr b", "-client-key"),
        ("bootstrap", "-grpc-server-key"),
        ("bootstrap -dev -cidr 10.0.0.0", "-cidr"),
        ("bootstrap -dev -listen-port", "-listen-port needs a value"),
        ("bootstrap -dev=perhaps", "-dev"),
        ("bootstrap -dev x", "x"),
        ("bootstrap -dev -config /nowhere.yaml", "/nowhere.yaml"),
    ],
)
def test_wrong_use_is_one_sentence_and_runs_nothing(cli: Any, daemon: Daemon, line: str, named: str) -> None:
    outcome = cli(*line.split())
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("wgmesh: ")
    assert named in outcome.err
    assert daemon.ran == []


def test_a_wrong_yaml_value_names_file_line_and_key(cli: Any, daemon: Daemon, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("mesh-name: blue\nwireguard:\n  listen-port: many\n")
    outcome = cli("bootstrap", "-dev", "-config", str(config))
    assert outcome.code == 2
    assert outcome.err == f'wgmesh: {config}:3: wireguard.listen-port: "many" is not a port (1 to 65535)\n'


def test_complaints_do_not_repeat_escapes_to_the_terminal(cli: Any, daemon: Daemon) -> None:
    outcome = cli("join", "-dev", "-n", "\x1b[31m", "-bootstrap-addr", "b")
    assert "\x1b" not in outcome.err


def test_the_agent_alone_runs_nodes_and_tells_its_version(daemon: Daemon, capsys: Any) -> None:
    assert entry.run(entry.wgmesh_agent(), ["bootstrap", "-dev"]) == 0
    assert entry.run(entry.wgmesh_agent(), ["version"]) == 0
    assert entry.run(entry.wgmesh_agent(), ["ca", "init"]) == 2


@pytest.mark.parametrize("flag", ["-bundle", "--bundle"])
def test_a_bundle_is_all_that_join_needs(cli: Any, daemon: Daemon, tmp_path: Path, flag: str) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle_bytes(make_authority()))
    outcome = cli("join", flag, str(path))
    assert outcome.code == 0, outcome.err
    assert daemon.ran[0].node.node_name == "laptop"


def test_a_bundle_that_is_none_is_wrong_use(cli: Any, daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle_bytes(make_authority())[:900])
    outcome = cli("join", "--bundle", str(path))
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "is incomplete" in outcome.err
    assert daemon.ran == []


def test_bootstrap_nodes_may_be_listed_with_commas_by_repetition_or_both(cli: Any, daemon: Daemon) -> None:
    line = "join -dev -n blue -bootstrap-addr a,b:1 --bootstrap-addr=c -bootstrap-addr a:5000"
    assert cli(*line.split()).code == 0
    assert daemon.ran[0].bootstrap_addrs == (HostPort("a", 5000), HostPort("b", 1), HostPort("c", 5000))
