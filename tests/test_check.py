"""The measurement finds every fault that was planted, names it, and raises no false alarm on correct modules."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from torsor.check import assert_equivariant, equivariance_error
from torsor.errors import EquivarianceError, GroupError, NonFiniteError, ShapeError
from torsor.groups import SE, SO, C, E, S, T
from torsor.representations import GridRotated, Permuted, Points, Trivial, Vectors
from torsor.signatures import Particles
from torsor.symmetry import Symmetry

CLOUDS = Symmetry(SE(3) * S(), {"positions": (Points(), Permuted(1))}, (Vectors(), Permuted(1)))
SUMMED = replace(CLOUDS, output=(Vectors(), Trivial()))


def clouds(generator, dtype=torch.float64, batch=3, points=5):
    return {"positions": torch.randn(batch, points, 3, generator=generator, dtype=dtype)}


def padded(generator, dtype=torch.float64):
    mask = torch.tensor([[True] * 5, [True, False, True, True, False], [True] + [False] * 4])
    return clouds(generator, dtype) | {"mask": mask}


def attractions(positions, mask=None):
    """Each point's sum of the others' differences, weighted by exp(-d^2): equivariant in closed form."""
    difference = positions.unsqueeze(1) - positions.unsqueeze(2)
    weight = (-difference.square().sum(-1)).exp()
    if mask is not None:
        weight = weight * (mask.unsqueeze(1) & mask.unsqueeze(2))
    return (weight.unsqueeze(-1) * difference).sum(2)


class Toy(nn.Module):
    """A closed-form map with a contract."""

    def __init__(self, function=attractions, symmetry=CLOUDS) -> None:
        super().__init__()
        self.function = function
        self.symmetry = symmetry

    def forward(self, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.function(positions) if mask is None else self.function(positions, mask)


# -- correct modules: no false alarms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_correct_module_passes(generator, dtype):
    report = assert_equivariant(Toy(), clouds(generator, dtype))
    assert report.dtype == dtype
    kinds = {(row.factor, row.kind) for row in report.rows}
    assert {("SE(3)", "half turn"), ("SE(3)", "far translation"), ("S()", "transposition"), ("SE(3) x S()", "generic")} <= kinds
    assert {row.kind for row in report.rows if row.factor == "SE(3) x S()"} == {"identity", "generic"}


def test_a_correct_masked_module_passes_and_its_padding_is_tried(generator):
    report = assert_equivariant(Toy(), padded(generator))
    assert "padding" in {row.kind for row in report.rows}


def test_far_translations_cost_float32_digits_and_the_floor_shows_it(generator):
    report = equivariance_error(Toy(), clouds(generator, torch.float32))
    far = next(row for row in report.rows if row.kind == "far translation")
    near = next(row for row in report.rows if row.kind == "half turn")
    assert far.growth > 30
    assert far.noise_floor > 5 * near.noise_floor
    assert far.noise_floor / 20 < far.max_relative < 20 * far.noise_floor
    assert far.allowed(1e-5, torch.float32) > 1e-4
    assert near.allowed(1e-5, torch.float32) < 1e-4


def test_boosts_cost_float32_the_digits_of_their_condition_number(generator):
    """A squared mass is a difference of squares, which a boost of rapidity 2 makes e^4 = 55 times as large as the mass."""
    signature = Particles(pool="sum")

    def mass(momenta):
        total = momenta.sum(1)
        return (total[:, :1] - total[:, 1:].norm(dim=-1, keepdim=True)) * (total[:, :1] + total[:, 1:].norm(dim=-1, keepdim=True))

    report = assert_equivariant(mass, signature.example(3, 5, generator, torch.float32), symmetry=signature.symmetry())
    growth = {row.kind: row.growth for row in report.rows if row.factor == "RestrictedLorentz"}
    assert abs(growth["boost"] - 54.6) < 0.1
    assert growth["half turn"] < 4
    assert any("stretched 55x" in line for line in str(report).splitlines())


def test_outputs_that_are_zero_have_no_error(generator):
    report = assert_equivariant(Toy(lambda x: torch.zeros_like(x)), clouds(generator))
    assert report.max_relative == 0


def test_one_cloud_whose_output_cancels_is_no_alarm(generator):
    inputs = clouds(generator)
    inputs["positions"][1] = inputs["positions"][1, :1]  # coincident points attract each other with rounding only
    assert_equivariant(Toy(), inputs)


def test_unbatched_modules_have_one_element_for_everything(generator):
    contract = Symmetry(SO(3), {"positions": Vectors()}, Vectors(), batched=False)
    report = assert_equivariant(
        lambda positions: positions * positions.norm(), {"positions": torch.randn(4, 3).double()}, symmetry=contract
    )
    assert report.rows[0].element.shape == (3, 3)


def test_integer_outputs_are_compared_exactly(generator):
    contract = replace(SUMMED, output=(Trivial(), Permuted(1)))
    nearest = Toy(lambda x: torch.cdist(x, x).argsort(-1)[..., 1], contract)
    with pytest.raises(EquivarianceError, match=r"output under S\(\)"):
        assert_equivariant(nearest, clouds(generator))  # neighbours are named by their place, which a permutation changes
    counts = Toy(lambda x: (torch.cdist(x, x) < 1.5).sum(-1), contract)
    assert assert_equivariant(counts, clouds(generator)).max_relative == 0


def test_tuples_and_dicts_of_outputs_are_checked_by_name(generator):
    both = {"energy": (Trivial(), Trivial()), "forces": (Vectors(), Permuted(1))}
    contract = replace(CLOUDS, output=both)

    def energy(x):
        return attractions(x).square().sum((1, 2))

    report = assert_equivariant(Toy(lambda x: {"energy": energy(x), "forces": attractions(x), "log": x}, contract), clouds(generator))
    assert {row.output for row in report.rows} == {"energy", "forces"}
    assert report.unchecked == ("log",)
    assert "log" in str(report)
    assert_equivariant(Toy(lambda x: (energy(x), attractions(x)), contract), clouds(generator))


# -- planted faults --------------------------------------------------------------------------------------------------------------------


def sign_error(x):
    y = attractions(x)
    return torch.cat((y[..., :2], -y[..., 2:]), -1)


def cross_product(x):
    centred = x - x.mean(1, keepdim=True)
    return torch.linalg.cross(centred, attractions(x))


def about_z_only(x):
    centred = x - x.mean(1, keepdim=True)
    return centred * torch.tensor([1.0, 1.0, 3.0], dtype=x.dtype)


def ordered(x):
    return attractions(x) * torch.arange(1, x.shape[1] + 1, dtype=x.dtype).unsqueeze(-1)


def masked_centroid_over_all_places(x, mask):
    return (x - x.mean(1, keepdim=True)) * mask.unsqueeze(-1)


def test_a_wrong_sign_in_one_output_is_found_and_named(generator):
    contract = replace(CLOUDS, output={"right": (Vectors(), Permuted(1)), "wrong": (Vectors(), Permuted(1))})
    with pytest.raises(EquivarianceError, match=r"not equivariant: wrong under SE\(3\)") as caught:
        assert_equivariant(Toy(lambda x: {"right": attractions(x), "wrong": sign_error(x)}, contract), clouds(generator))
    assert "right under" not in str(caught.value)


def test_absolute_positions_are_found_and_named(generator):
    with pytest.raises(EquivarianceError, match=r"output under SE\(3\), far translation"):
        assert_equivariant(Toy(lambda x: attractions(x) + 1e-3 * x), clouds(generator))


def test_symmetry_about_one_axis_only_is_found_and_named(generator):
    report = equivariance_error(Toy(about_z_only), clouds(generator))
    assert {(row.factor, row.kind) for row in report.failures(1e-10)} >= {("SE(3)", "generic"), ("SE(3)", "half turn")}
    assert not any(row.factor == "S()" for row in report.failures(1e-10))
    turns = Symmetry(SO(2), {"plane": Vectors()}, Vectors())
    both = clouds(generator)["positions"]
    plane_only = assert_equivariant(
        lambda plane: about_z_only(torch.cat((plane, both[..., 2:]), -1))[..., :2], {"plane": both[..., :2]}, symmetry=turns
    )
    assert plane_only.group == "SO(2)"


class CentredByRunningMean(nn.Module):
    """Subtracts a running mean of coordinates: zero at first, wrong as soon as training has moved it."""

    symmetry = Symmetry(SO(3) * S(), {"positions": (Vectors(), Permuted(1))}, (Vectors(), Permuted(1)))

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def forward(self, positions: Tensor) -> Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(positions.mean((0, 1)), alpha=0.1)
        return positions - self.mean


def test_what_training_breaks_is_found_after_training_only(generator):
    module, inputs = CentredByRunningMean(), clouds(generator)
    assert_equivariant(module.eval(), inputs)
    module.train()(**inputs)
    with pytest.raises(EquivarianceError, match=r"output under SO\(3\)"):
        assert_equivariant(module.eval(), inputs)


def test_running_statistics_are_put_back_in_train_mode(generator):
    module = CentredByRunningMean().train()
    before = module.mean.clone()
    with pytest.raises(EquivarianceError):
        assert_equivariant(module, clouds(generator))
    assert torch.equal(module.mean, before)
    assert module.training


def harmonics_through_angles(x):
    """Degree-2 invariants from polar angles: exact on paper, and a division by sin(theta) that loses digits near the poles."""
    d = x[:, 1:] - x[:, :1]
    r = d.norm(dim=-1)
    theta, phi = torch.acos(d[..., 2] / r), torch.atan2(d[..., 1], d[..., 0])
    unit = torch.stack((theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()), -1)
    return (unit.unsqueeze(1) - unit.unsqueeze(2)).square().sum((1, 2, 3)).sqrt()


def test_noise_near_the_poles_is_found_in_float32_and_not_in_float64(generator):
    contract = Symmetry(SE(3), {"positions": Points()}, Trivial())
    module = Toy(harmonics_through_angles, contract)
    # a bundle of directions within a milliradian of the z axis: acos keeps half of the digits there
    d = torch.tensor([0.0, 0.0, 1.0]) + 3e-4 * torch.randn(3, 4, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.0])
    inputs = {"positions": torch.cat((torch.zeros(3, 1, 3), d), 1)}
    assert_equivariant(module, {"positions": inputs["positions"].double()}, tolerance=1e-8)
    with pytest.raises(EquivarianceError, match=r"output under SE\(3\)"):
        assert_equivariant(module, inputs)


def test_dependence_on_order_is_found_and_named(generator):
    report = equivariance_error(Toy(ordered), clouds(generator))
    assert {row.factor for row in report.failures(1e-10)} == {"S()", "SE(3) x S()"}
    with pytest.raises(EquivarianceError, match=r"under S\(\), transposition"):
        assert_equivariant(Toy(ordered), clouds(generator))


def test_a_cross_product_fails_under_reflections_only(generator):
    assert_equivariant(Toy(cross_product), clouds(generator))
    report = equivariance_error(Toy(cross_product, replace(CLOUDS, group=E(3) * S())), clouds(generator))
    kinds = {row.kind for row in report.failures(1e-10)}
    assert {"reflection", "inversion"} <= kinds
    assert not kinds & {"half turn", "far translation", "transposition", "identity"}


def test_an_ignored_mask_is_found_and_named(generator):
    with pytest.raises(EquivarianceError, match="output under mask, padding"):
        assert_equivariant(Toy(masked_centroid_over_all_places), padded(generator))


def test_outputs_that_blow_up_when_moved_are_infinite_errors(generator):
    def explodes(x):
        return attractions(x) / (x.abs().max() < 20)

    report = equivariance_error(Toy(explodes), clouds(generator))
    far = next(row for row in report.rows if row.kind == "far translation")
    assert far.max_relative == float("inf")
    assert "not finite" in str(report)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["max_relative"] == "inf"


# -- the report ------------------------------------------------------------------------------------------------------------------------


def test_the_worst_element_replays_its_error(generator):
    inputs = clouds(generator)
    report = equivariance_error(Toy(about_z_only), inputs, samples=5)
    row = report.failures(1e-10)[0]
    left = about_z_only(CLOUDS.transform(row.element, inputs)["positions"])
    right = CLOUDS.transform_output(row.element, about_z_only(inputs["positions"]))
    error = (left - right).flatten(1).norm(dim=1)[row.item] / max(left[row.item].norm(), right[row.item].norm())
    assert error.item() >= row.max_relative * (1 - 1e-9)


def test_a_known_error_is_measured_as_its_size(generator):
    """f(x) = x + c with c of a known ratio to x under the half turns of a plane about the origin: the error is |c - g c| / |f|."""
    contract = Symmetry(C(2), {"x": Vectors()}, Vectors())
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    report = equivariance_error(lambda x: x + torch.tensor([3e-3, 4e-3], dtype=torch.float64), {"x": x}, contract)
    row = next(row for row in report.rows if row.kind == "half turn")
    assert row.max_relative == pytest.approx(2 * 5e-3 / 5.005, rel=1e-9)
    assert row.rms_relative == pytest.approx(row.max_relative, rel=1e-9)


def test_the_report_is_a_table_and_plain_numbers(generator):
    report = equivariance_error(Toy(), clouds(generator), samples=2)
    lines = str(report).splitlines()
    assert lines[0] == "Toy under SE(3) x S(): exact promised; float64 on cpu"
    assert len(lines) == len(report.rows) + 3
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["max_relative"] == report.max_relative == max(row.max_relative for row in report.rows)
    assert len(plain["rows"]) == len(report.rows)
    assert plain["rows"][0]["element"][1] == [[0, 1, 2, 3, 4]] * 3


def test_the_same_seed_gives_the_same_report(generator):
    inputs = clouds(generator)
    reports = [equivariance_error(Toy(about_z_only), inputs, generator=torch.Generator().manual_seed(5)).to_dict() for _ in range(2)]
    assert reports[0] == reports[1]
    assert equivariance_error(Toy(about_z_only), inputs, generator=torch.Generator().manual_seed(6)).to_dict() != reports[0]


def test_global_generators_and_modes_and_gradients_are_left_alone(generator):
    module = nn.Sequential(nn.Linear(3, 3, dtype=torch.float64), nn.Dropout(0.5))
    contract = Symmetry(SO(3), {"input": Vectors()}, Vectors())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    report = equivariance_error(module, {"input": torch.randn(4, 3, generator=generator, dtype=torch.float64)}, contract)
    assert torch.equal(torch.rand(2), expected)
    assert report.noise_floor > 0.1  # dropout: the same input twice differs, and the report says so
    assert all(p.grad is None for p in module.parameters())


# -- stochastic modules ----------------------------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """x (1 + a z) with one normal z for each item, plus a bias along z that can be switched on."""

    def __init__(self, bias: float = 0.0, shared: bool = True, exactness: str = "coupled") -> None:
        super().__init__()
        self.bias, self.shared = bias, shared
        self.symmetry = Symmetry(SO(3), {"x": Vectors(), "noise": Trivial()}, Vectors(), exactness=exactness)

    def forward(self, x: Tensor, generator: torch.Generator, noise: Tensor | None = None) -> Tensor:
        shape = (len(x), 1) if self.shared else x.shape
        z = torch.randn(shape, generator=generator, dtype=x.dtype)
        return x * (1 + 0.5 * z) + self.bias * torch.tensor([0.0, 0.0, 1.0], dtype=x.dtype)


def test_the_same_noise_on_both_sides_gives_the_coupled_error(generator):
    x = {"x": torch.randn(6, 3, generator=generator, dtype=torch.float64)}
    report = assert_equivariant(Noisy(), x)
    assert report.max_relative < 1e-12
    assert [row.draws for row in report.means] == [32, 128, 512]


def test_standard_errors_of_the_mean_fall_like_the_root_of_the_draws(generator):
    x = {"x": torch.randn(6, 3, generator=generator, dtype=torch.float64)}
    report = assert_equivariant(Noisy(shared=False, exactness="in expectation"), x)
    assert report.max_relative > 0.1  # anisotropic noise: not equal call by call
    first, last = report.means[0], report.means[-1]
    assert first.standard_error / last.standard_error == pytest.approx(4, rel=0.15)
    assert all(mean.error < 2 * mean.standard_error for mean in report.means)


def test_a_biased_mean_is_found(generator):
    x = {"x": torch.randn(6, 3, generator=generator, dtype=torch.float64)}
    with pytest.raises(EquivarianceError, match="the mean of output over 512 draws"):
        assert_equivariant(Noisy(bias=0.5, shared=False, exactness="in expectation"), x)


def test_noise_is_data_and_moves_along(generator):
    contract = Symmetry(SO(3), {"x": Vectors(), "noise": Vectors()}, Vectors(), exactness="coupled")
    x, noise = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    assert_equivariant(lambda x, noise: x + noise, {"x": x, "noise": noise}, symmetry=contract)
    with pytest.raises(EquivarianceError):
        assert_equivariant(lambda x, noise: x + noise, {"x": x, "noise": noise}, symmetry=replace(contract, inputs={"x": Vectors()}))


class Drawing(nn.Module):
    """The sum of a vector and of noise that it draws itself, which has or has not the law of its turned copies."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset
        self.symmetry = Symmetry(SO(3), {"x": Vectors(), "noise": Vectors()}, Vectors(), exactness="coupled")

    def draw(self, inputs, generator):
        return {"noise": torch.randn(inputs["x"].shape, generator=generator, dtype=inputs["x"].dtype) + self.offset}

    def forward(self, x, noise=None):
        return x if noise is None else x + noise


def test_noise_that_a_module_draws_moves_along_and_its_means_are_compared(generator):
    x = {"x": torch.randn(2, 3, generator=generator, dtype=torch.float64)}
    report = assert_equivariant(Drawing(), x, samples=2)
    assert [mean.draws for mean in report.means] == [8, 32, 128]
    assert all(0 < mean.error < 5 * mean.standard_error for mean in report.means)
    assert report.means[-1].standard_error < report.means[0].standard_error / 2
    # coupled all the same, yet its law singles out a direction
    off = equivariance_error(Drawing(offset=3.0), x, samples=2)
    assert off.max_relative < 1e-14
    assert off.means[-1].error > 5 * off.means[-1].standard_error


def test_noise_that_is_given_is_not_drawn_again(generator):
    x, noise = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    report = equivariance_error(Drawing(), {"x": x, "noise": noise}, samples=2)
    assert not report.means
    assert report.max_relative < 1e-14


# -- refusals --------------------------------------------------------------------------------------------------------------------------


def test_a_module_without_a_contract_is_refused(generator):
    with pytest.raises(GroupError, match="Linear has no contract"):
        equivariance_error(nn.Linear(3, 3), {"input": torch.randn(2, 3)})


def test_a_promise_without_a_bound_needs_a_tolerance(generator):
    module = Toy(symmetry=replace(CLOUDS, exactness="approximate"))
    with pytest.raises(GroupError, match="give tolerance="):
        assert_equivariant(module, clouds(generator))
    assert_equivariant(module, clouds(generator), tolerance=1e-9)


def test_outputs_that_are_not_finite_are_refused(generator):
    with pytest.raises(NonFiniteError, match="'output' is not finite"):
        equivariance_error(Toy(lambda x: x / 0), clouds(generator))


def test_outputs_that_change_shape_are_refused(generator):
    turned = Symmetry(T(1), {"x": Points()}, Trivial())
    with pytest.raises(ShapeError, match="output 'output'"):
        equivariance_error(lambda x: x[x > 0], {"x": torch.randn(7, 1, generator=generator)}, turned)


def test_inputs_without_what_the_contract_moves_are_refused(generator):
    with pytest.raises(ShapeError, match="positions"):
        equivariance_error(Toy(), {"coordinates": torch.randn(2, 3)})


# -- interpolation ---------------------------------------------------------------------------------------------------------------------


def test_elements_that_interpolate_are_told_apart_from_those_that_are_exact(generator):
    contract = Symmetry(SO(2), {"image": GridRotated()}, Trivial())
    image = {"image": torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64)}
    report = assert_equivariant(lambda image: image.square().mean((1, 2, 3)), image, symmetry=contract)
    exact = {row.kind: row.exact for row in report.rows}
    assert exact["quarter turn"]
    assert exact["half turn"]
    assert not exact["generic"]
    assert report.max_relative < 1e-12
    assert report.max_interpolated is not None
    assert report.max_interpolated > 0.01
    assert "interpolated" in str(report)
    with pytest.raises(EquivarianceError, match=r"output under SO\(2\), quarter turn"):
        assert_equivariant(lambda image: image[..., :4].mean((1, 2, 3)), image, symmetry=contract)
