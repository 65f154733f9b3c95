"""One HTTP request and what its answer means: shared by the REST edges.

Sending is a coroutine that can be replaced, so that a simulation stands in for the socket and nothing else. Exceptions
of the HTTP library never leave this file: their text can hold the headers of the request, the keys among them.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import aiohttp
import msgspec

from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.net.printable import NO_MASK, Mask
from scalp.net.virtual_time import is_real_time

Answer = tuple[int, Mapping[str, str], bytes]  # HTTP status, headers, body
# (method, url, headers, params, json, seconds of the loop to wait). Raises OSError (TimeoutError is one) when the
# exchange broke; any other exception is taken the same way.
Transport = Callable[
    [str, str, Mapping[str, str], Mapping[str, str] | None, Any, float],
    Awaitable[Answer],
]

# A kept connection must be given up by us before the server does: a POST on one it just closed has an unknown outcome.
KEEP_ALIVE = 45.0
# What decoding JSON may raise: content that is no JSON, text that is no UTF-8, nesting without end.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ORDER_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
# Bytes that an answer may need, unpacked: about one thing; a page of a listing; all assets, or Polygon's longest page.
SHORT, LISTING, LONGEST = 2**18, 2**22, 2**24
LONGEST_ERROR = 2**16  # bytes of an answer that is an error
GZIP = 16 + zlib.MAX_WBITS  # the format, as zlib names it
HIGHEST_CODE = 10**12  # a code beyond is none
LONGEST_TRACE = 64  # characters of the id that a server gave a request
# 4xx that do not promise that nothing happened.
INDEFINITE = frozenset({408, 499})


class RateLimited(Unreachable):
    """429: nothing was done; ask again later, in `retry_after` seconds if the server said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLong(OSError):
    """An answer has no end, or none in sight."""


class HttpTransport:
    """The default transport: one aiohttp session, no redirects, no cookies, nothing from the environment.

    An answer longer than `most` bytes, unpacked, is TooLong; of one that did not succeed the beginning is enough.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        json: Any,
        within: float,
        most: int = LONGEST,
    ) -> Answer:
        if self._session is None:
            # Made here because a session belongs to the running loop. The library counts idle seconds by the machine's
            # clock: where the time is another one it would close more or fewer connections from run to run.
            idle = KEEP_ALIVE if is_real_time(asyncio.get_running_loop()) else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=idle),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "gzip"},
                auto_decompress=False,  # it has no size limit
            )
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                params=params,
                json=json,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=within),
            ) as response:
                has_failed = response.status >= 300
                body = await _read(response, LONGEST_ERROR if has_failed else most, may_be_cut=has_failed)
                return response.status, response.headers, body
        except (aiohttp.ClientError, zlib.error) as error:
            raise ConnectionError(type(error).__name__) from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _read(response: aiohttp.ClientResponse, most: int, may_be_cut: bool) -> bytes:
    """The body, unpacked. Raises TooLong for more than `most` bytes, unless its beginning will do."""
    body = bytearray()
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    unpacker = zlib.decompressobj(GZIP) if encoding == "gzip" else None
    if unpacker is None and encoding not in ("identity", ""):
        raise ConnectionError("an encoding that nobody asked for")
    async for part in response.content.iter_any():
        body += part if unpacker is None else unpacker.decompress(part, most + 1 - len(body))
        if len(body) > most:
            response.close()
            if may_be_cut:
                return bytes(body[:most])
            raise TooLong
    if unpacker is not None and not unpacker.eof and body:
        raise ConnectionError("cut off")
    return bytes(body)


async def exchange(
    transport: Transport,
    method: str,
    url: str,
    headers: Mapping[str, str],
    params: Mapping[str, Any] | None,
    json: Any,
    within: float,
    *,
    what: str,
    changes: bool,
    most: int = LONGEST,
) -> tuple[Mapping[str, str], int, bytes]:
    """Send one request; returns (headers with lower-case names, status, body) of any answer.

    `what` names the request in errors, `most` is how many bytes its answer may need. Raises OutcomeUnknown if it broke
    off, or does not end, and `changes` something, else Unreachable.
    """
    if isinstance(transport, HttpTransport):
        transport = partial(transport, most=most)
    try:
        status, raw_headers, body = await transport(method, url, headers, _query(params), json, within)
    except TimeoutError:
        raise _broken(changes, f"{what}: no answer within {within:g} s") from None
    except TooLong:
        raise _broken(changes, f"{what}: the answer is longer than {most:,} bytes") from None
    except Exception as error:
        raise _broken(changes, f"{what}: {type(error).__name__}") from None
    return {name.lower(): value for name, value in raw_headers.items()}, status, body


def check(
    status: int, headers: Mapping[str, str], body: bytes, *, what: str, changes: bool, mask: Mask = NO_MASK
) -> None:
    """Raise what an answer other than 2xx means. `headers` has lower-case names; `mask` hides the keys in its words.

    RateLimited for 429, Rejected for a definite 4xx; OutcomeUnknown or Unreachable for all else.
    """
    if 200 <= status < 300:
        return
    code, message = _error_body(body, mask)
    trace = mask.words(headers.get("x-request-id", ""), LONGEST_TRACE)
    text = f"{message or 'no reason given'}{f' (request {trace})' if trace else ''}"
    if status == 429:
        raise RateLimited(f"{what}: too many requests", _seconds(headers.get("retry-after")))
    if 400 <= status < 500 and status not in INDEFINITE:
        raise Rejected(status, code, text, _related_orders(body))
    raise _broken(changes, f"{what}: HTTP {status}, {text}")


def decode(body: bytes, *, what: str, changes: bool) -> Any:
    """The JSON of a 2xx answer, None if it is empty. Garbage means that something else answered."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except UNDECODABLE:
        raise _broken(changes, f"{what}: the answer is not JSON") from None


def _broken(changes: bool, message: str) -> OutcomeUnknown | Unreachable:
    return OutcomeUnknown(message) if changes else Unreachable(message)


def _query(params: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Query parameters as text: None is left out, bools are written as JSON writes them."""
    if not params:
        return None
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
        if value is not None
    }


def _error_body(body: bytes, mask: Mask) -> tuple[int, str]:
    """(code, message) of an error body; (0, "") if it is HTML or something else of a proxy's."""
    try:
        error = msgspec.json.decode(body)
    except UNDECODABLE:
        return 0, ""
    if not isinstance(error, dict):
        return 0, ""
    code = error.get("code")
    message = error.get("message") or error.get("error")
    words = mask.words(message) if isinstance(message, str) else ""
    return code if isinstance(code, int) and abs(code) < HIGHEST_CODE else 0, words


def _related_orders(body: bytes) -> tuple[str, ...]:
    """The ids of orders that a refusal names as its reason: they hold the shares, or would trade with the new one."""
    try:
        error = msgspec.json.decode(body)
    except UNDECODABLE:
        return ()
    if not isinstance(error, dict):
        return ()
    related = error.get("related_orders")
    ids = [*(related if isinstance(related, list) else ()), error.get("existing_order_id")]
    return tuple(order_id for order_id in ids if isinstance(order_id, str) and _ORDER_ID.fullmatch(order_id))


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None
