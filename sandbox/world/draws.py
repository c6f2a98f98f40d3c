"""Random numbers by name: a draw follows from (seed, stream, keys) alone, never from what was drawn before.

What belongs here: the counter-based generator. That is why a world can be looked at on any day,
in any batch and on any machine, and be the same world.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_AT_ONCE = 65_536
"""Numbers drawn together: they stay in the processor's cache."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), in place."""
    state += _GOLDEN
    state ^= state >> np.uint64(30)
    state *= _MIX_1
    state ^= state >> np.uint64(27)
    state *= _MIX_2
    state ^= state >> np.uint64(31)
    return state


class Draws:
    """Draws of one seed. Every method takes a stream's name and one or more integer arrays as keys."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def bits(self, stream: str, *keys: Ints) -> NDArray[np.uint64]:
        """64 random bits for each row of the keys (which broadcast)."""
        name = hashlib.blake2b(f"{self.seed}/{stream}".encode(), digest_size=8).digest()
        state = np.array(int.from_bytes(name, "little"), dtype=np.uint64)
        for key in keys:
            state = _mix(state ^ _mix(np.asarray(key, dtype=np.int64).astype(np.uint64)))
        return state

    def uniform(self, stream: str, *keys: Ints) -> Floats:
        """Uniform in [0, 1)."""
        drawn = np.empty(np.broadcast_shapes(*(key.shape for key in keys)))
        at_once = max(1, _AT_ONCE * len(drawn) // max(drawn.size, 1))
        for rows in (slice(at, at + at_once) for at in range(0, len(drawn), at_once)):
            some = (key[rows] if key.ndim == drawn.ndim and len(key) == len(drawn) else key for key in keys)
            drawn[rows] = (self.bits(stream, *some) >> np.uint64(11)).astype(np.float64)
            drawn[rows] *= 2.0**-53
        return drawn

    def chance(self, stream: str, probability: float | Floats, *keys: Ints) -> Bools:
        """True with the given probability."""
        drawn: Bools = self.uniform(stream, *keys) < probability
        return drawn

    def integers(self, stream: str, low: int, high: int, *keys: Ints) -> Ints:
        """Whole numbers in [low, high)."""
        drawn: Ints = low + (self.uniform(stream, *keys) * (high - low)).astype(np.int64)
        return drawn

    def exponential(self, stream: str, mean: float, *keys: Ints) -> Floats:
        """Exponential with the given mean, cut at eight times the mean."""
        drawn: Floats = np.minimum(-np.log1p(-self.uniform(stream, *keys)), 8.0) * mean
        return drawn

    def normal(self, stream: str, *keys: Ints) -> Floats:
        """Standard normal (Box and Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(stream + "/r", *keys)))
        drawn: Floats = radius * np.cos(2.0 * np.pi * self.uniform(stream + "/a", *keys))
        return drawn

    def choice(self, stream: str, weights: Sequence[float], *keys: Ints) -> Ints:
        """Index into the weights (which need not sum to one)."""
        edges = np.cumsum(np.asarray(weights, dtype=np.float64))
        drawn: Ints = np.searchsorted(edges / edges[-1], self.uniform(stream, *keys), side="right").astype(np.int64)
        return np.minimum(drawn, len(weights) - 1)
