"""Polygon's stream and REST: what is asked, what the sink gets, what is missing and said."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from scalp.core.errors import Rejected, Unreachable, UserError
from scalp.core.market_data import Bar, Halt, Trade
from scalp.core.ports import never
from scalp.core.units import MINUTE
from scalp.net.stream import LoginRefused
from scalp.polygon.feed import RETRIES, PolygonFeed
from tests.wire.fakes import POLYGON_KEY, Script, Talk, Told, endpoints, http_fake, run, scripted

START_MS = 1_795_188_600_000
START = START_MS * 1_000_000


def status(name: str, message: str = "") -> dict[str, Any]:
    return {"ev": "status", "status": name, "message": message}


def confirmed(*channels: str) -> list[dict[str, Any]]:
    return [status("success", f"subscribed to: {channel}") for channel in channels]


AAPL_AM = {
    "ev": "AM", "sym": "AAPL", "v": 48211, "av": 18203344, "op": 177.9, "vw": 178.3921, "o": 178.31, "c": 178.42,
    "h": 178.47, "l": 178.3, "a": 178.0133, "z": 102, "s": START_MS, "e": START_MS + 60000, "dv": "48211.25",
}  # fmt: skip
AAPL = Bar("AAPL", START, 178.31, 178.47, 178.3, 178.42, 48211)
PRINT = {"ev": "T", "sym": "AAPL", "x": 4, "i": "1", "z": 3, "p": 178.42, "s": 100, "c": [14], "t": START_MS + 59980}
LAST = Trade("AAPL", START + 59_980_000_000, 178.42, 100, "1")


async def logged_in(talk: Talk) -> None:
    await talk.says([status("connected", "Connected Successfully")])
    assert await talk.hears() == {"action": "auth", "params": POLYGON_KEY}
    await talk.says([status("auth_success", "authenticated")])


async def subscribed(talk: Talk) -> None:
    await logged_in(talk)
    for kind in ("AM", "T", "LULD"):
        request = await talk.hears()
        assert request["action"] == "subscribe" and request["params"].startswith(kind)
        await talk.says(confirmed(*request["params"].split(",")))


def played(
    symbols: Sequence[str],
    *scripts: Script,
    with_trades: list[str] | None = None,
    judge: Callable[[LoginRefused], Awaitable[bool]] = never,
) -> list[Any]:
    """What the sink was told; `with_trades` collects the symbols whose trades stream in."""
    told = Told()

    async def session() -> None:
        async with scripted(*scripts) as server:
            points = endpoints(server.url + "/stocks", polygon_key=POLYGON_KEY)
            stream = PolygonFeed(points, symbols, told, random.Random(1), lambda: True, is_final=judge)
            await server.against(stream)
            if with_trades is not None:
                with_trades.extend(symbol for symbol in symbols if stream.streams_trades(symbol))

    run(session())
    return told.all


def test_bars_and_trades() -> None:
    async def script(talk: Talk) -> None:
        assert talk.path == "/stocks"
        await logged_in(talk)
        assert await talk.hears() == {"action": "subscribe", "params": "AM.AAPL,AM.BRK.B"}
        # One confirmation per channel, split over frames or not, data among them.
        await talk.says(confirmed("AM.AAPL"), [*confirmed("AM.BRK.B"), AAPL_AM])
        assert await talk.hears() == {"action": "subscribe", "params": "T.AAPL,T.BRK.B"}
        await talk.says(confirmed("T.AAPL,T.BRK.B"))
        assert await talk.hears() == {"action": "subscribe", "params": "LULD.AAPL,LULD.BRK.B"}
        await talk.says([AAPL_AM, {**AAPL_AM, "sym": "BRK.B", "v": 0.5, "z": 12.0}, PRINT])
        await talk.says([{**PRINT, "c": [14, 37]}, {**PRINT, "c": None, "p": 178.43}, {**PRINT, "sym": "OTHER"}])
        await talk.says([{**AAPL_AM, "v": 50000}])
        await talk.stays(5)

    with_trades: list[str] = []
    assert played(["AAPL", "BRK.B"], script, with_trades=with_trades) == [
        AAPL,
        "up",
        AAPL,
        Bar("BRK.B", START, 178.31, 178.47, 178.3, 178.42, 0.5),
        LAST,
        Trade("AAPL", LAST.at, 178.43, 100, "1"),
        Bar("AAPL", START, 178.31, 178.47, 178.3, 178.42, 50000),
        "down: stopped",
    ]
    assert with_trades == ["AAPL", "BRK.B"]


def test_bad_messages_cost_themselves_only() -> None:
    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says("5")
        await talk.says([{"ev": "LULD"}, 5, AAPL_AM, {**PRINT, "p": None}, PRINT])
        await talk.says([status("error", "unknown action"), status("brand_new"), AAPL_AM])
        await talk.stays(5)

    assert played(["AAPL"], script) == ["up", AAPL, LAST, AAPL, "down: stopped"]


def test_a_bar_that_cannot_be_taken_is_a_gap() -> None:
    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([{**AAPL_AM, "c": None}, AAPL_AM, {**AAPL_AM, "l": 0}, {**AAPL_AM, "sym": "OTHER", "l": None}])
        await talk.says("not json")
        await talk.stays(5)

    gap = "gap: AAPL"
    assert played(["AAPL"], script) == ["up", gap, AAPL, gap, gap, "down: stopped"]


def luld(*indicators: int, symbol: str = "AAPL", t: int = START_MS + 100) -> dict[str, Any]:
    return {"ev": "LULD", "T": symbol, "h": 187.35, "l": 169.51, "i": list(indicators), "z": 3, "t": t, "q": 1}


def test_halts_and_resumptions_are_told_and_price_bands_are_not() -> None:
    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([luld(1), luld(), luld(17), luld(17, symbol="OTHER"), {**luld(), "i": None}])
        await talk.says([luld(18, t=START + 200_000_000)])  # in nanoseconds, as some examples have it
        await talk.stays(5)

    assert played(["AAPL"], script) == [
        "up",
        Halt("AAPL", START + 100_000_000, True, "told by LULD"),
        Halt("AAPL", START + 200_000_000, False, "told by LULD"),
        "down: stopped",
    ]


def test_a_later_bar_ends_a_halt_whose_resumption_was_lost() -> None:
    async def script(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([luld(17, t=START_MS + 30_000), AAPL_AM])  # of the minute it began in
        await talk.says([{**AAPL_AM, "s": START_MS + 60_000}])
        await talk.stays(5)

    later = Bar("AAPL", START + MINUTE, 178.31, 178.47, 178.3, 178.42, 48211)
    assert played(["AAPL"], script) == [
        "up",
        Halt("AAPL", START + 30_000_000_000, True, "told by LULD"),
        AAPL,
        Halt("AAPL", START + MINUTE, False, ""),
        later,
        "down: stopped",
    ]


def test_a_plan_without_halts_goes_on_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def script(talk: Talk) -> None:
        await logged_in(talk)
        for kind in ("AM", "T"):
            await talk.hears()
            await talk.says(confirmed(f"{kind}.AAPL"))
        await talk.hears()
        await talk.says([status("error", "not authorized")], [status("error", "not authorized")], [AAPL_AM])
        await talk.stays(5)

    told = played(["AAPL"], script, script)
    assert told == ["up", AAPL, "down: closed by the server (1000)", "up", AAPL, "down: stopped"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("halts are not told (does the plan have them?); going on without" in line for line in warnings) == 1


def test_trades_do_not_vouch_for_bars_nor_bars_for_trades() -> None:
    async def trades_only(talk: Talk) -> None:
        await subscribed(talk)
        for _ in range(300):
            await talk.says([PRINT])
            await talk.stays(2)

    async def bars_only(talk: Talk) -> None:
        await subscribed(talk)
        for number in range(10):
            await talk.says([{**AAPL_AM, "s": START_MS + 60_000 * number}])
            await talk.stays(60)

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.stays(5)

    with_trades: list[str] = []
    told = played(["AAPL"], trades_only, bars_only, good, with_trades=with_trades)
    assert [item for item in told if isinstance(item, str)] == [
        "up", "down: trades come, and no bars for 150 s", "up", "down: bars come, and no trades for 150 s", "up",
        "down: stopped",
    ]  # fmt: skip
    assert with_trades == []


def test_subscriptions_go_out_in_pieces() -> None:
    counts: list[int] = []

    async def script(talk: Talk) -> None:
        await logged_in(talk)
        for _ in range(6):
            channels = (await talk.hears())["params"].split(",")
            counts.append(len(channels))
            await talk.says(confirmed(*channels))
        await talk.stays(5)

    assert played([f"S{n}" for n in range(500)], script) == ["up", "down: stopped"]
    assert counts == [400, 100] * 3


def test_a_plan_without_trades_goes_on_with_bars(caplog: pytest.LogCaptureFixture) -> None:
    async def refused(talk: Talk) -> None:
        await logged_in(talk)
        await talk.hears()
        await talk.says(confirmed("AM.AAPL"))
        await talk.hears()
        await talk.says([status("error", "not authorized")], [AAPL_AM])
        await talk.stays(5)

    async def silent(talk: Talk) -> None:
        await logged_in(talk)
        await talk.hears()
        await talk.says(confirmed("AM.AAPL"))
        await talk.stays(6)
        await talk.says(confirmed("T.AAPL"))
        await talk.stays(1)

    with_trades: list[str] = []
    assert played(["AAPL"], refused, with_trades=with_trades) == [AAPL, "up", "down: stopped"]
    assert with_trades == []
    assert "going on with minute bars" in caplog.text
    # A confirmation that comes late is believed.
    assert played(["AAPL"], silent, with_trades=with_trades) == ["up", "down: stopped"]
    assert with_trades == ["AAPL"]


async def without_bars(talk: Talk) -> None:
    await logged_in(talk)
    await talk.hears()
    await talk.says([status("error", "not authorized")])
    await talk.stays(5)


async def wrong_key(talk: Talk) -> None:
    await talk.says([status("connected")])
    await talk.hears()
    await talk.says([status("auth_failed", "authentication failed")])
    await talk.stays(5)


def test_what_only_the_user_can_mend_is_judged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """A plan without real-time bars, where the delayed host is named, and a refused key, which is not."""

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.stays(5)

    asked: list[tuple[bool, str]] = []

    async def judge(refusal: LoginRefused) -> bool:
        asked.append((refusal.is_about_plan, str(refusal)))
        return len(asked) == 3

    assert played(["AAPL"], without_bars, wrong_key, good, wrong_key, good, judge=judge)[:2] == [
        "up", "down: closed by the server (1000)",
    ]  # fmt: skip
    with pytest.raises(UserError, match="check POLYGON_API_KEY"):
        played(["AAPL"], wrong_key, judge=judge)
    assert [about_plan for about_plan, _ in asked] == [True, False, False]
    assert "wss://delayed.massive.com/stocks" in asked[0][1]
    assert POLYGON_KEY not in caplog.text and POLYGON_KEY not in asked[1][1]


def test_bars_that_nobody_confirmed_may_still_come(caplog: pytest.LogCaptureFixture) -> None:
    async def script(talk: Talk) -> None:
        await logged_in(talk)
        await talk.stays(11)
        await talk.says([AAPL_AM])
        await talk.stays(1)

    assert played(["AAPL"], script) == ["up", AAPL, "down: stopped"]
    assert "the subscription to the minute bars of AAPL was not confirmed" in caplog.text


def test_a_second_program_on_the_key_is_said_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def evicted(talk: Talk) -> None:
        await subscribed(talk)
        await talk.says([status("max_connections", "Maximum number of websocket connections exceeded.")])
        await talk.stays(5)

    async def too_late(talk: Talk) -> None:
        await talk.says([status("connected")])
        await talk.hears()
        await talk.says([status("auth_timeout")])
        await talk.stays(5)

    async def good(talk: Talk) -> None:
        await subscribed(talk)
        await talk.stays(5)

    told = played(["AAPL"], evicted, too_late, good)
    assert [word.partition(" (")[0] for word in told] == [
        "up", "down: another connection with this key is open", "up", "down: stopped",
    ]  # fmt: skip
    assert "next try in 60.0 s" in caplog.text


def row(minute: int, **changed: Any) -> dict[str, Any]:
    return {"t": START_MS + 60_000 * minute, "o": 1, "h": 2, "l": 0.5, "c": 1.5, "v": 100.25, "n": 3, **changed}


def one(symbol: str, minute: int) -> Bar:
    return Bar(symbol, START + minute * MINUTE, 1, 2, 0.5, 1.5, 100.25)


def test_history_is_one_request_symbol_with_key_in_header_only() -> None:
    async def session() -> None:
        async with http_fake() as fake:
            feed = PolygonFeed(endpoints(fake.url, polygon_key=POLYGON_KEY), [], Told(), random.Random(1), lambda: True)
            end = START + 3 * MINUTE + 30_000_000_000
            elsewhere = "https://127.0.0.1:1/v2/aggs/next?cursor=abc"
            fake.will_answer({"status": "OK", "results": [row(0), row(1, c=None)], "next_url": elsewhere})
            fake.will_answer({"status": "DELAYED", "results": [row(2), row(3)]})
            fake.will_answer({"status": "ERROR", "error": "maximum requests per minute"}, 429)
            fake.will_answer("<html>", 502)
            fake.will_answer({"status": "OK", "resultsCount": 0})
            fake.will_answer({"status": "OK", "results": [row(0)]})
            got, waiting = [], ["AAPL", "NONE", "BRK.B"]
            async for symbol, bars in feed.history(waiting, START, end):
                got.append((symbol, bars))
                waiting.remove(symbol)
            assert got == [
                ("AAPL", [one("AAPL", 0), one("AAPL", 2)]),
                ("NONE", []),
                ("BRK.B", [one("BRK.B", 0)]),
            ]

            def path(symbol: str) -> str:
                times = f"{START_MS}/{START_MS + 210_000}"
                return f"/v2/aggs/ticker/{symbol}/range/1/minute/{times}?adjusted=false&sort=asc&limit=50000"

            assert [asked[1] for asked in fake.asked] == [
                path("AAPL"), "/v2/aggs/next?cursor=abc", path("NONE"), path("NONE"), path("NONE"), path("BRK.B"),
            ]  # fmt: skip
            assert {headers["Authorization"] for headers in fake.headers} == {f"Bearer {POLYGON_KEY}"}

            for _ in range(2):  # the same page again and again
                fake.will_answer({"status": "OK", "results": [row(0)], "next_url": elsewhere})
            assert len([pair async for pair in feed.history(["AAPL"], START, end)]) == 1
            await feed.close()

    run(session())


async def test_symbol_whose_history_fails_does_not_hold_up_others() -> None:
    async with http_fake() as fake:
        feed = PolygonFeed(endpoints(fake.url), [], Told(), random.Random(1), lambda: True)
        fake.will_answer({"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."}, 403)
        fake.will_answer({"status": "OK", "results": [row(0)]})
        got = []
        with pytest.raises(Rejected, match=r"^403: no history of BAD: You are not entitled"):
            async for pair in feed.history(["BAD", "AAPL"], START, START + MINUTE):
                got.append(pair)
        assert got == [("AAPL", [one("AAPL", 0)])]
        # While another symbol may be had later, it is no definite no.
        fake.will_answer({"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."}, 403)
        fake.will_answer({"status": "OK", "results": [row(0)]})
        for _ in range(len(RETRIES) + 1):
            fake.will_answer("<html>", 502)
        with pytest.raises(Unreachable, match=r"^no history of BAD, WORSE: GET "):
            async for pair in feed.history(["BAD", "AAPL", "WORSE"], START, START + MINUTE):
                got.append(pair)
        assert got == 2 * [("AAPL", [one("AAPL", 0)])]
        await feed.close()


@pytest.mark.parametrize("address", ["@127.0.0.1:{port}/x", ".example.com/x", "v2/x", ":1/x", "http:v2/x", "?a=b"])
async def test_the_key_follows_no_address_of_a_page_to_another_host(address: str) -> None:
    async with http_fake() as elsewhere, http_fake() as fake:
        feed = PolygonFeed(endpoints(fake.url, polygon_key=POLYGON_KEY), [], Told(), random.Random(1), lambda: True)
        further = address.format(port=elsewhere.url.rpartition(":")[2])
        fake.will_answer({"status": "OK", "results": [row(0)], "next_url": further})
        with pytest.raises(Unreachable, match="the address of the next page is not understood"):
            [pair async for pair in feed.history(["AAPL"], START, START + MINUTE)]
        assert len(fake.asked) == 1
        assert elsewhere.asked == []
        await feed.close()


async def test_a_wait_asked_for_is_shorter_than_a_holes() -> None:
    async with http_fake() as fake:
        feed = PolygonFeed(endpoints(fake.url), [], Told(), random.Random(1), lambda: True)
        for _ in range(3):
            fake.will_answer({"status": "ERROR", "error": "maximum requests per minute"}, 429, Retry_After="3600")
        fake.will_answer({"status": "OK", "results": [row(0)]})
        began = asyncio.get_running_loop().time()
        assert len([pair async for pair in feed.history(["AAPL"], START, START + MINUTE)]) == 1
        assert asyncio.get_running_loop().time() - began < 60
        await feed.close()


async def test_latest_trade() -> None:
    async with http_fake() as fake:
        feed = PolygonFeed(endpoints(fake.url), [], Told(), random.Random(1), lambda: True)
        last = {"T": "AAPL", "p": 178.42, "s": 100, "t": 1_795_188_659_980_113_447, "c": [14], "z": 3}
        fake.will_answer({"status": "OK", "results": last})
        assert await feed.latest_trade("AAPL") == Trade("AAPL", 1_795_188_659_980_113_447, 178.42, 100)
        for nothing, status_code in (
            ({"status": "OK", "results": {**last, "c": [12, 37]}}, 200), ({"status": "OK"}, 200),
            ({"status": "OK", "results": {"p": 1}}, 200),
            ({"status": "NOT_AUTHORIZED", "message": "not entitled"}, 403),
            ({"status": "ERROR", "error": "?"}, 200),
        ):  # fmt: skip
            fake.will_answer(nothing, status_code)
            assert await feed.latest_trade("AAPL") is None
        fake.will_answer("", 500)
        with pytest.raises(Unreachable):
            await feed.latest_trade("AAPL")
        assert fake.asked[0] == ("GET", "/v2/last/trade/AAPL", None)
        # Of many: what cannot be had is left out.
        fake.will_answer({"status": "OK", "results": last})
        fake.will_answer({"status": "NOT_FOUND", "message": "no"}, 404)
        fake.will_answer("", 500)
        fake.will_answer({"status": "OK", "results": {**last, "i": "7"}})
        at = 1_795_188_659_980_113_447
        assert await feed.latest_trades(["AAPL", "X", "Y", "F"]) == {
            "AAPL": Trade("AAPL", at, 178.42, 100), "F": Trade("F", at, 178.42, 100, "7"),
        }  # fmt: skip
        await feed.close()
