"""What was tried on the same bars before is not forgotten."""

from __future__ import annotations

import datetime as dt
import os
import stat
from decimal import Decimal
from pathlib import Path

import pytest

from scalp.core.market_data import Bar
from scalp.results.trials import Trial, fingerprint, fingerprint_of_days, remember

D = Decimal
TERMS = {"fills": "bar"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "scalp"


def tried(window: int, *daily: str, source: str = "abc") -> Trial:
    return Trial("mine:Mine", source, {"window": window}, [D(net) for net in daily])


def test_each_set_counts_once_and_those_of_now_come_first() -> None:
    assert remember("bars", TERMS, [tried(10, "1.5", "-2")]) == [[1.5, -2.0]]
    assert remember("bars", TERMS, [tried(20, "3"), tried(30, "4")]) == [[3.0], [4.0], [1.5, -2.0]]
    assert remember("bars", TERMS, [tried(10, "5")]) == [[5.0], [3.0], [4.0]], "played again, it is the same set"
    assert remember("bars", TERMS, [tried(10, "6", source="def")]) == [[6.0], [3.0], [4.0], [5.0]], "another source"
    assert remember("bars", {"fills": "touch"}, [tried(10, "7")]) == [[7.0]]
    assert remember("other bars", TERMS, [tried(10, "8")]) == [[8.0]]


def test_nobody_else_can_read_them(folder: Path) -> None:
    remember("bars", TERMS, [tried(10, "1")])
    assert stat.S_IMODE((folder / "trials.sqlite").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["no database", ""])
def test_a_file_that_is_none_loses_nothing_of_now(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "trials.sqlite").write_text(content)
    assert remember("bars", TERMS, [tried(10, "1")]) == [[1.0]]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_loses_nothing_of_now(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    assert remember("bars", TERMS, [tried(10, "1")]) == [[1.0]]


def test_bars_are_told_apart_by_what_is_in_them() -> None:
    one, other = Bar("F", 0, 1.0, 1.0, 1.0, 1.0, 5.0), Bar("F", 0, 1.0, 1.0, 1.0, 1.01, 5.0)
    assert fingerprint({"F": [one], "A": []}) == fingerprint({"F": [one]}) != fingerprint({"F": [other]})
    assert fingerprint({"F": [one], "B": [other]}) == fingerprint({"B": [other], "F": [one]})
    date = dt.date(2026, 11, 20)
    assert fingerprint_of_days([(date, "a")]) != fingerprint_of_days([(date, "b")])
