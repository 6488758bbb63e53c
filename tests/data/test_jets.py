"""Jets: conservation of four-momentum, masses, what a shower looks like, what the frame may not tell, and the published set."""

import math

import numpy as np
import pytest
import torch

from torsor.data import jets
from torsor.data.jets import generate, read_published, shower, single_partons, top_decays, two_body
from torsor.errors import DataError
from torsor.groups import RestrictedLorentz
from torsor.groups.lorentz import boost, minkowski_square
from torsor.groups.numerics import unit


@pytest.fixture(scope="module")
def drawn():
    return generate(1024, 48, torch.Generator().manual_seed(1))


def mass(momenta):
    return minkowski_square(momenta).clamp(min=0).sqrt()


def test_every_decay_conserves_four_momentum_and_has_the_masses_asked_for(generator):
    space = torch.randn(500, 3, generator=generator, dtype=torch.float64) * torch.logspace(-2, 3, 500, dtype=torch.float64)[:, None]
    heavy = 1 + 200 * torch.rand(500, generator=generator, dtype=torch.float64)
    parent = torch.cat(((space.square().sum(-1, keepdim=True) + heavy.square()[:, None]).sqrt(), space), -1)
    shares = torch.rand(500, 2, generator=generator, dtype=torch.float64)
    light = torch.stack((heavy * shares[:, 0], heavy * (1 - shares[:, 0]) * shares[:, 1]), -1)
    daughters = two_body(parent, heavy, light, unit(torch.randn(500, 3, generator=generator, dtype=torch.float64)))
    scale = parent[:, :1]
    assert ((daughters.sum(1) - parent).abs() <= 1e-10 * scale).all()
    assert ((daughters.sum(1) - parent).abs() <= 1e-13 * scale).all()
    off = daughters[..., 0].square() - daughters[..., 1:].square().sum(-1) - light.square()
    assert (off.abs() <= 1e-12 * scale.square()).all()


def test_a_daughter_leaves_along_the_direction_asked_for():
    parent = torch.tensor([10.0, 0, 0, 0], dtype=torch.float64)
    direction = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    both = two_body(parent, parent[0], torch.tensor([3.0, 4.0], dtype=torch.float64), direction)
    expected = math.sqrt((100 - 49) * (100 - 1)) / 20
    assert (both[0, 1:] - expected * direction).abs().max() < 1e-14
    assert (both[1, 1:] + expected * direction).abs().max() < 1e-14


@pytest.mark.parametrize("source", [top_decays, single_partons])
def test_a_shower_conserves_the_momentum_of_every_prong(source, generator):
    prongs = source(200, generator)
    found = shower(prongs, 40, generator)
    for k in range(prongs.masses.shape[1]):
        total = (found.momenta * (found.prongs == k).unsqueeze(-1)).sum(1)
        assert (total - prongs.momenta[:, k]).abs().max() < 1e-10


def test_jets_are_made_at_rest(generator):
    for source in (top_decays, single_partons):
        total = source(100, generator).momenta.sum(1)
        assert total[:, 1:].abs().max() < 1e-10
        assert (total[:, 0] >= 100).all()


def test_the_masses_of_top_and_w_are_breit_wigner(generator):
    prongs = top_decays(4000, generator)
    for momenta, (centre, width) in ((prongs.momenta, jets.TOP), (prongs.momenta[:, 1:], jets.W)):
        masses = mass(momenta.sum(1))
        assert (masses - centre).abs().max() < jets.LARGEST_OFFSET
        assert abs(float(masses.median()) - centre) < 0.1 * width
        # half of all masses lie within half a width, but for the tails that are cut off
        share = math.atan(1) / math.atan(2 * jets.LARGEST_OFFSET / width)
        assert abs(float(((masses - centre).abs() < width / 2).double().mean()) - share) < 0.03


def test_the_prongs_of_a_jet_have_the_masses_of_top_and_w(drawn):
    signal = drawn.labels
    whole, boson = drawn.momenta.sum(1), (drawn.momenta * (drawn.prongs >= 1).unsqueeze(-1)).sum(1)
    assert (mass(whole)[signal] - jets.TOP[0]).abs().max() < jets.LARGEST_OFFSET
    assert (mass(boson)[signal] - jets.W[0]).abs().max() < jets.LARGEST_OFFSET
    low, high = jets.BACKGROUND_MASSES
    assert ((mass(whole)[~signal] > low) & (mass(whole)[~signal] < high)).all()
    assert (drawn.prongs[~signal] <= 0).all()
    assert not boson[~signal].any()


def test_constituents_of_a_finished_shower_are_pions(drawn):
    full = drawn.mask.all(1)
    assert int(full.sum()) <= 2
    pions = mass(drawn.momenta)[~full][drawn.mask[~full]]
    assert (pions - jets.PION).abs().max() < 1e-4


def test_a_full_jet_keeps_its_heavy_constituents_and_its_momentum(generator):
    prongs = top_decays(50, generator)
    found = shower(prongs, 4, generator)
    assert found.mask.all()
    assert (mass(found.momenta).amax(1) > jets.CUTOFF).any()
    assert (found.momenta.sum(1) - prongs.momenta.sum(1)).abs().max() < 1e-10


def test_jets_are_half_signal_sorted_and_zero_behind_the_mask(drawn):
    assert drawn.labels.tolist() == [True, False] * 512
    transverse = drawn.momenta[..., 1:3].norm(dim=-1)
    assert (transverse[:, 1:] <= transverse[:, :-1]).all()
    assert not drawn.momenta[~drawn.mask].any()
    assert (drawn.prongs[~drawn.mask] == -1).all()
    assert (drawn.momenta[..., 0][drawn.mask] > 0).all()


def test_the_velocity_of_a_jet_does_not_tell_its_kind(drawn):
    total = drawn.momenta.sum(1)
    velocity = total[:, 1:] / mass(total).unsqueeze(-1)
    transverse = velocity[:, :2].norm(dim=-1)
    assert ((transverse > jets.TRANSVERSE[0]) & (transverse < jets.TRANSVERSE[1])).all()
    assert ((velocity[:, 2] / transverse).asinh().abs() < jets.PSEUDORAPIDITY).all()
    spread = (jets.TRANSVERSE[1] - jets.TRANSVERSE[0]) / math.sqrt(12)
    gap = transverse[drawn.labels].mean() - transverse[~drawn.labels].mean()
    assert abs(float(gap)) < 4 * spread * math.sqrt(2 / 512)


def test_jets_at_rest_have_no_preferred_direction(drawn):
    """Boosted back to their rest frames, jets prefer no side of the boost."""
    total = drawn.momenta.sum(1)
    group = RestrictedLorentz()
    back = boost(-unit(total[:, 1:]) * (total[:, 1:].norm(dim=-1) / mass(total)).asinh().unsqueeze(-1))
    rest = group.act(back, drawn.momenta)
    assert rest.sum(1)[:, 1:].abs().max() < 1e-8
    directions = unit(rest[:, 0, 1:])
    # the hardest constituent flies forward more often, so the boost's direction is preferred; nothing across it is
    side = unit(torch.linalg.cross(total[:, 1:], torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(len(total), 3)))
    assert abs(float((directions * side).sum(-1).mean())) < 4 / math.sqrt(3 * len(total))


def test_tops_have_more_constituents_than_partons(drawn):
    counts = drawn.mask.sum(1).double()
    assert counts[drawn.labels].mean() > counts[~drawn.labels].mean() + 2


def test_a_smaller_set_is_a_prefix_of_a_larger_one():
    small, large = (generate(count, 8, torch.Generator().manual_seed(5)) for count in (3, 1500))
    for a, b in zip(small, large, strict=True):
        assert torch.equal(a, b[:3])


def test_too_few_places_are_refused(generator):
    with pytest.raises(DataError, match="a jet of 2 constituents has no three prongs: give 3 or more"):
        generate(1, 2, generator)


def write(folder, **arrays):
    (folder / "toptagging").mkdir(exist_ok=True)
    np.savez(folder / "toptagging" / "toptagging_full.npz", **arrays)


def published(folder, **changes):
    momenta = np.zeros((6, 5, 4), dtype=np.float32)
    momenta[:, :3] = [5.0, 3.0, 0.0, 1.0]
    arrays = {"kinematics_val": momenta, "labels_val": np.array([1, 0, 0, 1, 1, 0])}
    write(folder, **(arrays | changes))


def test_the_published_set_is_read_and_cut(tmp_path):
    published(tmp_path)
    found = read_published(tmp_path, "valid", 4, 5)
    assert found.momenta.shape == (5, 4, 4)
    assert found.momenta.dtype == torch.float64
    assert found.mask.tolist() == [[True, True, True, False]] * 5
    assert found.labels.tolist() == [True, False, False, True, True]
    assert found.prongs.tolist() == [[0, 0, 0, -1]] * 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels_val": np.array([1, 0, 2, 1, 1, 0])}, "other labels than 0 and 1"),
        ({"labels_val": np.array([1, 0])}, r"labels_val \[2\]: give \[s, n, 4\] and \[s\]"),
        ({"kinematics_val": np.zeros((6, 5, 3))}, r"kinematics_val \[6, 5, 3\]"),
        ({"kinematics_val": np.full((6, 5, 4), np.nan)}, "not finite"),
        ({"kinematics_val": np.array([{}] * 6)}, "cannot be read"),
    ],
)
def test_a_published_set_that_is_none_is_refused(tmp_path, changes, message):
    published(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        read_published(tmp_path, "valid", 5)


def test_a_published_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_published(tmp_path, "train", 5)
    published(tmp_path)
    with pytest.raises(DataError, match="no array 'kinematics_train'"):
        read_published(tmp_path, "train", 5)
