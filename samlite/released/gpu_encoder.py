"""An image encoder at work on a GPU: bfloat16, a faster way to attend, compiled, recorded as one CUDA graph.

The encoder that is read stays as it is. What changes is how its blocks are run, and in what numbers:

- in bfloat16 a matrix product runs 10 times as fast as in float32, and half the bytes are moved;
- the way to attend is one of `samlite.released.grid_attention`; queries, keys and values are made for the 4096 real
  places only, not for the padded ones;
- compiling one block writes kernels that do norms, GELU and sums in one pass over the tensor. Blocks of one kind share
  the result, so that 32 blocks cost the time of compiling two;
- a CUDA graph is a recording of all kernels of an encoding: playing it needs none of Python's time.

Source: PyTorch's regional compilation; the ideas are those of segment-anything-fast (2023).
"""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samlite.image_encoder import ImageEncoder
from samlite.parts import with_parts
from samlite.released.grid_attention import Way, way_of
from samlite.released.image_encoder import GlobalBlock, ReleasedImageEncoder, WindowBlock
from samlite.sam import Sam

Run = Callable[[nn.Module, Tensor], Tensor]  # block, tokens → tokens


def as_it_is_read(block: nn.Module, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
    """The block's own way."""
    return block(tokens)


def by(way: Way) -> Run:
    """The released block with another way to attend."""

    def run(block: GlobalBlock, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        attention, window = block.attention, math.isqrt(tokens.shape[1])
        if isinstance(block, WindowBlock):
            window = (len(attention.relative_rows) + 1) // 2
        qkv = attention.qkv_projection(block.attention_norm(tokens))
        tokens = tokens + attention.output_projection(way(attention, qkv, window))
        return tokens + block.mlp(block.mlp_norm(tokens))

    return run


class _Step(nn.Module):
    def __init__(self, block: nn.Module, run: Run) -> None:
        super().__init__()
        self.block, self.run = block, run

    def forward(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return self.run(self.block, tokens)


class EncoderAtWork(nn.Module):
    """The document's or the released image encoder: float32 images in, float32 embedding out, faster in between.

    ``way``: a name of `way_of`, for the released encoder; None is the encoder's own. ``compiled``: its blocks, by
    torch.compile. ``graph``: one CUDA graph for each size of batch. The weights are shared when ``dtype`` is theirs,
    and copied otherwise. No gradients. Raises TypeError for a way with an encoder that has none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dtype: torch.dtype = torch.bfloat16,
        way: str | None = None,
        compiled: bool = False,
        graph: bool = False,
    ) -> None:
        super().__init__()
        if way is not None and not isinstance(encoder, ReleasedImageEncoder):
            raise TypeError(f"way {way!r} is for the released encoder, not for {type(encoder).__name__}")
        if next(encoder.parameters()).dtype != dtype:
            encoder = copy.deepcopy(encoder).to(dtype)
        run = as_it_is_read if way is None else by(way_of(way))
        if compiled:
            run = torch.compile(run, dynamic=False, fullgraph=True)
        self.encoder = _with_blocks(encoder, run)
        self.dtype, self.graph = dtype, graph
        self.image_size, self.grid_size = encoder.image_size, encoder.grid_size
        self._recorded: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    @property
    def blocks(self) -> list[nn.Module]:
        """The encoder's own blocks."""
        return [step.block for step in self.encoder.blocks]

    @property
    def patch_projection(self) -> nn.Linear:
        return self.encoder.patch_projection

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b c grid grid"]:
        images = images.to(self.dtype)
        return (self._replayed(images) if self.graph else self.encoder(images)).float()

    def _replayed(self, images: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b c grid grid"]:
        if images.shape not in self._recorded:
            self._recorded[images.shape] = self._record(images.clone())
        graph, given, embedding = self._recorded[images.shape]
        given.copy_(images)
        graph.replay()
        return embedding.clone()

    def _record(self, given: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # compiling, tuning and first allocations must not be recorded
            for _ in range(3):
                self.encoder(given)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            embedding = self.encoder(given)
        return graph, given, embedding


def _with_blocks(encoder: nn.Module, run: Run) -> nn.Module:
    """The same encoder and weights, its blocks run by ``run``; the original is not changed."""
    twin = copy.copy(encoder)
    twin._modules = dict(encoder._modules)
    twin.blocks = nn.ModuleList(_Step(block, run) for block in encoder.blocks)
    twin.__class__ = ReleasedImageEncoder if isinstance(encoder, ReleasedImageEncoder) else ImageEncoder
    return twin.eval()


class DecoderAtWork(nn.Module):
    """A mask decoder whose products run in bfloat16 and whose answers are float32."""

    def __init__(self, decoder: nn.Module, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.decoder, self.dtype = decoder, dtype
        self.choose_masks = decoder.choose_masks

    def forward(
        self, image_embedding: Float[Tensor, "b c g g"], *prompts: Float[Tensor, "..."]
    ) -> tuple[Float[Tensor, "n k h w"], Float[Tensor, "n k"]]:
        with torch.autocast(image_embedding.device.type, self.dtype):
            logits, iou = self.decoder(image_embedding, *prompts)
        return logits.float(), iou.float()


def sam_at_work(
    sam: Sam, dtype: torch.dtype = torch.bfloat16, way: str | None = None, compiled: bool = False, graph: bool = False
) -> Sam:
    """A SAM with encoder and decoder at work; prompts and answers stay float32. ``sam`` itself is not changed."""
    encoder = EncoderAtWork(sam.image_encoder, dtype, way, compiled, graph)
    return with_parts(sam, encoder, mask_decoder=DecoderAtWork(sam.mask_decoder, dtype)).eval()
