"""Names, weights in files, and errors that help."""

import pytest
import torch
from safetensors.torch import save_file

from samlite.learning.weights import save_weights
from samlite.registry import TINY_WEIGHTS, load_document_sam, sam_model_registry, trained_model
from samlite.released.official_files import CHECKPOINTS
from samlite.sam import document_sam

SIZES = {"patch_size": 8, "width": 16, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2, "decoder_mlp": 32}


def test_unknown_names_get_the_list_and_the_closest():
    with pytest.raises(KeyError, match="'tiny'.*did you mean 'tiny'"):
        sam_model_registry["tinny"]


def test_weights_survive_the_file(tmp_path):
    sam = document_sam(image_size=32, **SIZES).eval()
    path = tmp_path / "small.safetensors"
    save_weights(sam, SIZES, path, {"note": "test"})
    loaded = load_document_sam(path)
    image = torch.randn(1, 3, 32, 32)
    assert not loaded.training
    with torch.inference_mode():
        torch.testing.assert_close(loaded.encode_image(image), sam.encode_image(image), atol=5e-3, rtol=5e-2)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m samlite train tiny"):
        load_document_sam(tmp_path / "none.safetensors")
    (tmp_path / "page.safetensors").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="page.safetensors is no safetensors file"):
        load_document_sam(tmp_path / "page.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="no 'config' in its metadata"):
        load_document_sam(tmp_path / "foreign.safetensors")
    for name in ("masked_autoencoder", "text_image"):  # ours, but of another kind
        with pytest.raises(ValueError, match=f"{name}.safetensors holds something else than a SAM .*: give weights"):
            load_document_sam(TINY_WEIGHTS.with_name(f"{name}.safetensors"))


def test_tiny_ships():
    sam = sam_model_registry["tiny"]()
    assert TINY_WEIGHTS.stat().st_size <= 12_000_000
    assert type(sam_model_registry["default"]()) is type(sam)
    embedding = sam.encode_image(torch.zeros(1, 3, sam.image_size, sam.image_size))
    assert embedding.shape[-1] == sam.image_size // sam.image_encoder.patch_size


@pytest.mark.parametrize("name", ["vit_b", "document_vit_h"])
def test_commands_take_no_model_with_random_weights(name):
    with pytest.raises(ValueError, match=f"{name}.*--checkpoint"):
        trained_model(name)


def test_a_checkpoint_of_another_model_says_which_model_to_name(tmp_path):
    with pytest.raises(ValueError, match="vit_b holds the weights of vit_b, not of tiny: name the model vit_b"):
        trained_model("tiny", "vit_b")
    with pytest.raises(ValueError, match="holds the weights of vit_l, not of vit_b"):
        trained_model("vit_b", tmp_path / CHECKPOINTS["vit_l"].file)
    with pytest.raises(ValueError, match="name one of them"):
        trained_model(str(TINY_WEIGHTS), TINY_WEIGHTS)


def test_commands_take_names_and_files():
    by_name, by_file = trained_model("tiny"), trained_model(str(TINY_WEIGHTS))
    assert all(torch.equal(a, b) for a, b in zip(by_name.parameters(), by_file.parameters(), strict=True))
    with pytest.raises(KeyError, match="did you mean 'tiny'"):
        trained_model("tinny")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
@pytest.mark.parametrize("name", ["tiny", "vit_b", "document_vit_h"])
def test_a_device_that_is_not_there_is_one_sentence(name, device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used here .* use device='cpu'"):
        sam_model_registry[name](device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tiny_on_cuda():
    assert sam_model_registry["tiny"](device="cuda").device.type == "cuda"


@pytest.mark.parametrize("name, says", [("document_vit_h", "a smaller model than"), ("tiny_text", "takes no text")])
def test_weights_of_another_model_are_refused(name, says):
    with pytest.raises(ValueError, match=rf"tiny.safetensors holds .*{says}.*load it as 'tiny'"):
        sam_model_registry[name](TINY_WEIGHTS)
