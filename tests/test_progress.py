"""What a progress bar says."""

from __future__ import annotations

import sys
import time

import pytest

from vae_core.progress import bar


def test_the_time_left_is_told_from_the_steps_not_from_what_came_before_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with bar("train", "steps") as progress:
        progress(0, note="looking at the table")
        time.sleep(2)
        for step in range(1, 21):
            time.sleep(0.03)
            progress(step, 100)
    assert "20/100 [00:00<00:0" in last_line(capsys)


def test_what_an_earlier_run_did_makes_this_one_no_faster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with bar("train", "steps") as progress:
        for step in range(11):
            time.sleep(0.05)
            progress(5_000 + step, 5_100)
    assert "5010/5100 [00:00<00:0" in (last := last_line(capsys))
    assert float(last.split()[-2]) < 20


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.split("\r")[-1]


def test_what_is_silent_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("train", shown=False) as progress:
        progress(1, 2)
    assert capsys.readouterr().err == ""
