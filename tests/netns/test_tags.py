"""Tags and services: set on one node, seen on all, in `info`, in the memberlist file and after a restart."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.netns.mesh_harness import eventually, lab_network, wgmesh

from wgmesh_agent.lab.agent import PROGRAM
from wgmesh_agent.lab.mesh import Mesh

pytestmark = [pytest.mark.netns, pytest.mark.slow]
NODES = ["n1", "n2", "n3"]
MEMBERLIST = "/run/members.json"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with lab_network() as network:
        mesh = Mesh(network, options=("-memberlist-file", MEMBERLIST))
        mesh.start(len(NODES))
        yield mesh


def tags_of(mesh: Mesh, viewer: str, node: str) -> dict[str, str]:
    return {tag.key: tag.value for tag in mesh.members(viewer)[node].tags}


def memberlist(mesh: Mesh, node: str) -> dict[str, Any]:
    """The file in a host, as another program there would read it."""
    document: dict[str, Any] = json.loads(mesh.network.hosts[node].run(["cat", MEMBERLIST]).stdout)
    return document


def change_tags(mesh: Mesh, node: str, *options: str) -> subprocess.CompletedProcess[str]:
    return wgmesh(mesh.network.hosts[node], "tags", *options)


def everywhere(mesh: Mesh, node: str, tags: dict[str, str], seconds: float = 5) -> None:
    eventually(
        lambda: all(tags_of(mesh, viewer, node) == tags for viewer in NODES),
        seconds,
        lambda: f"all see {tags} at {node}: {[tags_of(mesh, viewer, node) for viewer in NODES]}",
    )


def test_the_memberlist_file_names_all_members(mesh: Mesh) -> None:
    for node in NODES:
        eventually(lambda: set(memberlist(mesh, node)["members"]) == set(NODES), 10, f"the file of {node}")  # noqa: B023
        document = memberlist(mesh, node)
        assert {name: entry["addr"] for name, entry in document["members"].items()} == {
            name: mesh.mesh_address(name) for name in NODES
        }
        assert {entry["st"] for entry in document["members"].values()} == {"alive"}
        assert abs(document["lastUpdate"] - time.time()) < 60


def test_a_tag_that_is_set_shows_everywhere_and_goes_everywhere_when_deleted(mesh: Mesh) -> None:
    assert change_tags(mesh, "n2", "-set", "rack=7", "-set", "zone=b").returncode == 0
    everywhere(mesh, "n2", {"rack": "7", "zone": "b"})
    assert change_tags(mesh, "n2", "-delete", "zone").returncode == 0
    everywhere(mesh, "n2", {"rack": "7"})
    assert change_tags(mesh, "n2").stdout == "rack=7\n"
    eventually(
        lambda: memberlist(mesh, "n3")["members"]["n2"]["tags"] == {"rack": "7"}, 5, "the file has it too"
    )
    assert change_tags(mesh, "n2", "-delete", "rack").returncode == 0
    everywhere(mesh, "n2", {})


def test_services_of_several_nodes_are_listed_together(mesh: Mesh) -> None:
    for node in ("n1", "n3"):
        assert change_tags(mesh, node, "-set", "svc:web=port=80,path=/health").returncode == 0
    expected = {"web": {"nodes": ["n1", "n3"], "port": 80, "tags": {"path": "/health"}}}
    for node in NODES:
        eventually(lambda: memberlist(mesh, node)["services"] == expected, 5, f"the services of {node}")  # noqa: B023
    for node in ("n1", "n3"):
        assert change_tags(mesh, node, "-delete", "svc:web").returncode == 0
    eventually(lambda: memberlist(mesh, "n2")["services"] == {}, 5, "no services any more")


def test_tags_survive_a_restart(mesh: Mesh) -> None:
    assert change_tags(mesh, "n3", "-set", "disk=ssd").returncode == 0
    mesh.agents["n3"].kill()
    mesh.agents["n3"].start()
    mesh.agents["n3"].wait_until_ready()
    mesh.wait_until_full()
    everywhere(mesh, "n3", {"disk": "ssd"})
    assert change_tags(mesh, "n3", "-delete", "disk").returncode == 0


@pytest.mark.parametrize("tag", ["_pk=forged", "_i=10.232.9.9", "_=x"])
def test_the_mesh_s_own_tags_are_not_settable(mesh: Mesh, tag: str) -> None:
    done = change_tags(mesh, "n2", "-set", tag)
    assert done.returncode == 1
    assert "is reserved" in done.stderr
    assert change_tags(mesh, "n2", "-delete", tag.partition("=")[0]).returncode == 1
    assert tags_of(mesh, "n1", "n2") == {}


def test_tags_that_are_too_large_together_are_refused_whole(mesh: Mesh) -> None:
    done = change_tags(mesh, "n2", "-set", f"long={'x' * 400}")
    assert done.returncode == 1
    assert "the tags are too large" in done.stderr
    assert change_tags(mesh, "n2").stdout == "no tags\n"


def test_info_watch_prints_again_when_something_changes(mesh: Mesh) -> None:
    log = mesh.network.folder / "watch.log"
    with log.open("wb") as output:
        command = [*PROGRAM, "info", "--watch", "-o", "json"]
        process = mesh.network.hosts["n1"].popen(command, output)

    def printed() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    def tags(document: dict[str, Any]) -> dict[str, str]:
        return next(member["tags"] for member in document["members"] if member["name"] == "n2")

    eventually(lambda: len(printed()) == 1, 10, "the first print")
    assert change_tags(mesh, "n2", "-set", "seen=yes").returncode == 0
    eventually(lambda: tags(printed()[-1]) == {"seen": "yes"}, 5, "it shows the new tag")
    assert change_tags(mesh, "n2", "-delete", "seen").returncode == 0
    eventually(lambda: tags(printed()[-1]) == {}, 5, "it shows the tag gone")
    os.killpg(process.pid, 9)
    process.wait()


def test_the_memberlist_file_is_never_seen_half_written(mesh: Mesh) -> None:
    """A reader that reads all the time, while it is written again and again."""
    last = 5
    reader = (
        "import json, pathlib, time\n"
        "end, seen = time.monotonic() + 30, set()\n"
        f"while time.monotonic() < end and '{last}' not in seen:\n"
        f"    members = json.loads(pathlib.Path({MEMBERLIST!r}).read_text())['members']\n"
        "    seen.add(members['n2']['tags'].get('count') if 'n2' in members else None)\n"
        "print(len(seen))\n"
    )
    log: Path = mesh.network.folder / "reader.log"
    with log.open("wb") as output:
        process = mesh.network.hosts["n1"].popen([sys.executable, "-c", reader], output)
        for number in range(last + 1):
            assert change_tags(mesh, "n2", "-set", f"count={number}").returncode == 0
        assert process.wait(40) == 0, log.read_text()
    assert int(log.read_text()) > 1
    assert change_tags(mesh, "n2", "-delete", "count").returncode == 0
