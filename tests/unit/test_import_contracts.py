"""What the import contracts of pyproject.toml rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "package", ["proto/wgmesh_api", "operator/wgmesh_operator", "node-agent/wgmesh_agent"]
)
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    # import-linter does not see modules of a folder without `__init__.py`, so every contract is kept there
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
