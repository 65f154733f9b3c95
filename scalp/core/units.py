"""Exchange time is counted in whole nanoseconds since the epoch, UTC; these are its units."""

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
