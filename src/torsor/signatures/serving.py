"""Which models serve which signature, and how one refuses."""

from __future__ import annotations

from typing import Any

from torsor.errors import SignatureError
from torsor.registry import Registry


def serving(signature: object, registry: Registry) -> tuple[str, ...]:
    """Names of the registered models whose configuration lists the signature's class in `families`."""
    return tuple(name for name in registry if type(signature) in getattr(registry.load(name), "families", ()))


def cannot_serve(model: str, signature: object, missing: str, registry: Registry) -> SignatureError:
    """Build the error for a model that cannot serve a signature.

    Args:
        model: name of the model that refuses.
        signature: what it was asked to serve.
        missing: what stands in the way, as a clause: "it needs the size of the largest cloud: give points=".
        registry: all models; those of the same family are named as the way out.
    """
    others = [name for name in serving(signature, registry) if name != model]
    hint = f"models of this family: {', '.join(others)}" if others else "no other registered model serves this family"
    return SignatureError(f"{model} cannot serve {signature}: {missing}; {hint}")


def check_family(model: str, config: Any, signature: object, registry: Registry) -> None:
    """Refuse a signature of a family that the model's configuration does not list; one that lists none is asked to build what it can.

    Raises:
        SignatureError: names the family and the models that serve it.
    """
    families = getattr(config, "families", None)
    if families is not None and type(signature) not in families:
        missing = f"it serves {', '.join(family.__name__ for family in families)}, not {type(signature).__name__}"
        raise cannot_serve(model, signature, missing, registry)
