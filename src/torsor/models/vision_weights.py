"""Weights of vision transformers that were trained on photographs, from safetensors files with timm's names.

A file holds `cls_token`, `pos_embed`, `blocks.I.norm1`, `.attn.qkv`, `.attn.proj`, `.norm2`, `.mlp.fc1`, `.mlp.fc2` and `norm`; what
belongs to pictures alone (`patch_embed`, `head`) is left out. Nothing is fetched unless the source says "hub:".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from torsor.errors import CheckpointError, missing_dependency

HUB = "hub:"
"""What the name of a repository of the Hugging Face hub starts with."""
HUB_FILE = "model.safetensors"
INNER = {
    "norm": "norm1",
    "query_key_value": "attn.qkv",
    "merge": "attn.proj",
    "mlp.0": "norm2",
    "mlp.1": "mlp.fc1",
    "mlp.3": "mlp.fc2",
}
"""Parts of a block, and what they are called in the file."""


def read_weights(source: str, checksum: str | None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in the types of the file.

    Args:
        source: path of the file, or "hub:OWNER/NAME" for the file `model.safetensors` of a repository of the Hugging Face hub.
        checksum: SHA-256 of the file in hexadecimal digits; must be given for what is fetched.

    Raises:
        CheckpointError: there is no such file, it is another one than the checksum says, or no safetensors file.
        MissingDependencyError: something is to be fetched and huggingface_hub is not installed.
    """
    if source.startswith(HUB) and checksum is None:
        raise CheckpointError(f"weights {source!r} would be fetched unchecked: give checksum=, the SHA-256 of {HUB_FILE}")
    path = _fetched(source.removeprefix(HUB)) if source.startswith(HUB) else Path(source).expanduser()
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise CheckpointError(f"cannot read the weights {path}: {fault.strerror}") from fault
    found = hashlib.sha256(data).hexdigest()
    if checksum is not None and found != checksum.lower():
        raise CheckpointError(f"{path} has the SHA-256 {found}, not {checksum}: it is another file, or damaged")
    try:
        return load(data)
    except SafetensorError as fault:
        raise CheckpointError(f"{path} is no safetensors file: {(str(fault).splitlines() or ['damaged'])[0]}") from fault


def _fetched(repository: str) -> Path:
    """The file of a repository of the hub, from the cache if it is there."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as fault:
        raise missing_dependency("huggingface_hub", "vision", "fetching weights") from fault
    try:
        return Path(str(hf_hub_download(repository, HUB_FILE)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as fault:
        line = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise CheckpointError(f"{repository} could not be fetched from the hub: {line}; fetch it yourself and give its path") from fault


def write_weights(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors of a file into an encoder of the same sizes.

    Args:
        encoder: `vision_transformer.Encoder`.
        tensors: by the names in the file.

    Raises:
        CheckpointError: a tensor is missing or has another shape; names it, and both shapes.
    """
    for name, parameter in encoder.named_parameters():
        there = name_in_file(name)
        if there not in tensors:
            raise CheckpointError(f"the weights have no {there!r}: give the file of a vision transformer with {_sizes(encoder)}")
        given = tensors[there].squeeze(0) if tensors[there].ndim > parameter.ndim else tensors[there]  # a batch axis of one
        if given.shape != parameter.shape:
            raise CheckpointError(
                f"{there!r} of the weights is {list(given.shape)} but this model has {list(parameter.shape)}: "
                f"give the file of a vision transformer with {_sizes(encoder)}"
            )
        with torch.no_grad():
            parameter.copy_(given)


def name_in_file(name: str) -> str:
    """What a parameter of the encoder is called in a file: "blocks.3.merge.bias" is "blocks.3.attn.proj.bias"."""
    if name == "class_token":
        return "cls_token"
    if name == "places":
        return "pos_embed"
    if not name.startswith("blocks."):
        return name
    _, block, inner = name.split(".", 2)
    part, kind = inner.rsplit(".", 1)
    return f"blocks.{block}.{INNER[part]}.{kind}"


def _sizes(encoder: nn.Module) -> str:
    tokens, width = encoder.get_parameter("places").shape
    blocks = sum(1 for _ in encoder.get_submodule("blocks").children())
    return f"{blocks} blocks of width {width} and {tokens - 1} tokens"
