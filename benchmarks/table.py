"""Tables of measurements: median, p99 and the ratio to the first row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print `rows` under `columns`: the first column to the left, numbers to the right."""
    lines = [columns, *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(columns))]
    print(f"\n{title}")
    for line in lines:
        cells = [str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join([str(line[0]).ljust(widths[0]), *cells[1:]]))


def timing_rows(times: Mapping[str, Sequence[float]], floor: str) -> list[list[object]]:
    """(who, n, median, p99, worst, ratio of the medians to `floor`) of each; `times` in any one unit."""
    base = median(times[floor])
    return [
        [who, len(values), median(values), quantile(values, 0.99), max(values), f"{median(values) / base:.2f}x"]
        for who, values in times.items()
    ]


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
