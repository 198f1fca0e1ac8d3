"""Which series `limit_ratio` takes: always the same ones, and those that Prometheus takes."""

from __future__ import annotations

from functools import lru_cache

from engine.model.labels import Labels

MASK = (1 << 64) - 1
PRIMES = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
SHORT = 255
"""Prometheus writes the length of a string below this into one byte, and of others into three behind this one."""
LANES = 4


@lru_cache(maxsize=1 << 16)
def place(labels: Labels) -> float:
    """Return where among all series a series stands, from 0 to 1: its hash in Prometheus's default build."""
    parts = []
    for text in (text for pair in labels.pairs for text in pair):
        data = text.encode("utf-8", "surrogateescape")
        size = len(data)
        parts.append(bytes([size]) if size < SHORT else bytes([SHORT]) + size.to_bytes(3, "little"))
        parts.append(data)
    return xxhash64(b"".join(parts)) / float(MASK)


def xxhash64(data: bytes) -> int:
    """Return the 64-bit xxHash of `data` with seed 0 (Collet, xxHash specification 0.1.1)."""
    first, second, third, _, fifth = PRIMES
    whole = len(data) // 32 * 32
    if whole:
        lanes = [(first + second) & MASK, second, 0, -first & MASK]
        for start in range(0, whole, 32):
            for lane in range(LANES):
                lanes[lane] = _round(lanes[lane], _word(data, start + 8 * lane, 8))
        total = sum(_rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            total = ((total ^ _round(0, lane)) * first + PRIMES[3]) & MASK
    else:
        total = fifth
    total = (total + len(data)) & MASK
    at = whole
    while at + 8 <= len(data):
        total = (_rotated(total ^ _round(0, _word(data, at, 8)), 27) * first + PRIMES[3]) & MASK
        at += 8
    if at + 4 <= len(data):
        total = (_rotated(total ^ (_word(data, at, 4) * first & MASK), 23) * second + third) & MASK
        at += 4
    for byte in data[at:]:
        total = _rotated(total ^ (byte * fifth & MASK), 11) * first & MASK
    total = (total ^ total >> 33) * second & MASK
    total = (total ^ total >> 29) * third & MASK
    return total ^ total >> 32


def _word(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "little")


def _rotated(number: int, bits: int) -> int:
    return (number << bits | number >> (64 - bits)) & MASK


def _round(lane: int, word: int) -> int:
    return _rotated((lane + word * PRIMES[1]) & MASK, 31) * PRIMES[0] & MASK
