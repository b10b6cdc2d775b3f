"""The ledger, and through it every number of the document at full size (on meta) and once with real values."""

import ast
import gc
import threading
import time
from pathlib import Path

import pytest
import torch

import samlite
from samlite.layers import _listeners, record
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.steps import STEPS
from samlite.notebook.table import Table
from samlite.sam import document_sam

MODEL_SOURCES = ["layers", "image_encoder", "prompt_encoder", "mask_decoder", "sam"]
SMALL = {"image_size": 128, "patch_size": 8, "width": 64, "depth": 2, "heads": 2, "channels": 32}
SMALL |= {"decoder_heads": 4, "decoder_mlp": 64}


def predict(sam, *, batch=1, photo=(768, 1024), original=(600, 800), points=0, boxes=0, mask=False, texts=0):
    """One whole prediction, from pixels to masks of the photo's own size."""
    device = sam.device
    prompts = {
        "points": torch.zeros(batch, points, 2, device=device) if points else None,
        "labels": torch.ones(batch, points, dtype=torch.long, device=device) if points else None,
        "boxes": torch.tensor([[[1.0, 2, 30, 40]] * boxes] * batch, device=device) if boxes else None,
        "mask": torch.randn(batch, 1, *[sam.prompt_encoder.grid_size * 4] * 2, device=device) if mask else None,
        "text": torch.randn(batch, texts, 512, device=device) if texts else None,
    }
    with torch.no_grad():
        images = sam.normalise(torch.full((batch, 3, *photo), 127.0, device=device))
        low_res_logits, _ = sam.decode_masks(sam.encode_image(images), **prompts)
        return sam.resize_masks(low_res_logits, photo, original)


def small_sam(**changes):
    torch.manual_seed(0)
    sam = document_sam(**SMALL | changes).eval()
    sam.prompt_encoder.trained_on_text = "nothing: this test looks at shapes"
    return sam


@pytest.fixture(scope="module")
def full_sam():
    return document_sam(device="meta").eval()


def test_the_whole_document_at_full_size_in_ten_seconds():
    started = time.perf_counter()
    sam = document_sam(device="meta").eval()
    n, m = 3, 2
    with samlite.shape_ledger(sam) as ledger:
        predict(sam, points=n, boxes=m, mask=True)
    seconds = time.perf_counter() - started

    shapes = {name: ledger[name].shape for name in ledger.names}
    assert shapes == {
        "input": (1, 3, 1024, 1024),
        "patches": (1, 4096, 768),
        "patch_embedding": (1, 4096, 1280),
        "positioned_patches": (1, 4096, 1280),
        "self_attention": (1, 4096, 1280),
        "feed_forward": (1, 4096, 1280),
        "encoder_block": (1, 4096, 1280),
        "encoded_patches": (1, 4096, 1280),
        "grid": (1, 64, 64, 1280),
        "image_embedding": (1, 256, 64, 64),
        "point_tokens": (1, n, 256),
        "box_tokens": (1, 2 * m, 256),
        "mask_prompt": (1, 1, 256, 256),
        "mask_halved": (1, 4, 128, 128),
        "mask_quartered": (1, 16, 64, 64),
        "sparse_prompt_tokens": (1, n + 2 * m, 256),
        "dense_prompt": (1, 256, 64, 64),
        "image_positions": (256, 64, 64),
        "token_sequence": (1, n + 2 * m + 4, 256),
        "prompted_image": (1, 256, 64, 64),
        "image_tokens": (1, 4096, 256),
        "token_self_attention": (1, n + 2 * m + 4, 256),
        "token_to_image_attention": (1, n + 2 * m + 4, 256),
        "token_mlp": (1, n + 2 * m + 4, 256),
        "image_to_token_attention": (1, 4096, 256),
        "decoded_image": (1, 256, 64, 64),
        "upscaled_2x": (1, 256, 128, 128),
        "upscaled_4x": (1, 256, 256, 256),
        "output_tokens": (1, 4, 256),
        "mask_vectors": (1, 3, 256),
        "low_res_logits": (1, 3, 256, 256),
        "iou_predictions": (1, 3),
        "input_frame_logits": (1, 3, 1024, 1024),
        "masks": (1, 3, 600, 800),
    }
    assert len(ledger.all("encoder_block")) == 32
    assert len(ledger.all("token_self_attention")) == len(ledger.all("image_to_token_attention")) == 2
    assert ledger.total_ms is None and {entry.dtype for entry in ledger} == {torch.float32}
    assert seconds < 10


@pytest.mark.parametrize("n, m, mask", [(1, 0, False), (5, 0, True), (0, 1, False), (0, 4, True), (2, 3, False)])
def test_the_token_sequence_has_n_plus_2m_plus_4_tokens(full_sam, n, m, mask):
    with shape_ledger(full_sam.mask_decoder) as decoder, shape_ledger(full_sam) as ledger:
        embedding = torch.empty(1, 256, 64, 64, device="meta")
        full_sam.decode_masks(
            embedding,
            points=torch.empty(1, n, 2, device="meta") if n else None,
            labels=torch.empty(1, n, dtype=torch.long, device="meta") if n else None,
            boxes=torch.empty(1, m, 4, device="meta") if m else None,
            mask=torch.empty(1, 1, 256, 256, device="meta") if mask else None,
        )
    assert ledger["sparse_prompt_tokens"].shape == (1, n + 2 * m, 256)
    assert ledger["dense_prompt"].shape == (1, 256, 64, 64)
    for step in ("token_sequence", "token_self_attention", "token_to_image_attention", "token_mlp"):
        assert {entry.shape for entry in decoder.all(step)} == {(1, n + 2 * m + 4, 256)}
    assert ("point_tokens" in ledger, "box_tokens" in ledger, "mask_prompt" in ledger) == (n > 0, m > 0, mask)


def test_a_mask_prompt_of_the_size_of_the_input_frame_gives_the_same_map(full_sam):
    with shape_ledger(full_sam) as ledger:
        full_sam.prompt_encoder(mask=torch.empty(1, 1, 1024, 1024, device="meta"))
    assert ledger["mask_prompt"].shape == (1, 1, 256, 256)
    assert ledger["dense_prompt"].shape == (1, 256, 64, 64)


def test_a_text_embedding_is_one_more_token():
    sam = document_sam(text_width=512, device="meta")
    with shape_ledger(sam) as ledger:
        predict(sam, points=2, boxes=1, texts=1)
    assert ledger["text_tokens"].shape == (1, 1, 256)
    assert ledger["token_sequence"].shape == (1, 2 + 2 * 1 + 1 + 4, 256)


@pytest.mark.parametrize(
    "photo, original", [((1024, 768), (2000, 1500)), ((1024, 1024), (1024, 1024)), ((3, 1024), (1, 333))]
)
def test_masks_come_back_at_the_size_of_the_photo(full_sam, photo, original):
    with shape_ledger(full_sam) as ledger:
        full_sam.resize_masks(torch.empty(2, 3, 256, 256, device="meta"), photo, original)
    assert ledger["input_frame_logits"].shape == (2, 3, 1024, 1024)
    assert ledger["masks"].shape == (2, 3, *original)


def test_the_same_steps_with_real_numbers():
    sam = small_sam(text_width=512)
    with shape_ledger(sam, keep=STEPS) as ledger:
        masks = predict(sam, batch=2, photo=(96, 128), original=(61, 83), points=3, boxes=2, mask=True, texts=1)
    assert masks.shape == (2, 3, 61, 83)
    assert set(ledger.names) == set(STEPS)
    assert all(entry.tensor.isfinite().all() and tuple(entry.tensor.shape) == entry.shape for entry in ledger)
    assert all(entry.ms >= 0 for entry in ledger)
    assert ledger.total_ms == pytest.approx(sum(entry.ms for entry in ledger))
    assert torch.equal(ledger["masks"].tensor, masks)
    assert not torch.equal(*(entry.tensor for entry in ledger.all("encoder_block")))


def test_the_letters_of_every_step_agree_with_its_numbers():
    sam = document_sam(**SMALL, text_width=512, device="meta")
    letters = {"B": 2, "S": 128, "P": 8, "G": 16, "L": 256, "D": 64, "C": 32, "N": 5, "M": 3, "X": 6, "K": 3}
    letters |= {"T": 5 + 2 * 3 + 6 + 4, "H": 61, "W": 83}
    with shape_ledger(sam) as ledger:
        predict(sam, batch=2, photo=(96, 128), original=(61, 83), points=5, boxes=3, mask=True, texts=6)
    for entry in ledger:
        assert eval(f"({entry.symbols})", letters) == entry.shape, entry
        assert entry.section == STEPS[entry.name].section


def names_in_the_sources():
    """Every name that the model's source texts give to record(), and where."""
    found = {}
    for module in MODEL_SOURCES:
        tree = ast.parse((Path(samlite.__file__).parent / f"{module}.py").read_text("utf-8"))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "record":
                assert isinstance(call.args[0], ast.Constant), f"{module}.py:{call.lineno}: a name is a plain string"
                found[call.args[0].value] = f"{module}.py:{call.lineno}"
    return found


def test_every_name_of_the_model_is_in_the_table_and_every_row_of_the_table_in_the_model():
    assert names_in_the_sources().keys() == STEPS.keys()
    assert all(step.meaning and step.section.startswith("1.") for step in STEPS.values())


def test_each_step_knows_the_module_that_made_it():
    sam = small_sam()
    with shape_ledger(sam) as ledger:
        predict(sam, photo=(96, 128), points=1)
    modules = dict(sam.named_modules())
    assert [entry.module.rpartition(".")[2] for entry in ledger.all("encoder_block")] == ["0", "1"]
    assert ledger["encoder_block"].module == "image_encoder.blocks.1"
    assert ledger["self_attention"].module == "image_encoder.blocks.1.attention"
    assert ledger["patch_embedding"].module == "image_encoder.patch_projection"
    assert ledger["point_tokens"].module == "prompt_encoder"
    assert ledger["masks"].module == ""  # the model's own method
    assert all(entry.module in modules for entry in ledger)


def test_two_models_at_once_do_not_mix():
    one, two = small_sam(), small_sam(image_size=64)
    with shape_ledger(one) as first, shape_ledger(two) as second:
        threads = [
            threading.Thread(target=predict, args=(sam,), kwargs={"photo": (48, 64), "points": 1}) for sam in (one, two)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(first) == len(second) > 20
    assert {entry.shape for entry in first.all("patches")} == {(1, 256, 192)}
    assert {entry.shape for entry in second.all("patches")} == {(1, 64, 192)}


def test_ledgers_nest_and_the_inner_one_sees_only_its_block():
    sam = small_sam()
    images = torch.zeros(1, 3, 128, 128)
    with shape_ledger(sam) as outer:
        embedding = sam.encode_image(images)
        with shape_ledger(sam) as inner:
            sam.decode_masks(embedding)
        sam.encode_image(images)
    assert len(outer.all("patches")) == 2 and len(outer.all("low_res_logits")) == 1
    assert "patches" not in inner and inner["token_sequence"].shape == (1, 4, 32)


def test_nothing_is_left_behind_even_after_an_error():
    sam = small_sam()
    before = list(_listeners)
    with pytest.raises(RuntimeError, match="on purpose"), shape_ledger(sam) as ledger:
        sam.encode_image(torch.zeros(1, 3, 128, 128))
        raise RuntimeError("on purpose")
    assert "image_embedding" in ledger
    count = len(ledger)
    sam.encode_image(torch.zeros(1, 3, 128, 128))
    assert len(ledger) == count and _listeners == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in sam.modules())


def test_an_error_inside_the_model_does_not_spoil_the_next_step(monkeypatch):
    sam, late = small_sam(), 0.0
    monkeypatch.setattr("samlite.notebook.ledger.perf_counter", lambda: time.perf_counter() + late)
    with shape_ledger(sam) as ledger:
        with pytest.raises(Exception):  # noqa: B017  (torch's or jaxtyping's, whichever notices first)
            sam.image_encoder(torch.zeros(1, 3, 128, 72))
        late = 1000.0
        sam.image_encoder(torch.zeros(1, 3, 128, 128))
    assert ledger["patches"].ms < 100_000  # and not a million: a call from outside starts the clock anew


def test_a_ledger_keeps_no_tensor_alive_that_it_was_not_asked_to_keep():
    sam = small_sam(image_size=72, patch_size=6)  # shapes that no other test has
    with torch.no_grad(), shape_ledger(sam, keep="grid") as ledger:
        sam.encode_image(torch.zeros(1, 3, 72, 72))
        gc.collect()
        alive = [x for x in gc.get_objects() if type(x) is torch.Tensor and tuple(x.shape) == (1, 144, 108)]
    assert not alive
    assert ledger["patches"].shape == (1, 144, 108) and ledger["patches"].tensor is None
    assert ledger["grid"].tensor.shape == (1, 12, 12, 64)


def test_it_reads_as_a_list_and_as_a_dict():
    sam = small_sam()
    with shape_ledger(sam) as ledger:
        sam.encode_image(torch.zeros(1, 3, 128, 128))
    assert ledger.names[:3] == ["patches", "patch_embedding", "positioned_patches"]
    assert [entry.name for entry in ledger][:2] == ["patches", "patch_embedding"] and ledger[0] is ledger["patches"]
    assert ledger["encoder_block"] is ledger.all("encoder_block")[-1]
    with pytest.raises(KeyError, match="did you mean 'patches'"):
        ledger["patchs"]
    with pytest.raises(KeyError, match=r"'low_res_logits' \(document §1.8.4\) did not happen"):
        ledger["low_res_logits"]
    with pytest.raises(TypeError, match="model"), shape_ledger("tiny"):
        pass
    with pytest.raises(ValueError, match="keep names no step: patchs"), shape_ledger(sam, keep=["patchs"]):
        pass


def test_the_table_folds_repeated_blocks_and_keeps_their_time():
    sam = small_sam(depth=5)
    with shape_ledger(sam) as ledger:
        predict(sam, photo=(96, 128), points=1)
    rows = {row.name: row for row in ledger.folded()}
    assert rows["encoder_block"].count == rows["self_attention"].count == 5 and rows["token_mlp"].count == 2
    assert sum(row.count for row in ledger.folded()) == len(ledger)
    assert sum(row.ms for row in ledger.folded()) == pytest.approx(ledger.total_ms)
    assert rows["feed_forward"].ms == pytest.approx(sum(entry.ms for entry in ledger.all("feed_forward")))
    text, table = str(ledger), ledger._repr_html_()
    for shown in ("encoder_block ×5", "image_encoder.blocks.0…4", "1 × 256 × 192", "§1.5.2", "B, L, 3·P·P"):
        assert shown in text and shown in table
    assert table.count("<tr") == 1 + len(rows) and 'scope="row"' in table and "<caption" in table
    with shape_ledger(sam) as nothing:
        pass
    assert str(nothing).endswith("0 steps") and nothing.total_ms is None


def test_a_table_is_the_same_as_text_and_as_html():
    rows = [["a < b", 7], ["c", 123]]
    table = Table(["what", "how many"], rows, right=["how many"], caption="2 rows", notes=["x", ""])
    assert str(table).splitlines() == ["what   how many", "a < b         7", "c           123", "2 rows"]
    page = table._repr_html_()
    assert "a &lt; b" in page and page.count('scope="row"') == 2 and page.count("text-align:right") == 3
    assert '<tr title="x">' in page and page.count("title=") == 1
    with pytest.raises(ValueError, match="a row has 1 cells, the table has 2 columns"):
        Table(["a", "b"], [["alone"]])


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_the_clock_waits_for_the_device(device, monkeypatch):
    """Without a GPU at hand: a tensor that only claims to be on one, and a count of how often it was waited for."""

    class Claims(torch.Tensor):
        pass

    Claims.device = torch.device(device)

    class OneStep(torch.nn.Module):
        def forward(self, x):
            return record("patches", x)

    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waits.append(device.type))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waits.append("mps"))
    model = OneStep()
    with shape_ledger(model) as ledger:
        model(torch.zeros(2))
        assert waits == []  # the processor is never behind
        model(torch.zeros(2).as_subclass(Claims))
    assert waits == [device] and len(ledger) == 2
