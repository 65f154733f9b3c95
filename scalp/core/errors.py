"""The errors of this program, by whose fault it is and by what is known.

ScalpError
 +-- UserError        the user must change something: one line, exit code 2
 +-- Unreachable      the venue could not be reached or answered with trouble of its own; may pass
 +-- Rejected         the broker answered and said no: the request had no effect
 +-- OutcomeUnknown   the request may or may not have had its effect: ask, never guess
 +-- IllegalMove      a bug in here: an order, or a move, that the present state does not allow
"""

from __future__ import annotations

from collections.abc import Sequence


class ScalpError(Exception):
    """Base of all errors this program raises on purpose."""


class UserError(ScalpError):
    """Bad arguments, environment, files or credentials. The message is the one line the user sees."""


class Unreachable(ScalpError):
    """No connection, a timeout of a harmless question, a 5xx: worth another try."""


class Rejected(ScalpError):
    """A definite refusal by the broker: HTTP `status`, its error `code` (0: none) and `message`.

    `orders` are the ids of other orders that it names as the reason.
    """

    def __init__(self, status: int, code: int, message: str, orders: Sequence[str] = ()) -> None:
        super().__init__(f"{status} {code}: {message}" if code else f"{status}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.orders = orders


class IllegalMove(ScalpError):
    """A state machine was about to leave a state by a move that it does not have: refused before anything changed."""

    def __init__(self, symbol: str, state: str, new: str, event: str) -> None:
        super().__init__(f"{symbol}: {state} -> {new} on {event}")
        self.symbol = symbol
        self.state = state
        self.event = event


class OutcomeUnknown(ScalpError):
    """A request that changes something broke off: nobody here knows whether it arrived."""
