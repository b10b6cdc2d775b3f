"""The fast paths give the numbers of the plain ones, and step aside where the plain ones are asked for."""

import copy
import pickle

import pytest
import torch
from reference import build, difference, given_prompts, golden, recorded, relative_difference

from samlite import fast, released_sam
from samlite.registry import sam_model_registry
from samlite.released.fast_decoder import FEW_TOKENS, FastReleasedMaskDecoder, FirstProjections
from samlite.released.fast_encoder import FastReleasedImageEncoder, fast_is_exact
from samlite.sam import Sam, document_sam

ENCODER, LOGITS, IOU = 5e-6, 1e-5, 1e-5  # as in the tests of the plain paths


def image_for(sam: Sam, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, sam.image_size, sam.image_size, generator=torch.Generator().manual_seed(0))


def quick(sam: Sam) -> Sam:
    return fast.use_fast_paths(copy.deepcopy(sam))


@pytest.fixture(scope="module", params=["tiny", "std", "std256"])
def pair(request):
    sam = build(request.param)
    with torch.no_grad():
        return sam, quick(sam), sam.encode_image(image_for(sam))


def compare(pair, **prompts) -> None:
    sam, fast_sam, embedding = pair
    with torch.no_grad():
        logits, iou = sam.decode_masks(embedding, **prompts)
        for _ in range(2):  # the second time with what was kept
            fast_logits, fast_iou = fast_sam.decode_masks(embedding, **prompts)
            assert relative_difference(fast_logits, logits) < LOGITS
            assert difference(fast_iou, iou) < IOU


@pytest.mark.parametrize("batch", [1, 3])
def test_encoder(pair, batch) -> None:
    sam, fast_sam, _ = pair
    with torch.no_grad():
        assert (
            difference(fast_sam.encode_image(image_for(sam, batch)), sam.encode_image(image_for(sam, batch))) < ENCODER
        )


@pytest.mark.parametrize("window", [1, 3, 4, 8, 11])
def test_windows_that_fit_and_windows_that_do_not(window) -> None:
    """The grid has 8 rows: windows of one place, with padding, without, the whole grid, and more than the grid."""
    sam = build("std", window=window)
    with torch.no_grad():
        assert difference(quick(sam).encode_image(image_for(sam)), sam.encode_image(image_for(sam))) < ENCODER


def test_grids_that_strips_and_tiles_do_not_divide(monkeypatch) -> None:
    monkeypatch.setattr("samlite.released.fast_encoder.TILE_ROWS", 3)
    monkeypatch.setattr("samlite.released.fast_encoder.STRIP", 50)
    sam = build("std")
    with torch.no_grad():
        assert difference(quick(sam).encode_image(image_for(sam)), sam.encode_image(image_for(sam))) < ENCODER


def test_official_numbers() -> None:
    sam, stages = fast.use_fast_paths(build("std")), golden("std_stages")
    with torch.no_grad():
        embedding = sam.encode_image(stages["preprocessed"])
    assert difference(embedding, stages["enc.out"]) < ENCODER


@pytest.mark.parametrize(
    "kinds", [("points", "labels"), ("boxes",), ("points", "labels", "boxes"), ("mask",), ("boxes", "mask"), ()]
)
@pytest.mark.parametrize("multimask_output", [True, False])
def test_decoder(pair, kinds, multimask_output) -> None:
    given = given_prompts(pair[0])
    compare(pair, **{kind: given[kind] for kind in kinds}, multimask_output=multimask_output)


@pytest.mark.parametrize("points", [1, 8, FEW_TOKENS - 6, FEW_TOKENS - 5, 40])
@pytest.mark.parametrize("batch", [1, 5])
def test_many_points_and_many_prompts(pair, points, batch) -> None:
    places = torch.rand(batch, points, 2, generator=torch.Generator().manual_seed(points)) * pair[0].image_size
    compare(pair, points=places, labels=torch.arange(batch * points).view(batch, points) % 2)


def test_one_prompt_for_each_of_several_images() -> None:
    sam = build("std")
    with torch.no_grad():
        embedding = sam.encode_image(image_for(sam, 2))
    points, labels = torch.tensor([[[10.0, 20.0]], [[70.0, 30.0]]]), torch.ones(2, 1, dtype=torch.long)
    compare((sam, quick(sam), embedding), points=points, labels=labels)


def test_what_is_kept_is_never_stale() -> None:
    """Another image, the same tensor with other contents, other weights, other directions: all are noticed."""
    sam = build("std")
    other, click = quick(sam), {"points": torch.tensor([[[30.0, 40.0]]]), "labels": torch.ones(1, 1, dtype=torch.long)}
    embedding = torch.randn(1, 256, 8, 8, generator=torch.Generator().manual_seed(1))
    compare((sam, other, embedding), **click)
    compare((sam, other, embedding + 1), **click)
    embedding.mul_(0.5)
    compare((sam, other, embedding), **click)
    for change in (
        lambda model: model.mask_decoder.blocks[0].token_to_image.key_projection.weight.mul_(1.5),
        lambda model: model.mask_decoder.blocks[0].image_to_token.query_projection.bias.add_(0.5),
        lambda model: model.prompt_encoder.no_mask.add_(0.5),
        lambda model: model.prompt_encoder.coordinates.directions.mul_(0.5),
    ):
        with torch.no_grad():
            change(sam)
            change(other)
        compare((sam, other, embedding), **click)


def test_embeddings_made_in_inference_mode(pair) -> None:
    sam, fast_sam, embedding = pair
    given = {name: given_prompts(sam)[name] for name in ("points", "labels")}
    with torch.inference_mode():
        inside = fast_sam.encode_image(image_for(sam))
        logits, _ = fast_sam.decode_masks(inside, **given)
    with torch.no_grad():
        assert relative_difference(logits, sam.decode_masks(embedding, **given)[0]) < LOGITS
        assert relative_difference(fast_sam.decode_masks(inside, **given)[0], logits) < LOGITS


def test_gradients_go_the_plain_way() -> None:
    sam = quick(build("tiny"))
    given = given_prompts(sam)
    logits, iou = sam.decode_masks(sam.encode_image(image_for(sam)), given["points"], given["labels"])
    (logits.mean() + iou.mean()).backward()
    assert sam.image_encoder.blocks[0].attention.relative_rows.grad.abs().sum() > 0
    assert sam.mask_decoder.blocks[0].token_to_image.key_projection.weight.grad.abs().sum() > 0


def test_who_listens_hears_every_step() -> None:
    sam = build("tiny")
    heard = []
    for model in (sam, quick(sam)):
        with torch.no_grad(), recorded() as seen:
            model.decode_masks(
                model.encode_image(image_for(sam)), given_prompts(sam)["points"], torch.ones(1, 3).long()
            )
        heard.append({name: [tensor.shape for tensor in tensors] for name, tensors in seen.items()})
    assert heard[0] == heard[1]


def test_other_devices_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastReleasedImageEncoder, "encode_one", None)  # the fast way would need it
    sam = fast.use_fast_paths(released_sam(image_size=64, width=32, depth=2, heads=2, window=3, global_blocks=(1,),
                                           channels=32, device="meta"))  # fmt: skip
    with torch.no_grad():
        embedding = sam.encode_image(torch.zeros(1, 3, 64, 64, device="meta"))
        points, labels = torch.zeros(1, 1, 2, device="meta"), torch.ones(1, 1, dtype=torch.long, device="meta")
        assert sam.decode_masks(embedding, points, labels)[0].shape == (1, 3, 16, 16)
    assert sam.mask_decoder._kept is None  # the fast way keeps its projections of the image


def test_there_and_back() -> None:
    sam = build("tiny")
    kinds = [type(part) for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder)]
    names = list(sam.state_dict())
    fast.use_fast_paths(fast.use_fast_paths(sam))
    assert type(sam.image_encoder) is FastReleasedImageEncoder and type(sam.mask_decoder) is FastReleasedMaskDecoder
    compare((build("tiny"), sam, torch.zeros(1, 32, 8, 8)), boxes=given_prompts(sam)["boxes"])
    assert list(sam.state_dict()) == names
    again = pickle.loads(pickle.dumps(sam))
    assert type(again.mask_decoder) is FastReleasedMaskDecoder and again.mask_decoder._kept is None
    fast.use_plain_paths(sam)
    assert [type(part) for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder)] == kinds
    assert "_kept" not in vars(sam.mask_decoder)


def test_the_documents_decoder_is_folded_by_the_same_call() -> None:
    sam = fast.use_fast_paths(document_sam(image_size=64, width=32, depth=1, heads=2, channels=32, decoder_mlp=32))
    assert type(sam.mask_decoder) is fast.FoldedMaskDecoder
    with torch.no_grad(), recorded() as seen:
        sam.decode_masks(torch.zeros(1, 32, 4, 4), torch.zeros(1, 1, 2), torch.ones(1, 1).long())
    assert seen["upscaled_4x"][0].shape == (1, 32, 16, 16), "who listens sees the map that is not made otherwise"
    assert type(fast.use_plain_paths(sam).mask_decoder) is fast.MaskDecoder


def test_the_registry_gives_the_fast_ones() -> None:
    sam = sam_model_registry["vit_b"](device="meta")
    assert isinstance(sam.image_encoder, FastReleasedImageEncoder)


def test_another_thread_cannot_exchange_what_is_kept(monkeypatch) -> None:
    """While one thread compares what is kept with its photo, another decodes its own photo with the same model."""
    sam = quick(build("tiny"))
    with torch.no_grad():
        first, second = (sam.encode_image(image_for(sam) * scale) for scale in (1, 2))
        points = {"points": torch.tensor([[[20.0, 30]]]), "labels": torch.ones(1, 1, dtype=torch.long)}
        expected = sam.decode_masks(first, **points)[0]
        assert not torch.equal(sam.decode_masks(second, **points)[0], expected)
        sam.decode_masks(first, **points)
        fit, meanwhile = FirstProjections.fit, []

        def fit_while_another_decodes(kept, sources):
            fits = fit(kept, sources)
            if not meanwhile:
                meanwhile.append("once")
                sam.decode_masks(second, **points)
            return fits

        monkeypatch.setattr(FirstProjections, "fit", fit_while_another_decodes)
        assert torch.equal(sam.decode_masks(first, **points)[0], expected) and meanwhile


def test_no_boxes_no_masks() -> None:
    sam = build("tiny")
    with torch.no_grad():
        embedding = sam.encode_image(image_for(sam))
        for model in (sam, quick(sam)):
            logits, iou = model.decode_masks(embedding, boxes=torch.zeros(0, 1, 4))
            assert len(logits) == 0 and iou.shape == (0, 3)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated")
def test_autocast_and_tracing_take_the_plain_path() -> None:
    sam, plain = quick(build("tiny")), build("tiny")
    image = image_for(sam)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sam.encode_image(image), plain.encode_image(image))
    with torch.no_grad():
        assert fast_is_exact(image)
        seen = []
        torch.jit.trace(lambda x: (seen.append(fast_is_exact(x)), x + 1)[1], image, check_trace=False)
    assert seen and not any(seen)
