"""Alpaca's data stream and history: what is asked, what the sink gets, what is missing and said."""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from scalp.alpaca.feed import AlpacaFeed, _stream_url, counts_as_last_sale
from scalp.alpaca.rest import AlpacaREST
from scalp.core.errors import Rejected, Unreachable, UserError
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.ports import never
from scalp.core.units import MINUTE
from scalp.net.stream import LoginRefused
from scalp.net.transport import RateLimited
from tests.wire.fakes import KEY, SECRET, Script, Talk, Told, endpoints, http_fake, run, scripted

AT_1530 = 1_795_188_600_000_000_000  # 2026-11-20T15:30:00Z
CONNECTED, AUTHENTICATED = [{"T": "success", "msg": "connected"}], [{"T": "success", "msg": "authenticated"}]
CHANNELS = ["bars", "trades", "statuses", "updatedBars"]

AAPL_BAR = {
    "T": "b", "S": "AAPL", "o": 178.31, "h": 178.47, "l": 178.3, "c": 178.42, "v": 21874, "n": 212, "vw": 178.3921,
    "t": "2026-11-20T15:30:00Z",
}  # fmt: skip
AAPL = Bar("AAPL", AT_1530, 178.31, 178.47, 178.3, 178.42, 21874)
PRINT = {
    "T": "t", "S": "AAPL", "i": 52983525029461, "x": "V", "p": 178.42, "s": 100, "c": ["@"], "z": "C",
    "t": "2026-11-20T15:30:59.980113447Z",
}  # fmt: skip
LAST = Trade("AAPL", AT_1530 + 59_980_113_447, 178.42, 100, 52983525029461)


def error(code: int, msg: str = "some words") -> list[dict[str, Any]]:
    return [{"T": "error", "code": code, "msg": msg}]


class Subscriptions:
    """Answers subscriptions as the real server does: they add up, and the whole list comes back."""

    def __init__(self, limit: int = 10**6, refused: dict[str, int] | None = None, left_out: Sequence[str] = ()) -> None:
        self.held: dict[str, list[str]] = {channel: [] for channel in CHANNELS}
        self.limit, self.refused, self.left_out = limit, refused or {}, left_out
        self.asked: list[tuple[str, int]] = []

    async def answer(self, talk: Talk) -> None:
        request = await talk.hears()
        assert request.pop("action") == "subscribe"
        ((channel, symbols),) = request.items()
        self.asked.append((channel, len(symbols)))
        if channel in self.refused:
            await talk.says(error(self.refused[channel]))
        elif len(self.held[channel]) + len(symbols) > self.limit:
            await talk.says(error(405, "symbol limit exceeded"))
        else:
            if channel not in self.left_out:
                self.held[channel] += symbols
            await talk.says([{"T": "subscription", "quotes": [], **self.held}])


async def logged_in(talk: Talk) -> None:
    await talk.says(CONNECTED)
    assert await talk.hears() == {"action": "auth", "key": KEY, "secret": SECRET}
    await talk.says(AUTHENTICATED)


async def subscribed(talk: Talk) -> None:
    await logged_in(talk)
    server = Subscriptions()
    for _ in CHANNELS:
        await server.answer(talk)


def played(
    symbols: Sequence[str],
    *scripts: Script,
    feed: str = "iex",
    with_trades: list[str] | None = None,
    judge: Callable[[LoginRefused], Awaitable[bool]] = never,
) -> list[Any]:
    """What the sink was told; `with_trades` collects the symbols whose trades stream in."""
    told = Told()

    async def session() -> None:
        async with scripted(*scripts) as server:
            points = endpoints(server.url, feed=feed)
            stream = AlpacaFeed(points, symbols, told, random.Random(1), lambda: True, AlpacaREST(points), judge)
            await server.against(stream)
            if with_trades is not None:
                with_trades.extend(symbol for symbol in symbols if stream.streams_trades(symbol))

    run(session())
    return told.all


def test_bars_corrections_of_bars_trades_and_halts() -> None:
    async def script(talk: Talk) -> None:
        assert talk.path == "/v2/iex"
        await logged_in(talk)
        for channel in CHANNELS:
            assert await talk.hears() == {"action": "subscribe", channel: ["AAPL", "TSLA"]}
            # Data may come before the answer.
            await talk.says([PRINT] if channel == "statuses" else [])
            await talk.says([{"T": "subscription", **{name: ["AAPL", "TSLA"] for name in CHANNELS}}])
        await talk.says([AAPL_BAR, {**AAPL_BAR, "S": "TSLA", "c": 402, "v": 0.5}])
        await talk.says([{**AAPL_BAR, "T": "u", "v": 21900}])
        await talk.says([PRINT, {**PRINT, "c": ["@", "I"]}, {**PRINT, "c": None, "p": 178.43}])
        await talk.says([{"T": "c", "S": "NOTMINE", "oi": 1}, {"T": "x"}, {**AAPL_BAR, "S": "NOTMINE"}])
        # What was told of a print was wrong: another price; the same one, of fewer shares; one that moves no last sale;
        # it never was.
        wrong = {"T": "c", "S": "AAPL", "x": "V", "oi": 1, "op": 178.43, "os": 100, "oc": ["@"], "ci": 2, "cs": 10,
                 "cc": ["@"], "z": "C", "t": "2026-11-20T15:30:59.980113447Z"}  # fmt: skip
        await talk.says([{**wrong, "cp": 178.4}, {**wrong, "oi": 2, "ci": 3, "cp": 178.43}])
        await talk.says([{**wrong, "cp": 178.4, "cc": ["@", "I"]}])
        await talk.says([{"T": "x", "S": "TSLA", "i": 1, "x": "V", "p": 402.0, "s": 9, "a": "C", "z": "C", "t": "?"}])
        await talk.says([{"T": "x", "S": "TSLA", "p": 402.0, "a": "E", "t": "2026-11-20T15:30:00.1Z"}])
        halt = {"T": "s", "S": "AAPL", "sc": "H", "sm": "Trading Halt", "rc": "LUDP", "rm": "Volatility Trading Pause",
                "z": "C", "t": "2026-11-20T15:30:00.1Z"}  # fmt: skip
        await talk.says([halt, {**halt, "sc": "Q"}, {**halt, "sc": "T", "rm": None}, {**halt, "sc": "E"}])
        await talk.says([{**halt, "sc": "2", "S": "TSLA", "rc": None, "rm": None}, {**halt, "sc": "3", "S": "TSLA"}])
        await talk.stays(5)

    with_trades: list[str] = []
    assert played(["AAPL", "TSLA"], script, with_trades=with_trades) == [
        LAST,
        "up",
        AAPL,
        Bar("TSLA", AT_1530, 178.31, 178.47, 178.3, 402, 0.5),
        Bar("AAPL", AT_1530, 178.31, 178.47, 178.3, 178.42, 21900),
        LAST,
        Trade("AAPL", LAST.at, 178.43, 100, LAST.id),
        TradeCorrection("AAPL", 178.43, 178.4, 1, 2),
        TradeCorrection("AAPL", 178.43, 178.43, 2, 3),
        TradeCorrection("AAPL", 178.43, None, 1, 2),
        TradeCorrection("TSLA", 402.0, None, 1),
        TradeCorrection("TSLA", 402.0, at=AT_1530 + 100_000_000),
        Halt("AAPL", AT_1530 + 100_000_000, True, "Volatility Trading Pause"),
        Halt("AAPL", AT_1530 + 100_000_000, False, "LUDP"),
        Halt("TSLA", AT_1530 + 100_000_000, True, ""),
        Halt("TSLA", AT_1530 + 100_000_000, False, "Volatility Trading Pause"),
        "down: stopped",
    ]
    assert with_trades == ["AAPL", "TSLA"]


def test_bad_messages_cost_themselves_only() -> None:
    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says("5", "null")
        bad = [5, {}, {**PRINT, "p": "x"}, {**PRINT, "t": 5}, {**PRINT, "c": 5}]
        await talk.says([{"T": "new"}, AAPL_BAR, *bad, PRINT])
        await talk.says(AAPL_BAR)  # not in an array
        await talk.stays(5)

    assert played(["AAPL"], script) == ["up", AAPL, LAST, AAPL, "down: stopped"]


def test_a_bar_that_cannot_be_taken_is_a_gap() -> None:
    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([{**AAPL_BAR, "c": None}, AAPL_BAR, {**AAPL_BAR, "t": "yesterday"}, {**AAPL_BAR, "l": 0}])
        await talk.says([{**AAPL_BAR, "S": "NOTMINE", "l": 0}, {**AAPL_BAR, "S": "NOTMINE", "l": None}])
        await talk.says([{"T": "b"}])  # of any symbol, as whatever this was
        await talk.says(b"\xff")
        await talk.stays(5)

    gap = "gap: AAPL"
    assert played(["AAPL"], script) == ["up", gap, AAPL, gap, gap, gap, gap, "down: stopped"]


# -- the health of each channel ----------------------------------------------------------------------------------------


async def with_trades_every_2_s(talk: Talk, seconds: float) -> None:
    for _ in range(round(seconds / 2)):
        await talk.says([PRINT])
        await talk.stays(2)


def without_trades(told: list[Any]) -> list[Any]:
    return [item for item in told if not isinstance(item, Trade)]


def test_trades_do_not_vouch_for_bars() -> None:
    """They are missed for longer each time, and the feed is up again with the first one."""
    took: list[float] = []

    async def no_bars(talk: Talk) -> None:
        await subscribed(talk)
        begun = asyncio.get_running_loop().time()
        try:
            await with_trades_every_2_s(talk, 3600)
        finally:
            took.append(asyncio.get_running_loop().time() - begun)

    async def bars_again(talk: Talk) -> None:
        await subscribed(talk)
        await with_trades_every_2_s(talk, 10)
        await talk.says([AAPL_BAR], [{**AAPL_BAR, "c": 178}])
        await talk.stays(1)

    async def bars_first(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([AAPL_BAR])
        await with_trades_every_2_s(talk, 3600)

    told = without_trades(played(["AAPL"], bars_first, no_bars, bars_again))
    again = [AAPL, Bar("AAPL", AT_1530, 178.31, 178.47, 178.3, 178, 21874)]
    assert told == ["up", AAPL, "down: trades come, and no bars for 150 s", "up", *again, "down: stopped"]
    assert 300 <= took[0] <= 310


def test_bars_that_are_only_corrected_are_no_bars() -> None:
    async def updates_only(talk: Talk) -> None:
        await subscribed(talk)
        for _ in range(60):
            await talk.says([{**AAPL_BAR, "T": "u"}])
            await talk.stays(60)

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([AAPL_BAR])
        await talk.stays(1)

    told = [item for item in played(["AAPL"], updates_only, good) if isinstance(item, str)]
    assert told == ["up", "down: trades come, and no bars for 150 s", "up", "down: stopped"]


def minute_bar(number: int, symbol: str = "AAPL") -> dict[str, Any]:
    return {**AAPL_BAR, "S": symbol, "t": f"2026-11-20T{15 + number // 60}:{number % 60:02}:00Z"}


def test_a_symbol_that_is_hardly_traded_is_no_trouble() -> None:
    """A print, its bar, silence; prints that make no bar; the silence alone is doubted as ever."""

    async def thin(talk: Talk) -> None:
        await subscribed(talk)
        for number in range(0, 60, 2):
            await talk.says([PRINT])
            await talk.stays(60)
            await talk.says([minute_bar(number)])
            await talk.says([{**PRINT, "c": ["@", "I"]}])
            await talk.stays(60)

    told = [item for item in played(["AAPL"], thin) if isinstance(item, str)]
    assert told == ["up", "down: stopped"]


async def subscribed_in_part(talk: Talk, **granted: list[str]) -> None:
    await logged_in(talk)
    for _ in CHANNELS:
        await talk.hears()
        await talk.says([{"T": "subscription", **{channel: ["AAPL", "TSLA"] for channel in CHANNELS}, **granted}])


def test_what_is_not_to_be_had_is_not_missed() -> None:
    """Trades of a symbol without bars, bars of one without trades; the other one is silent meanwhile."""

    async def no_bars_of_tsla(talk: Talk) -> None:
        await subscribed_in_part(talk, bars=["AAPL"])
        for _ in range(100):
            await talk.says([{**PRINT, "S": "TSLA"}])
            await talk.stays(10)

    async def no_trades_of_tsla(talk: Talk) -> None:
        await subscribed_in_part(talk, trades=["AAPL"])
        await talk.says([PRINT], [minute_bar(0)])
        for number in range(1, 20):
            await talk.says([minute_bar(number, "TSLA")])
            await talk.stays(60)

    for script in (no_bars_of_tsla, no_trades_of_tsla):
        told = [item for item in played(["AAPL", "TSLA"], script) if isinstance(item, str)]
        assert told == ["up", "down: stopped"]


def test_trades_that_come_now_and_then_are_enough() -> None:
    async def now_and_then(talk: Talk) -> None:
        await subscribed(talk)
        for number in range(30):
            await talk.says([minute_bar(number)])
            await talk.stays(20)
            if number % 3 == 2:
                await talk.says([PRINT])
            await talk.stays(40)

    told = [item for item in played(["AAPL"], now_and_then) if isinstance(item, str)]
    assert told == ["up", "down: stopped"]


def test_statuses_vouch_for_nothing_else() -> None:
    async def statuses_only(talk: Talk) -> None:
        await subscribed(talk)
        for _ in range(30):
            await talk.says([{"T": "s", "S": "AAPL", "sc": "T", "t": "2026-11-20T15:30:00Z"}])
            await talk.stays(60)

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.stays(1)

    told = [item for item in played(["AAPL"], statuses_only, good) if isinstance(item, str)]
    assert told == ["up", "down: no message for 150 s", "up", "down: stopped"]


def test_bars_do_not_vouch_for_trades() -> None:
    """While they are missed none counts as streamed: the last one is asked for before a buy."""
    streamed: list[list[bool]] = []
    streams: list[AlpacaFeed] = []

    class Asking(Told):
        def on_feed_up(self) -> None:
            super().on_feed_up()
            streamed.append([streams[0].streams_trades(symbol) for symbol in ("AAPL", "TSLA")])

    async def no_trades(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([PRINT])
        for number in range(30):
            await talk.says([minute_bar(number), minute_bar(number, "TSLA")])
            await talk.stays(60)

    async def trades(talk: Talk) -> None:
        await subscribed(talk)
        await with_trades_every_2_s(talk, 10)

    told = Asking()

    async def session() -> None:
        async with scripted(no_trades, trades) as server:
            points = endpoints(server.url)
            stream = AlpacaFeed(points, ["AAPL", "TSLA"], told, random.Random(1), lambda: True, AlpacaREST(points))
            streams.append(stream)
            await server.against(stream)
            streamed.append([stream.streams_trades(symbol) for symbol in ("AAPL", "TSLA")])

    run(session())
    assert [item for item in told.all if isinstance(item, str)] == [
        "up", "down: bars come, and no trades for 150 s", "up", "down: stopped",
    ]  # fmt: skip
    assert streamed == [[True, True], [False, False], [True, True]]


def test_outside_the_session_nothing_is_missed() -> None:
    async def quiet(talk: Talk) -> None:
        await subscribed(talk)
        await with_trades_every_2_s(talk, 600)

    told = Told()

    async def session() -> None:
        async with scripted(quiet) as server:
            points = endpoints(server.url)
            await server.against(
                AlpacaFeed(points, ["AAPL"], told, random.Random(1), lambda: False, AlpacaREST(points))
            )

    run(session())
    assert without_trades(told.all) == ["up", "down: stopped"]


async def test_each_channel_has_an_age() -> None:
    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([AAPL_BAR])
        await talk.stays(40)
        await talk.says([{**PRINT, "c": ["@", "I"]}])
        await talk.stays(20)

    async with scripted(script) as server:
        points = endpoints(server.url)
        stream = AlpacaFeed(points, ["AAPL"], Told(), random.Random(1), lambda: True, AlpacaREST(points))
        await server.against(stream)
        now = asyncio.get_running_loop().time()
        assert {name: round(now - at) for name, at in stream.heard.items()} == {"bars": 60, "trades": 20}


# -- subscriptions -----------------------------------------------------------------------------------------------------


def test_subscriptions_go_out_in_pieces() -> None:
    server = Subscriptions()

    async def script(talk: Talk) -> None:
        await logged_in(talk)
        for _ in range(3 * len(CHANNELS)):
            await server.answer(talk)
        await talk.stays(5)

    assert played([f"S{n}" for n in range(1000)], script) == ["up", "down: stopped"]
    assert server.asked == [(channel, count) for channel in CHANNELS for count in (400, 400, 200)]


def test_the_symbol_limit_for_trades_leaves_bars(caplog: pytest.LogCaptureFixture) -> None:
    server = Subscriptions(refused={"trades": 405})

    async def script(talk: Talk) -> None:
        await logged_in(talk)
        for _ in CHANNELS:
            await server.answer(talk)
        await talk.says([AAPL_BAR])
        await talk.stays(5)

    with_trades: list[str] = []
    assert played(["AAPL", "TSLA"], script, with_trades=with_trades) == ["up", AAPL, "down: stopped"]
    assert with_trades == []
    assert "no trades of AAPL, TSLA (405 some words); going on with bars" in caplog.text


@pytest.mark.parametrize("limit", [1, 30, 39])
def test_the_symbol_limit_is_used_up_and_the_rest_is_named(limit: int, caplog: pytest.LogCaptureFixture) -> None:
    server = Subscriptions(limit)
    symbols = [f"S{n}" for n in range(40)]

    async def script(talk: Talk) -> None:
        await logged_in(talk)
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                while True:
                    await server.answer(talk)

    told = played(symbols, script)
    assert told == ["up", "down: stopped"]
    assert server.held["bars"] == symbols[:limit]
    assert f"NO BARS, and so no trading, of {', '.join(symbols[limit:])} (405 symbol limit exceeded)" in caplog.text


@pytest.mark.parametrize("code", [409, 410, 400])
def test_missing_channels_are_gone_without_and_said_once(code: int, caplog: pytest.LogCaptureFixture) -> None:
    async def script(talk: Talk) -> None:
        await logged_in(talk)
        server = Subscriptions(refused={"statuses": code}, left_out=["trades"])
        for _ in CHANNELS:
            await server.answer(talk)
        await talk.says([AAPL_BAR])
        await talk.stays(5)

    with_trades: list[str] = []
    with caplog.at_level(logging.WARNING):
        told = played(["AAPL"], script, script, with_trades=with_trades)
    assert told == ["up", AAPL, "down: closed by the server (1000)", "up", AAPL, "down: stopped"]
    assert with_trades == []
    assert caplog.text.count("no trades of AAPL (left out of the server's answer); going on with bars") == 1
    assert caplog.text.count(f"no statuses of AAPL ({code} some words); going on with bars") == 1


def test_an_unanswered_subscription_is_fatal_for_bars_only() -> None:
    async def no_answer(talk: Talk) -> None:
        await logged_in(talk)
        await talk.stays(60)

    async def bars_only(talk: Talk) -> None:
        await logged_in(talk)
        server = Subscriptions()
        await server.answer(talk)
        await talk.stays(31)
        await talk.says([AAPL_BAR])
        await talk.stays(1)

    assert played(["AAPL"], no_answer, bars_only) == ["up", AAPL, "down: stopped"]


def test_what_only_the_user_can_mend_is_judged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Refused keys, and a feed that the plan lacks: where nobody finds it final, it is tried again."""

    async def wrong_keys(talk: Talk) -> None:
        await talk.says(CONNECTED)
        await talk.hears()
        await talk.says(error(402, "auth failed"))
        await talk.stays(5)

    async def at_login(talk: Talk) -> None:
        await talk.says(CONNECTED)
        await talk.hears()
        await talk.says(error(409, "insufficient subscription"))
        await talk.stays(5)

    async def at_subscription(talk: Talk) -> None:
        await logged_in(talk)
        await Subscriptions(refused={"bars": 409}).answer(talk)
        await talk.stays(5)

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.stays(5)

    asked: list[tuple[bool, str]] = []

    async def judge(refusal: LoginRefused) -> bool:
        asked.append((refusal.is_about_plan, str(refusal)))
        return False

    told = played(["AAPL"], wrong_keys, at_login, at_subscription, good, at_login, good, feed="sip", judge=judge)
    assert told == ["up", "down: closed by the server (1000)", "up", "down: stopped"]
    keys = "the data stream refused the keys: check APCA_API_KEY_ID and APCA_API_SECRET_KEY (APCA_API_STREAM_URL)"
    plan = "this account's data plan has no minute bars on the feed sip; --feed iex is free"
    assert asked == [(False, keys), (True, plan), (True, plan)]
    for words in (keys, plan):
        assert f"alpaca sip: {words}; next try in" in caplog.text


def test_a_taken_slot_and_a_slow_client_are_tried_again() -> None:
    async def taken(talk: Talk) -> None:
        await talk.says(CONNECTED)
        await talk.hears()
        await talk.says(error(406, "connection limit exceeded"))
        await talk.stays(5)

    async def taken_at_once(talk: Talk) -> None:
        await talk.says(error(406, "connection limit exceeded"))
        await talk.stays(5)

    async def slow(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([AAPL_BAR], error(405), error(407, "slow client"))
        await talk.stays(5)

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([AAPL_BAR])
        await talk.stays(5)

    assert played(["AAPL"], 429, taken, taken_at_once, slow, good) == [
        "up", AAPL, "down: error 407 slow client", "up", AAPL, "down: stopped",
    ]  # fmt: skip


def test_already_authenticated_is_harmless_and_silence_is_not() -> None:
    async def silent(talk: Talk) -> None:
        await talk.says(CONNECTED)
        await talk.hears()
        await talk.says(error(403, "already authenticated"))
        server = Subscriptions()
        for _ in CHANNELS:
            await server.answer(talk)
        await talk.stays(10_000)

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.stays(5)

    assert played(["AAPL"], silent, good) == ["up", "down: no message for 150 s", "up", "down: stopped"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://stream.data.alpaca.markets", "wss://stream.data.alpaca.markets/v2/sip"),
        ("https://stream.data.alpaca.markets/", "wss://stream.data.alpaca.markets/v2/sip"),
        ("ws://127.0.0.1:80/v2", "ws://127.0.0.1:80/v2/sip"),
        ("ws://127.0.0.1:80/v2/test/", "ws://127.0.0.1:80/v2/test"),
        ("ws://127.0.0.1:80/prefix", "ws://127.0.0.1:80/prefix/v2/sip"),
    ],
)
def test_the_stream_url(url: str, expected: str) -> None:
    assert _stream_url(url, "sip") == expected


def test_which_prints_count_as_last_sale() -> None:
    assert counts_as_last_sale(None, None)
    counting: Any = (["@"], "C"), ([" ", "F"], "A"), (["@", "X", "new"], "C"), (["B"], "C"), (["W"], "A"), ([], "B")
    for codes, tape in counting:
        assert counts_as_last_sale(codes, tape)
    not_counting = (["@", "I"], "C"), (["@", "T", "I"], "C"), (["Z"], "A"), (["B"], "A"), (["W"], "C"), (["4"], "B")
    for codes, tape in not_counting:
        assert not counts_as_last_sale(codes, tape)


def row(minute: int, **changed: Any) -> dict[str, Any]:
    return {"t": f"2026-11-20T15:{30 + minute}:00Z", "o": 1, "h": 2, "l": 0.5, "c": 1.5, "v": 100, "n": 3, **changed}


def one(symbol: str, minute: int) -> Bar:
    return Bar(symbol, AT_1530 + minute * MINUTE, 1, 2, 0.5, 1.5, 100)


def test_history_is_paged_and_drops_what_is_unfinished_or_bad() -> None:
    async def session() -> None:
        async with http_fake() as fake:
            points = endpoints(fake.url)
            rest = AlpacaREST(points)
            feed = AlpacaFeed(points, [], Told(), random.Random(1), lambda: True, rest)
            end = AT_1530 + 3 * MINUTE + 30_000_000_000
            fake.will_answer({"bars": {"AAPL": [row(0), row(1, c=None), row(1, t="?")]}, "next_page_token": "x=1&"})
            bars = {"AAPL": [row(2), row(3)], "TSLA": [row(0)], "NULL": None}
            fake.will_answer({"bars": bars, "next_page_token": None})
            got = [pair async for pair in feed.history(["AAPL", "TSLA", "NULL", "NONE"], AT_1530, end)]
            assert got == [
                ("AAPL", [one("AAPL", 0), one("AAPL", 2)]),
                ("TSLA", [one("TSLA", 0)]),
                ("NULL", []),
                ("NONE", []),
            ]
            query = (
                "/v2/stocks/bars?symbols=AAPL,TSLA,NULL,NONE&timeframe=1Min&start=2026-11-20T15:30:00Z"
                "&end=2026-11-20T15:33:30Z&limit=10000&adjustment=raw&sort=asc"
            )
            assert fake.asked == [
                ("GET", f"{query}&feed=iex", None),
                ("GET", f"{query}&page_token=x=1&&feed=iex", None),
            ]

            # A server that gives the same page again and again.
            for _ in range(2):
                fake.will_answer({"bars": {"AAPL": [row(0)]}, "next_page_token": "again"})
            assert len([pair async for pair in feed.history(["AAPL"], AT_1530, end)]) == 1

            # Many symbols: as many requests as the length of a URL asks for.
            fake.asked.clear()
            for _ in range(2):
                fake.will_answer({"bars": {}})
            many = [f"SYM{n:03}" for n in range(500)]
            waiting = list(many)
            async for symbol, _ in feed.history(waiting, AT_1530, end):
                assert symbol == many[-len(waiting)]
                waiting.remove(symbol)
            assert waiting == []
            assert len(fake.asked) == 2
            await rest.close()

    run(session())


async def test_history_refused_says_why_in_a_line() -> None:
    async with http_fake() as fake:
        points = endpoints(fake.url, feed="sip")
        rest = AlpacaREST(points)
        feed = AlpacaFeed(points, ["AAPL"], Told(), random.Random(1), lambda: True, rest)
        recent = {"code": 42210000, "message": "subscription does not permit querying recent SIP data"}
        for body, status, raised in (
            (recent, 403, UserError), ({"message": "forbidden."}, 403, Rejected), ("<html>", 200, Unreachable),
            ({"bars": 5}, 200, Unreachable), ("", 500, Unreachable),
        ):  # fmt: skip
            fake.will_answer(body, status)
            with pytest.raises(raised) as told:
                [_ async for _ in feed.history(["AAPL"], AT_1530, AT_1530)]
            assert type(told.value) is raised
            if raised is UserError:
                assert "feed sip; --feed iex is free" in str(told.value)
        trade = {"t": "2026-11-20T15:30:59.980113447Z", "p": 178.42, "s": 100}
        fake.will_answer({"symbol": "AAPL", "trade": trade})
        assert await feed.latest_trade("AAPL") == Trade("AAPL", LAST.at, 178.42, 100)
        fake.will_answer({"message": "not found"}, 404)
        assert await feed.latest_trade("AAPL") is None
        assert fake.asked[-1] == ("GET", "/v2/stocks/AAPL/trades/latest?feed=sip", None)
        await rest.close()


async def test_a_page_of_history_that_fails_holds_up_no_other() -> None:
    async with http_fake() as fake:
        points = endpoints(fake.url)
        rest = AlpacaREST(points)
        feed = AlpacaFeed(points, [], Told(), random.Random(1), lambda: True, rest)
        many = [f"SYM{n:04}" for n in range(1200)]  # three requests
        for answers, raised in (
            (((400, {"message": "bad symbol"}), (500, ""), (200, {"bars": {}})), Unreachable),
            (((400, {"message": "bad symbol"}), (200, {"bars": {}}), (200, {"bars": {}})), Rejected),
        ):
            for code, body in answers:
                fake.will_answer(body, code)
            got = []
            with pytest.raises(raised):
                async for symbol, _ in feed.history(many, AT_1530, AT_1530):
                    got.append(symbol)
            assert got == many[-len(got) :] and 0 < len(got) < 1000
        fake.will_answer("", 429)  # this one does
        with pytest.raises(RateLimited):
            [_ async for _ in feed.history(many, AT_1530, AT_1530)]
        assert len(fake.asked) == 7
        await rest.close()


async def test_the_latest_trades_of_many_symbols_at_once() -> None:
    async with http_fake() as fake:
        points = endpoints(fake.url)
        rest = AlpacaREST(points)
        feed = AlpacaFeed(points, [], Told(), random.Random(1), lambda: True, rest)
        trade = {"t": "2026-11-20T15:30:59.980113447Z", "x": "V", "p": 178.42, "s": 100, "i": 52983525029461}
        fake.will_answer({"trades": {"AAPL": trade, "TSLA": None, "F": {"p": 1}, "GE": {**trade, "t": "?"}}})
        assert await feed.latest_trades(["AAPL", "TSLA", "F", "GE", "X"]) == {"AAPL": LAST}
        assert fake.asked == [("GET", "/v2/stocks/trades/latest?symbols=AAPL,TSLA,F,GE,X&feed=iex", None)]
        fake.will_answer("<html>")
        with pytest.raises(Unreachable):
            await feed.latest_trades(["AAPL"])
        await rest.close()


def test_a_frame_of_many_bars_is_one_decode() -> None:
    frame = json.dumps([AAPL_BAR] * 500)

    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says(frame)
        await talk.stays(1)

    assert played(["AAPL"], script) == ["up", *[AAPL] * 500, "down: stopped"]
