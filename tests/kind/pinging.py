"""Continuous pings during a fault, and how many of them were lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kind.evidence import Measured
from tests.kind.kubectl import wait_for
from tests.kind.nodes import Node

PINGS_A_SECOND = 5
ANSWER_SECONDS = 30.0
_REPLY = re.compile(r"icmp_seq=(\d+) ttl=")


class Pinging:
    """A ping from a node to an address; every request without an answer before a later one's answer is lost."""

    def __init__(self, node: Node, address: str, log: Path, *options: str) -> None:
        self.what = f"{node.name} to {address}"
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*node.enter(), "ping", "-n", "-i", str(1 / PINGS_A_SECOND), *options, address],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def answered(self) -> set[int]:
        """Sequence numbers of the answers so far."""
        return {int(number) for number in _REPLY.findall(self._log.read_text())}

    def go_on(self, seconds: float = ANSWER_SECONDS) -> None:
        """Waits for three more answers: the path works now."""
        before = max(self.answered(), default=0)
        wait_for(
            lambda: max(self.answered(), default=0) >= before + 3,
            seconds,
            f"pings from {self.what} are answered",
        )

    def lost(self) -> int:
        """How many were lost up to the last answer."""
        answered = self.answered()
        return max(answered) - len(answered)

    def sent(self) -> int:
        return max(self.answered(), default=0)

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def pinging(
    folder: Path,
    *pairs: tuple[Node, str],
    seconds: float = ANSWER_SECONDS,
    options: tuple[str, ...] = (),
) -> Iterator[list[Pinging]]:
    """Pings each address from its node before, during and after the block, with more of ping's `options`.

    The first answers may take `seconds`.
    """
    pings: list[Pinging] = []
    try:
        for number, (node, address) in enumerate(pairs):
            pings.append(Pinging(node, address, folder / f"ping-{number}.log", *options))
        for ping in pings:
            ping.go_on(seconds)
        yield pings
        for ping in pings:
            ping.go_on()
    finally:
        for ping in pings:
            ping.end()


@contextmanager
def none_lost(
    folder: Path, measured: Measured, during: str, pairs: list[tuple[Node, str]]
) -> Iterator[list[Pinging]]:
    """Pings all pairs before, during and after the block; none may be lost."""
    with pinging(folder, *pairs) as pings:
        yield pings
    lost = {ping.what: ping.lost() for ping in pings if ping.lost()}
    sent = sum(ping.sent() for ping in pings)
    measured(f"pings lost of {sent} while {during}", sum(lost.values()), "pings", at_most=0)
    assert lost == {}


def unanswered(node: Node, address: str) -> bool:
    """Whether none of three pings is answered."""
    ping = node.run("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", address, check=False)
    return " 0 received" in ping.stdout
