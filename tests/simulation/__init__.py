"""Deterministic fault simulation: whole sessions of the real bot against the real matching engine, from a seed.

Only sockets are replaced.

    world                         the exchange, the account, the bot's process; time is virtual (timing)
    faults                        kinds of trouble, and which of them a seed brings
    network, happenings           trouble between the bot and the exchange; what happens at an instant
    told, hindrances              what the bot was told over the wire; until when which way was hindered
    invariants, rules             what must hold, by these two, always
    own_exits                     classes with exits of their own that some seeds trade
    stop_faults, stop_invariants  what goes wrong with exits that have a stop at the broker; what must hold of them
    excuses                       until when what should be done may have to wait
    defects, claim_defects,
    risk_defects, stop_defects    the proof that the simulation can fail
    runner                        running seeds, and a failing one until little is left of it
"""
