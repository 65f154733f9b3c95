"""What servers must not send: any bytes, any JSON, and real messages with something wrong in them.

Everything is drawn from a fixed seed, so a run of the tests is the same every time.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# No deadline (a busy machine is no failure), no examples kept on disk, the same ones each time.
settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.large_base_example],
)
fuzz = settings.get_profile("fuzz")
briefly = settings(fuzz, max_examples=60)

ODD_NUMBERS = (
    0,
    -1,
    1,
    -0.0,
    0.1,
    -17.5,
    1e-300,
    1e300,
    -1e300,
    2**31,
    2**63,
    -(2**63),
    2**64,
    10**30,
    10**400,
)
ODD_TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "-0.5",
    "1e999",
    "1e-999",
    "1e999999999",
    "1e-999999999",
    "0e-999999",
    "9" * 400,
    "NaN",
    "-NaN",
    "sNaN",
    "Infinity",
    "-inf",
    "1_000",
    "\u0663",
    "\u00b2",
    "0x10",
    "true",
    "null",
    "buy",
    "sell",
    "sell_short",
    "filled",
    "canceled",
    "replaced",
    "new",
    "fill",
    "partial_fill",
    "gtc",
    "AAPL",
    "TSLA",
    "2026-11-20T15:30:00Z",
    "2026-11-20T15:30:00.123456789Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "2026-11-20",
    "2026-13-45T99:99",
    "2026-11-20T15:30:00",
    "2026-11-20T15:30:99Z",
    "--5",
    "a\nb",
    "\x00",
    "%s%n",
    "x" * 5000,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXTS),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-1000, max_value=1000).map(str),
)

values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside `value`."""
    if isinstance(value, dict):
        inner: Any = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return [path] if path else []
    found = [path] if path else []
    for key, part in inner:
        found += _places(part, (*path, key))
    return found


def _near(value: Any) -> list[Any]:
    """What looks much like `value`, and is wrong: where a number is expected, a number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return ["", None, "buy", "sell", "filled", "new", "canceled", "replaced", "AAPL", "TSLA"]
    wrong = [-number, 10 * number, number + 1, number / 7, 0, 1e9 * number, 1e200]
    return wrong if isinstance(value, (int, float)) else [str(each) for each in wrong] + ["1e999999", "-0.5", "NaN"]


@st.composite
def broken(draw: st.DrawFn, message: Any) -> Any:
    """`message` with one to three fields missing, added, or holding something else."""
    result = copy.deepcopy(message)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(result)
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        holder = result
        for key in parents:
            holder = holder[key]
        change = draw(st.sampled_from(("near", "near", "other", "missing", "more", "wrapped")))
        if change == "near":
            holder[last] = draw(st.sampled_from(_near(holder[last])))
        elif change == "other":
            holder[last] = draw(values)
        elif change == "missing":
            del holder[last]
        elif change == "wrapped":
            holder[last] = [holder[last]]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = draw(values)
        else:
            holder.append(draw(values))
    return result


def written(value: Any) -> bytes:
    return json.dumps(value).encode()


# Numbers (and texts) as no market has them, as they are written in JSON.
ABSURD = (
    *(f'{sign}1e{exponent}'.encode() for sign in ("", "-") for exponent in ("1000000", "-1000000", "400", "-400")),
    *(f'"{sign}1e{exponent}"'.encode() for sign in ("", "-") for exponent in ("1000000", "-1000000", "30", "-30")),
    *(b'"%b"' % text for text in (b"0e1000000", b"1E+999999999999999999", b"9" * 5000, b"NaN", b"-Infinity", b"sNaN")),
    *(b'"%b"' % text for text in (b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+14:00", b"..", b"A" * 10**5)),
    *(b"9" * 5000, b"-" + b"9" * 30, b"NaN", b'"\\ud800"', b'"\xed\xa0\x80"'),
)  # fmt: skip


def absurd(message: Any) -> Iterator[tuple[str, bytes]]:
    """`message` with each of its values, in turn, replaced by each absurd one: what was replaced, and the bytes."""
    for path in _places(message):
        result = copy.deepcopy(message)
        holder = result
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = "here"
        before, after = written(result).split(b'"here"')
        for value in ABSURD:
            yield f"{path}: {value[:30]!r}", before + value + after


NESTED = b"[" * 5000 + b"]" * 5000
HALF_NESTED = b'{"a":' * 100 + b"1" + b"}" * 100


@st.composite
def bodies(draw: st.DrawFn, *examples: Any) -> bytes:
    """A frame or an answer of any kind: now and then even a good one."""
    kind = draw(
        st.sampled_from(("broken", "broken", "broken", "value", "bytes", "cut", "bad text", "twice", "special"))
    )
    if kind == "value":
        return written(draw(values))
    if kind == "bytes":
        return draw(st.binary(max_size=40))
    if kind == "special":
        return draw(
            st.sampled_from(
                (
                    b"",
                    b"null",
                    b"[]",
                    b"{}",
                    NESTED,
                    HALF_NESTED,
                    b"<html>502</html>",
                    b"\xff\xfe",
                    b"NaN",
                    b'{"a":NaN}',
                    b'{"t":1e999}',
                    b'"\xed\xa0\x80"',
                )
            )
        )
    whole = written(draw(broken(draw(st.sampled_from(examples)))))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    if kind == "bad text":
        at = draw(st.integers(0, len(whole)))
        return whole[:at] + draw(st.sampled_from((b"\xff", b"\x00", b"\xc3", b"\xed\xa0\x80"))) + whole[at:]
    if kind == "twice" and whole.startswith(b"{") and len(whole) > 2:
        # Every key a second time, with another value.
        again = written(draw(broken(json.loads(whole)))) if whole != b"{}" else whole
        return whole[:-1] + b"," + again[1:] if len(again) > 2 else whole
    return whole
