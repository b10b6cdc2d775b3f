"""A model in fewer bits: half of the memory or less, at times less time, and masks that are nearly the same.

    use_precision(sam, "int8")

Only the image encoder is changed, where nearly all weights and nearly all arithmetic are. The prompt encoder and the
mask decoder stay in float32, and what comes out of the encoder is float32 again. Which mode is fast depends on the
processor; `samlite.learning.precision` measures yours, and what each mode does to the masks.

Letters: L tokens, D_in and D_out the widths of a linear layer.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

MODES = {
    "float32": "as trained",
    "bfloat16": "the encoder's weights and arithmetic in 16 bits: half the memory",
    "bfloat16_weights": "weights of the encoder's linear layers in 16 bits, arithmetic in 32: half the memory",
    "int8": "linear layers of the encoder in 8 bits, weights and inputs (CPU): a third to a quarter of the memory",
}
STRIP = 256  # tokens that are rounded, multiplied and scaled back at once, so that they stay in the cache meanwhile


class SmallLinear(nn.Module):
    """A linear layer with other weights than float32 in it; ``into`` writes its result where it is wanted."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        tokens = x.detach().reshape(-1, self.in_features)  # (L, D_in)
        result = self.into(tokens, tokens.new_empty(len(tokens), self.out_features))
        return result.view(*x.shape[:-1], self.out_features)

    def into(self, tokens: Float[Tensor, "l d_in"], result: Float[Tensor, "l d_out"]) -> Float[Tensor, "l d_out"]:
        raise NotImplementedError


class Bfloat16Weights(SmallLinear):
    """Keeps its weights in bfloat16 and computes in float32: each weight loses 16 of its 32 bits."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.register_buffer("weight", linear.weight.detach().bfloat16())

    def into(self, tokens: Float[Tensor, "l d_in"], result: Float[Tensor, "l d_out"]) -> Float[Tensor, "l d_out"]:
        return torch.addmm(self.bias, tokens, self.weight.float().T, out=result)


class Int8Linear(SmallLinear):
    """Multiplies whole numbers of 8 bits.

    Each row of the weights and each token is divided by its largest absolute value and rounded to −127 … 127; sums are
    whole numbers of 32 bits, so they are exact. Then both scales are multiplied back. The tokens' scales are found as
    they come ("dynamic"), so nothing has to be calibrated.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight, scale = to_int8(linear.weight.detach())
        self.register_buffer("weight", weight)  # (D_out, D_in)
        self.register_buffer("scale", scale[:, 0].contiguous())  # (D_out,)

    def into(self, tokens: Float[Tensor, "l d_in"], result: Float[Tensor, "l d_out"]) -> Float[Tensor, "l d_out"]:
        if tokens.device.type not in ("cpu", "meta"):
            raise ValueError(f"int8 layers need a CPU, not {tokens.device}: load the model anew with 'bfloat16'")
        for first in range(0, len(tokens), STRIP):
            whole, scale = to_int8(tokens[first : first + STRIP])
            strip = result[first : first + STRIP]
            strip.copy_(torch._int_mm(whole, self.weight.T)).mul_(scale)
            torch.addcmul(self.bias, strip, self.scale, out=strip)
        return result


def to_int8(rows: Float[Tensor, "l d"]) -> tuple[Int8[Tensor, "l d"], Float[Tensor, "l 1"]]:
    """Each row → whole numbers from −127 to 127, and what one of them stands for: rows ≈ whole numbers × scale."""
    scale = rows.abs().amax(dim=1, keepdim=True).div_(127).clamp_(min=torch.finfo(torch.float32).tiny)
    return (rows / scale).round_().to(torch.int8), scale


def use_precision(sam: nn.Module, mode: str) -> nn.Module:
    """Change the weights of a SAM's image encoder to one of `MODES`, in place and for good. Returns ``sam``.

    What the predictor returns stays float32. Gradients do not flow through an encoder in another mode than float32.
    Raises ValueError for an unknown mode, for int8 where it cannot be had, and for a model that is in another mode
    already: what was rounded cannot be had back.
    """
    present = getattr(sam.image_encoder, "precision", "float32")
    check_mode(mode, sam.device)
    if mode == present:
        return sam
    if present != "float32":
        raise ValueError(f"this model's weights are rounded to {present} already: load it anew for {mode!r}")
    encoder = sam.image_encoder
    encoder.requires_grad_(False)
    if mode == "bfloat16":
        encoder.bfloat16()
        encoder.register_forward_pre_hook(_into_bfloat16)
        encoder.register_forward_hook(_into_float32)
    else:
        _replace_linears(encoder.blocks, {"int8": Int8Linear, "bfloat16_weights": Bfloat16Weights}[mode])
    encoder.precision = mode
    return sam


def check_mode(mode: str, device: torch.device | str | None = None) -> None:
    """Raises ValueError when there is no such mode, or not on this device or machine."""
    if mode not in MODES:
        raise ValueError(f"precision is {mode!r}: it must be one of {', '.join(map(repr, MODES))}")
    if mode != "int8":
        return
    try:
        kind = torch.device(device or "cpu").type
    except RuntimeError:
        raise ValueError(f"device is {str(device)!r}, and PyTorch knows none of that name: int8 needs 'cpu'") from None
    if kind not in ("cpu", "meta"):
        raise ValueError(f"precision 'int8' is for a CPU, and the device is {str(device)!r}: take 'bfloat16' there")
    if kind == "cpu" and not int8_sums_are_exact():
        raise ValueError("this processor's products of 8-bit numbers overflow: take 'bfloat16_weights'")


def modes_here() -> tuple[str, ...]:
    """Those of `MODES` that this machine's processor has."""
    return tuple(mode for mode in MODES if mode != "int8" or int8_sums_are_exact())


def int8_sums_are_exact() -> bool:
    """Whether the largest products add up; some processors add them in 16 bits."""
    most = torch.full((32, 256), 127, dtype=torch.int8)
    return bool((torch._int_mm(most, most.T) == 127 * 127 * 256).all())


def _replace_linears(module: nn.Module, kind: type[nn.Module]) -> None:
    """One layer after the other, so that at most one is held twice."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, kind(child))
        else:
            _replace_linears(child, kind)


def _into_bfloat16(encoder: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.bfloat16() for tensor in inputs)


def _into_float32(encoder: nn.Module, inputs: tuple[Tensor, ...], embedding: Tensor) -> Tensor:
    return embedding.float()
