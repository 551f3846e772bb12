"""Rare participation: split off the steps in which the record plays a part."""

from privplan.contour.nodes import Nodes
from privplan.contour.tilt import too_hard


class SplitNodes(Nodes):
    def __init__(self, *a, **k):
        raise too_hard("later")
