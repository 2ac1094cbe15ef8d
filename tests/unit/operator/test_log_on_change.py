from __future__ import annotations

import logging

import pytest

from wgmesh_operator.log_on_change import LogOnChange


def test_repeated_warning_is_logged_once_and_again_after_another(caplog: pytest.LogCaptureFixture) -> None:
    last = LogOnChange(logging.getLogger("test"))
    for sentence in ("a", "a", "b", "b", "a"):
        last.warning(sentence)
    assert caplog.messages == ["a", "b", "a"]


def test_percent_sign_in_a_sentence_is_logged_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    LogOnChange(logging.getLogger("test")).warning("100 %s")
    assert caplog.messages == ["100 %s"]
