"""`python -m scalp.notify --test`: do messages get through? Sends each service a success, a warning and a failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from scalp.cli.command import exit_code, say
from scalp.cli.options import LineParser
from scalp.core.errors import UserError
from scalp.live.notify import send_test


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Exit code 0: every service took them; 1: one did not; 2: an error of the user's."""
    return exit_code(lambda: _main(argv, environ))


def _main(argv: Sequence[str] | None, environ: Mapping[str, str]) -> int:
    parser = LineParser(prog="python -m scalp.notify", description="Tries the services that main.py --notify tells.")
    parser.add_argument("--test", action="store_true", required=True,
                        help="send each of them a success, a warning and a failure")  # fmt: skip
    parser.add_argument("--notify", action="append", default=[], metavar="URL",
                        help="a service, as apprise writes it; may be repeated; also in SCALP_NOTIFY")  # fmt: skip
    args = parser.parse_args(argv)
    urls = (*args.notify, *environ.get("SCALP_NOTIFY", "").split())
    if not urls:
        raise UserError("no service: name one with --notify, or set SCALP_NOTIFY")
    is_well = True
    for name, took in send_test(urls, len(args.notify), "scalp, test"):
        say(f"service {name}: {'took all three' if took else 'did NOT take them'}")
        is_well = is_well and took
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
