"""What a command runs with: defaults, what must be given, and what must fit together."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.mesh.join.bundle_fixtures import bundle_bytes, make_authority

from wgmesh_agent.mesh.join.bundle import read_bundle
from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.settings.build import bootstrap_settings, client_settings, join_settings
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import (
    BackendChoice,
    BootstrapSettings,
    ClientTLS,
    GossipProfile,
    HostPort,
    JoinSettings,
    ServerTLS,
)
from wgmesh_agent.settings.ranges import default_mesh_address
from wgmesh_agent.settings.resolve import resolve
from wgmesh_agent.settings.setting import Command
from wgmesh_api.addresses import is_usable_host

DEV = {"dev": "true"}
JOIN_DEV = {**DEV, "name": "blue", "bootstrap-addr": "10.0.0.1:5000"}


def bootstrap(flags: Mapping[str, str] = DEV, **environment: str) -> BootstrapSettings:
    return bootstrap_settings(
        resolve(Command.BOOTSTRAP, {name: [text] for name, text in flags.items()}, environment),
        random.Random(1),
    )


def join(flags: Mapping[str, str] = JOIN_DEV, **environment: str) -> JoinSettings:
    return join_settings(
        resolve(Command.JOIN, {name: [text] for name, text in flags.items()}, environment), read_bundle
    )


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, str]:
    """Paths of files that are there, by what they would hold."""
    paths = {}
    for name in ("key", "cert", "ca", "client-key", "client-cert"):
        (tmp_path / name).write_text("pem")
        paths[name] = str(tmp_path / name)
    paths["folder"] = str(tmp_path)
    return paths


def server_flags(pem: Mapping[str, str]) -> dict[str, str]:
    return {"grpc-server-key": pem["key"], "grpc-server-cert": pem["cert"], "grpc-ca-cert": pem["ca"]}


def test_bootstrap_dev_runs_with_the_defaults_of_the_original() -> None:
    settings = bootstrap()
    assert settings.cidrs == (ip_network("10.232.0.0/16"),)
    assert settings.mesh_ips == (ip_address("10.232.1.1"),)
    assert (str(settings.grpc_bind_addr), settings.grpc_bind_port) == ("0.0.0.0", 5000)
    assert settings.tls is None
    assert settings.encryption_key is None
    assert settings.gossip_port == 7946
    assert settings.gossip_profile is GossipProfile.LAN
    assert settings.bootstrap_addrs == ()
    node = settings.node
    assert node.dev
    assert node.listen_port == 54540
    assert node.listen_addr is None
    assert node.agent_socket == Path("/var/run/wgmesh.sock")
    assert node.agent_socket_owner is None
    assert node.state_dir == Path("/var/lib/wgmesh")
    assert node.backend is BackendChoice.AUTO
    assert node.log_format is LogFormat.TEXT
    assert node.verbosity is Verbosity.DEFAULT


def test_a_mesh_without_a_name_gets_ten_letters_and_digits_by_chance() -> None:
    settings = bootstrap()
    assert settings.mesh_name_generated
    assert len(settings.node.mesh_name) == 10
    assert settings.node.mesh_name.isalnum()
    assert settings.node.mesh_name == settings.node.mesh_name.lower()


def test_a_given_mesh_name_is_kept() -> None:
    settings = bootstrap({**DEV, "name": "xoJbYw07PM"})
    assert settings.node.mesh_name == "xoJbYw07PM"
    assert not settings.mesh_name_generated


def test_join_dev_needs_a_mesh_and_a_bootstrap_node_and_no_more() -> None:
    settings = join()
    assert settings.node.mesh_name == "blue"
    assert settings.bootstrap_addrs == (HostPort("10.0.0.1", 5000),)
    assert settings.tls is None
    assert settings.gossip_port is None
    assert settings.gossip_profile is None
    assert settings.join_timeout_seconds == 60


@pytest.mark.parametrize(("missing", "named"), [("name", "-n"), ("bootstrap-addr", "-bootstrap-addr")])
def test_join_says_what_is_missing(missing: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        join({name: text for name, text in JOIN_DEV.items() if name != missing})


def test_debug_is_more_than_verbose() -> None:
    assert bootstrap({**DEV, "v": "true"}).node.verbosity is Verbosity.VERBOSE
    assert bootstrap({**DEV, "v": "true", "d": "true"}).node.verbosity is Verbosity.DEBUG


def test_join_timeout_zero_is_for_ever() -> None:
    assert join({**JOIN_DEV, "join-timeout": "0"}).join_timeout_seconds is None


class TestAddresses:
    @pytest.mark.parametrize(
        ("cidr", "expected"),
        [
            ("10.9.0.0/16", "10.9.1.1"),
            ("10.9.8.0/24", "10.9.8.1"),
            ("10.9.8.0/23", "10.9.9.1"),
            ("10.9.8.0/30", "10.9.8.1"),
            ("fd00:9::/64", "fd00:9::101"),
            ("fd00:9::/120", "fd00:9::1"),
        ],
    )
    def test_another_range_without_an_address_gets_one_of_its_own(self, cidr: str, expected: str) -> None:
        assert bootstrap({**DEV, "cidr": cidr}).mesh_ips == (ip_address(expected),)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 30))
    def test_the_default_address_is_always_one_a_node_can_have(self, base: int, prefix: int) -> None:
        network = ip_network((base, prefix), strict=False)
        assert is_usable_host(default_mesh_address(network), network)

    def test_each_range_of_a_dual_stack_mesh_has_an_address(self) -> None:
        settings = bootstrap({**DEV, "cidr": "10.232.0.0/16,fd00::/64", "ip": "fd00::7"})
        assert settings.mesh_ips == (ip_address("10.232.1.1"), ip_address("fd00::7"))

    @pytest.mark.parametrize("ip", ["10.233.0.1", "10.232.0.0", "10.232.255.255", "fd00::1"])
    def test_an_address_outside_the_range_is_refused(self, ip: str) -> None:
        with pytest.raises(SettingsError, match=f"-ip: {ip} is not a node address in 10.232.0.0/16"):
            bootstrap({**DEV, "ip": ip})

    def test_two_addresses_of_one_version_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="-ip: "):
            bootstrap({**DEV, "ip": "10.232.1.1,10.232.1.2"})

    def test_the_allocation_range_lies_in_the_mesh(self) -> None:
        assert bootstrap({**DEV, "cidr-ipam": "10.232.8.0/24"}).cidr_ipam == (ip_network("10.232.8.0/24"),)
        for outside in ("10.231.0.0/16", "10.0.0.0/8", "fd00::/64"):
            with pytest.raises(SettingsError, match=r"-cidr-ipam: .* does not lie in"):
                bootstrap({**DEV, "cidr-ipam": outside})

    def test_a_wrong_address_from_a_variable_names_the_variable(self) -> None:
        with pytest.raises(SettingsError, match=r"^WGMESH_MESH_IP: "):
            bootstrap(WGMESH_MESH_IP="10.1.1.1")


class TestServerTLS:
    def test_key_certificate_and_ca_go_together(self, pem: dict[str, str]) -> None:
        assert bootstrap(server_flags(pem)).tls == ServerTLS(
            key=Path(pem["key"]), cert=Path(pem["cert"]), ca_cert=Path(pem["ca"]), ca_path=None
        )

    def test_a_folder_may_stand_for_the_ca(self, pem: dict[str, str]) -> None:
        flags = {
            "grpc-server-key": pem["key"],
            "grpc-server-cert": pem["cert"],
            "grpc-ca-path": pem["folder"],
        }
        tls = bootstrap(flags).tls
        assert tls is not None
        assert (tls.ca_cert, tls.ca_path) == (None, Path(pem["folder"]))

    @pytest.mark.parametrize("missing", ["grpc-server-key", "grpc-server-cert", "grpc-ca-cert"])
    def test_a_missing_one_is_named(self, pem: dict[str, str], missing: str) -> None:
        flags = {name: text for name, text in server_flags(pem).items() if name != missing}
        with pytest.raises(SettingsError, match=f"bootstrap needs -{missing}.*wgmesh ca.*-dev"):
            bootstrap(flags)

    def test_neither_certificates_nor_dev_says_what_to_do(self) -> None:
        with pytest.raises(SettingsError, match=r"wgmesh ca init.*-dev"):
            bootstrap({"name": "blue"})

    def test_ca_file_and_ca_folder_exclude_each_other(self, pem: dict[str, str]) -> None:
        with pytest.raises(SettingsError, match="-grpc-ca-cert and -grpc-ca-path exclude each other"):
            bootstrap({**server_flags(pem), "grpc-ca-path": pem["folder"]})

    @pytest.mark.parametrize("flag", ["grpc-server-key", "grpc-server-cert", "grpc-ca-cert"])
    def test_a_file_that_is_not_there_is_named(self, pem: dict[str, str], flag: str) -> None:
        with pytest.raises(SettingsError, match=f"-{flag}: there is no file /nowhere"):
            bootstrap({**server_flags(pem), flag: "/nowhere"})

    def test_a_folder_that_is_not_there_is_named(self, pem: dict[str, str]) -> None:
        flags = {"grpc-server-key": pem["key"], "grpc-server-cert": pem["cert"], "grpc-ca-path": "/nowhere"}
        with pytest.raises(SettingsError, match="-grpc-ca-path: there is no folder /nowhere"):
            bootstrap(flags)

    def test_dev_goes_with_none_of_them(self, pem: dict[str, str]) -> None:
        for name, text in {**server_flags(pem), "grpc-ca-path": pem["folder"]}.items():
            with pytest.raises(SettingsError, match=f"-{name} cannot be combined with -dev"):
                bootstrap({**DEV, name: text})


class TestClientTLS:
    def test_a_joiner_shows_its_own(self, pem: dict[str, str]) -> None:
        flags = {
            "name": "blue",
            "bootstrap-addr": "b",
            "client-key": pem["client-key"],
            "client-cert": pem["client-cert"],
            "ca-cert": pem["ca"],
        }
        expected = ClientTLS(
            key=Path(pem["client-key"]), cert=Path(pem["client-cert"]), ca_cert=Path(pem["ca"]), ca_path=None
        )
        assert join(flags).tls == expected
        del flags["ca-cert"]
        with pytest.raises(SettingsError, match="join needs -ca-cert"):
            join(flags)

    def test_dev_goes_with_none_of_them(self, pem: dict[str, str]) -> None:
        with pytest.raises(SettingsError, match="WGMESH_CLIENT_KEY cannot be combined with -dev"):
            join(WGMESH_CLIENT_KEY=pem["client-key"])

    def test_a_bootstrap_node_shows_others_its_server_certificate(self, pem: dict[str, str]) -> None:
        settings = bootstrap({**server_flags(pem), "bootstrap-addr": "other"})
        assert settings.bootstrap_addrs == (HostPort("other", 5000),)
        assert settings.client_tls == ClientTLS(
            key=Path(pem["key"]), cert=Path(pem["cert"]), ca_cert=Path(pem["ca"]), ca_path=None
        )

    def test_or_another_one_given_for_that(self, pem: dict[str, str]) -> None:
        own = {"client-key": pem["client-key"], "client-cert": pem["client-cert"]}
        tls = bootstrap({**server_flags(pem), "bootstrap-addr": "other", **own}).client_tls
        assert tls is not None
        assert (tls.key, tls.cert) == (Path(pem["client-key"]), Path(pem["client-cert"]))
        with pytest.raises(SettingsError, match="go together"):
            bootstrap({**server_flags(pem), "bootstrap-addr": "other", "client-key": pem["client-key"]})

    def test_a_bootstrap_node_that_asks_nobody_shows_nothing(self, pem: dict[str, str]) -> None:
        assert bootstrap(server_flags(pem)).client_tls is None


class TestGossip:
    KEY = base64.b64encode(bytes(range(32))).decode()

    def test_a_gossip_key_is_taken_and_never_printed(self, pem: dict[str, str]) -> None:
        settings = bootstrap({**server_flags(pem), "mesh-encryption-key": self.KEY})
        assert settings.encryption_key == bytes(range(32))
        assert "encryption_key" not in repr(settings)

    def test_dev_goes_without_a_gossip_key(self) -> None:
        with pytest.raises(SettingsError, match="WGMESH_ENCRYPTION_KEY cannot be combined with -dev"):
            bootstrap(WGMESH_ENCRYPTION_KEY=self.KEY)

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            ({"serf-mode-lan": "true"}, GossipProfile.LAN),
            ({"serf-mode-lan": "false"}, GossipProfile.WAN),
            ({"profile": "local"}, GossipProfile.LOCAL),
            ({"profile": "wan", "serf-mode-lan": "false"}, GossipProfile.WAN),
        ],
    )
    def test_the_profile_by_its_old_and_new_names(
        self, flags: dict[str, str], expected: GossipProfile
    ) -> None:
        assert bootstrap({**DEV, **flags}).gossip_profile is expected

    def test_old_and_new_name_must_not_contradict_each_other(self) -> None:
        with pytest.raises(SettingsError, match=r"-serf-mode-lan \(lan\) contradicts -profile \(wan\)"):
            bootstrap({**DEV, "serf-mode-lan": "true", "profile": "wan"})

    def test_from_different_sources_the_stronger_counts(self) -> None:
        assert (
            bootstrap({**DEV, "profile": "wan"}, WGMESH_SERF_MODE_LAN="true").gossip_profile
            is GossipProfile.WAN
        )
        assert (
            bootstrap({**DEV, "serf-mode-lan": "true"}, WGMESH_PROFILE="wan").gossip_profile
            is GossipProfile.LAN
        )

    def test_gossip_shares_its_port_with_neither_wireguard_nor_grpc(self) -> None:
        with pytest.raises(SettingsError, match="-gossip-port and -listen-port cannot both be 54540"):
            bootstrap({**DEV, "gossip-port": "54540"})
        with pytest.raises(SettingsError, match=r"^WGMESH_GRPC_BIND_PORT: -gossip-port and -grpc-bind-port"):
            bootstrap(WGMESH_GRPC_BIND_PORT="7946")
        with pytest.raises(SettingsError, match="cannot both be 5"):
            join({**JOIN_DEV, "gossip-port": "5", "listen-port": "5"})


def test_files_are_absolute_whatever_the_daemon_does_later() -> None:
    node = bootstrap({**DEV, "memberlist-file": "m.json", "state-dir": "state"}).node
    assert node.memberlist_file == Path.cwd() / "m.json"
    assert node.state_dir == Path.cwd() / "state"


def test_those_who_ask_the_agent_only_need_its_socket() -> None:
    settings = client_settings(resolve(Command.CLIENT, {}, {"WGMESH_AGENT_SOCKET": "/s"}))
    assert settings.agent_socket == Path("/s")


class TestBundle:
    @pytest.fixture
    def bundle(self, tmp_path: Path) -> str:
        path = tmp_path / "bundle.json"
        path.write_bytes(bundle_bytes(make_authority()))
        return str(path)

    def test_a_bundle_is_all_that_is_needed(self, bundle: str) -> None:
        settings = join({"bundle": bundle})
        assert (settings.node.mesh_name, settings.node.node_name) == ("blue", "laptop")
        assert settings.bootstrap_addrs == (HostPort("192.0.2.1", 5000), HostPort("192.0.2.2", 5000))
        assert settings.tls is None
        assert settings.bundle is not None
        assert settings.bundle.path == Path(bundle)

    def test_it_comes_from_variable_or_file_too(self, bundle: str, tmp_path: Path) -> None:
        assert join({}, WGMESH_BUNDLE=bundle).bundle is not None
        config = tmp_path / "c.yaml"
        config.write_text(f"bundle: {bundle}\n")
        assert join({"config": str(config)}).bundle is not None

    def test_other_addresses_of_the_bootstrap_nodes_may_be_given(self, bundle: str) -> None:
        settings = join({"bundle": bundle, "bootstrap-addr": "203.0.113.1:30500"})
        assert settings.bootstrap_addrs == (HostPort("203.0.113.1", 30500),)

    def test_its_own_names_may_be_given_too(self, bundle: str) -> None:
        assert join({"bundle": bundle, "name": "blue", "node-name": "laptop"}).bundle is not None

    @pytest.mark.parametrize(
        ("flags", "says"),
        [
            ({"name": "green"}, "-name: .*bundle.json is for the mesh blue, not for green"),
            ({"node-name": "phone"}, "-node-name: .*bundle.json is for the node laptop, not for phone"),
            ({"client-key": "/k"}, "-client-key cannot be combined with -bundle"),
            ({"client-cert": "/c"}, "-client-cert cannot be combined with -bundle"),
            ({"ca-cert": "/c"}, "-ca-cert cannot be combined with -bundle"),
            ({"dev": "true"}, "-dev cannot be combined with -bundle"),
        ],
    )
    def test_what_says_otherwise_is_refused(self, bundle: str, flags: dict[str, str], says: str) -> None:
        with pytest.raises(SettingsError, match=says):
            join({"bundle": bundle, **flags})

    def test_what_is_wrong_with_it_begins_with_where_it_was_given(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"^WGMESH_BUNDLE: .*/nowhere cannot be read"):
            join({}, WGMESH_BUNDLE=str(tmp_path / "nowhere"))
