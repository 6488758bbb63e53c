"""The layer holds every map that commutes with the permutations, and nothing else."""

import copy
import re
from collections.abc import Mapping
from functools import reduce
from itertools import pairwise, permutations, product
from math import factorial, prod
from operator import mul

import pytest
import torch
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError, UnknownNameError
from torsor.groups import Element, S
from torsor.nn.permutation_linear import PermutationLinear
from torsor.nn.permutation_maps import Axes, Spec, parse
from torsor.representations import Matrix, equivariant_basis

DWS = "w1: i=2 h, b1: h, w2: h o=3, b2: o=3"
SPECS = {
    "n -> n": 2,
    "n -> ": 1,
    " -> n": 1,
    "n n -> n n": 15,
    "n n -> n": 5,
    "n -> n n": 5,
    "n n -> ": 2,
    "r c -> r c": 4,
    "r c -> c": 2,
    "r r c -> r c": 10,
    "n i=2 -> n i=2": 8,
    "i=2 j=3 -> j=3 i=2": 36,
    "a: n, b: n n -> a: n": 7,
}
SIZES = {"n": 4, "r": 3, "c": 2, "h": 3, "d1": 2, "d2": 3, "d3": 2}


def weight_space(*widths: int) -> str:
    """Weights and biases of a perceptron whose input and output neurons are not permuted."""
    axes = [f"d0={widths[0]}", *(f"d{i}" for i in range(1, len(widths) - 1)), f"d{len(widths) - 1}={widths[-1]}"]
    return ", ".join(f"w{i}: {a} {b}, b{i}: {b}" for i, (a, b) in enumerate(pairwise(axes)))


def sizes_of(axes: Axes, sizes: Mapping[str, int]) -> list[int]:
    return [dict(axes.fixed).get(name) or sizes[name] for name in axes.names]


def as_mapping(x: Tensor | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return x if isinstance(x, Mapping) else {"": x}


def draw(
    spec: Spec, channels: int, batch: tuple[int, ...] = (), seed: int = 0, sizes: Mapping[str, int] = SIZES
) -> Tensor | dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = {a.name: torch.randn(*batch, *sizes_of(a, sizes), channels, generator=generator, dtype=torch.float64) for a in spec.inputs}
    return drawn.get("", drawn)


def permute(x: Tensor | Mapping[str, Tensor], side: tuple[Axes, ...], g: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
    moved = {}
    for axes in side:
        y = as_mapping(x)[axes.name]
        for i, name in enumerate(axes.names):
            if name in g:
                y = y.index_select(i - len(axes.names) - 1, g[name])
        moved[axes.name] = y
    return moved.get("", moved)


def flat(x: Tensor | Mapping[str, Tensor], side: tuple[Axes, ...]) -> Tensor:
    """`[*b, entries]` for one channel."""
    return torch.cat([as_mapping(x)[a.name].flatten(-len(a.names) - 1) for a in side], -1)


def layer_of(text: str, in_channels: int = 1, out_channels: int = 1, **settings: object) -> PermutationLinear:
    return PermutationLinear(text, in_channels, out_channels, generator=torch.Generator().manual_seed(7), **settings).double()


def dense(layer: PermutationLinear, sizes: Mapping[str, int] = SIZES) -> Tensor:
    """The matrix `[out, in]` of a layer with one channel, from its values on the unit vectors."""
    sides = [[sizes_of(a, sizes) for a in side] for side in (layer.spec.inputs, layer.spec.outputs)]
    units = torch.eye(sum(map(prod, sides[0])), dtype=torch.float64)
    parts = units.split([prod(s) for s in sides[0]], -1)
    x = {a.name: part.unflatten(-1, (*s, 1)) for a, part, s in zip(layer.spec.inputs, parts, sides[0], strict=True)}
    used = {name for a in (*layer.spec.inputs, *layer.spec.outputs) for name in a.sets}
    y = layer(x.get("", x), sizes={name: sizes[name] for name in used})
    return flat(y, layer.spec.outputs).T


def span(layer: PermutationLinear, sizes: Mapping[str, int] = SIZES) -> Tensor:
    """The matrices `[parameters, out, in]` of the single maps."""
    parameters = [p for p in layer.parameters() if p is not layer.bias]
    found = []
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
        for p in parameters:
            for i in range(p.numel()):
                p.view(-1)[i] = 1
                found.append(dense(layer, sizes))
                p.view(-1)[i] = 0
    return torch.stack(found)


def orbits(spec: Spec, sizes: Mapping[str, int] = SIZES) -> int:
    """Dimension of the space of equivariant matrices by Burnside's lemma, from a walk through the whole group."""
    names = sorted({name for axes in (*spec.inputs, *spec.outputs) for name in axes.sets})
    total = 0
    for g in product(*(permutations(range(sizes[name])) for name in names)):
        fixed = {name: sum(i == j for i, j in enumerate(p)) for name, p in zip(names, g, strict=True)}
        counts = [sum(prod([dict(a.fixed).get(n) or fixed[n] for n in a.names]) for a in side) for side in (spec.inputs, spec.outputs)]
        total += counts[0] * counts[1]
    return total // prod(factorial(sizes[name]) for name in names)


@pytest.mark.parametrize(("text", "expected"), SPECS.items())
def test_counts_are_those_of_the_papers(text: str, expected: int) -> None:
    layer = PermutationLinear(text, 1, 1)
    assert layer.maps == expected
    assert sum(p.numel() for p in layer.weights.values()) == expected


@pytest.mark.parametrize(
    ("widths", "expected"),
    [((2, 3, 3, 2), 114), ((2, 3, 4, 3, 2), 164), ((2, 3, 3, 3, 3, 2), 222), ((1, 3, 3, 1), 55), ((2, 3, 2), 74), ((3, 4), 256)],
)
def test_weight_space_has_the_dimension_of_the_closed_form(widths: tuple[int, ...], expected: int) -> None:
    layer = PermutationLinear(weight_space(*widths), 1, 1)
    assert layer.maps == expected == sum(p.numel() for p in layer.weights.values())
    assert layer.invariants == sum(layer.bias.shape)


@pytest.mark.parametrize("text", [*SPECS, DWS, weight_space(2, 2, 3, 1)])
def test_maps_are_a_basis_of_all_equivariant_matrices(text: str) -> None:
    layer = layer_of(text)
    maps = span(layer)
    assert torch.linalg.matrix_rank(maps.flatten(1)) == len(maps) == orbits(layer.spec)


def representation(side: tuple[Axes, ...], names: list[str]) -> Matrix:
    """Permutation matrices of all entries, from those of the sets, by Kronecker products."""

    def matrices(g: Element) -> Tensor:
        elements = dict(zip(names, g if isinstance(g, tuple) else (g,), strict=True))
        sets = {name: S(p.shape[-1]).matrix(p) for name, p in elements.items()}
        fixed = {name: torch.eye(size, dtype=torch.float64) for axes in side for name, size in axes.fixed}
        blocks = []
        for axes in side:
            block = torch.ones_like(sets[names[0]][..., :1, :1])
            for name in axes.names:
                block = torch.einsum("...ab,...cd->...acbd", block, {**sets, **fixed}[name]).flatten(-4, -3).flatten(-2)
            blocks.append(block)
        return torch.stack([torch.block_diag(*parts) for parts in zip(*(b.flatten(0, -3) for b in blocks), strict=True)]).unflatten(
            0, blocks[0].shape[:-2]
        )

    return Matrix(matrices, sum(prod(sizes_of(axes, SIZES)) for axes in side))


@pytest.mark.parametrize("text", ["n n -> n", "r c -> r c", "n i=2 -> n", "a: r c, b: c -> a: r c, b: c"])
def test_span_is_that_of_the_numerical_solution(text: str) -> None:
    layer = layer_of(text)
    names = sorted({name for axes in (*layer.spec.inputs, *layer.spec.outputs) for name in axes.sets})
    group = reduce(mul, (S(SIZES[name]) for name in names))
    reps = [representation(side, names) for side in (layer.spec.inputs, layer.spec.outputs)]
    solved = equivariant_basis(*reps, group).flatten(1)
    ours = torch.linalg.qr(span(layer).flatten(1).T).Q
    torch.testing.assert_close(ours @ ours.T, solved.T @ solved, rtol=0, atol=1e-10)


@pytest.mark.parametrize("text", [*SPECS, DWS, "n n n -> n n"])
@pytest.mark.parametrize("pool", ["mean", "sum"])
def test_output_moves_with_the_input(text: str, pool: str) -> None:
    layer = layer_of(text, 3, 2, pool=pool)
    generator = torch.Generator().manual_seed(1)
    used = {name for a in (*layer.spec.inputs, *layer.spec.outputs) for name in a.sets}
    g = {name: torch.randperm(SIZES[name], generator=generator) for name in used}
    torch.nn.init.normal_(layer.bias, generator=generator)
    x = draw(layer.spec, 3, (5,))
    sizes = {name: SIZES[name] for name in used}
    expected = permute(layer(x, sizes=sizes), layer.spec.outputs, g)
    found = layer(permute(x, layer.spec.inputs, g), sizes=sizes)
    for name, y in as_mapping(expected).items():
        torch.testing.assert_close(as_mapping(found)[name], y, rtol=1e-12, atol=1e-12)


def test_deep_sets_formula(generator: torch.Generator) -> None:
    layer = layer_of("n -> n", 3, 2)
    x = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    own, pooled = layer.weights["carry_n"], layer.weights["carry"]
    torch.testing.assert_close(layer(x), x @ own.T + (x.mean(-2, keepdim=True) @ pooled.T + layer.bias))


def test_biases_are_the_invariant_vectors() -> None:
    layer = layer_of("n n -> n n", 1, 1)
    assert layer.invariants == 2
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([2.0, 5.0]))
    y = layer(torch.zeros(4, 4, 1, dtype=torch.float64))[..., 0]
    assert sorted({y[0, 0].item(), y[0, 1].item()}) in ([2.0, 7.0], [5.0, 7.0])
    assert torch.equal(y, y[0, 1] + (y[0, 0] - y[0, 1]) * torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("pool", ["mean", "sum"])
@pytest.mark.parametrize("text", ["n -> n", "n n -> n n", "n n -> n", "n -> "])
def test_padding_changes_nothing(text: str, pool: str) -> None:
    layer = layer_of(text, 3, 2, pool=pool)
    small = draw(layer.spec, 3, (2,), sizes={"n": 3})
    axes = small.ndim - 2
    large = torch.full((2, *(6,) * axes, 3), float("nan"), dtype=torch.float64)
    large[(slice(None), *(slice(3),) * axes)] = small
    found = layer(large, torch.arange(6).expand(2, 6) < 3)
    axes = found.ndim - 2
    torch.testing.assert_close(found[(slice(None), *(slice(3),) * axes)], layer(small))
    if axes:
        assert not found[:, 3:].any()


def test_masks_of_two_sets_are_independent(generator: torch.Generator) -> None:
    layer = layer_of("r c -> r c", 2, 2)
    x = torch.randn(1, 4, 5, 2, generator=generator, dtype=torch.float64)
    masks = {"r": torch.arange(4)[None] < 2, "c": torch.arange(5)[None] < 3}
    torch.testing.assert_close(layer(x, masks)[:, :2, :3], layer(x[:, :2, :3]))


def test_set_without_valid_items_gives_finite_gradients() -> None:
    layer = layer_of("n n -> n n", 2, 2)
    x = torch.zeros(1, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    layer(x, torch.zeros(1, 3, dtype=torch.bool)).square().sum().backward()
    assert x.grad.isfinite().all()
    assert layer(torch.zeros(1, 0, 0, 2, dtype=torch.float64)).shape == (1, 0, 0, 2)


def test_channels_may_differ_between_tensors(generator: torch.Generator) -> None:
    layer = PermutationLinear("w: h i=2, b: h -> b: h", {"w": 3, "b": 1}, {"b": 4}, generator=generator)
    y = layer({"w": torch.randn(5, 6, 2, 3, generator=generator), "b": torch.randn(5, 6, 1, generator=generator)})
    assert {name: tuple(t.shape) for name, t in y.items()} == {"b": (5, 6, 4)}


def test_initial_weights_keep_the_scale_of_the_input(generator: torch.Generator) -> None:
    x = torch.randn(8, 12, 12, 16, generator=generator)
    for text in ("n n -> n n", "r c -> r c"):
        assert 0.4 < PermutationLinear(text, 16, 16, generator=generator)(x).std() < 1.3


def test_no_tensor_of_the_size_of_the_dense_matrix_is_built(generator: torch.Generator) -> None:
    n, c = 24, 2
    layer = PermutationLinear("n n -> n n", c, c, generator=generator)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        layer(torch.randn(1, n, n, c, generator=generator))
    assert largest <= 2 * n * n * c, "the input beside its transpose is the largest thing to build"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n -> n -> n", "2 arrows"),
        ("n! -> n", "'n!'"),
        ("n=0 -> n", "'n=0'"),
        ("n, n -> n", "name of its own"),
        ("a: n, a: n n", "name of its own"),
        ("2a: n", "'2a'"),
        ("i=2 -> i=3", "2 and 3"),
    ],
)
def test_bad_specification_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(RepresentationError, match=re.escape(said)) as error:
        PermutationLinear(text, 1, 1)
    assert "\n" not in str(error.value)


def test_specification_reads_back_from_its_string() -> None:
    for text in (*SPECS, DWS):
        assert parse(str(parse(text))) == parse(text)


def test_bad_input_says_what_to_give() -> None:
    layer = layer_of("r c -> r c", 2, 2)
    x = torch.zeros(3, 4, 2, dtype=torch.float64)
    with pytest.raises(ShapeError, match=r"give \[\*batch, r, c, 2\]"):
        layer(torch.zeros(3, 4, 5, dtype=torch.float64))
    with pytest.raises(ShapeError, match="2 sets"):
        layer(x, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="set r has 3 places"):
        layer(x, {"r": torch.ones(5, dtype=torch.bool)})
    with pytest.raises(UnknownNameError, match="set 'k'"):
        layer(x, sizes={"k": 3})
    with pytest.raises(ShapeError, match="one tensor"):
        layer({"x": x})
    with pytest.raises(ShapeError, match="sizes="):
        layer_of(" -> n")(torch.zeros(2, 1, dtype=torch.float64))
    with pytest.raises(ShapeError, match="axis i of the input has 3 places"):
        layer_of("n i=2")(torch.zeros(4, 3, 1, dtype=torch.float64))
    with pytest.raises(ShapeError, match="one batch"):
        layer_of("a: n, b: n")({"a": torch.zeros(2, 3, 1, dtype=torch.float64), "b": torch.zeros(4, 3, 1, dtype=torch.float64)})
    with pytest.raises(ShapeError, match="in_channels is"):
        PermutationLinear("a: n, b: n", {"a": 1}, 1)
    with pytest.raises(UnknownNameError, match="pool"):
        PermutationLinear("n", 1, 1, pool="max")


def test_copies_and_saved_weights_are_equal(generator: torch.Generator) -> None:
    layer = layer_of(DWS, 2, 2)
    x = draw(layer.spec, 2, (3,))
    other = PermutationLinear(DWS, 2, 2).double()
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer)):
        assert all(torch.equal(y, layer(x)[name]) for name, y in twin(x).items())


def test_vmap_over_the_batch_equals_the_batch() -> None:
    layer = layer_of("n n -> n n", 2, 2)
    x = draw(layer.spec, 2, (3,))
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))


@pytest.mark.compile
@pytest.mark.parametrize("text", ["n n -> n n", DWS])
def test_layer_is_one_graph(text: str) -> None:
    layer = layer_of(text, 2, 2)
    x = draw(layer.spec, 2, (3,))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    exported = torch.export.export(layer, (x,)).module()(x)
    for name, y in as_mapping(layer(x)).items():
        assert torch.equal(as_mapping(compiled)[name], y)
        assert torch.equal(as_mapping(exported)[name], y)
