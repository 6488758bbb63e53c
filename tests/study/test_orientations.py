import pytest
import torch

from tests.study.toy import ToyConfig, ToyTask
from torsor.data.samples import Samples, Splits
from torsor.dial import Augment
from torsor.study.orientations import symmetry_test


class Aligned(ToyTask):
    """All clouds lie nearly alike."""

    spread = 0.1

    @staticmethod
    def _samples(size, seed):
        generator = torch.Generator().manual_seed(seed)
        cloud = torch.tensor([[3.0, 0, 0], [-1, 0.5, 0], [-1, -1, 0.2]])
        x = cloud + Aligned.spread * torch.randn(size, 3, 3, generator=generator) + 5 * torch.randn(size, 1, 3, generator=generator)
        return Samples({"positions": x, "features": torch.ones(size, 3, 1), "target": x.mean(1, keepdim=True) - x})


class Turned(Aligned):
    """The same clouds, each turned at random."""

    @property
    def splits(self):
        splits = super().splits
        moved = Augment(self.symmetry)(splits.test.take(slice(None)), torch.Generator().manual_seed(5))
        return Splits(splits.train, splits.valid, Samples(moved))


def test_clouds_that_lie_alike_are_found():
    found = symmetry_test(Aligned(ToyConfig()), draws=99)
    assert found.p_value == pytest.approx(0.01)
    assert found.effect > 0.6


@pytest.mark.parametrize("task", [Turned, ToyTask])
def test_clouds_without_a_preferred_orientation_are_not(task):
    assert symmetry_test(task(ToyConfig()), draws=99).p_value > 0.05
