"""Chaos over the wire: the real process against the wire server, with seeded faults, and killed and started again.

`tests.simulation` explores far more on a virtual clock; here nothing is replaced: processes, sockets, signals and time
(hurried) are real. A seed fixes what goes wrong and when, not how the machine paces the two processes.
"""
