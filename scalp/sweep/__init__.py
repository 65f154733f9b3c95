"""The same backtest for many sets of parameters: a table of them, and walk-forward.

    settings        the arguments of `python -m scalp.sweep`
    source          which days are played, as small specifications that any process can turn into bars
    tasks           one day of several sets, played in whatever process it lands in
    run             the tasks, in processes of this machine or on a Dask cluster; one that dies is retried
    results         what the days of a set come to, which set is best, walk-forward
    output          the tables, the CSV file and the JSON object

Every set plays every day once, all symbols together, as a backtest does; the rest is adding up in the order of the
days, so the result does not depend on where and in which order the tasks ran.
"""
