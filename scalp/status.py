"""`python -m scalp.status [--json]`: is the bot alive, what does it hold, when did each stream last speak?

It reads what the bots of this user left beside their locks. It needs no key, asks nobody and opens no port.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from scalp.cli.command import exit_code, say
from scalp.cli.options import LineParser, add_json
from scalp.core.clock import NEW_YORK
from scalp.live.health import ENDED, EVERY, TRADING, Health
from scalp.live.lock import HAS_LOCKS, is_taken, locks_folder

LATE = 6 * EVERY  # seconds without a sign: its loop hangs
KEPT = 30 * 86400.0  # seconds for which a bot that has ended is shown
LOUD_SYMBOLS = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Report every bot of this user; returns the exit code: 0 when one runs, and every one that runs is well."""
    return exit_code(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    parser = LineParser(prog="python -m scalp.status", description="What the bots of this user are doing. Exit code: "
                        "0 one runs, and all that run are well; 1 else.")  # fmt: skip
    add_json(parser, "the lines")
    args = parser.parse_args(argv)
    now = time.time()
    bots = [(health, is_alive, _ill(health, now) if is_alive else "") for health, is_alive in _found(now)]
    if args.json:
        say(msgspec.json.encode({"bots": [_plain(*bot, now) for bot in bots]}).decode())
    elif not bots:
        say("no bot runs, and none of yours has run in the last 30 days (without keys main.py leaves no trace here)")
    else:
        for bot in bots:
            for line in _lines(*bot, now):
                say(line)
    alive = [ill for _, is_alive, ill in bots if is_alive]
    return 0 if alive and not any(alive) else 1


def _found(now: float) -> Iterator[tuple[Health, bool]]:
    """Every bot that left a sign, those that run first, the newest first; and whether it runs."""
    try:
        files = sorted(locks_folder().glob("*.json"))
    except OSError:
        return
    found: list[tuple[bool, float, Health]] = []
    for file in files:
        try:
            health = msgspec.json.decode(file.read_bytes(), type=Health)
            is_alive = _is_alive(file, health, now)
        except (OSError, msgspec.MsgspecError):
            continue
        if is_alive or now - health.written_at < KEPT:
            found.append((is_alive, health.written_at, health))
    for is_alive, _, health in sorted(found, key=lambda one: one[:2], reverse=True):
        yield health, is_alive


def _is_alive(file: Path, health: Health, now: float) -> bool:
    if HAS_LOCKS:
        return is_taken(file.with_suffix(".lock"))
    return health.state != ENDED and now - health.written_at <= LATE


def _ill(health: Health, now: float) -> str:
    """What is wrong with a bot that runs; "" if nothing is."""
    if now - health.written_at > LATE:
        return f"no sign for {_ago(health.written_at, now)}: it hangs"
    if down := [stream.name for stream in health.streams if not stream.is_up and health.state == TRADING]:
        return f"down: {', '.join(down)}"
    return ""


def _plain(health: Health, is_alive: bool, ill: str, now: float) -> dict[str, Any]:
    told = msgspec.to_builtins(health)
    return {"alive": is_alive, "well": is_alive and not ill, "trouble": ill, "age": round(now - health.written_at, 1),
            **told}  # fmt: skip


def _lines(health: Health, is_alive: bool, ill: str, now: float) -> Iterator[str]:
    names = ", ".join(health.symbols[:LOUD_SYMBOLS])
    more = len(health.symbols) - LOUD_SYMBOLS
    shown = names if more <= 0 else f"{names} and {more} more"
    day = f", session of {health.date}" if health.date else ""
    if is_alive:
        doing = f"{'ILL, ' + ill if ill else 'alive'}, {health.state}{day}"
    else:
        word = "ended" if health.state == ENDED else "KILLED while " + health.state
        when = dt.datetime.fromtimestamp(health.written_at, NEW_YORK)
        doing = f"{word}{day}, {when:%Y-%m-%d %H:%M:%S} New York"
    yield f"{health.venue}, {health.host}, process {health.process}: {doing}"
    yield f"  symbols  {shown}"
    if is_alive and health.note:
        yield f"  note     {health.note}"
    if health.date or health.held:
        held = ", ".join(f"{qty} {symbol}" for symbol, qty in health.held.items()) or "nothing"
        yield f"  holds    {held}; {health.orders or 'no'} order{'s' * (health.orders > 1)} working"
    if health.date:
        yield f"  day      net $ {health.net}"
    for stream in health.streams if is_alive else ():
        channels = "".join(f", {name} {_ago(at, now)} ago" for name, at in sorted(stream.channels.items()))
        last = "no message yet" if stream.heard_at is None else f"last message {_ago(stream.heard_at, now)} ago"
        yield f"  stream   {stream.name} {'up' if stream.is_up else 'DOWN'}, {last}{channels}"


def _ago(at: float, now: float) -> str:
    seconds = max(round(now - at), 0)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


if __name__ == "__main__":
    sys.exit(main())
