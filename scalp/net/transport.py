"""One HTTP request and what its answer means: shared by the REST edges.

Sending is a coroutine that can be replaced, so that a simulation stands in for the socket and nothing else. Exceptions
of the HTTP library never leave this file: their text can hold the headers of the request, the keys among them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from scalp.core.errors import OutcomeUnknown, Refused, Unreachable

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
LONGEST_REASON = 300  # characters of a server's words in a line of ours
# 4xx that do not promise that nothing happened.
INDEFINITE = frozenset({408, 499})


class RateLimited(Unreachable):
    """429: nothing was done; ask again later, in `retry_after` seconds if the server said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HttpTransport:
    """The default transport: one aiohttp session, no redirects, no cookies, nothing from the environment."""

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
    ) -> Answer:
        if self._session is None:
            # Made here because a session belongs to the running loop.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
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
                return response.status, response.headers, await response.read()
        except aiohttp.ClientError as error:
            raise ConnectionError(type(error).__name__) from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


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
) -> tuple[Mapping[str, str], int, bytes]:
    """Send one request; returns (headers with lower-case names, status, body) of any answer.

    `what` names the request in errors. Raises OutcomeUnknown if it broke off and `changes` something, else Unreachable.
    """
    try:
        status, raw_headers, body = await transport(method, url, headers, _query(params), json, within)
    except TimeoutError:
        raise _broken(changes, f"{what}: no answer within {within:g} s") from None
    except Exception as error:
        raise _broken(changes, f"{what}: {type(error).__name__}") from None
    return {name.lower(): value for name, value in raw_headers.items()}, status, body


def check(status: int, headers: Mapping[str, str], body: bytes, *, what: str, changes: bool) -> None:
    """Raise what an answer other than 2xx means. `headers` has lower-case names.

    RateLimited for 429, Refused for a definite 4xx; OutcomeUnknown or Unreachable for all else.
    """
    if 200 <= status < 300:
        return
    code, message = _error_body(body)
    trace = headers.get("x-request-id")
    text = f"{message or 'no reason given'}{f' (request {trace})' if trace else ''}"
    if status == 429:
        raise RateLimited(f"{what}: too many requests", _seconds(headers.get("retry-after")))
    if 400 <= status < 500 and status not in INDEFINITE:
        raise Refused(status, code, text, _related_orders(body))
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


def _error_body(body: bytes) -> tuple[int, str]:
    """(code, message) of an error body; (0, "") if it is HTML or something else of a proxy's."""
    try:
        error = msgspec.json.decode(body)
    except UNDECODABLE:
        return 0, ""
    if not isinstance(error, dict):
        return 0, ""
    code = error.get("code")
    message = error.get("message") or error.get("error")
    words = " ".join(message.split())[:LONGEST_REASON] if isinstance(message, str) else ""  # one line, whatever comes
    return code if isinstance(code, int) else 0, words


def _related_orders(body: bytes) -> tuple[str, ...]:
    """The ids of orders that a refusal names as its ground: they hold the shares, or would trade with the new one."""
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
