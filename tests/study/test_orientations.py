import pytest
import torch

from tests.study.toy import ToyConfig, ToyTask
from torsor.data.samples import Samples, Splits
from torsor.dial import Augment
from torsor.groups import O, S
from torsor.signatures import PointClouds
from torsor.study.orientations import symmetry_test
from torsor.tasks.base import with_targets


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


class Flat(ToyTask):
    """Clouds in the plane, all stretched along the first axis."""

    def __init__(self, config):
        super().__init__(config)
        self.signature = PointClouds("1x0e", "1x0e", dimension=2)
        self.symmetry = with_targets(self.signature.symmetry(O(2) * S()), {})

    @staticmethod
    def _samples(size, seed):
        x = torch.randn(size, 3, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([5.0, 1.0])
        return Samples({"positions": x, "features": torch.ones(size, 3, 1)})


def test_clouds_in_the_plane_are_tested_there():
    assert symmetry_test(Flat(ToyConfig()), draws=99).p_value == pytest.approx(0.01)


class Pointless(ToyTask):
    """Samples without a place."""

    @staticmethod
    def _samples(size, seed):
        return Samples({"features": torch.ones(size, 3, 1)})


def test_samples_that_are_no_points_are_not_tested():
    assert symmetry_test(Pointless(ToyConfig())) is None
