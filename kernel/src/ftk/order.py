"""The order of a plan: kinds in their fixed order, then ``after=``, then name."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from .component import Component
from .kinds import rank


def in_order(components: Iterable[Component]) -> tuple[Component, ...]:
    """Raises ValueError when components wait for each other, naming the cycle."""
    by_id = {c.id: c for c in components}
    graph = {c.id: {x for x in c.after if x in by_id} for c in by_id.values()}
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as e:
        raise ValueError("components wait for each other: " + " -> ".join(e.args[1])) from None
    # Of all that may come next, the lowest kind and then name: so the order never depends on how plugins were found.
    ready: list[tuple[int, str]] = []
    out = []
    while sorter.is_active():
        for cid in sorter.get_ready():
            heapq.heappush(ready, (rank(by_id[cid].kind), cid))
        _, cid = heapq.heappop(ready)
        out.append(by_id[cid])
        sorter.done(cid)
    return tuple(out)
