"""Reasons that block `helm uninstall`, and their end."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from wgmesh_operator.release.api_client import ApiError, Mesh
from wgmesh_operator.release.before_uninstall import Release, remove_meshes


class Ground:
    """A cluster in virtual time whose meshes take `clean_seconds` to be removed after their deletion."""

    def __init__(self, *names: str, clean_seconds: float = 5.0) -> None:
        self.there = {name: Mesh(name) for name in names}
        self.gone_at: dict[str, float] = {}
        self.clock = 0.0
        self.clean_seconds = clean_seconds
        self.deleted: list[str] = []
        self.said: list[str] = []

    def meshes(self) -> list[Mesh]:
        self.there = {
            name: mesh
            for name, mesh in self.there.items()
            if self.gone_at.get(name, self.clock + 1) > self.clock
        }
        return list(self.there.values())

    def delete(self, name: str) -> None:
        self.deleted.append(name)
        self.there[name] = replace(self.there[name], leaving=True)
        self.gone_at[name] = self.clock + self.clean_seconds

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def clear(self, *, delete: bool = False, seconds: float = 60.0) -> bool:
        return remove_meshes(
            self,
            delete=delete,
            seconds=seconds,
            release=Release("wgmesh", "wgmesh-system", 3),
            say=self.said.append,
            now=lambda: self.clock,
            sleep=self.sleep,
        )


def test_without_meshes_the_operator_may_go_at_once() -> None:
    ground = Ground()
    assert ground.clear()
    assert ground.clock == 0.0


def test_a_mesh_nobody_deleted_is_a_reason_to_refuse_and_is_left_alone() -> None:
    ground = Ground("blue", "red")
    assert not ground.clear()
    assert ground.deleted == []
    assert "blue, red" in ground.said[0]
    assert "kubectl delete wgmeshes --all && helm uninstall wgmesh -n wgmesh-system" in ground.said[0]


def test_a_refusal_says_how_to_keep_the_release_which_helm_takes_for_half_gone() -> None:
    ground = Ground("blue")
    ground.clear()
    assert "helm rollback wgmesh 3 -n wgmesh-system" in ground.said[0]


def test_meshes_on_their_way_out_are_waited_for() -> None:
    ground = Ground("blue")
    ground.delete("blue")
    assert ground.clear()
    assert ground.clock >= ground.clean_seconds


def test_told_to_it_deletes_each_mesh_once_and_waits_until_nodes_are_clean() -> None:
    ground = Ground("blue", "red")
    assert ground.clear(delete=True)
    assert ground.deleted == ["blue", "red"]
    assert ground.clock >= ground.clean_seconds


def test_a_mesh_that_does_not_go_in_time_holds_the_operator_back() -> None:
    ground = Ground("blue", clean_seconds=1000)
    assert not ground.clear(delete=True, seconds=30)
    assert ground.clock == pytest.approx(30, abs=2)
    assert "after 30 s" in ground.said[-1]
    assert "blue" in ground.said[-1]


def test_a_mesh_made_while_waiting_is_a_reason_to_refuse() -> None:
    ground = Ground("blue")
    ground.delete("blue")
    sleep = ground.sleep

    def and_make_one(seconds: float) -> None:
        sleep(seconds)
        ground.there["late"] = Mesh("late")

    ground.sleep = and_make_one  # type: ignore[method-assign]
    assert not ground.clear()
    assert "late" in ground.said[-1]


def test_an_api_server_that_cannot_be_asked_is_no_leave_to_go() -> None:
    class Away(Ground):
        def meshes(self) -> list[Mesh]:
            raise ApiError("the API server does not answer")

    with pytest.raises(OSError, match="does not answer"):
        Away().clear()


@pytest.mark.parametrize(("names", "words"), [(("blue",), "mesh blue"), (("a", "b"), "meshes a, b")])
def test_meshes_are_named(names: tuple[str, ...], words: str) -> None:
    ground = Ground(*names)
    ground.clear()
    assert words in ground.said[0]


def test_what_is_waited_for_is_said_once() -> None:
    ground = Ground("blue")
    waiting: Callable[[str], bool] = lambda line: line.startswith("Waiting")  # noqa: E731
    ground.clear(delete=True)
    assert len(list(filter(waiting, ground.said))) == 1
