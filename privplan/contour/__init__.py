"""The fast accountant: delta(eps) as a contour integral, with its errors bounded.

    loss.py        a composition as the numbers that matter
    tilt.py        one step's loss, tilted: quadrature over the output
    strip.py         ... and how wrong that quadrature can be
    cumulants.py   the whole composition, tilted; where to put the contour
    period.py      how far apart nodes may be, and what that costs
    decay.py       how far out nodes must go, and what is left beyond
    nodes.py       the sum over nodes, with all its bounds
    jumps.py       the same for rare participation
    cap.py         leaving out what practically never happens
    closed.py      what needs no contour
    curve.py       delta over epsilon, by any of these
    roots.py       where the curve meets a delta, bracketed
    solve.py       epsilon from delta, delta from epsilon, in one direction
    capped.py      an upper end for what is too hard
    both.py        both directions

It imports numpy and scipy, so `accounting.py` imports it only when asked a question.
"""
