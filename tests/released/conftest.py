"""The one full-size model of these tests: its weights and its embedding take seconds, so they are made once."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference import build, recorded


@pytest.fixture(scope="session")
def vit_b():
    """``sam``, the golden ``image`` (1, 3, 1024, 1024), its ``blocks`` and ``embedding``."""
    image = np.random.RandomState(2024).standard_normal((1, 3, 1024, 1024)).astype(np.float32)
    image[..., 900:] = 0
    sam, image = build("vit_b"), torch.from_numpy(image)
    with torch.no_grad(), recorded() as seen:
        embedding = sam.encode_image(image)
    return SimpleNamespace(sam=sam, image=image, blocks=seen["encoder_block"], embedding=embedding)
