from __future__ import annotations

from collections.abc import Mapping

from engine.model.labels import Batch, Labels
from engine.promql.block import Block, Matcher, MatchOperator
from engine.samples.store import SampleStore

START, END = -(2**53), 2**53


def named(name: str, **labels: str) -> Labels:
    return Labels({"__name__": name, **labels})


def batch(time: float, values: Mapping[Labels, float]) -> Batch:
    return Batch(time, tuple(values), tuple(values.values()))


def equal(name: str, value: str) -> Matcher:
    return Matcher(name, MatchOperator.EQUAL, value)


def rows(block: Block) -> list[tuple[Labels, list[tuple[int, bytes]]]]:
    """Every series of a block with its times and the very bits of its values, in order."""
    assert block.offsets[0] == 0
    assert block.offsets[-1] == len(block.times) == len(block.values)
    return [
        (labels, [(int(t), v.tobytes()) for t, v in zip(block.times[low:high], block.values[low:high], strict=True)])
        for labels, low, high in zip(block.series, block.offsets[:-1], block.offsets[1:], strict=True)
    ]


def everything(store: SampleStore) -> list[tuple[Labels, list[tuple[int, bytes]]]]:
    return rows(store.select((), START, END))
