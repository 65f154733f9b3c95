"""Text from outside, made fit for a terminal, a file, a page: keys are masked first, then it is made printable and cut.

Everything that others say, and every line that leaves the program, goes through here. What a terminal would obey or
show as something else (control characters, line ends, marks of the writing direction, half characters) is shown
escaped, as in a Python string.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

LONGEST_LINE = 4_000  # characters of a line of ours
LONGEST_REASON = 300  # of a server's words in it
LONGEST_LOOK = 65_536  # characters of a text that are looked at
PIECE = 8  # characters of a key in a row that give it away
LONG_KEY = 12  # pieces are looked for only of a key as long as this
MOST_LINES = 100  # of a traceback
INDENT = "    "  # before those lines of it that could pass for the beginning of a record
HIDDEN, CUT = "***", "..."


def printable(text: str, longest: int = LONGEST_LINE) -> str:
    """`text` on one line and not longer than `longest`, whatever it holds."""
    text = _cut(text, longest)
    return text if text.isprintable() else _cut("".join(map(_shown, text)), longest)


def _shown(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - len(CUT)] + CUT


class Mask:
    """Hides `secrets` in texts: whole, as they are written in URLs, JSON and base64, and any piece of a long one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        given = [secret for secret in dict.fromkeys(secrets) if secret]
        forms = {form for secret in given for form in _forms(secret)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        long_ones = [form for secret in given if _is_key(secret) for form in _forms(secret)]
        pieces = {form[at : at + PIECE] for form in long_ones for at in range(len(form) - PIECE + 1)}
        # A piece that may be a plain word gives nothing away.
        self._pieces = frozenset(piece for piece in pieces if not (piece.isalpha() and piece.islower()))
        half = PIECE // 2
        self._halves = frozenset(piece[at : at + half] for piece in self._pieces for at in range(half + 1))

    def hide(self, text: str) -> str:
        """The whole of `text` without a key in it."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        half = PIECE // 2
        # Every piece holds one of the halves that begin at a multiple of their length: few looks find out.
        if self._pieces and any(text[at : at + half] in self._halves for at in range(0, len(text), half)):
            text = self._without_pieces(text)
        return text

    def line(self, text: str, longest: int = LONGEST_LINE) -> str:
        """A line that may be shown and written anywhere."""
        return printable(self._beginning(text), longest)

    def words(self, text: object, longest: int = LONGEST_REASON) -> str:
        """What somebody outside says, as a part of a line of ours: the same, with single blanks."""
        return printable(" ".join(self._beginning(str(text)).split()), longest)

    def _beginning(self, text: str) -> str:
        """As much of a text as anybody wants to see, without a key, or the beginning of one that is cut."""
        if len(text) <= LONGEST_LOOK:
            return self.hide(text)
        begin = self.hide(text[:LONGEST_LOOK])
        return begin[: max(len(begin) - max(map(len, self._forms), default=0), 0)]

    def _without_pieces(self, text: str) -> str:
        kept: list[str] = []
        end = at = 0
        while at <= len(text) - PIECE:
            if text[at : at + PIECE] not in self._pieces:
                at += 1
                continue
            kept += (text[end:at], HIDDEN)
            at += PIECE
            while text[at - PIECE + 1 : at + 1] in self._pieces:
                at += 1
            end = at
        return "".join((*kept, text[end:]))


NO_MASK = Mask()


class PlainFormatter(logging.Formatter):
    """A record on one line by `form`, then its traceback: nothing that is said in them passes for another record."""

    def __init__(self, form: str, mask: Mask = NO_MASK) -> None:
        super().__init__(form)
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        line = self._mask.line(self.formatMessage(record))
        trouble = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")
        if not trouble:
            return line
        lines = self._mask.hide(trouble).split("\n")
        if len(lines) > MOST_LINES:
            lines[MOST_LINES // 2 : -MOST_LINES // 2] = [CUT]
        return "\n".join([line, *map(_of_a_traceback, lines)])


def _of_a_traceback(line: str) -> str:
    return printable(INDENT + line if line[:1].isdigit() or line.startswith("-") else line)


def _is_key(secret: str) -> bool:
    """Whether pieces of it give it away; those of an address are words and hosts."""
    return len(secret) >= LONG_KEY and not any(character in secret for character in ":. ")


def _forms(secret: str) -> set[str]:
    """How a secret may be written in a text."""
    written = secret.encode(errors="replace")
    forms = {secret, quote(written), quote(written, safe=""), quote_plus(written), json.dumps(secret)[1:-1]}
    if len(secret) >= PIECE:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # The last of its characters depends on what follows the secret.
            forms.add(encode(written).decode().rstrip("=")[:-1])
    return forms
