"""Members that tell now this endpoint, now that one. Who moves does so once; two agents with one identity for ever."""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW_SECONDS = 600.0
MOST_CHANGES = 32
MOST_MEMBERS = 16384


class Wandering:
    """Remembers the last changes of each member; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, deque[tuple[float, str]]] = OrderedDict()

    def told(self, node: str, endpoint: str, now: float) -> None:
        """A member's tags tell this endpoint."""
        changes = self._told.get(node)
        if changes is None:
            changes = self._told[node] = deque(maxlen=MOST_CHANGES)
            if len(self._told) > MOST_MEMBERS:
                self._told.popitem(last=False)
        if not changes or changes[-1][1] != endpoint:
            changes.append((now, endpoint))

    def returns(self, node: str, now: float) -> int:
        """How often within ten minutes it went back to what it had told just before."""
        changes = [item for item in self._told.get(node, ()) if now - item[0] <= WINDOW_SECONDS]
        return sum(changes[place][1] == changes[place - 2][1] for place in range(2, len(changes)))

    def forget(self, node: str) -> None:
        self._told.pop(node, None)
