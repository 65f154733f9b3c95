"""`--notify`: what is told, and that no service, slow or dead, is ever in the way."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scalp.cli.settings import read_settings
from scalp.core import log as core_log
from scalp.core.errors import UserError
from scalp.core.events import (
    BarHeard,
    Fill,
    LeftOver,
    Liquidating,
    Note,
    OrderEnded,
    Rejected,
    RiskRuleStruck,
    SessionOver,
    StreamDown,
    StreamUp,
    Transition,
)
from scalp.core.log import Line, log_event
from scalp.core.market_data import Bar
from scalp.core.units import SECOND
from scalp.journal.schema import prepare
from scalp.live import notify
from scalp.live.console import ConsoleLog
from scalp.live.notify import Notifier, notifications
from scalp.net.printable import Mask
from scalp.notify import main as notify_command
from tests.trading import AT_100, FALLING, OPEN, Script, minutes, run, status, trading

# Of apprise, while it looks through its services.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hook-token-0123456789"
BUY_FILLS = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING)}

AT = OPEN + 90 * SECOND

PATIENCE = 60.0  # seconds until something that has to happen counts as missing

log = logging.getLogger("scalp.TSLA")


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Service:
    """A web hook on this machine; `messages` holds the (title, lines) it was told. It answers after `delay` seconds.

    None: when it is left."""

    def __init__(self, delay: float | None = 0.0, code: int = 200) -> None:
        self.messages: list[tuple[str, list[str]]] = []
        self.kinds: list[str] = []  # of each of them
        service = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.messages.append((body["title"], body["message"].splitlines()))
                service.kinds.append(body["type"])
                service.left.wait(delay)
                self.send_response(code)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Not into the output of the tests."""

        self.left = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self._server.daemon_threads = True
        self.url = f"json://127.0.0.1:{self._server.server_port}/{TOKEN}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def lines(self) -> list[str]:
        return [line for _, lines in self.messages for line in lines]

    def stop(self) -> None:
        self.left.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def service(delay: float | None = 0.0, code: int = 200) -> Iterator[Service]:
    hook = Service(delay, code)
    try:
        yield hook
    finally:
        hook.stop()


@contextmanager
def telling(*urls: str, now: Callable[[], int | None] = lambda: None) -> Iterator[Notifier]:
    """As in a run; ends with everything sent, or given up."""
    notifier = Notifier(urls, "scalp, test", now, len(urls))
    logger = logging.getLogger("scalp")
    logger.addHandler(notifier.errors)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield notifier
    finally:
        logger.removeHandler(notifier.errors)
        notifier.end()
        logger.setLevel(level)


@contextmanager
def nobody() -> Iterator[str]:
    """An address where connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"json://127.0.0.1:{server.getsockname()[1]}/{TOKEN}"


class Endless:
    """A service that answers with `head`, and then `part` again and again, a hundred megabytes of it if it can."""

    def __init__(self, head: bytes, part: bytes) -> None:
        self.sent = 0
        self.hung_up = threading.Event()
        self._head, self._part = head, part
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"json://127.0.0.1:{self._socket.getsockname()[1]}/{TOKEN}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection, self._socket:
            connection.recv(65536)
            try:
                connection.sendall(self._head)
                while self.sent < 10**8:
                    connection.sendall(self._part)
                    self.sent += len(self._part)
            except OSError:
                self.hung_up.set()


@pytest.mark.parametrize("kind", ["plain", "packed", "the size of a chunk"])
def test_of_an_answer_without_end_only_the_beginning_is_read(kind: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    hook = Endless(head + b"\r\n", b"x" * 65536)
    if kind == "packed":  # a gigabyte, in a megabyte
        hook = Endless(head + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(2**30), 1))
    elif kind == "the size of a chunk":
        hook = Endless(head + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536)
    with telling(hook.url):
        log.error("told")
        assert hook.hung_up.wait(20)
    assert hook.sent < 2 * 10**7


def test_no_service_makes_messages_wait_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    with service() as hook, telling(hook.url) as notifier:
        (one,) = notifier._services
        one._plugin.throttle()
        monkeypatch.setattr("apprise.url.time.sleep", slept.append)
        for asked in (3600.0, 3.0, float("nan"), float("inf"), -1.0):
            one._plugin.throttle(wait=asked)
        monkeypatch.undo()
    assert slept == [30.0, 3.0, 30.0, 30.0, 30.0]


def test_no_key_is_told_to_a_service() -> None:
    with service() as hook:
        notifier = Notifier([hook.url], "scalp, test", lambda: None, 1, Mask(["hush-hush"]))
        record = logging.LogRecord("scalp.TSLA", logging.ERROR, "", 0, "a key: %s\n\x1b[2J", ("hush-hush",), None)
        notifier.errors.emit(record)
        notifier(Rejected("TSLA", AT, "buy", Decimal(4), "a key: hush-hush\n\x1b[2J"))
        notifier.end()
    assert hook.lines == [
        r"TSLA a key: ***\n\x1b[2J",
        r"09:31:30 TSLA buy of 4 refused: a key: ***\n\x1b[2J",
    ]


# -- what is told -----------------------------------------------------------------------------------------------------


FILL = Fill("TSLA", AT, "buy", Decimal(4), Decimal("401.62"), Decimal(0))


def test_fills_and_refusals_with_time_and_symbol() -> None:
    async def story(notifier: Notifier) -> None:
        script = Script()
        script.on("POST /v2/orders", status(403, "insufficient buying power"), symbol="AAPL")
        market = {symbol: minutes(symbol, AT_100, AT_100, *FALLING) for symbol in ("TSLA", "AAPL")}
        async with trading(market, script) as bot:
            bot.session.fleet.bus.listen(notifier)
            await bot.until(200)

    with service() as hook, telling(hook.url) as notifier:
        run(story(notifier))
    assert {title for title, _ in hook.messages} == {"scalp, test"}
    refused, bought = sorted(hook.lines, key=lambda line: "refused" not in line)
    assert refused.startswith("09:32:")
    assert refused.endswith("AAPL buy of 10 refused: insufficient buying power")
    assert bought.endswith("TSLA bought 10 at 99.91")


def test_what_belongs_together_is_one_message() -> None:
    with service() as hook, telling(hook.url) as notifier:
        notifier(FILL)
        notifier(Fill("TSLA", AT, "sell", Decimal(4), Decimal("401.70"), Decimal("0.32")))
    assert hook.messages == [
        ("scalp, test", ["09:31:30 TSLA bought 4 at 401.62", "09:31:30 TSLA sold 4 at 401.70, profit +0.32, net +0.32"])
    ]


def test_rails_liquidations_outages_errors_and_the_result() -> None:
    four = Decimal(4)
    with service() as hook, telling(hook.url, now=lambda: AT) as notifier:
        notifier(RiskRuleStruck("TSLA", AT, "stop loss"))
        notifier(Liquidating("TSLA", AT, four, 1))
        notifier(OrderEnded("TSLA", AT, "sell", "rejected", Decimal(0), four))
        notifier(RiskRuleStruck("", AT, "max-loss"))
        notifier(StreamDown(AT, "order updates", 75))
        logging.getLogger("scalp.main").error("a task died: stopping")
        notifier(Note("fleet", AT, logging.ERROR, "%s: an event could not be handled", ("TSLA",)))
        notifier(StreamUp(AT, "order updates", 80))
        notifier(LeftOver("TSLA", AT, four, None, ""))
        notifier(SessionOver(AT, "2 trades"))
    assert hook.lines == [
        "09:31:30 TSLA leaving: stop loss",
        "09:31:30 TSLA liquidating: 4 held, 1 order open",
        "09:31:30 TSLA sell rejected, 0 of 4 filled",
        "09:31:30 max-loss: everything is sold and nothing is bought any more; the bot stays up",
        "09:31:30 order updates: down for 75 s",
        "09:31:30 a task died: stopping",
        "09:31:30 TSLA: an event could not be handled",
        "09:31:30 order updates: up again, after 80 s",
        "09:31:30 TSLA: 4 held at -, working: nothing",
        "09:31:30 session over: 2 trades",
    ]


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([FILL], "success"),
        ([Fill("TSLA", AT, "sell", Decimal(4), Decimal(400), Decimal("0.00"))], "success"),
        ([FILL, Fill("TSLA", AT, "sell", Decimal(4), Decimal(400), Decimal("-6.48"))], "warning"),
        ([RiskRuleStruck("TSLA", AT, "stop loss"), FILL], "warning"),
        ([StreamUp(AT, "order updates", 80)], "info"),
        ([FILL, Note("fleet", AT, logging.ERROR, "a defect")], "failure"),
        ([SessionOver(AT, "2 trades", Decimal("1.02"))], "success"),
        ([SessionOver(AT, "2 trades", Decimal("-1.02"))], "warning"),
    ],
)
def test_a_phone_can_tell_a_fill_from_a_stop_and_from_a_failure(events: list[Any], kind: str) -> None:
    with service() as hook, telling(hook.url) as notifier:
        for event in events:
            notifier(event)
    assert hook.kinds == [kind]


def test_a_rail_that_refuses_is_told_anew_in_the_next_session() -> None:
    refused = Rejected("TSLA", AT, "buy", Decimal(4), "the account is blocked", 0.0, False)
    with service() as hook, telling(hook.url) as notifier:
        for event in (refused, refused, SessionOver(AT, "over"), refused):
            notifier(event)
    assert [" ".join(line.split()[1:3]) for line in hook.lines] == ["TSLA buy", "session over:", "TSLA buy"]


JOURNALED = """
INSERT INTO runs (run, venue, host, date, open, close, started_at, symbols, lot, algo, feed, options, versions)
VALUES ('1', ?, 'paper-api.alpaca.markets', ?, 0, 0, 0, '[]', '1', 'a', 'iex', '{}', '{}')"""
FILLED = """
INSERT INTO fills (run, at, happened_at, symbol, side, qty, price, type, position, fees)
VALUES (?, ?, ?, 'TSLA', ?, '10', ?, 'limit', '0', '0.05')"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Two days of November, this one, one of October, and one on another account, each with a trip of a dollar."""
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection, path)
        days = [("paper", "2026-11-02"), ("paper", "2026-11-19"), ("paper", "2026-11-20"), ("paper", "2026-10-30"),
                ("live", "2026-11-19")]  # fmt: skip
        for number, (venue, date) in enumerate(days, 1):
            connection.execute(JOURNALED, (venue, date))
            for at, side, price in ((1, "buy", "100"), (2, "sell", "100.1")):
                connection.execute(FILLED, (number, at, at, side, price))
    return path


def test_the_day_ends_with_its_net_and_that_of_the_month(journal: Path) -> None:
    keys = {"APCA_API_KEY_ID": "PKKEY", "APCA_API_SECRET_KEY": "secret-key"}
    with service() as hook:
        settings = read_settings(["TSLA", "--journal", str(journal), "--notify", hook.url], keys)
        with notifications(settings, lambda: AT) as (listener,):
            listener(SessionOver(AT, "28 trades, net $ +1.02", Decimal("1.02")))
    assert hook.messages == [("scalp, paper", [
        "09:31:30 session over: 28 trades, net $ +1.02", "November so far: net $ +2.82 in 3 sessions"])]  # fmt: skip


@pytest.mark.parametrize(("line", "shown"), [("TSLA", "paper"), ("TSLA --live", "LIVE")])
def test_the_title_says_whose_money_it_is(line: str, shown: str) -> None:
    keys = {"APCA_API_KEY_ID": "PKKEY", "APCA_API_SECRET_KEY": "secret-key"}
    assert notify.title(read_settings(line.split(), keys)) == f"scalp, {shown}"
    here = keys | {"APCA_API_BASE_URL": "http://127.0.0.1:9"}
    assert notify.title(read_settings(line.split(), here)) == "scalp, simulated"
    assert notify.title(read_settings(["TSLA"], {})) == "scalp, simulated"


# -- python -m scalp.notify -------------------------------------------------------------------------------------------


def test_every_service_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    with service() as hook, service(code=500) as broken:
        assert notify_command(["--test", "--notify", hook.url], {}) == 0
        assert capsys.readouterr().out == "service 1 (JSON): took all three\n"
        assert hook.kinds == ["success", "warning", "failure"]
        assert {title for title, _ in hook.messages} == {"scalp, test"}
        assert notify_command(["--test"], {"SCALP_NOTIFY": f"{hook.url} {broken.url}"}) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["service 1 (JSON): took all three", "service 2 (JSON): did NOT take them"]
    assert TOKEN not in shown.out + shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--test"], "no service: name one with --notify, or set SCALP_NOTIFY"),
        ([], "the following arguments are required: --test"),
        (["--test", "--notify", "nonsense://x"], "apprise knows no service for address 1 of --notify"),
    ],
)
def test_what_cannot_be_tried_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert notify_command(arguments, {}) == 2
    assert words in capsys.readouterr().err


def test_everyday_events_are_not_told() -> None:
    with service() as hook, telling(hook.url) as notifier:
        notifier(BarHeard(AT, Bar("TSLA", OPEN, 1.0, 1.0, 1.0, 1.0, 5.0)))
        notifier(Transition("TSLA", AT, "TO_BUY", "BUY_SUBMITTED", "buy 4"))
        notifier(OrderEnded("TSLA", AT, "buy", "canceled", Decimal(0), Decimal(4)))
        notifier(Note("TSLA", AT, logging.WARNING, "the shares were sold elsewhere"))
        log.warning("%s: %s; next try in %.1f s", "order updates", "connection lost", 2.0)
    assert hook.messages == []


def test_an_error_that_an_event_stands_for_is_told_once() -> None:
    with service() as hook, telling(hook.url) as notifier:
        for listener in (log_event, notifier):
            listener(Note("TSLA", AT, logging.ERROR, "the buy signal failed"))
    assert hook.lines == ["09:31:30 TSLA the buy signal failed"]


def test_a_rail_that_refuses_every_buy_is_told_once_a_symbol() -> None:
    def refused(side: str, why: str, wait: float = 0.0, symbol: str = "TSLA") -> Rejected:
        return Rejected(symbol, AT, side, Decimal(4), why, wait)

    with service() as hook, telling(hook.url) as notifier:
        for left in (540, 480, 420):
            notifier(refused("buy", f"cooling down after a loss, for {left} s more"))
        notifier(refused("buy", "cooling down after a loss, for 400 s more", symbol="AAPL"))
        notifier(refused("buy", "insufficient buying power"))
        notifier(Rejected("TSLA", AT, "sell", Decimal(4), "available: 0", 0.25, may_pass=True))
        for wait in (30, 60):
            notifier(refused("sell", "halted", wait))
        notifier(refused("sell", "available: 3"))
    assert [line.removeprefix("09:31:30 ") for line in hook.lines] == [
        "TSLA buy of 4 refused: cooling down after a loss, for 540 s more",
        "AAPL buy of 4 refused: cooling down after a loss, for 400 s more",
        "TSLA buy of 4 refused: insufficient buying power",
        "TSLA sell of 4 refused: halted; again in 30 s",
        "TSLA sell of 4 refused: halted; again in 60 s",
    ]


def test_rewording_a_line_changes_nothing_but_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(core_log._RENDER, Fill, lambda event: Line(logging.INFO, event.symbol, "filled"))
    with service() as hook, telling(hook.url) as notifier:
        notifier(FILL)
    assert hook.lines == ["09:31:30 TSLA filled"]


def test_several_services() -> None:
    with service() as one, service() as other, telling(one.url, other.url):
        log.error("trouble")
    assert one.lines == other.lines == ["TSLA trouble"]


# -- slow and dead services -------------------------------------------------------------------------------------------


def test_slow_service_holds_up_neither_log_nor_others_nor_exit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "CLOSE_PATIENCE", 1.0)
    monkeypatch.setattr(notify, "GATHER", 0.0)
    with service(delay=None) as slow, service() as quick:
        with telling(slow.url, quick.url):
            for number in range(1000):
                log.error("line %d", number)
            until(lambda: quick.lines)
        # Its first answer is still out: nobody has waited for it.
        assert len(slow.lines) <= 20 and not slow.left.is_set()
    assert "service 1 (JSON) was not done in time" in caplog.text


@pytest.mark.parametrize("kind", ["refuses the connection", "never answers", "answers with an error"])
def test_a_dead_service(kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(notify, "CLOSE_PATIENCE", 1.0 if kind == "never answers" else PATIENCE)
    monkeypatch.setattr(notify, "GATHER", 0.01)
    with nobody() as silent, service(code=500) as failing:
        url = {"refuses the connection": f"json://127.0.0.1:9/{TOKEN}", "never answers": silent}.get(kind, failing.url)
        with telling(url):
            log.error("first")
            if kind != "never answers":
                until(lambda: "does not take them" in caplog.text)
            log.error("second")
    told = [record.getMessage() for record in caplog.records if "notifications" in record.getMessage()]
    if kind == "never answers":
        assert told == ["notifications: service 1 (JSON) was not done in time"]
    else:
        assert told == ["notifications: service 1 (JSON) does not take them; trading goes on",
                        "notifications: 2 lines did not reach service 1 (JSON)"]  # fmt: skip
    assert TOKEN not in caplog.text


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(notify, "CLOSE_PATIENCE", 0.2)
    with nobody() as url, telling(url) as notifier:
        for number in range(5000):
            log.error("line %d", number)
        (one,) = notifier._services
        assert one.waiting.qsize() <= notify.MOST_WAITING
        assert one.lost >= 5000 - notify.MOST_WAITING - notify.MOST_LINES


def test_a_service_whose_own_code_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def notify(self, **what: str) -> bool:
            raise RuntimeError(TOKEN)

    with telling("json://127.0.0.1:9/x") as notifier:
        notifier._services[0]._plugin = Broken()
        log.error("trouble")
    assert "does not take them" in caplog.text
    assert TOKEN not in caplog.text


# -- addresses are secrets --------------------------------------------------------------------------------------------


def test_an_unknown_address_is_one_line_without_the_address() -> None:
    with pytest.raises(UserError, match="no service for address 2") as error:
        Notifier([f"json://127.0.0.1:9/{TOKEN}", f"nosuch://{TOKEN}"], "", lambda: None, 2)
    assert TOKEN not in str(error.value)


def test_address_in_variable_is_told_by_variables_name() -> None:
    settings = read_settings(["TSLA", "--notify", "json://127.0.0.1:9"], {"SCALP_NOTIFY": f"nosuch://{TOKEN}"})
    with pytest.raises(UserError, match="no service for address 1 of SCALP_NOTIFY"), notifications(settings, int):
        pass


@pytest.mark.parametrize("wrong", [["--notfy", f"json://x/{TOKEN}", "TSLA"], [f"--notfy=json://x/{TOKEN}", "TSLA"],
                                   ["TSLA", f"tgram://{TOKEN}/1"]])  # fmt: skip
def test_a_typing_error_does_not_show_the_address(wrong: list[str]) -> None:
    with pytest.raises(UserError) as error:
        read_settings(wrong, {})
    assert TOKEN not in str(error.value)


def test_settings_take_option_again_and_again_and_variable() -> None:
    one, two, three = (f"json://127.0.0.1:{number}/{TOKEN}" for number in (1, 2, 3))
    settings = read_settings(["TSLA", "--notify", one, f"--notify={two}"], {"SCALP_NOTIFY": f" {three} "})
    assert settings.notify == (one, two, three)
    assert TOKEN not in repr(settings)
    assert {one, two, three, TOKEN} <= set(settings.secrets)


def test_no_line_of_the_log_holds_the_address_or_its_token(tmp_path: Path) -> None:
    url = f"tgram://987654321:{TOKEN}%2Bmore/12345"
    secrets = read_settings(["TSLA", "--notify", url], {}).secrets
    with ConsoleLog(secrets, path=tmp_path / "console.log"):
        log.info("posted to %s", url)
        log.info("to https://api.telegram.org/bot987654321:%s+more/sendMessage", TOKEN)
    assert TOKEN not in (tmp_path / "console.log").read_text()


# -- the whole bot ----------------------------------------------------------------------------------------------------


def bot(folder: Path, *urls: str) -> tuple[subprocess.CompletedProcess[str], float]:
    options = [word for url in urls for word in ("--notify", url)]
    began = time.monotonic()
    answer = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--lot=2000", "TSLA", *options],
        cwd=folder, capture_output=True, text=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip
    return answer, time.monotonic() - began


def test_a_whole_session_is_told(tmp_path: Path) -> None:
    with service() as hook, nobody() as silent:
        answer, _ = bot(tmp_path, hook.url, silent)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert {title for title, _ in hook.messages} == {"scalp, simulated"}
    fills = [line for line in answer.stdout.splitlines() if " bought " in line or " sold " in line]
    told = [line for line in hook.lines if " bought " in line or " sold " in line]
    assert fills
    assert len(told) == len(fills)
    assert hook.lines[-1].startswith("16:00:00 session over: ")
    # The session may end before the silent one is given up, or after.
    assert re.search(r"service 2 \(JSON\) was not done in time|did not reach service 2 \(JSON\)", answer.stdout)
    for text in (answer.stdout, answer.stderr, (tmp_path / "console.log").read_text()):
        assert TOKEN not in text
        assert "apprise" not in text


def test_a_wrong_address_is_exit_code_2(tmp_path: Path) -> None:
    answer, _ = bot(tmp_path, f"nosuch://{TOKEN}")
    assert answer.returncode == 2
    assert answer.stderr == "error: apprise knows no service for address 1 of --notify\n"
    assert TOKEN not in answer.stdout
