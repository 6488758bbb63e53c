import pytest
import torch

from torsor.nn.noise_sources import DrawnNoise, FixedNoise

CPU = torch.device("cpu")
SOURCES = {"drawn": lambda: DrawnNoise(torch.Generator().manual_seed(1)), "fixed": lambda: FixedNoise(1)}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_numbers_have_the_moments_of_their_law(source):
    u = source().uniform("keys", (1, 500, 200), CPU)
    x = source().normal("noise", (1, 500, 200), CPU)
    bound = 5 / 1e5**0.5
    assert u.min() >= 0
    assert u.max() < 1
    for found, expected in ((u.mean(), 1 / 2), (12 * u.var(), 1), (x.mean(), 0), (x.var(), 1), ((x**3).mean() / 15**0.5, 0)):
        assert abs(float(found) - expected) < bound
    assert abs(float((x**4).mean()) - 3) < bound * 96**0.5


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_neighbours_along_every_axis_are_uncorrelated(source):
    x = source().normal("noise", (1, 300, 300), CPU)[0]
    for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1]), (x[1:, 1:], x[:-1, :-1]), (x, x.mT)):
        off = a != b
        assert abs(float((a * b)[off].mean())) < 5 / off.sum().sqrt() * 2


def test_the_fixed_table_is_the_same_for_every_item_and_begins_alike_in_every_size():
    small, large = (FixedNoise(7).normal("z", shape, CPU) for shape in ((1, 2, 3, 4), (5, 6, 9, 11)))
    assert torch.equal(large[:, :2, :3, :4], small.expand(5, 2, 3, 4))


def test_names_and_seeds_have_numbers_of_their_own():
    tables = [FixedNoise(seed).uniform(name, (1, 100), CPU) for seed in (0, 1, 2**40) for name in ("a", "b")]
    assert torch.cat(tables).unique().numel() == 600


def test_the_table_is_that_of_unsigned_arithmetic():
    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    start = 5
    for letter in "keys":
        start = (start * 131 + ord(letter)) % (2**61 - 1)
    expected = [mix((mix(start) + 0x9E3779B97F4A7C15 * (i + 1)) % 2**64) >> 11 for i in range(4)]
    assert (FixedNoise(5).uniform("keys", (1, 4), CPU)[0] * 2**53).long().tolist() == expected


@pytest.mark.compile
def test_the_fixed_table_compiles_as_one_graph():
    def f(x):
        return x + FixedNoise(3).normal("z", x.shape, x.device)

    x = torch.zeros(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(torch.compile(f, fullgraph=True, backend="aot_eager")(x), f(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.func.vmap(f)(x[None])[0], f(x), rtol=0, atol=1e-14)
