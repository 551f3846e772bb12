"""What is true about privacy; no torch, no terminal, no network.

A newcomer's map, from the ground up. A file imports only from lower floors.

    errors, checks       what can go wrong, and what a number may be
    canonical, files     one value, one byte string, one digest; files whole or not
    budget, events       the promise; what touched the data, as values
    contour              epsilon of events: the fast, certified method
    opinions             the same by dp-accounting, prv-accountant and RDP
    accounting           epsilon and delta of an event tree, as a bracket
    calibration, risk    least noise inside a budget; what an epsilon means
    renyi, filters       runs chosen after seeing earlier results: what may still run
    selection            the best of several runs: what choosing costs
    budget_lines         queries beside training, each with its price and its release
    fields               the types that documents are made of
    stages, recipes      which sigma learns from what; default settings
    plan, planner        every public number of a run; a budget turned into one
    ledger               what was begun, written before it happened
    keys, signing        who says it
    report, verify       the claim; the claim recomputed

Start with `budget` and `events`, then `plan`, `ledger` and `verify`.
"""
