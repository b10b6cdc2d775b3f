"""A Sam put together anew from another one's parts: what is set on the whole model goes along."""

from torch import nn

from samlite.sam import Sam

SETTINGS = ("mask_threshold", "automatic_thresholds", "image_format")  # they belong to the weights, not to the parts


def with_parts(
    sam: Sam,
    image_encoder: nn.Module | None = None,
    prompt_encoder: nn.Module | None = None,
    mask_decoder: nn.Module | None = None,
) -> Sam:
    """A Sam of these parts (None: the one of ``sam`` itself), on its device, with its settings; ``sam`` stays as it is.

    ``Sam(...)`` alone would give a model that was trained here the thresholds of the released one, at which automatic
    masks find next to nothing.
    """
    parts = (image_encoder or sam.image_encoder, prompt_encoder or sam.prompt_encoder, mask_decoder or sam.mask_decoder)
    made = Sam(*parts).to(sam.device)
    for name in SETTINGS:
        setattr(made, name, getattr(sam, name))
    return made
