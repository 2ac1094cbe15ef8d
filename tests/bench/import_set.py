"""Which modules a joining agent really imports, and a program that imports them and does nothing else."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.bench.measurement import CannotRun

REPORT = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Environment of a process that prints each import on standard error."""
_LINE = re.compile(r"^import time:\s+\d+ \|\s+\d+ \| *([\w.]+)$", re.MULTILINE)

_BEGIN = "from wgmesh_agent.cli.library_parts import leave_out; leave_out(tls=False)\n"
"""As an agent begins; without it the reference would import more than an agent does."""
_TRY = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    print(name)
"""
_SHARE_OF_STRANGERS = 0.05
"""Built-in parts of extension modules, which no import statement names, are a few of a hundred."""


def imported(log: str) -> list[str]:
    """The modules in the order in which a process with `REPORT` finished importing them.

    Raises:
        CannotRun: the log contains none.
    """
    names = list(dict.fromkeys(_LINE.findall(log)))
    if len(names) < 100:
        raise CannotRun(f"a joining agent told of only {len(names)} imports")
    return names


def program(names: list[str]) -> list[str]:
    """The command that starts an interpreter, imports all of `names` as import statements do, and says `imported`."""
    lines = "\n".join(f"import {name}" for name in names)
    return [sys.executable, "-c", f"{_BEGIN}{lines}\nprint('imported', flush=True)"]


def existing(names: list[str]) -> list[str]:
    """Without those whose import failed (other systems' modules), and names that are not modules.

    Raises:
        CannotRun: importing them imports others that no joining agent has: it would be no fair reference.
    """
    found = _said(_BEGIN + _TRY, *names)
    loaded = _said(
        program(found)[2] + "\nimport sys; print(*(name for name, module in sys.modules.items() if module))"
    )
    at_start = _said("import sys; print(*sys.modules)")
    strangers = sorted(set(loaded) - set(names) - set(at_start) - {"imported"})
    if len(strangers) > _SHARE_OF_STRANGERS * len(found):
        raise CannotRun(f"the reference imports what a joining agent does not: {strangers}")
    return found


def _said(lines: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", lines, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
