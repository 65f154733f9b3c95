"""What is asked of Alpaca before a session is traded: the account, and what the symbols stand for."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from scalp.alpaca.decode import decimal_or_none
from scalp.alpaca.rest import AlpacaREST, Asset
from scalp.errors import OutcomeUnknown, Refused, ScalpError, Unreachable, UserError

T = TypeVar("T")

log = logging.getLogger("scalp.main")

PATIENCE = 30.0  # seconds of trouble until it is an error
MOST_SINGLE_ASSETS = 10  # asked for one by one where the listing lacks them
SINGLE_ASSETS = 4  # up to as many symbols are asked for one by one; more: one listing of all


async def patiently(ask: Callable[[], Awaitable[T]], is_live: bool) -> T:
    """Ask: passing trouble is waited out for 30 s, a refusal is the user's to mend. Raises UserError."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    wait = 1.0
    while True:
        try:
            return await ask()
        except Refused as refusal:
            if refusal.status in (401, 403):
                raise UserError(
                    f"Alpaca refused the keys ({refusal.status}): check APCA_API_KEY_ID and APCA_API_SECRET_KEY, "
                    f"and that they belong to {'the live' if is_live else 'a paper'} account"
                ) from None
            raise UserError(
                f"Alpaca refused a request at the start: {refusal.status} {refusal.message} (APCA_API_BASE_URL?)"
            ) from None
        except (Unreachable, OutcomeUnknown) as error:
            if loop.time() + wait > deadline:
                raise UserError(f"Alpaca cannot be reached: {error}; check the network and APCA_API_BASE_URL") from None
            log.warning("%s; again in %.0f s", error, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 8.0)


def check_account(account: dict[str, Any], wanted: Decimal, is_live: bool) -> list[str]:
    """Say what the account can do, `wanted` dollars being what all buys at once take; returns what blocks it."""
    blocks = [name for name in ("trading_blocked", "account_blocked", "trade_suspended_by_user") if account.get(name)]
    status = str(account.get("status", "ACTIVE"))
    if status != "ACTIVE":
        blocks.append(f"status {status}")
    log.info("account: %s, equity $%s, buying power $%s, %s", status, account.get("equity", "?"),
             account.get("buying_power", "?"), "REAL MONEY" if is_live else "paper")  # fmt: skip
    if blocks:
        log.warning("the account is blocked (%s): no buys, what is held is managed", ", ".join(blocks))
    power = decimal_or_none(account.get("buying_power"))
    if power is not None and power < wanted:
        log.warning("buying power $%s is less than lot x symbols = $%s: some buys will be refused", power, wanted)
    return blocks


async def find_assets(rest: AlpacaREST, symbols: Sequence[str], is_live: bool) -> dict[str, Asset]:
    """The asset of each symbol, in their order. Raises UserError that names near ones for a symbol there is not."""
    listed: dict[str, Asset] = {}
    if len(symbols) > SINGLE_ASSETS:
        listed = {asset.symbol: asset for asset in await patiently(rest.assets, is_live)}
    found = {symbol: listed[symbol] for symbol in symbols if symbol in listed}
    # Few symbols, or some that are not in the listing: asked for one by one.
    for symbol in [symbol for symbol in symbols if symbol not in found][:MOST_SINGLE_ASSETS]:
        if asset := await _asset(rest, symbol, is_live):
            found[symbol] = asset
    unknown = [symbol for symbol in symbols if symbol not in found]
    if unknown:
        known = listed or await _known_symbols(rest)
        raise UserError("; ".join(_unknown(symbol, known) for symbol in unknown))
    return {symbol: found[symbol] for symbol in symbols}


async def _asset(rest: AlpacaREST, symbol: str, is_live: bool) -> Asset | None:
    """None where there is no such symbol."""

    async def ask() -> Asset | None:
        try:
            return await rest.asset(symbol)
        except Refused as refusal:
            if refusal.status in (404, 422):
                return None
            raise

    return await patiently(ask, is_live)


async def _known_symbols(rest: AlpacaREST) -> Iterable[str]:
    try:
        return [asset.symbol for asset in await rest.assets()]
    except ScalpError:
        return []


def _unknown(symbol: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(symbol, known, n=4, cutoff=0.5)
    return f"unknown symbol {symbol}" + (f": did you mean {', '.join(near)}?" if near else "")
