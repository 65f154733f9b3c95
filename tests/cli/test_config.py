"""Options from scalp.toml, or from the file that --config names."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from scalp.backtest.settings import read_settings as read_backtest
from scalp.cli.config import option_names
from scalp.cli.settings import Settings, make_parser, read_settings
from scalp.core.errors import UserError
from scalp.core.risk_limits import RiskLimits
from scalp.sweep.settings import read_settings as read_sweep

ALL = """
symbols = ["TSLA", "brk.b"]
lot = 500.50
stop-loss = "0.5%"
max-loss = 300
max-positions = 2
no-buy-after = 15:30:00
on-exit = "keep"
wait = true
debug = false
fees = "none"
net-exit = true
seed = 7
session = 2026-11-27
replay = ["a.csv", "b"]

[algo]
window = 10
warmup_bars = 11
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(line: str = "", **environ: str) -> Settings:
    return read_settings(line.split(), environ)


def write(text: str, name: str = "scalp.toml") -> None:
    Path(name).write_text(text)


def test_file_in_folder_says_what_command_line_leaves_out() -> None:
    write(ALL)
    settings = read()
    assert settings.symbols == ("TSLA", "BRK.B")
    assert settings.lot == Decimal("500.50")
    assert settings.risk_limits == RiskLimits(stop_loss=Decimal("0.005"), max_loss=Decimal(300), max_positions=2,
                                              no_buy_after=dt.time(15, 30))  # fmt: skip
    assert (settings.on_exit, settings.wait, settings.debug) == ("keep", True, False)
    assert (settings.fees.name, settings.net_exit) == ("none", True)
    assert (settings.seed, settings.session) == (7, dt.date(2026, 11, 27))
    assert settings.replay == (Path("a.csv"), Path("b"))
    assert settings.given == ("window=10", "warmup_bars=11")
    assert settings.notes == (
        "options from scalp.toml: symbols, lot, stop-loss, max-loss, max-positions, no-buy-after, on-exit, wait, "
        "debug, fees, net-exit, seed, session, replay, [algo]",
        "brk.b is taken as BRK.B",
    )  # fmt: skip


def test_the_command_line_wins() -> None:
    write(ALL)
    settings = read("AAPL --lot 2000 --replay c.csv --set window=30 --on-exit=flatten --seed 1")
    assert settings.symbols == ("AAPL",)
    assert settings.lot == 2000
    assert settings.replay == (Path("c.csv"),)
    assert settings.given == ("warmup_bars=11", "window=30")
    assert (settings.on_exit, settings.seed) == ("flatten", 1)
    assert settings.risk_limits.max_positions == 2


def test_a_named_file_is_read_in_place_of_the_one_here() -> None:
    write("lot = 1")
    write('lot = 3\n[algo]\nclass = "signal.py:Mine"\nedge = true', "other.toml")
    settings = read("TSLA --config other.toml")
    assert (settings.lot, settings.algo, settings.given) == (Decimal(3), "signal.py:Mine", ("edge=true",))
    assert settings.notes == ("options from other.toml: lot, [algo]",)
    write('algo = "module:Class"', "other.toml")
    assert read("TSLA --config other.toml").algo == "module:Class"
    assert read("TSLA --config other.toml --algo mine:Own").algo == "mine:Own"


def test_off_reads_none_and_without_a_file_nothing_is_said() -> None:
    assert read("TSLA").notes == ()
    write("lot = 1")
    assert (read("TSLA --config off").lot, read("TSLA --config off").notes) == (Decimal(2000), ())
    write("")
    assert read("TSLA").notes == ("options from scalp.toml: none",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("live = true", "scalp.toml: live: real money is asked for on the command line alone, with --live"),
        ("live = false", "live: real money"),
        ('APCA_API_KEY_ID = "PKSECRET"', "APCA_API_KEY_ID: keys belong into the environment, not into this file"),
        ('secret-key = "PKSECRET"', "secret-key: keys belong into the environment"),
        ('[env]\nAPCA_API_KEY_ID = "PKSECRET"', "there is no option env"),
        ('notify = "tgram://PKSECRET/1"', "notify: such an address is a secret, put it into SCALP_NOTIFY"),
        ('algo = "evil:Class"', "algo: a file that nobody named may not say that: add --config scalp.toml"),
        ('[algo]\nclass = "evil:Class"', "algo: a file that nobody named"),
        ('journal = "/etc/x"', "journal: a file that nobody named"),
        ('symbols = ["PKSECRETPKSECRET12"]', "symbols: its value looks like a key: keys belong into the environment"),
        ('lot = "aB3PKSECRETPKSECRETPKSECRETPKSECRETPKSECRET"', "lot: its value looks like a key"),
        ("stop_loss = 1", "there is no option stop_loss: did you mean stop-loss?"),
        ("lott = 1", "there is no option lott: did you mean lot? (another program's file? --config off reads none)"),
        ("xyzzy = 1", "there is no option xyzzy: there is algo, budget, "),
        ("set = ['window=1']", "set: write the parameters into a table [algo], as window = 10"),
        ("lot = [1]", "scalp.toml: lot: one text or number is needed here"),
        ("lot = true", "lot: one text or number"),
        ("wait = 1", "wait: write true or false"),
        ("on-exit = 'sell'", "scalp.toml: argument --on-exit: invalid choice: 'sell'"),
        ("max-loss = -1", "scalp.toml: argument --max-loss: '-1' is not an amount"),
        ("symbols = ['--live']", 'symbols: write a list of symbols, as ["TSLA", "AAPL"]'),
        ("[algo]\nwindow = [1, 2]", "algo.window: one text or number"),
        ("[algo]\nwindow = '1,2'", "algo.window: one value, without a comma"),
        ("lot = ", "scalp.toml: not TOML (at "),
        ("key = PKSECRET", "scalp.toml: not TOML (at line 1, column 7)"),
    ],
)
def test_what_may_not_stand_in_it_is_one_line_without_its_value(text: str, words: str) -> None:
    write(text)
    with pytest.raises(UserError) as refused:
        read("TSLA")
    assert words in str(refused.value)
    assert "PKSECRET" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["live = true", 'key = "PKSECRET"', 'notify = "tgram://x"'])
def test_that_file_was_named_allows_neither_keys_nor_real_money(text: str) -> None:
    write(text, "mine.toml")
    with pytest.raises(UserError):
        read("TSLA --config mine.toml")


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(UserError, match=r"--config no.toml: cannot be read \(No such file"):
        read("TSLA --config no.toml")


def test_a_backtest_takes_what_is_traded_and_by_which_rules() -> None:
    write(ALL)
    settings = read_backtest(["--from", "2026-11-16"], {})
    assert (settings.symbols, settings.lot, settings.given) == (("TSLA", "BRK.B"), Decimal("500.50"),
                                                                ("window=10", "warmup_bars=11"))  # fmt: skip
    assert (settings.seed, settings.bars, settings.fees.name) == (1, (), "none")
    assert settings.risk_limits.stop_loss == Decimal("0.005")
    assert settings.notes[0].startswith("options from scalp.toml: symbols, lot, stop-loss")
    sweep = read_sweep(["--set", "window=5,10"], {})
    assert sweep.given == ("window=5,10", "warmup_bars=11")
    write("fills = 'bar'")
    with pytest.raises(UserError, match="there is no option fills"):
        read_backtest([], {})


def test_every_option_of_main_but_the_refused_may_stand_in_it() -> None:
    words = {word for action in make_parser()._actions for word in action.option_strings}
    names = {word.removeprefix("--") for word in words}
    assert names - option_names(make_parser()) == {"-h", "help", "config", "live", "notify", "set", "version"}
    assert option_names(make_parser()) - names == {"symbols"}
