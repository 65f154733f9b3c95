"""The page of sessions from the journal: `python -m scalp.report --html`."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp.backtest.__main__ import main as backtest
from scalp.report.__main__ import main
from tests.report.test_months import LOST, WON, played

ALGO = """
from scalp import ScalpAlgo

class Plots(ScalpAlgo):
    warmup_bars = 5

    def _calculate_buy_signal(self):
        closes = self._bars["close"]
        self.plot("change", closes.iloc[-1] - closes.iloc[-2])
        return len(closes) % 20 == 0

    def _calculate_quantity(self, price):
        return 0 if len(self._bars) == 100 else None
"""


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="data">([^<]*)<', page.read_text("utf-8"))
    assert found is not None
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return data


def test_a_session_shows_its_plots_stops_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    Path("plots.py").write_text(ALGO)
    limits = ("--stop-loss=0.2%", "--max-positions=1")
    assert program.main(["--journal=j.sqlite", "--algo=plots.py:Plots", *limits, "TSLA", "FB"]) == 0
    assert main(["--journal=j.sqlite", "--html=page.html"]) == 0
    data = data_of(Path("page.html"))
    assert data["average"] is None  # its signal looks at none
    names = {(data["symbols"][line[0]], line[2]) for line in data["lines"]}
    assert names == {("TSLA", "change"), ("FB", "change")}
    times, values = data["lines"][0][3:]
    assert len(times) == len(values) > 50 and times == sorted(times)
    assert {trade[8] for trade in data["trades"]} >= {"sell", "stop at broker"}
    stopped = {(kind, why) for _, _, kind, _, why in data["stopped"]}
    assert stopped == {("blocked", "the quantity is below one share"), ("rejected", "1 position is the most")}
    assert [row[0] for row in data["markouts"]] == ["entry"] * 4 + ["exit"] * 4
    assert main(["--journal=j.sqlite", "--days=1", "--html=days.html"]) == 0
    assert data_of(Path("days.html")) == data
    assert "<h2>What speed earned</h2>" in Path("days.html").read_text("utf-8")
    for fills, known in (("pessimistic", limits), ("bar", limits[:1])):
        arguments = ("--algo=plots.py:Plots", *known, f"--fills={fills}", "--html=backtest.html", "TSLA", "FB")
        assert backtest(arguments) == 0
        found = {(kind, why) for _, _, kind, _, why in data_of(Path("backtest.html"))["stopped"]}
        assert found == {one for one in stopped if fills == "pessimistic" or one[0] == "blocked"}
    capsys.readouterr()


def test_days_beside_their_backtests_are_a_table_of_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "journal.sqlite", tmp_path / "page.html"
    played(path, "2026-11-20", *WON, algo="gone.py:Gone")
    played(path, "2026-11-23", *WON)
    assert main(["--journal", str(path), "--days=2", "--drift", "--html", str(page)]) == 0
    capsys.readouterr()
    _, _, section = page.read_text("utf-8").partition("<h2>Beside its backtest</h2>")
    section, _, _ = section.partition("</section>")
    assert re.findall(r"<p[^>]*>(.*)</p>", section) == [
        "fill rate: too few days to tell (0 of 5)",
        "slippage: too few days to tell (0 of 5)",
        "net a trade: too few days to tell (0 of 5)",
        "2026-11-20: its algo is not to be had (--algo &#x27;gone.py:Gone&#x27;: there is no file gone.py)",
    ]
    assert re.findall(r"<td[^>]*>(.*?)</td>", section) == ["2026-11-23", "100", "-", "1", "0", "+9.9772", "-", "-"]


def test_many_days_are_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / "journal.sqlite", tmp_path / "page.html"
    played(path, "2026-10-30", *WON)
    played(path, "2026-11-02", *LOST)
    assert main(["--journal", str(path), "--days=2", "--html", str(page)]) == 0
    capsys.readouterr()
    data = data_of(page)
    assert data["sums"] == [["2026-10-30", 9.95, 1], ["2026-11-02", -20.05, 1]]
    assert (data["days"], data["average"], data["lines"]) == (["2026-10-30", "2026-11-02"], 20, [])
    assert "<h1>paper sessions from 2026-10-30 to 2026-11-02: 2 days" in page.read_text("utf-8")
