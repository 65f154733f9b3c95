"""Reading recorded bars: what comes out, and what is said about each kind of damage."""

import csv
import errno
from datetime import date
from pathlib import Path

import pytest

from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange import replay
from scalp.exchange.calendar import session_day
from scalp.exchange.replay import load

REAL_BARS = Path(__file__).parents[2] / "../shared/data/real-minute-bars"
HEADER = "timestamp,open,high,low,close,volume\n"
OPEN = 1_401_975_000 * SECOND  # 2014-06-05 09:30 in New York
FIRST = "2014-06-05 09:30:00-04:00,646.2,646.5,645.9,646.0,1200\n"
SECOND_ROW = "2014-06-05 09:31:00-04:00,646.0,646.1,645.5,645.6,300\n"
DAY = date(2014, 6, 5)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file(tmp_path: Path) -> None:
    file = write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST + SECOND_ROW)
    assert load([file]) == {
        DAY: {
            "AAPL": [
                Bar("AAPL", OPEN, 646.2, 646.5, 645.9, 646.0, 1200.0),
                Bar("AAPL", OPEN + MINUTE, 646.0, 646.1, 645.5, 645.6, 300.0),
            ]
        }
    }


@pytest.mark.parametrize(
    "stamp",
    [
        "2014-06-05 09:30:00-04:00",
        "2014-06-05T09:30:00",
        "2014-06-05 09:30",
        "2014-06-05T13:30:00Z",
        "2014-06-05 13:30:00.000+00:00",
    ],
)
def test_the_same_minute_written_in_many_ways(tmp_path: Path, stamp: str) -> None:
    [bar] = load([write(tmp_path, "AAPL_20140605.csv", f"{HEADER}{stamp},1,1,1,1,1\n")])[DAY]["AAPL"]
    assert bar.start == OPEN


def test_times_without_offset_follow_daylight_saving(tmp_path: Path) -> None:
    rows = "2014-03-07 09:30:00,1,1,1,1,1\n2014-03-10 09:30:00,1,1,1,1,1\n"
    days = load([write(tmp_path, "AAPL_20140307.csv", HEADER + rows)])
    winter, summer = (bars["AAPL"][0].start for bars in days.values())
    assert summer - winter == (3 * 24 - 1) * 60 * MINUTE


def test_the_date_is_new_yorks(tmp_path: Path) -> None:
    text = HEADER + "2014-06-06 00:30:00+00:00,1,1,1,1,1\n2014-06-06 04:30:00+00:00,1,1,1,1,1\n"
    assert list(load([write(tmp_path, "AAPL_20140605.csv", text)])) == [DAY, date(2014, 6, 6)]


def test_symbols_in_a_column_other_orders_and_other_columns(tmp_path: Path) -> None:
    text = (
        "\ufeffSymbol,Volume,Close,Low,High,Open,Timestamp,vwap\n"
        "aapl,7,2,1,4,3,2014-06-05 09:30:00,x\n"
        "TSLA,8,2,1,4,3,2014-06-05 09:30:00,x\n"
        "\n"
        "AAPL,9,2,1,4,3,2014-06-05 09:31:00,x\n"
    )
    days = load([write(tmp_path, "bars.csv", text)])
    assert days == {
        DAY: {
            "AAPL": [Bar("AAPL", OPEN, 3, 4, 1, 2, 7), Bar("AAPL", OPEN + MINUTE, 3, 4, 1, 2, 9)],
            "TSLA": [Bar("TSLA", OPEN, 3, 4, 1, 2, 8)],
        }
    }
    assert load([tmp_path / "bars.csv"], ["tsla"]) == {DAY: {"TSLA": days[DAY]["TSLA"]}}


def test_a_folder_gives_bars_by_date_and_leaves_other_files(tmp_path: Path) -> None:
    write(tmp_path, "AAPL_20140606.csv", HEADER + FIRST.replace("06-05", "06-06"))
    write(tmp_path, "TSLA_20140605.csv", HEADER + FIRST)
    write(tmp_path, "manifest.csv", "file,symbol,date\nAAPL_20140606.csv,AAPL,2014-06-06\n")
    write(tmp_path, "notes.txt", "hello")
    days = load([tmp_path, tmp_path / "TSLA_20140605.csv"])
    assert [(day.isoformat(), list(bars)) for day, bars in days.items()] == [
        ("2014-06-05", ["TSLA"]),
        ("2014-06-06", ["AAPL"]),
    ]
    assert list(load([tmp_path], ["AAPL"])) == [date(2014, 6, 6)]


def test_minutes_without_volume_are_no_bars(tmp_path: Path) -> None:
    file = write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST.replace(",1200", ",0") + SECOND_ROW)
    assert [bar.start for bar in load([file])[DAY]["AAPL"]] == [OPEN + MINUTE]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "no column timestamp, open, high, low, close, volume in the header: it must name "
                "timestamp,open,high,low,close,volume"),
        ("time,open,high,low,close,volume\n", 1, "no column timestamp in the header: it must name "
                                                 "timestamp,open,high,low,close,volume"),
        (HEADER, 1, "no rows below the header: give a file with minute bars"),
        (HEADER + FIRST + "yesterday,1,1,1,1,1\n", 3, "'yesterday' is not a time: write it like "
                                                       "2014-06-05 09:30:00-04:00"),
        (HEADER + "2014-06-05,1,1,1,1,1\n", 2, "'2014-06-05' has no time of day: give minute bars, with times like "
                                                "2014-06-05 09:30:00-04:00"),
        (HEADER + "2014-06-05 09:30:15,1,1,1,1,1\n", 2, "2014-06-05 09:30:15 is not the start of a minute: give minute "
                                                         "bars, stamped with their start"),
        (HEADER + "9999-12-31 23:59,1,1,1,1,1\n", 2, "9999-12-31 23:59 is in an impossible year: "
                                                      "correct or remove the row"),
        (HEADER + "0001-01-01 00:00,1,1,1,1,1\n", 2, "0001-01-01 00:00 is in an impossible year: "
                                                      "correct or remove the row"),
        (HEADER + FIRST + FIRST, 3, "the minute 2014-06-05 09:30:00-04:00 of AAPL is there twice: keep one"),
        (HEADER + SECOND_ROW + FIRST, 3, "the minute 2014-06-05 09:30:00-04:00 of AAPL comes after a later one: "
                                         "sort by time"),
        (HEADER + FIRST + "2014-06-05 09:31:00,1,x,1,1,1\n", 3, "high is 'x': write a plain number"),
        (HEADER + "2014-06-05 09:31:00,1,1,1,1,\n", 2, "volume is '': write a plain number"),
        (HEADER + "2014-06-05 09:31:00,1,1,1,nan,1\n", 2, "close is nan: a price is above 0, below 1e+09"),
        (HEADER + "2014-06-05 09:31:00,1,inf,1,1,1\n", 2, "high is inf: a price is above 0, below 1e+09"),
        (HEADER + "2014-06-05 09:31:00,1,1e9,1,1,1\n", 2, "high is 1000000000.0: a price is above 0, below 1e+09"),
        (HEADER + "2014-06-05 09:31:00,1,1,0,1,1\n", 2, "low is 0.0: a price is above 0, below 1e+09"),
        (HEADER + "2014-06-05 09:31:00,1,1,1,1,-5\n", 2, "volume is -5.0: it must be a number, 0 or more"),
        (HEADER + "2014-06-05 09:31:00,1,1,1,1,nan\n", 2, "volume is nan: it must be a number, 0 or more"),
        (HEADER + "2014-06-05 09:31:00,2,1,3,2,5\n", 2, "high 1.0 is below low 3.0: correct or remove the row"),
        (HEADER + "2014-06-05 09:31:00,9,3,1,2,5\n", 2, "open 9.0 is not between low 1.0 and high 3.0: correct or "
                                                        "remove the row"),
        (HEADER + "2014-06-05 09:31:00,2,3,1,9,5\n", 2, "close 9.0 is not between low 1.0 and high 3.0: correct or "
                                                        "remove the row"),
        (HEADER + "2014-06-05 09:31:00,2,3\n", 2, "too few fields: every row needs as many as the header"),
        (HEADER + '"' + "x" * 200_000, 2, "not CSV (field larger than field limit (131072)): save it as plain "
                                          "comma-separated text"),
    ],
)  # fmt: skip
def test_damage_is_named_with_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = write(tmp_path, "AAPL_20140605.csv", text)
    with pytest.raises(UserError) as caught:
        load([file])
    assert str(caught.value) == f"{file}:{line}: {message}"


def refusal(paths: list[Path], symbols: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load(paths, symbols)
    return str(caught.value)


def test_files_that_are_not_there_or_not_bars(tmp_path: Path) -> None:
    missing = tmp_path / "AAPL_20140605.csv"
    assert refusal([missing]) == f"{missing}: no such file or folder: check the path"
    assert refusal([tmp_path]) == (
        f"{tmp_path}: no file of minute bars in this folder: name them like AAPL_20140605.csv"
    )
    nameless = write(tmp_path, "bars.csv", HEADER + FIRST)
    assert refusal([nameless]) == (
        f"{nameless}:1: which symbol? name the file like AAPL_20140605.csv or add a column 'symbol'"
    )
    missing.write_bytes(b"PK\x03\x04\xff\xfe")
    assert refusal([missing]) == f"{missing}: is not a text file: give CSV files of minute bars"
    blank = write(tmp_path, "blank.csv", "symbol," + HEADER + "," + FIRST)
    assert refusal([blank]) == f"{blank}:2: no symbol: fill in the column 'symbol'"


def test_a_symbol_that_is_nowhere(tmp_path: Path) -> None:
    write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST)
    write(tmp_path, "TSLA_20140605.csv", HEADER + FIRST)
    assert refusal([tmp_path], ["AAPL", "TSLB"]) == f"{tmp_path}: no minute bars of TSLB: there is TSLA"
    assert refusal([tmp_path], ["ZZ"]) == f"{tmp_path}: no minute bars of ZZ: there is AAPL, TSLA"


def test_a_day_of_a_symbol_in_two_files(tmp_path: Path) -> None:
    one = write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST)
    two = write(tmp_path, "AAPL_20140606.csv", HEADER + SECOND_ROW)
    assert refusal([tmp_path]) == f"{two}:2: AAPL on 2014-06-05 is in {one} as well: give each day of a symbol once"


@pytest.mark.skipif(not REAL_BARS.is_dir(), reason="the folder of recorded bars is not next to the repository")
class TestRecordedBars:
    def test_all_of_them_agree_with_their_manifest(self) -> None:
        days = load([REAL_BARS])
        with (REAL_BARS / "manifest.csv").open(encoding="utf-8", newline="") as lines:
            manifest = list(csv.DictReader(lines))
        assert sum(len(symbols) for symbols in days.values()) == len(manifest) == 26
        for listed in manifest:
            day = date.fromisoformat(listed["date"])
            bars = days[day][listed["symbol"]]
            # The manifest counts until 16:00, on the half day too.
            opens = session_day(day).open
            regular = [bar for bar in bars if opens <= bar.start < opens + 390 * MINUTE]
            assert len(bars) == int(listed["rows"])
            assert len(regular) == int(listed["regular_session_rows"])
            assert regular[0].open == float(listed["session_open"])
            assert regular[-1].close == float(listed["session_close"])
            assert sum(bar.volume for bar in regular) == float(listed["session_volume"])

    def test_some_of_them(self) -> None:
        days = load([REAL_BARS], ["AAPL", "TWX"])
        assert [(day.isoformat(), sorted(bars)) for day, bars in days.items()] == [
            ("2014-06-05", ["AAPL", "TWX"]),
            ("2014-06-06", ["AAPL", "TWX"]),
            ("2014-06-09", ["AAPL", "TWX"]),
            ("2014-06-23", ["TWX"]),
        ]


@pytest.mark.parametrize("call", ["is_dir", "iterdir", "exists"])
def test_a_folder_that_is_closed_to_us_is_told(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, call, locked)
    path = tmp_path / "TSLA_20140605.csv" if call == "exists" else tmp_path
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\): check its name and permissions"):
        load([path])


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)|no such file or folder"):
        load([tmp_path / ("x" * 300)])


# -- what was read before ---------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scalp" / "columns"


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it is read as text again")

    monkeypatch.setattr(replay._File, "read_into", refuse)


def test_a_file_is_read_as_text_once(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "2014-06-05 09:30,B,1,2,1,2,3\n2014-06-06 09:30,B,1,2,1,2,3\n2014-06-06 09:30,A,1.1,2.7,0.3,2,0.5\n"
    text = "timestamp,symbol,open,high,low,close,volume\n" + rows + "2014-06-06 09:30,QUIET,1,1,1,1,0\n"
    files = [write(tmp_path, "all.csv", text), write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST + SECOND_ROW)]
    first = load(files)
    assert len(list(kept.iterdir())) == 2
    no_reading(monkeypatch)
    assert load(files) == first
    assert load(files, ["B"]) == {day: {"B": bars["B"]} for day, bars in first.items()}
    with pytest.raises(UserError, match="no minute bars of QUIETER: there is QUIET"):
        load(files, ["QUIETER"])


def test_a_file_that_changed_is_read_anew(tmp_path: Path, kept: Path) -> None:
    file = write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST)
    assert len(load([file])[DAY]["AAPL"]) == 1
    write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST + SECOND_ROW)
    assert len(load([file])[DAY]["AAPL"]) == 2
    other = write(tmp_path, "MSFT_20140605.csv", HEADER + FIRST + SECOND_ROW)
    assert list(load([other])[DAY]) == ["MSFT"], "the same contents under another name are another symbol's"


def test_a_part_of_a_file_is_not_kept(tmp_path: Path, kept: Path) -> None:
    text = "timestamp,symbol,open,high,low,close,volume\n2014-06-05 09:30,B,1,2,1,2,3\n2014-06-05 09:30,A,1,2,1,2,3\n"
    file = write(tmp_path, "all.csv", text)
    assert list(load([file], ["A"])[DAY]) == ["A"]
    assert set(load([file])[DAY]) == {"A", "B"}


def test_what_is_damaged_or_cannot_be_kept_is_read_as_text(tmp_path: Path, kept: Path) -> None:
    file = write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST)
    first = load([file])
    for path in kept.iterdir():
        path.write_bytes(b"no such thing")
    assert load([file]) == first
    for path in kept.iterdir():
        path.unlink()
    kept.rmdir()
    kept.write_text("in the way")
    assert load([file]) == first


def test_a_fault_is_told_each_time(tmp_path: Path, kept: Path) -> None:
    bad = write(tmp_path, "AAPL_20140605.csv", HEADER + FIRST + FIRST)
    one, other = (write(tmp_path, f"{name}.csv", "symbol," + HEADER + "A," + FIRST) for name in ("one", "other"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"AAPL_20140605.csv:3: the minute .* is there twice"):
            load([bad])
        with pytest.raises(UserError, match=r"other.csv:2: A on 2014-06-05 is in .*one.csv as well"):
            load([one, other])
        load([one])
        load([other])
