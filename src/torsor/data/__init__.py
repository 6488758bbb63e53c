"""Samples: simulators and readers of published data sets, one a file."""

from torsor.data.samples import Samples, Splits

__all__ = ["Samples", "Splits"]
