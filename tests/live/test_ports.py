"""A new feed is one module and one line, a new broker one package and one line: two toys trade a session."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import main
from scalp import ScalpAlgo
from scalp.backtest.download import download
from scalp.cli.settings import Endpoints, Settings
from scalp.cli.venues import BROKERS, FEEDS, FeedKind
from scalp.live.shutdown import Shutdown
from scalp.net.virtual_time import JumpingLoop
from tests.toys import broker, feed
from tests.trading import DAY

NOWHERE = Endpoints("http://127.0.0.1:9", "", "", "", "", feed="toy", broker="toy")


class BuysOnce(ScalpAlgo):
    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return len(self.session_bars) == 2


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FEEDS, "toy", FeedKind("tests.toys.feed", "Toys", 100))
    monkeypatch.setitem(BROKERS, "toy", "tests.toys.broker")
    broker.placed.clear()


@pytest.mark.parametrize(("last_trade", "sold_at"), [(100.5, "100.50"), (99.5, "100.00")])
def test_two_toys_trade_a_session(
    last_trade: float, sold_at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Bought at the last close, sold at the last trade or the entry, whichever is higher; and the market closes."""
    monkeypatch.setattr(feed, "PRICE", last_trade)
    monkeypatch.setattr(main, "algo_class", BuysOnce)

    async def story() -> int:
        console: Any = SimpleNamespace(now=None)
        with Shutdown() as stop:
            return await main.trade(Settings(("TSLA",), Decimal(1000)), NOWHERE, console, stop)

    with caplog.at_level(logging.INFO), asyncio.Runner(loop_factory=JumpingLoop) as runner:
        assert runner.run(story()) == 0
    assert broker.placed == ["buy 10 TSLA at 100.00", f"sell 10 TSLA at {sold_at}"]
    states = [line for line in caplog.messages if " -> " in line]
    assert states == [
        "TO_BUY -> BUY_SUBMITTED: buy 10 limit 100.00",
        "BUY_SUBMITTED -> TO_SELL: buy filled",
        f"TO_SELL -> SELL_SUBMITTED: sell 10 limit {sold_at}",
        "SELL_SUBMITTED -> TO_BUY: sell filled",
    ]
    assert "the market has closed" in caplog.messages


def test_the_toys_history_is_downloaded_too(tmp_path: Path) -> None:
    asyncio.run(download(NOWHERE, ["TSLA"], [DAY], tmp_path, lambda *progress: None))
    (file,) = tmp_path.rglob("*.csv")
    assert file.relative_to(tmp_path) == Path("toy/TSLA/TSLA_20261120.csv")
    assert len(file.read_text().splitlines()) == 391


@pytest.mark.parametrize("toy", [feed, broker])
def test_a_toy_is_small(toy: Any) -> None:
    assert len(Path(toy.__file__).read_text().splitlines()) < 80


def test_what_the_tables_name_can_be_opened() -> None:
    """They are loaded by name: no import would tell of a typing error."""
    for kind in FEEDS.values():
        assert callable(import_module(kind.module).open_feed)
    for module in BROKERS.values():
        assert callable(import_module(module).open_broker)
