"""Arguments and environment: what is understood, and one clear line for each mistake."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from scalp.cli.paths import default_path
from scalp.cli.settings import DATA_URL, LIVE_URL, PAPER_URL, Settings, read_settings
from scalp.core.errors import UserError
from scalp.exchange.demo import DEFAULT_DAY

KEY, SECRET = "PKSOMEKEY", "some/secret+0"
KEYS = {"APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET}


def read(line: str, **environ: str) -> Settings:
    return read_settings(line.split(), environ)


def test_without_keys_it_trades_at_the_built_in_exchange() -> None:
    settings = read("--lot=2000 TSLA FB AAPL")
    assert settings == Settings(symbols=("TSLA", "FB", "AAPL"), lot=Decimal(2000), journal=default_path())
    (note,) = read("TSLA", POLYGON_API_KEY="polygon-key").notes
    assert note.startswith("POLYGON_API_KEY is not used") and "polygon-key" not in note
    assert read("TSLA").lot == 2000


def test_symbols_may_stand_anywhere_in_any_case_and_twice() -> None:
    settings = read("tsla --debug FB --lot 500.50 TSLA brk.b")
    assert settings.symbols == ("TSLA", "FB", "BRK.B")
    assert settings.lot == Decimal("500.50")
    assert settings.notes == (
        "tsla is taken as TSLA", "TSLA is named twice: once is enough", "brk.b is taken as BRK.B"
    )  # fmt: skip


def test_symbols_may_be_separated_by_commas() -> None:
    assert read("TSLA,FB AAPL,").symbols == ("TSLA", "FB", "AAPL")
    assert read("TSLA, brk.b,tsla").symbols == ("TSLA", "BRK.B")


def test_options_of_the_built_in_exchange() -> None:
    settings = read("--seed 7 --session 2026-11-27 --speed 60 --replay a.csv --replay b AAPL")
    assert (settings.seed, settings.session, settings.speed) == (7, dt.date(2026, 11, 27), 60.0)
    assert [str(path) for path in settings.replay] == ["a.csv", "b"]


def test_keys_mean_the_paper_account_on_iex() -> None:
    endpoints = read("TSLA", **KEYS).endpoints
    assert endpoints is not None
    assert (endpoints.trading_url, endpoints.data_url, endpoints.feed) == (PAPER_URL, DATA_URL, "iex")
    assert endpoints.secrets == (KEY, SECRET)


def test_a_polygon_key_means_bars_from_polygon() -> None:
    endpoints = read("TSLA", POLYGON_API_KEY="polykey", **KEYS).endpoints
    assert endpoints is not None
    assert endpoints.feed == "polygon"
    other = read("--feed sip TSLA", POLYGON_API_KEY="polykey", **KEYS).endpoints
    assert other is not None
    assert other.feed == "sip"


def test_live_means_the_live_account() -> None:
    settings = read("--live TSLA", **KEYS)
    assert settings.endpoints is not None
    assert (settings.endpoints.trading_url, settings.is_live) == (LIVE_URL, True)


def test_every_endpoint_can_be_this_machine() -> None:
    here = {"APCA_API_BASE_URL": "http://127.0.0.1:8001/v2/", "APCA_API_DATA_URL": "http://localhost:8001",
            "APCA_API_STREAM_URL": "http://[::1]:8001", "POLYGON_BASE_URL": "http://127.0.0.1:8001",
            "POLYGON_WS_URL": "ws://127.0.0.1:8001/stocks"}  # fmt: skip
    endpoints = read("TSLA", **KEYS, **here, POLYGON_API_KEY="k").endpoints
    assert endpoints is not None
    assert endpoints.trading_url == "http://127.0.0.1:8001"
    assert endpoints.data_stream_url == "ws://[::1]:8001"
    assert endpoints.polygon_stream_url == "ws://127.0.0.1:8001/stocks"


def test_only_a_local_exchange_may_set_the_speed() -> None:
    here = {"APCA_API_BASE_URL": "http://127.0.0.1:1", "SCALP_SPEED": "60"}
    assert read("TSLA", **KEYS, **here).speed == 60
    assert read("TSLA", **KEYS, SCALP_SPEED="60").speed is None


def test_what_happens_to_the_orders_when_it_is_stopped() -> None:
    assert read("TSLA").on_exit == "cancel-buys"
    assert read("--on-exit flatten TSLA").on_exit == "flatten"
    assert read("--on-exit=keep TSLA", **KEYS).on_exit == "keep"
    with pytest.raises(UserError, match="--on-exit"):
        read("--on-exit=panic TSLA")


def test_no_representation_shows_a_key() -> None:
    settings = read("TSLA", POLYGON_API_KEY="polykey", **KEYS)
    for secret in (KEY, SECRET, "polykey"):
        assert secret not in repr(settings)


@pytest.mark.parametrize(
    ("line", "environ", "words"),
    [
        ("", {}, "no symbols"),
        ("--lot=2000", {}, "no symbols"),
        ("TSLA $5", {}, "'$5' is not a stock symbol"),
        ("TSLA,F-B", {}, "'F-B' is not a stock symbol"),
        ("--lot=much TSLA", {}, "--lot 'much' is not an amount"),
        ("--lot=0 TSLA", {}, "--lot '0' must be more than 0"),
        ("--lot=-5 TSLA", {}, "--lot '-5' must be"),
        ("--lot=nan TSLA", {}, "--lot 'nan' must be"),
        ("--lot=inf TSLA", {}, "--lot 'inf' must be"),
        ("--lot=1e99 TSLA", {}, "at most a billion"),
        ("--lot", {}, "--lot"),
        ("--nonsense TSLA", {}, "--nonsense"),
        ("--liv TSLA", {}, "unrecognized arguments: --liv"),
        ("TSLA --algo=", {}, "--algo: it names nothing"),
        ("TSLA --journal=", {}, "--journal: it names nothing"),
        ("--seed x TSLA", {}, "--seed"),
        ("--speed 0 TSLA", {}, "'0' is not a speed"),
        ("--session yesterday TSLA", {}, "'yesterday' is not a date"),
        ("--feed iex TSLA", {}, "--feed iex needs APCA_API_KEY_ID"),
        ("TSLA", {"APCA_API_KEY_ID": KEY}, "APCA_API_KEY_ID is set but not APCA_API_SECRET_KEY"),
        ("TSLA", {"APCA_API_SECRET_KEY": SECRET}, "APCA_API_SECRET_KEY is set but not APCA_API_KEY_ID"),
        ("TSLA", {"APCA_API_BASE_URL": PAPER_URL}, "not APCA_API_KEY_ID and APCA_API_SECRET_KEY"),
        ("TSLA", {"APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": "  "}, "not APCA_API_SECRET_KEY"),
        ("TSLA", {**KEYS, "APCA_API_KEY_ID": "with space"}, "APCA_API_KEY_ID holds characters"),
        ("TSLA", {**KEYS, "APCA_API_SECRET_KEY": "two\nlines"}, "APCA_API_SECRET_KEY holds characters"),
        ("--live TSLA", {}, "--live was given but not"),
        ("--live TSLA", {}, "set both keys, or leave out --live"),
        ("--replay= TSLA", {}, "--replay: it names nothing"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": LIVE_URL}, "add --live"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://API.alpaca.markets.:443/v2"}, "add --live"),
        ("--live TSLA", {**KEYS, "APCA_API_BASE_URL": PAPER_URL}, "--live contradicts"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://api\u3002alpaca.markets"}, "add --live"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://api\uff0ealpaca\uff61markets\u3002/v2"}, "add --live"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://\uff41\uff50\uff49.alpaca.markets"}, "add --live"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://api.alpaca.mar\u212aets"}, "add --live"),  # the Kelvin sign
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://\U0001d41a\U0001d429\U0001d422.alpaca.markets"}, "add --live"),
        ("--live TSLA", {**KEYS, "APCA_API_BASE_URL": "https://paper-api\u3002alpaca.markets"}, "--live contradicts"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "http://example.com"}, "plain http to example.com"),
        ("TSLA", {**KEYS, "APCA_API_DATA_URL": "http://10.0.0.1"}, "plain http to 10.0.0.1"),
        ("TSLA", {**KEYS, "APCA_API_STREAM_URL": "ws://example.com"}, "plain ws to example.com"),
        ("TSLA", {**KEYS, "POLYGON_WS_URL": "ws://example.com"}, "plain ws to example.com"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "paper"}, "APCA_API_BASE_URL must be an address like https://host or"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://u:p@example.com"}, "APCA_API_BASE_URL must be"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://host:port"}, "APCA_API_BASE_URL must be"),
        ("--feed polygon TSLA", KEYS, "needs POLYGON_API_KEY"),
        ("--seed 0 TSLA", KEYS, "--seed belongs to the built-in exchange"),
        ("--replay x.csv TSLA", KEYS, "--replay belongs to the built-in exchange"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "http://127.0.0.1:1", "SCALP_SPEED": "fast"}, "SCALP_SPEED"),
    ],
)
def test_each_mistake_is_one_clear_line_without_a_key(line: str, environ: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        read(line, **environ)
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert KEY not in text
    assert SECRET not in text


@pytest.mark.parametrize(
    "host",
    [
        "api.alp\u00adaca.markets",  # a soft hyphen
        "api.alp\u200baca.markets",
        "api%2Ealpaca.markets",
        "api.alpaca.markets\\@example.com",
        "example.com@api.alpaca.markets",
        "@api.alpaca.markets",
        "api.alpaca.markets?x",
        "api.alpaca.markets#x",
        "api.alp\taca.markets",
        "api.alpaca.mark\nets",
        "api..alpaca.markets",
        "api.alpaca.markets..",
        "\u202eapi.alpaca.markets",
        "\ud800.markets",
        "[api.alpaca.markets]",
        "x" * 64 + ".markets",
        "exa mple.com",
    ],
)
def test_an_address_whose_host_is_not_plain_is_refused(host: str) -> None:
    for name, scheme in (("APCA_API_BASE_URL", "https"), ("APCA_API_STREAM_URL", "wss"), ("POLYGON_WS_URL", "wss")):
        with pytest.raises(UserError, match=f"^{name} must be an address like"):
            read("TSLA", **KEYS, **{name: f"{scheme}://{host}"})


def test_what_was_checked_is_what_is_connected_to() -> None:
    """Every library normalises hosts for itself: it gets one that leaves nothing to normalise."""
    points = read("TSLA", **KEYS, APCA_API_BASE_URL="https://PAPER-api\u3002alpaca.markets:443/v2/",
                  APCA_API_DATA_URL="https://b\u00fccher.example/\u00e4/v2",
                  APCA_API_STREAM_URL="wss://[::1]:8080/v2/iex").endpoints  # fmt: skip
    assert points is not None
    assert points.trading_url == "https://paper-api.alpaca.markets:443"
    assert points.data_url == "https://xn--bcher-kva.example/\u00e4"
    assert points.data_stream_url == "wss://[::1]:8080/v2/iex"
    points = read("TSLA", **KEYS, APCA_API_BASE_URL="http://\uff11\uff12\uff17.0.0.1:1").endpoints
    assert points is not None
    assert points.trading_url == "http://127.0.0.1:1"


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--lot", "--algo", "--feed", "--live", "--wait", "--speed", "--seed", "--session", "--replay"):
        assert option in text
    assert f"(default {DEFAULT_DAY})" in " ".join(text.split())
