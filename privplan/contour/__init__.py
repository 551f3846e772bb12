"""The fast accountant: delta(eps) by a contour integral or on a grid, bounded.

    loss.py        a composition as the numbers that matter
    tilt.py        one step's loss, tilted: quadrature over the output
    strip.py         ... and how wrong that quadrature can be
    cumulants.py   the whole composition, tilted; where to put the contour
    period.py      how far apart nodes may be, and what that costs
    decay.py       how far out nodes must go, and what is left beyond
    nodes.py       the sum over nodes, with all its bounds
    jumps.py       the same for rare participation
    cap.py         counting outputs that are far out in closed form
    cells.py       losses cut into cells
    lattice.py     losses on a grid, from above and from below
    closed.py      what needs no contour
    curve.py       delta over epsilon, by any of these
    roots.py       where the curve meets a delta, bracketed
    grid.py        the same on a grid; where to lay it
    solve.py       epsilon from delta, delta from epsilon, in one direction
    capped.py      an upper end for what is too hard for all of these
    both.py        both directions

It imports numpy and scipy, so `accounting.py` imports it only when asked a question.
"""
