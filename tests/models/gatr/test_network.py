import pytest
import torch

from tests.nn import textbook_multivectors as textbook
from torsor import groups
from torsor.models.gatr import AxialGATr, BlockSettings, GATrBlock, GATrNetwork, embed_bodies, published_arteries, published_nbody
from torsor.models.gatr.network import join_reference
from torsor.models.gatr.objects import extract_point
from torsor.nn.multivector_attention import Context, visibility
from torsor.nn.multivector_linear import MultivectorLinear
from torsor.representations import PROJECTIVE, Multivectors
from torsor.training.cost import count_flops

SMALL = BlockSettings(channels=4, scalars=6, heads=2)
F64 = torch.float64


def network(blocks=2, reinsert=(), reference="data", **settings):
    torch.manual_seed(0)
    made = BlockSettings(**{"channels": 4, "scalars": 6, "heads": 2, **settings})
    return GATrNetwork(3, 2, 5, 4, blocks=blocks, settings=made, reinsert=reinsert, reference=reference).double().eval()


def tokens(generator, *shape, scalars=5):
    x = torch.randn(*shape, 3, 16, generator=generator, dtype=F64)
    return x, torch.randn(*shape, scalars, generator=generator, dtype=F64)


def motions(generator, group, count=4):
    """Products of five elements each."""
    g = group.sample(count, generator=generator, dtype=F64)
    for _ in range(4):
        g = group.compose(g, group.sample(count, generator=generator, dtype=F64))
    return g


def close(found, expected, tolerance=1e-12):
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        (groups.E(3), {}),
        (groups.E(3), {"logits": "inner"}),
        (groups.E(3), {"logits": "join", "multi_query": False}),
        (groups.E(3), {"joins": False, "nonlinearity": "divide"}),
        (groups.SE(3), {"reflections": False}),
        (groups.SE(3), {"reference": "canonical"}),
        (groups.E(3), {"reinsert": (0, 2)}),
    ],
    ids=["default", "inner", "join", "divide", "SE3", "canonical", "reinsert"],
)
def test_networks_are_equivariant_under_versors(group, settings, generator):
    net, rep = network(**settings), Multivectors()
    x, s = tokens(generator, 4, 5)
    g = motions(generator, group)
    y, t = net(x, s)
    moved, t_moved = net(rep.apply(group, g, x), s)
    close(moved, rep.apply(group, g, y))
    close(t_moved, t)


@pytest.mark.parametrize("settings", [{"reflections": False}, {"reference": "canonical"}], ids=["SE3", "canonical"])
def test_networks_of_proper_motions_notice_reflections(settings, generator):
    net, rep, group = network(**settings), Multivectors(), groups.E(3)
    x, s = tokens(generator, 1, 5)
    g = torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=F64))[None]
    difference = net(rep.apply(group, g, x), s)[0] - rep.apply(group, g, net(x, s)[0])
    assert difference.abs().max() > 1e-4


def test_the_network_is_the_textbook_one(generator):
    net = network(blocks=2)
    x, s = tokens(generator, 2, 4)
    reference = x[..., 14].mean((1, 2))[:, None, None, None]
    found = net(x, s)
    y, t = textbook.textbook_linear(net.embed, x, s)
    for block in net.blocks:
        dy, dt = textbook.textbook_attention(PROJECTIVE, block.attention, *textbook.textbook_norm(PROJECTIVE, y, t))
        y, t = y + dy, t + dt
        dy, dt = textbook.textbook_mlp(PROJECTIVE, block.mlp, *textbook.textbook_norm(PROJECTIVE, y, t), reference)
        y, t = y + dy, t + dt
    expected = textbook.textbook_linear(net.output, y, t)
    for a, b in zip(found, expected, strict=True):
        close(a, b)


def test_dense_and_component_maps_give_one_network_and_one_gradient(generator):
    component, dense = network(implementation="component"), network(implementation="dense")
    x, s = tokens(generator, 2, 5)
    results = []
    for net in (component, dense):
        y, t = net(x, s)
        results.append([y, t, *torch.autograd.grad(y.square().sum() + t.square().sum(), list(net.parameters()))])
    for a, b in zip(*results, strict=True):
        close(a, b)


def test_permuting_tokens_permutes_outputs_unless_places_are_encoded(generator):
    x, s = tokens(generator, 2, 6)
    order = torch.randperm(6, generator=generator)
    net = network()
    for a, b in zip(net(x[:, order], s[:, order]), net(x, s), strict=True):
        close(a, b[:, order])
    placed = network(rotary=True)
    assert (placed(x[:, order], s[:, order])[1] - placed(x, s)[1][:, order]).abs().max() > 1e-6


def test_a_packed_batch_equals_its_samples(generator):
    net, lengths = network(), (3, 1, 4)
    x, s = tokens(generator, 1, sum(lengths))
    samples = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    packed = net(x, s, samples=samples)
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        for a, b in zip(packed, net(x[:, part], s[:, part]), strict=True):
            close(a[:, part], b)
        start += length


def test_a_padded_batch_equals_its_samples(generator):
    net = network()
    x, s = tokens(generator, 2, 5)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    x[1, 3:], s[1, 3:] = 7, -7
    padded = net(x, s, mask)
    for a, b in zip(padded, net(x[1:, :3], s[1:, :3]), strict=True):
        close(a[1:, :3], b)


def test_the_reference_is_the_mean_of_the_sample(generator):
    x, _ = tokens(generator, 2, 4)
    close(join_reference(x)[:, 0, 0], x[..., 14].mean((1, 2)))
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    close(join_reference(x, mask)[:, 0, 0], torch.stack((x[0, :2, :, 14].mean(), torch.zeros((), dtype=F64))))


@pytest.mark.parametrize("kind", ["one token", "equal tokens", "zero", "no scalars", "no weight"])
def test_degenerate_tokens_have_finite_gradients(kind, generator):
    torch.manual_seed(0)
    scalars = 0 if kind == "no scalars" else 5
    settings = BlockSettings(channels=4, scalars=scalars and 6, heads=2)
    net = GATrNetwork(3, 2, scalars, scalars, settings=settings, blocks=2).double()
    x, s = tokens(generator, 2, 1 if kind == "one token" else 4, scalars=scalars)
    if kind == "equal tokens":
        x, s = x[:, :1].expand_as(x).clone(), s[:, :1].expand_as(s).clone()
    if kind == "zero":
        x = torch.zeros_like(x)
    if kind == "no weight":
        x[..., 14] = 0
    x.requires_grad_()
    y, t = net(x, s if scalars else None)
    assert y.isfinite().all()
    for gradient in torch.autograd.grad(y.sum() + t.sum(), [x, *net.parameters()], allow_unused=True, materialize_grads=True):
        assert gradient.isfinite().all()


def test_without_weights_of_points_joins_are_zero(generator):
    x, _ = tokens(generator, 2, 4)
    x[..., 14] = 0
    assert not join_reference(x).any()


def test_cross_attention_is_equivariant(generator):
    torch.manual_seed(0)
    block, rep, group = GATrBlock(PROJECTIVE, BlockSettings(3, 5, 2)).double(), Multivectors(), groups.E(3)
    (x, s), (z, u) = tokens(generator, 4, 3), tokens(generator, 4, 5)
    g = motions(generator, group)
    reference = torch.randn(4, 1, 1, generator=generator, dtype=F64)

    def run(x, z, reference):
        context = Context(PROJECTIVE.to_slots(z), u)
        y, t = block(PROJECTIVE.to_slots(x), s, visibility(None, like=x), reference, None, context)
        return PROJECTIVE.from_slots(y), t

    y, t = run(x, z, reference)
    sign = torch.linalg.det(group.linear(g))[:, None, None]
    moved, t_moved = run(rep.apply(group, g, x), rep.apply(group, g, z), reference * sign)
    close(moved, rep.apply(group, g, y))
    close(t_moved, t)
    assert (run(x, z.roll(1, 0), reference)[1] - t).abs().max() > 1e-5


def test_axial_networks_are_equivariant_and_know_the_places_they_should(generator):
    torch.manual_seed(0)
    net = AxialGATr(3, 2, 5, 4, blocks=3, settings=SMALL, rotary=(True, False)).double()
    rep, group = Multivectors(), groups.E(3)
    x, s = tokens(generator, 4, 3, 4)
    g = motions(generator, group)
    y, t = net(x, s)
    moved, t_moved = net(rep.apply(group, g, x), s)
    close(moved, rep.apply(group, g, y))
    close(t_moved, t)
    order = torch.tensor([2, 0, 3, 1])
    close(net(x[:, :, order], s[:, :, order])[0], y[:, :, order])
    assert (net(x.flip(1), s.flip(1))[1] - t.flip(1)).abs().max() > 1e-6


def test_axial_blocks_attend_over_the_second_axis_first(generator):
    torch.manual_seed(0)
    net = AxialGATr(3, 2, 5, 4, blocks=1, settings=BlockSettings(4, 6, 2, joins=False)).double()
    x, s = tokens(generator, 1, 3, 4)
    changed = s.clone()
    changed[:, 1] += 1
    difference = (net(x, changed)[1] - net(x, s)[1]).abs().amax((0, 2, 3))
    assert difference[1] > 1e-3
    assert not difference[[0, 2]].any()


def test_axial_networks_do_not_see_padding(generator):
    torch.manual_seed(0)
    net = AxialGATr(3, 2, 5, 4, blocks=2, settings=SMALL).double()
    x, s = tokens(generator, 1, 3, 4)
    mask = torch.ones(1, 3, 4, dtype=torch.bool)
    mask[..., 3] = False
    for a, b in zip(net(x, s, mask), net(x[:, :, :3], s[:, :, :3]), strict=True):
        close(a[:, :, :3], b)


def test_no_component_dies_or_explodes_through_ten_blocks():
    torch.manual_seed(0)
    net = GATrNetwork(16, 16, 64, 64, blocks=10, settings=BlockSettings(16, 64, 8)).eval()
    variances = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, args, out: variances.append(out[0].var((1, 2, 3))))
    with torch.no_grad():
        y, s = net(torch.randn(4, 32, 16, 16), torch.randn(4, 32, 64))
    components = torch.stack(variances)
    assert components.shape == (10, 16)
    assert components.min() > 0.2
    assert components.max() < 2
    assert min(float(part.var()) for part in textbook.grades_of(y)) > 0.05
    assert s.var() > 0.05


@pytest.mark.parametrize(("scalars", "ratio"), [(5, 2**0.5), (0, 1.0)])
def test_weights_of_the_released_code_have_its_bounds(scalars, ratio):
    torch.manual_seed(0)
    layer = MultivectorLinear(PROJECTIVE, 64, 64, scalars)
    before = layer.weight.detach().clone()
    layer.undo_correction()
    torch.testing.assert_close(layer.weight[0], before[0] * ratio)
    torch.testing.assert_close(layer.weight[3], before[3] / 2**0.5)
    assert all(torch.equal(layer.weight[m], before[m]) for m in (1, 2, 4, 5, 6, 7, 8))
    bound = (1, 4, 6, 2, 0.5, 0.5, 1.5, 1.5, 0.5)
    torch.testing.assert_close(layer.weight.detach().abs().amax((1, 2)), torch.tensor(bound).sqrt() / 8, rtol=0.01, atol=0)


def test_the_published_networks():
    bodies = published_nbody()
    assert len(bodies.blocks) == 10
    x = embed_bodies(torch.rand(2, 4), torch.randn(2, 4, 3), torch.randn(2, 4, 3))
    assert extract_point(bodies(x, torch.zeros(2, 4, 1))[0][:, :, 0]).shape == (2, 4, 3)
    arteries = published_arteries()
    y, _ = arteries(torch.randn(1, 6, 2, 16), torch.randn(1, 6, 1))
    assert y.shape == (1, 6, 1, 16)
    assert arteries.blocks[0].attention.query.weight.shape == (9, 9, 16)


def test_component_maps_do_a_tenth_of_the_multiplications():
    x = torch.randn(16, 32, 8)
    counts = []
    for implementation in ("component", "dense"):
        layer = MultivectorLinear(PROJECTIVE, 8, 12, bias=False, implementation=implementation)
        forward = count_flops(lambda layer=layer: layer(x))
        counts.append(forward)
    spreading, spread_dense = 2 * 24 * 9 * 8 * 12, 2 * 256 * 9 * 8 * 12
    assert counts[0] - spreading == 2 * 24 * 8 * 12 * 32
    assert counts[1] - spread_dense == 2 * 256 * 8 * 12 * 32
