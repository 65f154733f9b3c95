"""Deterministic fault simulation: whole sessions of the real bot against the real matching engine, from a seed.

Only sockets are replaced. See `world.py` for what is simulated, `faults.py` for what goes wrong, `invariants.py` for
what must hold nevertheless, `defects.py` for the proof that the simulation can fail.
"""
