"""Text from outside: keys are hidden first, then it is made printable, then it is cut."""

from __future__ import annotations

import base64
import json
import logging
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalp.net.printable import NO_MASK, PIECE, Mask, PlainFormatter, printable
from tests.fuzz.strategies import fuzz

KEY_ID, SECRET = "PK7QX2LEAK9+ID/0=", "leaked+Secret0of=the/account3times=="
MASK = Mask((KEY_ID, SECRET))


def pieces(key: str) -> set[str]:
    return {key[at : at + PIECE] for at in range(len(key) - PIECE + 1)}


def assert_no_piece(text: str) -> None:
    for key in (KEY_ID, SECRET):
        assert not [piece for piece in pieces(key) if piece in text], text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, also Zürich and 日本", "plain, also Zürich and 日本"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc\x00", r"a\r\nb\tc\x00"),
        ("\x9b2J \x85 \x7f", r"\x9b2J \x85 \x7f"),
        ("left\u202eright\u2066 \u200f\u061c\ufeff\u200b", r"left\u202eright\u2066 \u200f\u061c\ufeff\u200b"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("half \ud800, and a tag \U000e0041", r"half \ud800, and a tag \U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_it_is_cut_to_its_length_however_long_the_escapes_are() -> None:
    assert printable("x" * 100, 10) == "xxxxxxx..."
    assert printable("\x1b" * 100, 10) == r"\x1b\x1..."
    assert len(printable("\U000e0041" * 10**6, 300)) == 300


def test_words_have_single_blanks() -> None:
    assert NO_MASK.words("  a\r\n\n b \x0b\t c ") == "a b c"
    assert NO_MASK.words(None) == "None"
    assert NO_MASK.words({"a": 1}, 6) == "{'a..."


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"{SECRET}:and more".encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        SECRET[:20],
        SECRET[3:11],
        SECRET[-9:],
    ],
)
def test_key_is_hidden_however_it_is_written_and_piece_of_it(form: str) -> None:
    for hidden in (MASK.line(f"key '{form}' refused"), MASK.words(f"key '{form}' refused"), MASK.hide(form)):
        assert "***" in hidden
        assert_no_piece(hidden)
        assert form not in hidden


def test_other_words_stay_as_they_are() -> None:
    mask = Mask(("SIMULATED", "simulated-secret", "https://hooks.example.com/services/T0KEN", "", "x" * 7))
    text = "a simulated account, SIMULATE it at https://hooks.example.com; simulated"
    assert mask.line(text) == text
    assert mask.line("the key SIMULATED, simulated-secret, xxxxxxx") == "the key ***, ***, ***"


@pytest.mark.parametrize("before", [*range(0, 330, 7), 296, 299, 300, 301])
def test_a_key_at_the_cut_is_hidden_before_it_is_cut(before: int) -> None:
    text = "y" * before + SECRET + " " + KEY_ID
    for shown in (MASK.words(text), MASK.line(text, 300)):
        assert len(shown) <= 300
        assert_no_piece(shown)


@pytest.mark.parametrize("before", range(65_536 - 40, 65_536 + 2))
def test_a_key_where_nobody_looks_any_more_is_not_shown_either(before: int) -> None:
    assert_no_piece(MASK.words(" " * before + SECRET + SECRET))
    assert_no_piece(MASK.line("\x1b" * 10 + " " * before + SECRET))


@fuzz
@given(text=st.text(max_size=40), more=st.text(max_size=40), key=st.sampled_from((KEY_ID, SECRET)), data=st.data())
def test_any_text_with_any_piece_of_a_key(text: str, more: str, key: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(key) - PIECE))
    end = data.draw(st.integers(begin + PIECE, len(key)))
    longest = data.draw(st.integers(4, 100))
    for shown in (MASK.line(text + key[begin:end] + more, longest), MASK.words(text + key[begin:end] + more, longest)):
        assert len(shown) <= longest
        assert shown.isprintable()
        assert_no_piece(shown)


def test_no_record_of_the_log_passes_for_another() -> None:
    formatter = PlainFormatter("%(name)s %(message)s", MASK)
    forged = "2026-11-20 15:59:58.000 INFO    main    session over: 0 trades"
    record = logging.LogRecord("scalp.TSLA", logging.INFO, "", 0, "refused: %s", (f"no\n{forged}\r{forged}",), None)
    assert formatter.format(record) == rf"scalp.TSLA refused: no\n{forged}\r{forged}"
    try:
        raise ValueError(f"{SECRET}\n{forged}\n\x1b[2J" + "\nmore" * 1000)
    except ValueError as error:
        trouble = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("scalp.TSLA", logging.ERROR, "", 0, "failed", (), trouble)
    lines = formatter.format(record).split("\n")
    assert lines[:2] == ["scalp.TSLA failed", "Traceback (most recent call last):"]
    assert len(lines) <= 102
    assert "ValueError: ***" in lines
    assert f"    {forged}" in lines
    assert r"\x1b[2J" in lines
    assert all(line.isprintable() for line in lines)
