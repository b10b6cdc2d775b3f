"""One architecture at full size on one machine: encode, decode, automatic masks, by every way that there is.

Every way is compared with the eager float32 encoder on the same photo before it is timed: the relative difference, and
the IoU of the masks that come of it.
"""

import copy
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import skimage
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.learning.full_size import (
    DTYPES,
    SMALL,
    WAYS,
    Memory,
    Plan,
    backend,
    build,
    encoder_by,
    seconds_of,
    ways_of,
)
from samlite.masks import mask_to_box
from samlite.parts import with_parts
from samlite.released.gpu_encoder import DecoderAtWork
from samlite.released.grid_attention import way_of
from samlite.rle import mask_to_rle
from samlite.sam import Sam

Row = dict[str, Any]
Job = tuple[Row, Callable[[], Row]]  # what is measured, and what measures it
FAVOURITES = (  # in the order in which they are measured
    "triton-compiled", "sdpa", "transformers", "eager", "concatenated-compiled", "compiled", "triton", "concatenated",
    "triton-graph", "graph", "flex-compiled",
)  # fmt: skip
WRONG = {"float32": 1e-3, "bfloat16": 0.1}  # relative difference, root mean square, from which a way is not timed
PASSING = 0.1  # share of the candidates that automatic masks let through: random weights have no threshold of their own
CLICKS = (1, 8, 64, 256)


class Bench:
    """One architecture: its models, made when they are first needed, and its jobs."""

    def __init__(self, plan: Plan, architecture: str, ways: tuple[str, ...], found: list[Row]) -> None:
        self.plan, self.architecture, self.found = plan, architecture, found
        self.ways = ways_of(architecture, plan.device, ways)
        self._kept: dict[str, Any] = {}

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def sam(self) -> Sam:
        def make() -> Sam:
            torch.manual_seed(0)
            return build(self.architecture, self.plan.small, self.plan.device)

        return self.kept("sam", make)

    @property
    def images(self) -> Tensor:
        size = SMALL["image_size"] if self.plan.small else 1024
        return self.kept("images", lambda: photos(max(self.plan.batches), size).to(self.plan.device))

    def expected(self) -> tuple[Tensor, Tensor]:
        """The eager float32 embedding of the first photo, and the logits of 16 clicks on it."""

        def make() -> tuple[Tensor, Tensor]:
            with backend("eager", self.plan.device):
                embedding = self.sam.encode_image(self.images[:1])
            return embedding, self.decode(embedding)

        return self.kept("expected", make)

    def decode(self, embedding: Tensor, clicks: int = 16, decoder: nn.Module | None = None) -> Tensor:
        points, labels = clicks_for(self.sam, clicks, self.plan.device)
        sam = self.sam if decoder is None else with_parts(self.sam, mask_decoder=decoder)
        return sam.decode_masks(embedding, points, labels)[0]

    def base(self, dtype: str) -> nn.Module:
        """The encoder with its weights in this format."""
        if dtype == "float32":
            return self.sam.image_encoder
        return self.kept(dtype, lambda: copy.deepcopy(self.sam.image_encoder).to(DTYPES[dtype]))

    def drop(self) -> None:
        """Forget the models: they are made again, the same, when they are needed."""
        self._kept = {name: value for name, value in self._kept.items() if name in ("expected", "threshold", "images")}

    def encoder(self, dtype: str, way: str) -> Callable[[Tensor], Tensor]:
        """The last one asked for is kept: a batch later it is compiled already."""
        if self._kept.get("way") != (dtype, way):
            self._kept.pop("encoder", None)
            gc.collect()
            torch.compiler.reset()
            self._kept["encoder"] = encoder_by(self.base(dtype), self.sam, DTYPES[dtype], way)
            self._kept["way"] = dtype, way
        return self._kept["encoder"]

    def job(self, dtype: str, way: str, batch: int) -> Job:
        head = {"what": "encode", "architecture": self.architecture, "dtype": dtype, "way": way, "batch": batch}
        return head, lambda: self.encode(dtype, way, batch)

    def encode(self, dtype: str, way: str, batch: int) -> Row:
        plan, images = self.plan, self.images[:batch]
        self.expected()
        with backend(way, plan.device):
            encoder = self.encoder(dtype, way)
            embedding = encoder(images)
        row = self.compared(embedding[:1], dtype)
        del embedding
        with backend(way, plan.device):
            with Memory(plan.device) as memory:
                seconds = seconds_of(lambda: encoder(images), plan.device, plan.rounds, 0.0 if plan.small else 0.4)
        per_image, padding = self.operations()
        peak = next((r.get("tera_operations_a_second", 0) for r in self.found if r["what"] == "matmul peak"
                     and r["dtype"] == dtype), 0)  # fmt: skip
        reached = batch / seconds / 1e12
        weights = sum(p.numel() for p in self.sam.image_encoder.parameters()) * DTYPES[dtype].itemsize / 2**20
        return row | {
            "seconds": seconds,
            "images_a_second": batch / seconds,
            "share_of_peak": reached * (per_image - padding) / peak if peak else None,
            "share_of_peak_with_padding": reached * per_image / peak if peak else None,
            "weights_megabytes": weights,
            "peak_megabytes": None if memory.megabytes is None else memory.megabytes + weights,
        }

    def operations(self) -> tuple[int, int]:
        row = next(r for r in self.found if r["what"] == "predicted" and r["architecture"] == self.architecture)
        return row["operations_an_image"], row["of_padding"]

    def compared(self, embedding: Tensor, dtype: str) -> Row:
        """How far from the eager float32 encoder. Raises ValueError when it is another function."""
        plain, logits = self.expected()
        if embedding.shape != plain.shape:
            raise ValueError(f"the embedding has shape {tuple(embedding.shape)}, not {tuple(plain.shape)}")
        difference = ((embedding - plain).norm() / plain.norm()).item()
        row = {
            "relative_difference": difference,
            "largest_difference": ((embedding - plain).abs().max() / plain.abs().max()).item(),
            "mask_iou": mask_iou(self.decode(embedding), logits),
        }
        if not difference < WRONG[dtype]:
            raise ValueError(f"wrong result: {row}")
        return row

    def first(self) -> Iterator[Job]:
        """What the chapter needs: the baseline, every way once in bfloat16, the best one at every batch, masks."""
        batches, main = self.plan.batches, sorted(self.plan.dtypes)[0]
        first, last = batches[0], batches[-1]
        if "float32" in self.plan.dtypes and "eager" in self.ways:
            yield self.job("float32", "eager", first)
        for way in sorted(self.ways, key=FAVOURITES.index):
            for batch in (first, last) if way in FAVOURITES[:4] and last != first else (first,):
                if not self.done(main, way, batch):
                    yield self.job(main, way, batch)
        for batch in batches:
            if (best := self.best(main)) and not self.done(main, best, batch):
                yield self.job(main, best, batch)
        if "float32" in self.plan.dtypes and "eager" in self.ways and not self.done("float32", "eager", last):
            yield self.job("float32", "eager", last)
        for how in ("eager", "fast"):
            head = {"what": "automatic masks", "architecture": self.architecture, "how": how}
            yield head, partial(self.automatic, how, self.best(main))

    def rest(self) -> Iterator[Job]:
        """Every other way, format and batch."""
        for dtype in sorted(self.plan.dtypes):
            for way in self.ways:
                for batch in self.plan.batches:
                    if not self.done(dtype, way, batch):
                        yield self.job(dtype, way, batch)

    def _rows(self) -> list[Row]:
        return [r for r in self.found if r["what"] == "encode" and r["architecture"] == self.architecture]

    def done(self, dtype: str, way: str, batch: int) -> bool:
        return any((r["dtype"], r["way"], r["batch"]) == (dtype, way, batch) for r in self._rows())

    def best(self, dtype: str) -> str | None:
        """The way with the most images a second so far; another package's does not count, nor does a graph."""
        rows = [
            r for r in self._rows()
            if r["dtype"] == dtype and "seconds" in r and r["way"] != "transformers" and not WAYS[r["way"]].graph
        ]  # fmt: skip
        return max(rows, key=lambda r: r["images_a_second"])["way"] if rows else None

    def decoding(self) -> Iterator[Job]:
        for clicks in CLICKS[:2] if self.plan.small else CLICKS:
            for dtype in self.plan.dtypes:
                head = {"what": "decode", "architecture": self.architecture, "dtype": dtype, "prompts": clicks}
                yield head, partial(self.decoded, dtype, clicks)

    def decoded(self, dtype: str, clicks: int) -> Row:
        """One photo encoded once, then so many clicks at once."""
        embedding, plan = self.expected()[0], self.plan
        decoder = None if dtype == "float32" else DecoderAtWork(self.sam.mask_decoder, DTYPES[dtype])
        row = {"mask_iou": mask_iou(self.decode(embedding, clicks, decoder), self.decode(embedding, clicks))}
        with Memory(plan.device) as memory:
            seconds = seconds_of(lambda: self.decode(embedding, clicks, decoder), plan.device, plan.rounds)
        return row | {
            "seconds": seconds, "prompts_a_second": clicks / seconds, "peak_megabytes": memory.megabytes
        }  # fmt: skip

    def automatic(self, how: str, way: str | None) -> Row:
        """All masks of a photo, twice, the second one timed. ``how``: "eager", all in float32 with all scores stored
        and masks taken to the processor as pixels; or "fast", encoder and decoder in bfloat16, runs made on the GPU.
        """
        plan, name = self.plan, "eager" if how == "eager" or way is None else way
        generator, sam = PixelsToTheProcessor, self.sam
        if how == "fast":
            encoder = self.encoder("bfloat16", name)
            sam = with_parts(sam, encoder, mask_decoder=DecoderAtWork(sam.mask_decoder)).eval()
            generator = SamAutomaticMaskGenerator
        points_at_once = 256 if how == "fast" and has_room(plan.device) else 64
        threshold = self.kept("threshold", self._threshold)
        photo = skimage.data.astronaut()
        attention = backend(name, plan.device) if how == "eager" else nullcontext()
        with attention, Memory(plan.device) as memory:
            make = generator(
                sam, plan.points_per_side, points_at_once, pred_iou_thresh=threshold, stability_score_thresh=0,
                output_mode="coco_rle",
            )  # fmt: skip
            make.generate(photo)
            start = time.perf_counter()
            records = make.generate(photo)
            seconds = time.perf_counter() - start
        return {
            "dtype": "float32" if how == "eager" else "bfloat16", "way": name, "seconds": seconds,
            "masks": len(records), "points_at_once": points_at_once, "points": plan.points_per_side**2,
            "peak_megabytes": memory.megabytes,
        }  # fmt: skip

    def _threshold(self) -> float:
        """The predicted IoU that ``PASSING`` of the candidates exceed."""
        points, labels = clicks_for(self.sam, 64, self.plan.device)
        iou = self.sam.decode_masks(self.expected()[0], points, labels)[1]
        return min(1.0, iou.flatten().quantile(1 - PASSING).item())

    def attention_alone(self) -> Iterator[Job]:
        """Queries, keys and values to context, by each way to attend, in one global and one window block."""
        names = ["masked", "concatenated", *{WAYS[w].attention for w in self.ways} & {"flex", "triton"}]
        for index, kind in ((_index_of(self.sam, True), "global"), (_index_of(self.sam, False), "windows")):
            for name in names:
                yield {"what": "attention", "block": kind, "way": name}, partial(self.attended, index, name)

    def attended(self, index: int, name: str) -> Row:
        plan, block, dtype = self.plan, self.sam.image_encoder.blocks[index], DTYPES[sorted(self.plan.dtypes)[0]]
        attention = self.base(sorted(plan.dtypes)[0]).blocks[index].attention
        side = self.sam.image_encoder.grid_size
        window = side if index == _index_of(self.sam, True) else (len(block.attention.relative_rows) + 1) // 2
        qkv = attention.qkv_projection(torch.randn(1, side**2, self.sam.image_encoder.patch_projection.out_features,
                                                   device=plan.device, dtype=dtype))  # fmt: skip
        way = way_of(name)
        with Memory(plan.device) as memory:
            seconds = seconds_of(lambda: way(attention, qkv, window), plan.device, plan.rounds)
        return {"dtype": str(dtype).removeprefix("torch."), "seconds": seconds, "peak_megabytes": memory.megabytes}


class PixelsToTheProcessor(SamAutomaticMaskGenerator):
    """Boxes and runs made by the processor, mask by mask, as before they could be made on a GPU."""

    def _boxes_and_runs(self, masks: Tensor, crop: Any, original_size: Any) -> Any:
        pixels = masks.cpu().numpy()
        return mask_to_box(pixels), np.ones(len(pixels), bool), [mask_to_rle(mask) for mask in pixels]


def has_room(device: str, gigabytes: float = 20) -> bool:
    """Whether a GPU has so much memory free."""
    return device.startswith("cuda") and torch.cuda.mem_get_info(device)[0] > gigabytes * 1e9


def _index_of(sam: Sam, whole_grid: bool) -> int:
    kinds = [type(block).__name__ == "GlobalBlock" for block in sam.image_encoder.blocks]
    return kinds.index(whole_grid)


def photos(count: int, size: int) -> Tensor:
    """Photos that come with scikit-image, square, normalised; mirrored when there are not enough."""
    found = []
    for index in range(count):
        photo = getattr(skimage.data, ("astronaut", "coffee", "rocket", "chelsea")[index % 4])()
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float()
        pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        found.append(pixels.flip(-1) if index >= 4 else pixels)
    pixels = torch.cat(found)
    return (pixels - pixels.mean((0, 2, 3), keepdim=True)) / pixels.std()


def clicks_for(sam: Sam, prompts: int, device: str) -> tuple[Tensor, Tensor]:
    points = torch.rand(prompts, 1, 2, generator=torch.Generator().manual_seed(0)).to(device) * sam.image_size
    return points, torch.ones(prompts, 1, dtype=torch.long, device=device)


def mask_iou(logits: Tensor, expected: Tensor) -> float:
    """Mean IoU of masks with those expected; two empty ones agree."""
    masks, answers = logits > 0, expected > 0
    union = (masks | answers).sum((-2, -1))
    return torch.where(union == 0, 1.0, (masks & answers).sum((-2, -1)) / union.clamp(min=1)).mean().item()
