"""Pre-shared keys on real WireGuard: both ends have the same, handshakes need it, and no change loses a packet."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.netns.mesh_harness import eventually, lab_network, pinging, wgmesh, wireguard

from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = ("n1", "n2", "n3")
ALL_PAIRS = tuple((a, b) for a in NODES for b in NODES if a != b)
REKEY_SECONDS = 130.0
"""WireGuard starts a handshake when a session is 120 s old."""


def psk_file(mesh: Mesh, node: str) -> Path:
    return mesh.network.folder / f"{node}.psk"


def some_secret() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def give(path: Path, *secrets: str) -> None:
    """Replaces a node's file, the newest secret first."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text("".join(f"{secret}\n" for secret in secrets))
    new.replace(path)


def held(mesh: Mesh, node: str) -> dict[str, str]:
    """The pre-shared key that WireGuard itself has for each peer, by the peer's name; empty for none."""
    host = mesh.network.hosts[node]
    by_key = {wireguard(mesh.network.hosts[name]).public_key: name for name in mesh.agents}
    lines = host.run(["wg", "show", "wglab", "preshared-keys"]).stdout.splitlines()
    pairs = (line.split("\t") for line in lines)
    return {by_key[key]: "" if psk == "(none)" else psk for key, psk in pairs if key in by_key}


def agree(mesh: Mesh, *pairs: tuple[str, str]) -> bool:
    """Whether both ends of each pair have the same key, and no two pairs have one in common."""
    seen = {pair: held(mesh, pair[0]).get(pair[1], "") for pair in pairs}
    same = all(psk and psk == held(mesh, there).get(here) for (here, there), psk in seen.items())
    return same and len(set(seen.values())) == len({frozenset(pair) for pair in pairs})


def protected(mesh: Mesh, node: str) -> set[str]:
    return {name for name, member in mesh.members(node).items() if member.presharedKey}


@contextmanager
def mesh_with_files(*secrets: str) -> Iterator[Mesh]:
    """Three nodes, each with a file of its own that holds these secrets at their start."""
    with lab_network() as network:
        mesh = Mesh(network)
        for node in NODES:
            network.add_host(node)
            give(psk_file(mesh, node), *secrets)
        mesh.bootstrap("n1", "-psk-file", str(psk_file(mesh, "n1")))
        for node in ("n2", "n3"):
            mesh.join(node, "-psk-file", str(psk_file(mesh, node)))
        mesh.wait_until_full()
        yield mesh


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with mesh_with_files(some_secret()) as mesh:
        yield mesh


def test_the_first_handshakes_have_it_already(mesh: Mesh) -> None:
    assert agree(mesh, *ALL_PAIRS)
    for node in NODES:
        eventually(lambda node=node: len(protected(mesh, node)) == 2, 5, f"{node} says so")  # type: ignore[misc]
    said = wgmesh(mesh.network.hosts["n2"], "info").stdout
    assert "2 of 2 tunnels use a pre-shared key\n" in said
    assert all(mesh.ping(*pair).lost == 0 for pair in ALL_PAIRS)


def test_a_killed_agent_takes_over_the_keys_it_finds(mesh: Mesh) -> None:
    before = [held(mesh, node) for node in NODES]
    with pinging(mesh, *ALL_PAIRS) as pings:
        mesh.agents["n2"].kill()
        mesh.agents["n2"].start()
        mesh.agents["n2"].wait_until_ready()
        mesh.wait_until_full()
        assert len(protected(mesh, "n2")) == 2
    assert [held(mesh, node) for node in NODES] == before
    assert [ping.lost() for ping in pings] == [0] * len(pings)


@pytest.mark.parametrize("node", ["n2", "n1"], ids=["a node", "the bootstrap node"])
def test_a_wireguard_key_is_changed_with_all_its_pre_shared_keys(mesh: Mesh, node: str) -> None:
    before = held(mesh, node)
    with pinging(mesh, *ALL_PAIRS) as pings:
        done = wgmesh(mesh.network.hosts[node], "keys", "rotate", "wireguard")
        assert done.stdout.startswith("Rotated: 2 of 2 tunnels use the new WireGuard key"), done
        assert not set(held(mesh, node).values()) & set(before.values())
        assert agree(mesh, *ALL_PAIRS)
    assert [ping.lost() for ping in pings] == [0] * len(pings)
    for name in NODES:
        eventually(lambda name=name: len(protected(mesh, name)) == 2, 5, f"{name} says so")  # type: ignore[misc]


def test_one_with_another_secret_talks_without_and_is_told_so(mesh: Mesh) -> None:
    mesh.network.add_host("n4")
    give(psk_file(mesh, "n4"), some_secret())
    mesh.join("n4", "-psk-file", str(psk_file(mesh, "n4")))
    mesh.wait_until_full()
    assert held(mesh, "n4") == dict.fromkeys(NODES, "")
    assert mesh.ping("n4", "n2").lost == 0
    assert (
        "2 of 3 tunnels use a pre-shared key; without: n4\n"
        in wgmesh(mesh.network.hosts["n2"], "info").stdout
    )
    found = json.loads(wgmesh(mesh.network.hosts["n4"], "doctor", "-json").stdout)
    assert {(one["code"], one["about"]) for one in found["findings"]} >= {
        ("no_preshared_key", node) for node in NODES
    }
    mesh.agents["n4"].stop()
    del mesh.agents["n4"]


def test_no_handshake_comes_about_with_a_wrong_key(mesh: Mesh) -> None:
    """Last on this mesh: two agents are killed, so that no agent repairs the damage."""
    right = held(mesh, "n2")["n3"]
    for node in ("n2", "n3"):
        mesh.agents[node].kill()
    here, there = mesh.network.hosts["n2"], mesh.network.hosts["n3"]
    tunnel, own = wireguard(here).tunnels, wireguard(here).public_key
    key = wireguard(there).public_key
    endpoint, allowed = tunnel[key].endpoint, ",".join(tunnel[key].allowed_ips)

    def anew(psk: str) -> None:
        """n2 begins a new session with n3."""
        file = mesh.network.folder / "by-hand.psk"
        file.write_text(psk)
        here.run(["wg", "set", "wglab", "peer", key, "remove"])
        here.run(
            [
                "wg",
                "set",
                "wglab",
                "peer",
                key,
                "preshared-key",
                str(file),
                "endpoint",
                endpoint,
                "allowed-ips",
                allowed,
            ]
        )

    address = allowed.split("/")[0]
    ping = ["ping", "-n", "-c", "12", "-i", "1", "-W", "1", address]
    anew(some_secret())
    assert ", 0 received" in here.run(ping, check=False).stdout
    assert not wireguard(here).tunnels[key].handshake_unix
    anew(right)
    eventually(lambda: here.run([*ping[:3], "1", *ping[6:]], check=False).returncode == 0, 20, "pings pass")
    assert wireguard(here).tunnels[key].handshake_unix
    assert own in wireguard(there).tunnels


@pytest.mark.timeout(300)
def test_secrets_come_are_replaced_and_go_node_by_node_without_a_lost_packet() -> None:
    old, new = some_secret(), some_secret()
    with mesh_with_files() as mesh:
        with pinging(mesh, *ALL_PAIRS) as pings:
            assert held(mesh, "n1") == {"n2": "", "n3": ""}

            def hand_out(*secrets: str) -> Iterator[str]:
                for node in NODES:
                    give(psk_file(mesh, node), *secrets)
                    eventually(
                        lambda node=node: len(mesh.agents[node].info().secretIds) == len(secrets),  # type: ignore[misc]
                        10,
                        f"{node} has taken it up",
                    )
                    yield node

            for node in hand_out(old):
                if node == "n2":
                    eventually(lambda: agree(mesh, ("n1", "n2")), 5, "two of them use it")
                    assert held(mesh, "n3") == {"n1": "", "n2": ""}
            eventually(lambda: agree(mesh, *ALL_PAIRS), 5, "all use it")
            first = held(mesh, "n1")
            eventually(
                lambda: all(len(protected(mesh, node)) == 2 for node in NODES),
                REKEY_SECONDS,
                "handshakes had it",
            )
            for node in hand_out(new, old):
                if node == "n2":
                    eventually(
                        lambda: held(mesh, "n1")["n2"] not in ("", first["n2"]), 5, "two use the new one"
                    )
                    assert held(mesh, "n1")["n3"] == first["n3"]
            eventually(lambda: agree(mesh, *ALL_PAIRS), 5, "all use the new one")
            second = held(mesh, "n1")
            assert not set(second.values()) & set(first.values())
            list(hand_out(new))
            assert held(mesh, "n1") == second
            eventually(lambda: agree(mesh, *ALL_PAIRS), 5, "all use the new one still")
            list(hand_out())
            eventually(lambda: not any(any(held(mesh, node).values()) for node in NODES), 5, "none is left")
        assert [ping.lost() for ping in pings] == [0] * len(pings)
