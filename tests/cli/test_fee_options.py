"""`--fees alpaca|none|PATH`: what it names, and one line for what it does not."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from scalp.cli.fee_options import read_fees
from scalp.cli.settings import read_settings
from scalp.core.errors import UserError
from scalp.core.fees import ALPACA, NO_FEES, Rates

ROW = "sec_per_million = 20.60\ntaf_per_share = 0.000195\ntaf_most = 9.79\ncat_per_share = 0.000003\n"


def test_alpaca_and_none_are_known() -> None:
    assert read_settings(["F"], {}).fees is ALPACA
    assert read_settings(["F", "--fees", "none"], {}).fees is NO_FEES
    assert read_settings(["F", "--net-exit"], {}).net_exit and not read_settings(["F"], {}).net_exit


def test_a_file_has_a_table_for_each_change(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"[[rates]]\nfrom = 2026-04-04\n{ROW}[[rates]]\nfrom = 2026-01-01\n"
                    f"{ROW.replace('20.60', '0')}")  # fmt: skip
    fees = read_fees(str(path))
    assert fees.on(dt.date(2026, 4, 4)) == ALPACA.on(dt.date(2026, 4, 4))
    assert fees.on(dt.date(2026, 4, 3)) == Rates(Decimal(0), Decimal("0.000195"), Decimal("9.79"), Decimal("0.000003"))
    assert fees.told([]).startswith("fees: mine.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rates = [", "not TOML"),
        ("", "write one table for each change of rates"),
        ("rates = 5", "write one table for each change of rates"),
        ("[[rates]]\nfrom = 2026-01-01\n", "rates 1: it has to have cat_per_share, from"),
        (f"[[rates]]\nfrom = '2026-01-01'\n{ROW}", "rates 1: from is not a date"),
        (f"[[rates]]\nfrom = 2026-01-01T00:00:00\n{ROW}", "rates 1: from is not a date"),
        (f"[[rates]]\nfrom = 2026-01-01\n{ROW.replace('9.79', '-1')}", "rates 1: taf_most is no number of dollars"),
        (f"[[rates]]\nfrom = 2026-01-01\n{ROW.replace('9.79', 'nan')}", "rates 1: taf_most is no number of dollars"),
        (f"[[rates]]\nfrom = 2026-01-01\n{ROW.replace('9.79', 'true')}", "rates 1: taf_most is no number of dollars"),
        (f"[[rates]]\nfrom = 2026-01-01\n{ROW}tax = 3\n", "and nothing else"),
        (f"[[rates]]\nfrom = 2026-01-01\n{ROW}" * 2, "begin on the same day"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "fees.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_fees(str(path))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "no.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"cannot be read \\({why}.*\\): write alpaca, none, or a file"):
            read_fees(str(path))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not TOML"):
        read_fees(str(tmp_path / "bytes.toml"))
