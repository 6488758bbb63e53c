"""The published generator's facts, and what can be counted without learning."""

import math

import pytest
import torch
from torch import Tensor

from torsor.data.constellations import (
    TYPES,
    Constellations,
    corners,
    count_clusters,
    draw_constellations,
    nearest_distances,
    power_means,
    sorted_distances,
)
from torsor.errors import DataError

SIZES = {"square": 4, "triangle": 3, "pentagon": 5, "L": 5}


def draw(count: int = 2000, seed: int = 5, **settings: object) -> Constellations:
    return draw_constellations(count, torch.Generator().manual_seed(seed), **settings)


def test_patterns_have_their_corners() -> None:
    for kind, size in SIZES.items():
        assert corners(kind).shape == (size, 2)
    for kind in ("square", "triangle", "pentagon"):
        torch.testing.assert_close((corners(kind) - 2).norm(dim=1), torch.ones(SIZES[kind], dtype=torch.float64))
    assert corners("L").tolist() == [[1, 1], [2, 1], [3, 1], [3, 2], [3, 3]]


def test_every_sample_has_34_corners_in_a_box_that_holds_the_absent_ones_too() -> None:
    drawn = draw()
    assert drawn.positions.shape == (2000, 34, 2)
    assert torch.equal(drawn.positions.amin((1, 2)), -torch.ones(2000, dtype=torch.float64))
    torch.testing.assert_close(drawn.positions.amax((1, 2)), torch.ones(2000, dtype=torch.float64))
    # one scale for both axes: the box is filled along one of them alone in some samples
    assert (drawn.positions.amax(1) < 1 - 1e-6).any()
    outside = drawn.positions.masked_fill(~drawn.present[..., None], 0).abs().amax((1, 2)) < 1 - 1e-6
    assert outside.any()


def test_corners_that_are_present_belong_to_the_patterns_that_are_counted() -> None:
    drawn = draw()
    points = drawn.counts @ torch.tensor([SIZES[kind] for kind in TYPES])
    assert torch.equal(drawn.present.sum(1), points)


def test_counts_are_binomial_and_never_all_zero() -> None:
    """Two patterns of a type, each there with odds 1/2; one of the eight is switched on where none is."""
    count = 50_000
    drawn = draw(count)
    assert (drawn.counts.sum(1) > 0).all()
    none = 2.0**-8
    expected = torch.tensor([0.25 - none / 4, 0.5 + none / 4, 0.25], dtype=torch.float64)
    for kind in range(len(TYPES)):
        seen = torch.bincount(drawn.counts[:, kind], minlength=3) / count
        assert ((seen - expected).abs() < 5 * (expected * (1 - expected) / count).sqrt()).all()


def test_patterns_are_independent() -> None:
    counts = draw(50_000).counts.double()
    correlation = torch.corrcoef(counts.T) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 0.03


@pytest.mark.parametrize(("quirk", "farthest"), [(True, 3 * 24 + 2 * math.sqrt(2)), (False, 24 + 2 * math.sqrt(2))])
def test_the_quirk_moves_polygons_three_times_as_far(quirk: bool, farthest: float) -> None:
    """Sides keep their length, so that the box in units of a side tells how far patterns were moved."""
    drawn = draw(4000, noise=0.0, quirk=quirk)
    distances = torch.cdist(drawn.positions, drawn.positions)
    # the shortest distance of all is a side of an L, of length 1, unless patterns overlap
    side = distances.masked_fill(torch.eye(34, dtype=torch.bool), math.inf).amin((1, 2)).quantile(0.95)
    size = (2 / distances.masked_fill(torch.eye(34, dtype=torch.bool), math.inf).amin((1, 2))).quantile(0.02)
    assert size < farthest + 2
    assert 2 / side > farthest / 2


def test_without_rotation_all_ls_stand_upright() -> None:
    """Their two arms lie along the axes: differences of neighbours are (1, 0) and (0, 1) in units of the sample's scale."""
    drawn = draw(200, noise=0.0, max_rotation=0.0, presence=0.0)
    alone = drawn.counts[:, TYPES.index("L")] == 1
    for positions, present in zip(drawn.positions[alone], drawn.present[alone], strict=True):
        found = positions[present]
        assert len(found[:, 0].unique()) <= 5
        steps = (found[:, None] - found[None]).reshape(-1, 2)
        steps = steps[steps.norm(dim=1) > 0]
        shortest = steps[steps.norm(dim=1) < 1.001 * steps.norm(dim=1).min()]
        assert (shortest.abs().amin(1) < 1e-12).all()


def test_rotation_stays_within_its_bound_and_reaches_it() -> None:
    drawn = draw(4000, noise=0.0, max_rotation=0.33, presence=0.0)
    alone = drawn.counts[:, TYPES.index("L")] == 1
    angles = []
    for positions, present in zip(drawn.positions[alone], drawn.present[alone], strict=True):
        found = positions[present]
        distances = torch.cdist(found, found)
        tips = found[(distances.max() - distances < 1e-9).any(1)]
        diagonal = tips.mean(0) - found.mean(0)  # along (-1, 1) before the turn
        angles.append(torch.atan2(diagonal[1], diagonal[0]) - 0.75 * math.pi)
    turned = torch.remainder(torch.stack(angles) + math.pi, 2 * math.pi) - math.pi
    assert turned.abs().max() < 0.33 * math.pi + 1e-9
    assert turned.max() > 0.3 * math.pi
    assert turned.min() < -0.3 * math.pi


def test_a_smaller_set_is_a_prefix_and_another_seed_another_set() -> None:
    large, small, other = draw(1500), draw(400), draw(400, seed=6)
    assert torch.equal(large.positions[:400], small.positions)
    assert torch.equal(large.counts[:400], small.counts)
    assert not torch.equal(small.positions, other.positions)


def test_repetitions_are_the_largest_count() -> None:
    drawn = draw(500, repetitions=3)
    assert drawn.positions.shape[1] == 51
    assert drawn.counts.max() == 3


def naive_distances(positions: Tensor, present: Tensor) -> Tensor:
    rows = []
    for i in range(len(positions)):
        seen = sorted((float((positions[i] - positions[j]).norm()) for j in range(len(positions)) if present[j]), reverse=True)
        rows.append((seen + [0.0] * len(positions))[: len(positions) - 1])
    return torch.tensor(rows, dtype=torch.float64)


def test_distances_are_those_to_present_points_in_order() -> None:
    drawn = draw(3)
    found = sorted_distances(drawn.positions, drawn.present)
    for i in range(3):
        torch.testing.assert_close(found[i], naive_distances(drawn.positions[i], drawn.present[i]), rtol=0, atol=1e-12)


def test_nearest_distances_are_the_smallest_to_other_present_points() -> None:
    drawn = draw(20)
    found = nearest_distances(drawn.positions, drawn.present, 5)
    distances = torch.cdist(drawn.positions, drawn.positions)
    for i in range(20):
        for j in range(34):
            others = drawn.present[i].clone()
            others[j] = False
            expected = torch.nn.functional.pad(distances[i, j][others].sort().values, (0, 5))[:5]
            torch.testing.assert_close(found[i, j], expected, rtol=0, atol=1e-7)


def test_power_means_grow_towards_the_largest_distance() -> None:
    drawn = draw(50)
    found = power_means(drawn.positions, drawn.present)
    distances = torch.cdist(drawn.positions, drawn.positions) * drawn.present[:, None]
    torch.testing.assert_close(found[..., 0], distances.sum(-1) / drawn.present.sum(1, keepdim=True))
    assert (found.diff(dim=-1) > -1e-12).all()
    assert (found <= distances.amax(-1, keepdim=True) + 1e-12).all()


def test_features_do_not_change_under_rigid_motions() -> None:
    drawn = draw(20)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    moved = drawn.positions @ turn.T + torch.tensor([3.0, -1.0], dtype=torch.float64)
    for features in (sorted_distances, power_means, nearest_distances):
        torch.testing.assert_close(features(moved, drawn.present), features(drawn.positions, drawn.present), rtol=1e-10, atol=1e-12)
    assert torch.equal(count_clusters(moved, drawn.present), count_clusters(drawn.positions, drawn.present))


def test_patterns_that_are_far_apart_are_counted_exactly_without_learning() -> None:
    grid = torch.cartesian_prod(torch.arange(3), torch.arange(3))[:8] * 12.0
    kinds = TYPES * 2
    positions = torch.cat([corners(kind) + grid[i] for i, kind in enumerate(kinds)])[None]
    owner = torch.cat([torch.full((SIZES[kind],), i) for i, kind in enumerate(kinds)])
    for there in ([0, 1, 2, 3], [0, 4, 7], [2, 3, 6], list(range(8))):
        present = torch.isin(owner, torch.tensor(there))[None]
        expected = [sum(kinds[i] == kind for i in there) for kind in TYPES]
        assert count_clusters(positions, present)[0].tolist() == expected


def test_clusters_count_most_samples_and_fewer_where_patterns_overlap() -> None:
    right = {
        quirk: float((count_clusters(d.positions, d.present) == d.counts).double().mean())
        for quirk in (True, False)
        for d in [draw(quirk=quirk)]
    }
    assert right[True] > 0.93
    assert 0.6 < right[False] < 0.85


@pytest.mark.parametrize("settings", [{"count": 0}, {"repetitions": 0}])
def test_nothing_to_draw_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(DataError, match="give 1 or more of both"):
        draw(**{"count": 10, **settings})
