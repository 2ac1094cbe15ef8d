"""Parts of libraries that an agent does not load: never called, but imported, at 16 MiB and a tenth of a second."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def leave_out() -> None:
    """To be called before the first import of structlog, pyroute2 and kubernetes in a process that prints no tables.

    - structlog imports rich wherever it is installed, for tracebacks that our logs do not have.
    - `pyroute2/__init__.py` imports all of pyroute2, with databases, firewalls and servers; the agent uses
      `pyroute2.iproute` only, which finds its modules in a package whose `__init__` has not run.
    - `kubernetes/__init__.py` and `kubernetes/config/__init__.py` do the same for streams over websockets, kubeconfigs
      and their login plugins.
    """
    # None makes an import of it fail as if it were not installed.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    for name in ("pyroute2", "kubernetes", "kubernetes.config"):
        if name not in sys.modules and (spec := find_spec(name)) is not None:
            sys.modules[name] = module_from_spec(spec)
