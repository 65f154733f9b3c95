"""Risk rules: what is not bought, and what is left at once."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from scalp.alpaca.activities import PAGE, Activities
from scalp.backtest import engine_rules
from scalp.backtest.days import NO_SLIPPAGE
from scalp.backtest.settings import read_settings as read_backtest_settings
from scalp.cli.risk_options import limits_from
from scalp.cli.settings import Endpoints, read_settings
from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED, TO_BUY, TO_SELL, ScalpAlgo, State
from scalp.core.clock import Session as ClockSession
from scalp.core.commands import CancelOrder, SubmitOrder
from scalp.core.errors import UserError
from scalp.core.exits import Plan
from scalp.core.fees import ALPACA, FREE, Charges, Rates
from scalp.core.market_data import Trade
from scalp.core.orders import SELL, OrderType, PositionReport
from scalp.core.risk_limits import RiskLimits
from scalp.core.risk_rules import RiskRules
from scalp.core.takings import Taken
from scalp.core.trades import Fill
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day
from scalp.exchange.matching import Engine, Latency
from scalp.exchange.server import ExchangeServer
from scalp.live.past_fills import fills
from scalp.live.startup import Startup
from tests.core.test_fleet import World
from tests.helpers import IN_STATE, BrokerOrder, Desk
from tests.trading import AT_100, OPEN, BuysOnce, Idle, Script, exchange, minutes, run, settings
from tests.trading import Bot as RunningBot

RATES = ALPACA.on(dt.date(2026, 11, 20))

# -- leaving a symbol, in every state ---------------------------------------------------------------------------------

LEAVE: dict[State, tuple[list[str], State]] = {
    TO_BUY: ([], TO_BUY),
    BUY_SUBMITTED: (["cancel #1"], BUY_SUBMITTED),
    TO_SELL: (["sell 19 market #3"], SELL_SUBMITTED),
    SELL_SUBMITTED: (["cancel #2"], SELL_SUBMITTED),
}


def leave(desk: Desk) -> list[str]:
    return desk.words(desk.algo.close_position(Plan.RISK_RULE, "a reason", desk.now))


@pytest.mark.parametrize("state", State)
def test_leaving_in_every_state(state: State) -> None:
    desk = IN_STATE[state]()
    assert (leave(desk), desk.state) == LEAVE[state]
    assert (desk.algo.exits.plan is Plan.RISK_RULE) is (state is not TO_BUY)
    assert leave(desk) == []  # once is enough


def test_a_risk_rule_cancels_sells_at_market_and_buys_again() -> None:
    desk = IN_STATE[SELL_SUBMITTED]()
    assert leave(desk) == ["cancel #2"]
    assert desk.tells(2, "partial_fill", 4) == []
    assert desk.tells(2, "canceled") == ["sell 15 market #3"]
    assert desk.at("09:54:04").bar(101.0) == []  # no signal is asked for
    assert desk.tells(3, "fill", "15", "99") == []
    assert (desk.state, desk.algo.exits.plan) == (TO_BUY, Plan.OFFER)
    desk.at("09:55:04").bar(99.0)
    assert desk.at("09:56:04").bar(101.0) == ["buy 19 @ 101.00 #4"]


def test_leaving_goes_on_until_it_is_done() -> None:
    desk = IN_STATE[SELL_SUBMITTED]()
    assert leave(desk) == ["cancel #2"]
    assert desk.later(5).checkup() == ["cancel #2"]  # no word of it
    assert desk.tells(2, "canceled") == ["sell 19 market #3"]
    assert desk.refuses(3) == []
    assert desk.later(2).checkup() == ["sell 19 market #4"]
    assert desk.tells(4, "fill", "19", "99") == []
    assert desk.algo.exits.plan is Plan.OFFER


def test_buy_that_fills_while_it_is_cancelled_is_sold_at_market() -> None:
    desk = IN_STATE[BUY_SUBMITTED]()
    assert leave(desk) == ["cancel #1"]
    assert desk.tells(1, "fill") == ["sell 19 market #2"]


# -- each risk rule ----------------------------------------------------------------------------------------------------


def world(*symbols: str, rates: Rates = FREE, **limits: Any) -> World:
    """A fleet that buys $1000 of each symbol at every bar, with these rules; a stop rests in the bot."""
    made = World(*symbols)
    made.fleet.charge(rates)
    made.fleet.risk.rules = RiskRules(RiskLimits(**{"stop_at": "bot", **limits}), takings=made.fleet.takings)
    made.see_all()
    return made


def hold(at: World, symbol: str, price: float = 100.0) -> SubmitOrder:
    """Buy, and be told of the fill; the sell that works then."""
    at.bar(symbol, price)
    buy = at.sent[-1]
    assert isinstance(buy, SubmitOrder)
    assert buy.side == "buy"
    at.fleet.orders.on_sent(buy)
    at.report(buy, "filled", buy.qty)
    sell = at.sent[-1]
    assert isinstance(sell, SubmitOrder)
    at.report(sell, "new")
    return sell


def trade(at: World, symbol: str, price: float) -> None:
    at.fleet.on_trade(Trade(symbol, at.now, price))


def lose(at: World, symbol: str) -> None:
    """Buy 10 at 100, sell them at 99."""
    sell = hold(at, symbol)
    at.report(SubmitOrder(symbol, sell.client_order_id, SELL, 10, "limit", Decimal(99)), "filled", 10)
    assert at.fleet.algos[symbol].ledger.position == 0


def buys(at: World) -> list[str]:
    return [action.symbol for action in at.sent if isinstance(action, SubmitOrder) and action.side == "buy"]


def last(at: World) -> tuple[str, str]:
    """What was sent last: (symbol, what)."""
    action = at.sent[-1]
    if isinstance(action, SubmitOrder):
        return action.symbol, f"{action.side} {action.type}"
    assert isinstance(action, CancelOrder)
    return action.symbol, "cancel"


def test_stop_loss() -> None:
    at = world("TSLA", stop_loss=Decimal("0.005"))
    sell = hold(at, "TSLA")
    sent = len(at.sent)
    trade(at, "TSLA", 99.51)
    assert len(at.sent) == sent
    trade(at, "TSLA", 99.5)
    assert last(at) == ("TSLA", "cancel")
    trade(at, "TSLA", 99.4)
    assert len(at.sent) == sent + 1
    at.report(sell, "canceled")
    assert last(at) == ("TSLA", "sell market")


def test_a_bar_alone_may_strike_the_stop_loss() -> None:
    at = world("TSLA", stop_loss=Decimal("0.005"))
    hold(at, "TSLA")
    at.bar("TSLA", 99.0)
    assert last(at) == ("TSLA", "cancel")


def test_max_hold() -> None:
    at = world("TSLA", max_hold=15 * MINUTE)
    hold(at, "TSLA")
    began = at.now
    at.now = began + 15 * MINUTE - SECOND // 10 - 1
    sent = len(at.sent)
    at.fleet.checkup()
    assert len(at.sent) == sent
    at.now += 1  # a fill is learned of late, and this look is on time
    at.fleet.checkup()
    assert last(at) == ("TSLA", "cancel")


def test_max_loss_counts_realised_and_open_and_ends_buying(caplog: pytest.LogCaptureFixture) -> None:
    at = world("TSLA", "FB", "AAPL", max_loss=Decimal(30))
    lose(at, "TSLA")  # -10
    hold(at, "FB")
    hold(at, "AAPL")
    trade(at, "FB", 98.1)  # -19
    assert not at.fleet.risk.rules.is_over  # type: ignore[union-attr]
    trade(at, "AAPL", 99.9)  # -1
    assert [action.symbol for action in at.sent[-2:]] == ["FB", "AAPL"]
    assert all(isinstance(action, CancelOrder) for action in at.sent[-2:])
    assert "has reached $30" in caplog.text
    before = buys(at)
    at.bar("TSLA", 100.0)
    trade(at, "FB", 120.0)  # it does not matter any more
    at.bar("TSLA", 100.0)
    assert buys(at) == before
    assert at.fleet.algos["TSLA"].state is TO_BUY


def test_cooldown_after_a_loss_in_that_symbol_alone() -> None:
    at = world("TSLA", "FB", cooldown=10 * MINUTE)
    lose(at, "TSLA")
    lost_at = at.now
    at.now = lost_at + 10 * MINUTE - 1
    at.bar("TSLA")
    assert buys(at) == ["TSLA"]
    at.now = lost_at + 10 * MINUTE
    at.bar("TSLA")
    at.bar("FB")
    assert buys(at) == ["TSLA", "TSLA", "FB"]


def test_a_trade_at_its_entry_price_is_a_loss_by_its_fees() -> None:
    """$1,000 sold at 20.60 a million are 2 cents."""
    at = world("TSLA", rates=RATES, cooldown=10 * MINUTE)
    sell = hold(at, "TSLA")
    at.report(sell, "filled", 10)
    at.bar("TSLA")
    assert buys(at) == ["TSLA"]


def test_max_loss_counts_the_fees() -> None:
    """Nine dollars of loss and two and a half cents of fees."""
    for limit, is_over in (("9.03", False), ("9.02", True)):
        at = world("TSLA", rates=RATES, max_loss=Decimal(limit))
        sell = hold(at, "TSLA")
        at.report(SubmitOrder("TSLA", sell.client_order_id, SELL, 10, "limit", Decimal("99.1")), "filled", 10)
        rules = at.fleet.risk.rules
        assert rules is not None
        fees = Decimal("0.0204146") + 10 * Decimal("0.000195") + 20 * Decimal("0.000003")
        assert (rules.result, rules.is_over) == (-9 - fees, is_over)


def test_the_fees_of_before_a_restart_count_as_well() -> None:
    at = restarted(rates=RATES, max_loss=Decimal("20.03"))
    recall(at, bought("FB", 100, 1), sold("FB", 98, 2))  # -20 and 2.2 cents
    rules = at.fleet.risk.rules
    assert rules is not None
    assert rules.result == Decimal(-20) - Decimal("0.020188") - Decimal("0.00195") - Decimal("0.00006")
    assert at.fleet.takings.of(at.fleet.algos["FB"].ledger) == Taken(
        1, Decimal(10), Decimal(-20), Charges(Decimal("0.020188"), Decimal("0.00195"), Decimal("0.00006"))
    )


def test_what_a_cover_wins_is_another_position() -> None:
    at = world("TSLA", cooldown=10 * MINUTE)
    sell = hold(at, "TSLA")
    at.report(sell, "partially_filled", 8)
    for name, side, qty, price in (("twin", "sell", 4, 99), ("cover", "buy", 2, 90)):  # -2, then +18
        order = BrokerOrder(name, side, Decimal(qty), Decimal(price), symbol="TSLA", submitted_at=at.now)
        at.fleet.orders.on_order_update(order.report("fill", qty, at=at.now))
    at.report(sell, "canceled", 8)
    assert at.fleet.algos["TSLA"].ledger.realised == 16
    at.bar("TSLA")
    assert buys(at) == ["TSLA"]


def test_no_cooldown_after_a_trade_that_broke_even() -> None:
    at = world("TSLA", cooldown=10 * MINUTE)
    sell = hold(at, "TSLA")
    at.report(sell, "filled", 10)
    at.bar("TSLA")
    assert buys(at) == ["TSLA", "TSLA"]


def test_max_positions_counts_buys_that_work() -> None:
    at = world("TSLA", "FB", "AAPL", max_positions=2)
    sell = hold(at, "TSLA")
    at.bar("FB")
    at.bar("AAPL")
    assert buys(at) == ["TSLA", "FB"]
    assert at.fleet.algos["AAPL"].state is TO_BUY
    at.report(sell, "filled", 10)
    at.bar("AAPL")
    assert buys(at) == ["TSLA", "FB", "AAPL"]


def test_budget_counts_holdings_and_what_buys_may_spend() -> None:
    at = world("TSLA", "FB", "AAPL", "MSFT", budget=Decimal(2500))
    sell = hold(at, "TSLA")  # 1000
    at.bar("FB")  # 2000
    at.bar("AAPL")  # 3000
    assert buys(at) == ["TSLA", "FB"]
    at.report(SubmitOrder("TSLA", sell.client_order_id, SELL, 10, "limit", Decimal(100)), "partially_filled", 5)
    at.bar("AAPL")  # 500 + 1000 + 1000
    at.bar("MSFT")
    assert buys(at) == ["TSLA", "FB", "AAPL"]


def test_no_buy_after() -> None:
    at = world("TSLA", "FB", no_buy_after=dt.time(15, 30))
    at.now = OPEN + 360 * MINUTE - 1
    at.bar("TSLA")
    at.now = OPEN + 360 * MINUTE
    at.bar("FB")
    assert buys(at) == ["TSLA"]
    assert at.fleet.orders.why_no_entry("TSLA") == "it is later than 15:30"  # one that waited for the request limit


def test_without_a_rail_nothing_is_asked() -> None:
    assert not RiskLimits()
    assert World("TSLA").fleet.risk.rules is None


# -- over a restart ---------------------------------------------------------------------------------------------------


def bought(symbol: str, price: int, at: int, qty: int = 10) -> Fill:
    return Fill(symbol, "buy", Decimal(qty), Decimal(price), at)


def sold(symbol: str, price: int, at: int, qty: int = 10) -> Fill:
    return Fill(symbol, "sell", Decimal(qty), Decimal(price), at)


def restarted(rates: Rates = FREE, **limits: Any) -> World:
    """TSLA is held at 100; what was traded before is not known yet."""
    at = World("TSLA", "FB")
    at.now = OPEN + 60 * MINUTE
    at.fleet.charge(rates)
    at.fleet.risk.rules = RiskRules(RiskLimits(**limits), knows_today=False, takings=at.fleet.takings)
    at.see_all()
    at.fleet.orders.on_snapshot("TSLA", [], PositionReport("TSLA", Decimal(10), Decimal(100)), at.now)
    return at


def recall(at: World, *fills: Fill) -> None:
    rules = at.fleet.risk.rules
    assert rules is not None
    rules.recall(fills, {})
    at.fleet.risk.obey(rules)


def test_nothing_is_bought_before_the_past_is_known() -> None:
    at = restarted(cooldown=10 * MINUTE)
    at.bar("FB")
    assert buys(at) == []
    recall(at)
    at.bar("FB")
    assert buys(at) == ["FB"]


def test_a_cooldown_holds_over_a_restart() -> None:
    at = restarted(cooldown=10 * MINUTE)
    recall(at, bought("FB", 100, at.now - 9 * MINUTE), sold("FB", 99, at.now - 8 * MINUTE))
    at.bar("FB")
    assert buys(at) == []
    at.now += 2 * MINUTE
    at.bar("FB")
    assert buys(at) == ["FB"]


def test_the_time_of_entry_holds_over_a_restart() -> None:
    at = restarted(max_hold=15 * MINUTE)
    entry = at.now - 20 * MINUTE
    recall(at, bought("TSLA", 90, entry - MINUTE), sold("TSLA", 95, entry - 1), bought("TSLA", 100, entry))
    assert last(at)[0] == "TSLA"
    assert at.fleet.algos["TSLA"].exits.plan is Plan.RISK_RULE


def test_the_days_loss_holds_over_a_restart() -> None:
    at = restarted(max_loss=Decimal(30))
    trade(at, "TSLA", 99.0)  # -10
    plans = [at.fleet.algos["TSLA"].exits.plan]
    recall(at, bought("FB", 100, 1), sold("FB", 98, 2))  # -20
    assert [*plans, at.fleet.algos["TSLA"].exits.plan] == [Plan.OFFER, Plan.RISK_RULE]
    at.bar("FB")
    assert buys(at) == []


def test_a_profit_of_before_counts_too() -> None:
    at = restarted(max_loss=Decimal(30))
    trade(at, "TSLA", 96.0)  # -40: no word about it until it is known what else was traded
    recall(at, bought("FB", 100, 1), sold("FB", 102, 2))  # +20
    assert at.fleet.algos["TSLA"].exits.plan is Plan.OFFER


def sells_all(at: World, price: int) -> None:
    """What the restart held is sold."""
    sell = at.sent[-1]
    assert isinstance(sell, SubmitOrder)
    at.report(SubmitOrder("TSLA", sell.client_order_id, SELL, 10, "limit", Decimal(price)), "filled", 10)
    assert at.fleet.algos["TSLA"].ledger.position == 0


def test_what_position_lost_before_restart_is_part_of_its_loss() -> None:
    at = restarted(cooldown=10 * MINUTE)
    recall(at, bought("TSLA", 100, at.now - MINUTE, 20), sold("TSLA", 99, at.now - SECOND, 10))
    sells_all(at, 100)
    at.bar("TSLA")
    assert buys(at) == []


def test_older_loss_does_not_make_loss_of_trade_after_it() -> None:
    at = restarted(cooldown=10 * MINUTE)
    long_ago, just_now = at.now - 11 * MINUTE, at.now - MINUTE
    recall(at, bought("FB", 100, long_ago), sold("FB", 99, long_ago), bought("FB", 100, just_now),
           sold("FB", 100, just_now))  # fmt: skip
    at.bar("FB")
    assert buys(at) == ["FB"]


def test_a_loss_of_just_now_is_not_forgotten_for_an_older_one() -> None:
    at = restarted(cooldown=10 * MINUTE)
    sells_all(at, 99)
    long_ago = at.now - 60 * MINUTE
    recall(at, bought("TSLA", 100, long_ago), sold("TSLA", 99, long_ago))
    at.bar("TSLA")
    assert buys(at) == []


def test_closed_trades_say_nothing_of_how_long_shares_are_held() -> None:
    at = restarted(max_hold=15 * MINUTE)
    recall(at, bought("TSLA", 100, at.now - 20 * MINUTE), sold("TSLA", 100, at.now - 19 * MINUTE))
    assert at.fleet.algos["TSLA"].exits.plan is Plan.OFFER


def test_shares_from_before_today_are_no_loss() -> None:
    rules = RiskRules(RiskLimits(max_loss=Decimal(1), cooldown=MINUTE), knows_today=False)
    fills = [sold("TSLA", 50, 1), bought("TSLA", 100, 2), sold("TSLA", 100, 3, qty=15)]
    rules.recall(fills, {"TSLA": Decimal(15)})
    assert (str(rules.result), rules.is_over) == ("0", False)


def test_what_was_sold_twice_and_bought_back_dearer_is_a_loss() -> None:
    """Both legs of an exit had filled: nothing is held in the end, and a restart knows what it came to."""
    at = restarted(cooldown=10 * MINUTE)
    now = at.now - 8 * MINUTE
    recall(at, bought("FB", 100, now), sold("FB", 101, now + 1), sold("FB", 101, now + 2), bought("FB", 102, now + 3))
    past = at.fleet.takings.past["FB"]
    assert not past.held and not past.realised and not past.cash
    assert (past.trades, past.lost_at) == (2, now + 3)
    at.bar("FB")
    assert buys(at) == []


class Pages:
    """Fills as the broker lists them, a page at a time."""

    def __init__(self, count: int) -> None:
        self.rows: list[dict[str, Any]] = [
            {"id": f"{n:04}", "symbol": "TSLA", "side": "buy", "qty": "1", "price": "2.5", "order_id": f"o{n}",
             "transaction_time": f"2026-11-20T14:{n // 60:02}:{n % 60:02}.5Z"}
            for n in range(count)
        ]  # fmt: skip
        self.asked: list[dict[str, str]] = []

    async def get(self, path: str, query: dict[str, str]) -> Any:
        assert path == "/account/activities/FILL"
        self.asked.append(query)
        token = query.get("page_token", "")
        return [row for row in self.rows if row["id"] > token][:PAGE]


async def _uncounted(request: Any) -> Any:
    return await request


def read(broker: Pages) -> list[Fill]:
    return fills(asyncio.run(Activities(broker, OPEN - 60 * MINUTE, _uncounted).read()))  # type: ignore[arg-type]


def test_shares_that_are_sold_short_are_sold() -> None:
    """The account's activities name such a sale so; it need not be in a symbol of the bot's."""
    broker = Pages(3)
    broker.rows[1] |= {"side": "sell_short"}
    assert [fill.side for fill in read(broker)] == ["buy", "sell", "buy"]


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (99, 1), (100, 2), (250, 3)])
def test_todays_fills_are_read_page_by_page(count: int, pages: int) -> None:
    broker = Pages(count)
    told = read(broker)
    assert (len(told), len(broker.asked)) == (count, pages)
    if told:
        assert told[0] == Fill("TSLA", "buy", Decimal(1), Decimal("2.5"), OPEN - 30 * MINUTE + SECOND // 2)


@pytest.mark.parametrize("flaw", [{"qty": None}, {"side": "?"}, {"transaction_time": 5}, {"qty": "1e999999"}])
def test_a_fill_that_is_not_understood_costs_itself(flaw: dict[str, Any]) -> None:
    broker = Pages(3)
    broker.rows[1] |= flaw
    assert len(read(broker)) == 2


# -- in a whole session -----------------------------------------------------------------------------------------------


async def _session(
    bot: type[ScalpAlgo], endpoints: Endpoints, server: ExchangeServer, script: Script, until: float
) -> None:
    limits = RiskLimits(max_hold=5 * MINUTE)
    startup = Startup(settings("TSLA", risk_limits=limits), endpoints, bot)
    session = await startup.open()
    assert session is not None
    running = RunningBot(server, session, script)
    work = (session.feed.run(), session.updates.run(), running.periodic(), session.watch())
    jobs = [asyncio.ensure_future(job) for job in work]
    await running.until(until)
    session.over()
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    await startup.close()


def test_position_is_left_in_time_though_bot_was_started_again() -> None:
    async def story() -> None:
        script = Script()
        market = {"TSLA": minutes("TSLA", AT_100, AT_100, *[(99.9, 99.9, 99.8, 99.8)] * 17)}
        async with exchange(market, script) as (server, endpoints):
            engine: Engine = server.simulation.engine
            await _session(BuysOnce, endpoints, server, script, 240)
            assert engine.account.held("TSLA") == 10
            await _session(Idle, endpoints, server, script, 470)
            (exit_,) = script.sent("POST /v2/orders", type="market")
            assert 420 <= exit_.at < 455  # the entry was 2 minutes after the open
            assert engine.account.held("TSLA") == 0

    run(story())


# -- in a backtest ----------------------------------------------------------------------------------------------------


def backtested(limits: RiskLimits) -> list[tuple[str, int, float]]:
    """Bought at 100 in the third minute; the fifth one falls to 99. (Side, shares, seconds since the open.)"""
    session = ClockSession(session_day(dt.date(2026, 11, 20)).date, OPEN, OPEN + 390 * MINUTE)
    prices = [AT_100] * 4 + [(100.0, 100.0, 99.0, 99.0)] + [(99.0, 99.0, 99.0, 99.0)] * 30
    market = {"TSLA": minutes("TSLA", *prices)}
    model = engine_rules.fill_model("optimistic", NO_SLIPPAGE)
    (day,) = engine_rules.play(SlowToSell, Decimal(1000), session, market, model, Latency(), limits)
    return [(fill.side, int(fill.qty), (fill.at - OPEN) / SECOND) for fill in day.fills]


class SlowToSell(BuysOnce):
    """Its sell waits far above the market."""

    def _sell(self, order_type: OrderType, at: int) -> SubmitOrder:
        price = None if order_type == "market" else Decimal(200)
        return self._submit(SELL, self.ledger.whole_shares, order_type, price, at)


def test_a_print_strikes_the_stop_loss_in_a_backtest() -> None:
    buy, sell = backtested(RiskLimits(stop_loss=Decimal("0.005")))
    assert (buy[0], sell[:2]) == ("buy", ("sell", 10))
    assert 4 * 60 <= sell[2] < 5 * 60 + 1


def test_max_hold_in_a_backtest() -> None:
    (_, _, bought_at), (_, _, sold_at) = backtested(RiskLimits(max_hold=10 * MINUTE))
    assert bought_at + 600 <= sold_at < bought_at + 640


def test_a_last_time_to_buy_in_a_backtest() -> None:
    assert backtested(RiskLimits(no_buy_after=dt.time(9, 31))) == []


# -- settings ---------------------------------------------------------------------------------------------------------


def test_rails_as_they_are_written() -> None:
    line = "--stop-loss 0.5% --max-hold 15m --max-loss 300 --cooldown 90s --max-positions 5 --budget 10000 "
    limits = RiskLimits(Decimal("0.005"), 900 * SECOND, Decimal(300), 90 * SECOND, 5, Decimal(10000), dt.time(15, 30))
    assert read_settings([*(line + "--no-buy-after 15:30").split(), "TSLA"], {}).risk_limits == limits
    assert read_backtest_settings([*(line + "--no-buy-after 15:30").split(), "TSLA"], {}).risk_limits == limits
    assert not read_settings(["TSLA"], {}).risk_limits
    assert str(limits) == (
        "stop-loss 0.5%, max-hold 900s, max-loss 300, cooldown 90s, max-positions 5, budget 10000, no-buy-after 15:30"
    )
    assert limits_from(str(limits)) == limits
    assert limits_from("") == RiskLimits()
    for odd in ("stop-loss much", "stop-loss", "seatbelt 3", "max-hold"):
        with pytest.raises(UserError, match=f"risk limits '{odd}'"):
            limits_from(odd)


def _mistakes() -> Iterator[tuple[str, str]]:
    for option, texts, words in (
        ("--stop-loss", ("0.5", "0%", "100%", "-1%", "%", "x%", ".%"), "is not a percentage"),
        ("--max-hold", ("15", "0m", "15d", "-1m", "25h", "m"), "is not a length of time"),
        ("--cooldown", ("soon", "1.5m"), "is not a length of time"),
        ("--max-loss", ("0", "-300", "nan", "inf", "much", "1e99"), "is not an amount of dollars"),
        ("--budget", ("0", "$5"), "is not an amount of dollars"),
        ("--max-positions", ("0", "-1", "two", "1.5"), "is not a number of symbols"),
        ("--no-buy-after", ("15", "25:00", "3pm", "15:30:00"), "is not a time of day"),
    ):
        for text in texts:
            yield f"{option}={text}", words


@pytest.mark.parametrize(("argument", "words"), list(_mistakes()))
def test_each_mistake_is_one_clear_line(argument: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_settings([argument, "TSLA"], {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rail", [["--max-hold", "5m"], ["--stop-loss", "1%", "--stop-at", "bot"]])
def test_bar_fills_know_no_rail_but_the_stop_at_the_broker(rail: list[str]) -> None:
    assert read_backtest_settings(["--fills", "bar", "--stop-loss", "1%", "TSLA"], {}).risk_limits.stop
    with pytest.raises(UserError, match="--fills bar knows no risk limits but the stop at the broker"):
        read_backtest_settings(["--fills", "bar", *rail, "TSLA"], {})


def test_where_a_stop_rests_is_said_of_a_stop() -> None:
    with pytest.raises(UserError, match="--stop-at says where a stop rests"):
        read_settings(["--stop-at", "bot", "TSLA"], {})
