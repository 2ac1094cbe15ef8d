"""A failed siege shows what its agents said, as a failed test of any mesh does."""

from tests.netns.conftest import _enough_watchers, pytest_runtest_makereport

__all__ = ["_enough_watchers", "pytest_runtest_makereport"]
