"""Python's collector of cycles, kept from holding up the event loop.

A full collection walks every object there is: 60 ms for what an agent imports, and as much again for 5,000 members. By
itself Python makes one with each reading of so large a device. Nearly everything goes without it, when its last user
does; cycles that are young go in the collections of the younger generations, which take a millisecond.
"""

from __future__ import annotations

import gc

_YOUNG, _MIDDLE = 700, 10
"""Python's own: new objects before a collection of the young, and such collections before one of the middle-aged."""
_OLD = 1000
"""Those before a full one, a hundred times Python's figure: hours apart in a mesh of thousands."""


def relieve_garbage_collector() -> None:
    """Once in a process, when everything is imported: what there is now stays for good, and is walked no more."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
