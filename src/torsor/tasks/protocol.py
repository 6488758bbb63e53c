"""What is measured of networks without training them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """What a protocol found.

    Args:
        figures: metric -> value.
        networks: how many were measured.
        samples: what each of them was fed, in samples.
        parameters: of one network.
        seconds: in all.
    """

    figures: Mapping[str, float]
    networks: int
    samples: int
    parameters: int
    seconds: float


class Protocol(ABC):
    """A measurement of untrained networks. Lower is better for every figure.

    Attributes:
        config: the frozen dataclass that built it.
        name: what the registry calls it.
        headline: the figure that is quoted.
        signature: what the networks are fed and have to return.
        networks: how many are measured.
        units: every figure with its unit.
        meanings: every figure in a sentence.
        controls: figures that stand beside the headline always: what the same measurement gives where the answer is known.
        notes: sentences to print beside every figure.
    """

    config: Any
    name: str
    headline: str
    signature: Any
    networks: int
    units: Mapping[str, str]
    meanings: Mapping[str, str]
    controls: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @abstractmethod
    def measure(self, model: Any, seed: int = 0, report: Callable[[int], None] | None = None) -> Measurement:
        """Measure networks of one kind.

        Args:
            model: settings of the networks; `model.build(signature)` makes one.
            seed: of their weights and of all noise.
            report: is told how many networks are done.
        """
