"""What `helm test` finds wrong."""

from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from wgmesh_operator.release.api_client import Mesh
from wgmesh_operator.release.self_check import failed_checks, operator_problem


class Known:
    def __init__(
        self, *, members: bool = True, policies: Sequence[str] = (), meshes: Sequence[Mesh] = ()
    ) -> None:
        self.members, self.policies, self.there = members, policies, meshes

    def meshes(self) -> Sequence[Mesh]:
        return self.there

    def has_members(self) -> bool:
        return self.members

    def has_policy(self, name: str) -> bool:
        return name in self.policies


def test_a_release_that_is_whole_has_no_fault_and_tells_of_its_meshes() -> None:
    said: list[str] = []
    known = Known(policies=["status"], meshes=[Mesh("blue", nodes="3/3", links="6/6")])
    assert failed_checks(known, ["status"], lambda: None, said.append) == []
    assert "Mesh blue: nodes 3/3, links 6/6." in said


@pytest.mark.parametrize(
    ("known", "trouble", "words"),
    [
        (Known(policies=["status"]), "503 stuck", "The operator is not healthy: 503 stuck"),
        (Known(policies=["status"], members=False), None, "does not know WgMeshNodes"),
        (Known(), None, "policy status is missing"),
    ],
)
def test_each_fault_is_named(known: Known, trouble: str | None, words: str) -> None:
    found = failed_checks(known, ["status"], lambda: trouble, lambda line: None)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_the_operator_is_well_if_its_health_page_says_so(status: int, well: bool) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        trouble = operator_problem(f"http://127.0.0.1:{server.server_port}/healthz")
        thread.join()
    assert (trouble is None) == well
    assert well or "503" in str(trouble)


def test_an_operator_that_does_not_answer_is_not_well() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    assert "does not respond" in str(operator_problem(f"http://127.0.0.1:{port}/healthz"))
