"""The vision transformer on graphs: pieces and tiles, what fills them up, cropping, and weights that were trained elsewhere."""

import hashlib
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import pad

from torsor.errors import CheckpointError, ConfigError, MissingDependencyError, SignatureError
from torsor.models import VisionTransformerConfig
from torsor.models.vision_transformer import padded_places
from torsor.signatures import Graphs

SMALL = {"width": 16, "heads": 2, "layers": 2, "grid": 3}
MODES = {"zeros": "constant", "reflect": "reflect", "circular": "circular", "replicate": "replicate"}


def test_the_base_model_has_the_parameters_of_vit_b_16() -> None:
    """86,567,656 for photographs, less the patch embedding of 590,592 and the head of 769,000."""
    with torch.device("meta"):
        model = VisionTransformerConfig(width=768, heads=12).build(Graphs(3, nodes=188))
    assert sum(p.numel() for p in model.encoder.parameters()) == 86_567_656 - 590_592 - 769_000


# -- padding and cropping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("padding", MODES)
def test_places_are_filled_as_torch_pads(padding, centred) -> None:
    x = torch.arange(1.0, 8.0)
    sources, filled, start = padded_places(7, 12, padding, centred)
    before = 2 if centred else 0
    expected = pad(x[None, None], (before, 5 - before), mode=MODES[padding])[0, 0]
    assert torch.equal(x[sources] * filled, expected)
    assert start == before


@pytest.mark.parametrize("padding", MODES)
def test_a_single_node_fills_every_place(padding) -> None:
    """Where torch refuses to pad by more than there is."""
    sources, filled, _ = padded_places(1, 9, padding, centred=True)
    assert not sources.any()
    assert filled.sum() == (1 if padding == "zeros" else 9)


@pytest.mark.parametrize("level", ["node", "pair"])
@pytest.mark.parametrize("nodes", [5, 6, 9, 10])
def test_every_node_is_read_where_it_was_written(nodes, level) -> None:
    """With an encoder that does nothing, what goes in at a place comes out there, for sizes that divide and others."""
    signature = Graphs(2, outputs=1, level=level, nodes=nodes)
    for centred in (False, True):
        model = VisionTransformerConfig(**SMALL, centred=centred).build(signature).double()
        transparent(model, level)
        adjacency = torch.arange(nodes**2, dtype=torch.float64).view(1, nodes, nodes)
        features = torch.arange(2 * nodes, dtype=torch.float64).view(1, nodes, 2)
        expected = features[..., :1] if level == "node" else adjacency[..., None]
        assert torch.equal(model(adjacency, features), expected)


def transparent(model: nn.Module, level: str) -> None:
    """Each number of a piece or tile has a channel of its own, and comes back from it."""
    model.encoder.forward = lambda tokens, plain: torch.cat((tokens[:, :1], tokens), 1)
    with torch.no_grad():
        for p in (*model.embed_nodes.parameters(), *model.embed_pairs.parameters(), *model.output.parameters()):
            p.zero_()
        if level == "node":
            for k in range(model.row.piece):
                model.embed_nodes.weight[k, 1, k] = model.output.weight[k, 0, k] = 1
        else:
            for k in range(model.square.piece**2):
                i, j = divmod(k, model.square.piece)
                model.embed_pairs.weight[k, 0, i, j] = model.output.weight[k, 0, i, j] = 1


def test_fewer_nodes_are_padded_nodes(generator) -> None:
    torch.manual_seed(0)
    signature = Graphs(1, 1, outputs=2, level="pair", nodes=7)
    model = VisionTransformerConfig(**SMALL, padding="reflect", centred=True).build(signature).double()
    padded = signature.example(2, 7, generator, torch.float64, lengths=(4, 4))
    small = {name: x[:, :4] if name == "features" else x[:, :4, :4] for name, x in padded.items() if name != "mask"}
    torch.testing.assert_close(model(**padded)[:, :4, :4], model(**small), rtol=0, atol=1e-12)


def test_graphs_without_bound_and_pictures_without_tokens_are_refused() -> None:
    with pytest.raises(SignatureError, match=r"picture is of fixed size.*nodes="):
        VisionTransformerConfig().build(Graphs(1))
    with pytest.raises(ConfigError, match="grid is 0"):
        VisionTransformerConfig(grid=0)


# -- weights --------------------------------------------------------------------------------------------------------------------------


def stand_in(layers: int = 2, width: int = 16, tokens: int = 9) -> dict[str, torch.Tensor]:
    """Random weights under the names of a published file, with what belongs to photographs."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, tokens + 1, width), "norm.weight": (width,), "norm.bias": (width,)}
    for i in range(layers):
        for part, shape in (("attn.qkv", (3 * width, width)), ("attn.proj", (width, width))):
            shapes |= {f"blocks.{i}.{part}.weight": shape, f"blocks.{i}.{part}.bias": shape[:1]}
        for part, shape in (("mlp.fc1", (4 * width, width)), ("mlp.fc2", (width, 4 * width))):
            shapes |= {f"blocks.{i}.{part}.weight": shape, f"blocks.{i}.{part}.bias": shape[:1]}
        for part in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{part}.weight": (width,), f"blocks.{i}.{part}.bias": (width,)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 16, 16), "head.weight": (10, width), "head.bias": (10,)}
    return {name: torch.randn(shape, generator=generator) * 0.5 for name, shape in shapes.items()}


def reference(tensors: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """What torch's own encoder makes of the same weights."""
    layer = nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16, eps=1e-6), enable_nested_tensor=False).double().train()
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc1.", "linear2.": "mlp.fc2."}
    state = {}
    for name in encoder.state_dict():
        there = name.replace("layers.", "blocks.")
        for ours, theirs in names.items():
            there = there.replace(ours, theirs)
        state[name] = tensors[there]
    encoder.load_state_dict(state)
    x = torch.cat((tensors["cls_token"].double().expand(len(tokens), -1, -1), tokens), 1) + tensors["pos_embed"].double()
    return encoder(x)


def test_published_weights_compute_what_they_computed_elsewhere(tmp_path, generator) -> None:
    tensors = stand_in()
    save_file(tensors, tmp_path / "vit.safetensors")
    checksum = hashlib.sha256((tmp_path / "vit.safetensors").read_bytes()).hexdigest()
    config = VisionTransformerConfig(**SMALL, weights=str(tmp_path / "vit.safetensors"), checksum=checksum.upper())
    model = config.build(Graphs(nodes=5)).double()
    tokens = torch.randn(3, 9, 16, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(model.encoder(tokens, plain=False), reference(tensors, tokens), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors.pop("blocks.1.attn.proj.bias"),
            r"no 'blocks\.1\.attn\.proj\.bias': give the file .* 2 blocks of width 16 and 9",
        ),
        (
            lambda tensors: tensors.update(pos_embed=torch.zeros(1, 17, 16)),
            r"'pos_embed' of the weights is \[17, 16\] but this model has \[10, 16\]",
        ),
        (lambda tensors: tensors.update(pos_embed=torch.zeros(2, 10, 16)), r"'pos_embed' of the weights is \[2, 10, 16\]"),
    ],
)
def test_weights_of_another_architecture_are_named(change, message, tmp_path) -> None:
    tensors = stand_in()
    change(tensors)
    save_file(tensors, tmp_path / "vit.safetensors")
    with pytest.raises(CheckpointError, match=message):
        VisionTransformerConfig(**SMALL, weights=str(tmp_path / "vit.safetensors")).build(Graphs(nodes=5))


def test_files_that_are_others_or_none_are_refused(tmp_path) -> None:
    path = tmp_path / "vit.safetensors"
    build = lambda **settings: VisionTransformerConfig(**SMALL, **settings).build(Graphs(nodes=5))  # noqa: E731
    with pytest.raises(CheckpointError, match=r"cannot read the weights .*No such file"):
        build(weights=str(path))
    path.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        build(weights=str(path))
    with pytest.raises(CheckpointError, match=f"has the SHA-256 {hashlib.sha256(b'no tensors').hexdigest()}, not 00"):
        build(weights=str(path), checksum="00")


def test_nothing_is_fetched_unchecked_or_without_its_package(monkeypatch) -> None:
    build = lambda **settings: VisionTransformerConfig(**SMALL, **settings).build(Graphs(nodes=5))  # noqa: E731
    with pytest.raises(CheckpointError, match="would be fetched unchecked: give checksum="):
        build(weights="hub:timm/some_model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"fetching weights needs huggingface_hub: pip install 'torsor\[vision\]'"):
        build(weights="hub:timm/some_model", checksum="00")
