"""Every named step of the document's SAM: where the document tells it, what shape it has, what it is.

The names are those that the model gives to ``samlite.layers.record``. The letters of the shapes:

B images (or prompts on one image) · S side of the input frame in pixels (1024) · P side of a patch (16) ·
G side of the grid (64) · L patches (G·G = 4096) · D encoder width (1280) · C decoder channels (256) · N points ·
M boxes · X text embeddings · T tokens (N + 2M + X + K + 1) · K candidate masks (3) · H, W the photo's own size.
"""

from typing import NamedTuple


class Step(NamedTuple):
    """One row of the table: the document's section, the symbolic shape, one line of meaning."""

    section: str
    symbols: str
    meaning: str


STEPS = {
    # image encoder
    "input": Step("1.5.1", "B, 3, S, S", "the photo, normalised and padded to a square"),
    "patches": Step("1.5.2", "B, L, 3*P*P", "each patch as one vector of its raw values"),
    "patch_embedding": Step("1.5.3", "B, L, D", "each patch vector, projected linearly"),
    "positioned_patches": Step("1.5.3", "B, L, D", "the learned position of each patch added"),
    "self_attention": Step("1.5.4", "B, L, D", "what each patch gathered from all patches in one block"),
    "feed_forward": Step("1.5.4", "B, L, D", "what the block's MLP adds to each patch by itself"),
    "encoder_block": Step("1.5.4", "B, L, D", "the patches after one whole block"),
    "encoded_patches": Step("1.5.4", "B, L, D", "the patches after the last block and the last norm"),
    "grid": Step("1.5.5", "B, G, G, D", "the sequence laid out in rows and columns again"),
    "image_embedding": Step("1.5.6", "B, C, G, G", "the result of the encoder: a map with the decoder's channels"),
    # prompt encoder
    "point_tokens": Step("1.7.1", "B, N, C", "one token for each point"),
    "box_tokens": Step("1.7.1", "B, 2*M, C", "two corner tokens for each box"),
    "text_tokens": Step("1.3", "B, X, C", "one token for each text embedding"),
    "mask_prompt": Step("1.7.2", "B, 1, 4*G, 4*G", "the mask prompt, four cells to a patch side"),
    "mask_halved": Step("1.7.2", "B, 4, 2*G, 2*G", "the mask prompt after its first halving"),
    "mask_quartered": Step("1.7.2", "B, 16, G, G", "the mask prompt after its second halving"),
    "sparse_prompt_tokens": Step("1.7.1", "B, N + 2*M + X, C", "points, corners and text in one sequence"),
    "dense_prompt": Step("1.7.2", "B, C, G, G", "the mask prompt as a map to add to the image; zeros without one"),
    "image_positions": Step("1.7.1", "C, G, G", "the position code of every cell of the grid"),
    # mask decoder
    "token_sequence": Step("1.7.4", "B, T, C", "prompt tokens, then mask tokens and the IoU token"),
    "prompted_image": Step("1.7.4", "B, C, G, G", "image embedding plus dense prompt"),
    "image_tokens": Step("1.8.1", "B, L, C", "the map as a sequence"),
    "token_self_attention": Step("1.8.2", "B, T, C", "the tokens after they have looked at each other"),
    "token_to_image_attention": Step("1.8.2", "B, T, C", "the tokens after they have looked at the image"),
    "token_mlp": Step("1.8.2", "B, T, C", "the tokens after the MLP"),
    "image_to_token_attention": Step("1.8.2", "B, L, C", "the image after it has looked at the tokens"),
    "decoded_image": Step("1.8.2", "B, C, G, G", "the image as a map again"),
    "upscaled_2x": Step("1.8.3", "B, C, 2*G, 2*G", "the map after the first doubling"),
    "upscaled_4x": Step("1.8.3", "B, C, 4*G, 4*G", "the map after the second doubling"),
    "output_tokens": Step("1.8.4", "B, K + 1, C", "the mask tokens and the IoU token; the prompts are dropped"),
    "mask_vectors": Step("1.8.4", "B, K, C", "each mask token through its own MLP"),
    "low_res_logits": Step("1.8.4", "B, K, 4*G, 4*G", "dot product of each mask vector with the map"),
    "iou_predictions": Step("1.8.4", "B, K", "how well the model thinks it did, for each mask"),
    "input_frame_logits": Step("1.8.4", "B, K, S, S", "the masks at the size of the input frame"),
    "masks": Step("1.8.4", "B, K, H, W", "the masks at the photo's own size"),
}

# The released SAM takes the same steps but for these: new ones without a section, for the document has none, and
# some of another shape. K is 4, and N counts the padding point. It has no norm after the last block, and no text.
RELEASED_STEPS = STEPS | {
    "windows": Step("", "", "the patches of one window after the other, padded with zeros; 14×14 in each"),
    "self_attention": Step("1.5.4", "B, L, D", "what each patch gathered: from its window, or from all patches"),
    "projected_grid": Step("", "B, C, G, G", "the grid after the first convolution and norm of the neck"),
    "dense_prompt": Step("1.7.2", "B, C, G, G", "the mask prompt as a map; the no-mask vector everywhere without one"),
    "token_sequence": Step("1.7.4", "B, T, C", "the IoU token, then the mask tokens, then prompt tokens"),
    "last_token_to_image_attention": Step("", "B, T, C", "the tokens after one more look at the image"),
    "upscaled_2x": Step("1.8.3", "B, C/4, 2*G, 2*G", "the map after the first doubling, in a quarter of the channels"),
    "upscaled_4x": Step("1.8.3", "B, C/8, 4*G, 4*G", "the map after the second doubling, in an eighth of them"),
    "mask_vectors": Step("1.8.4", "B, K, C/8", "each mask token through its own MLP"),
}
del RELEASED_STEPS["encoded_patches"], RELEASED_STEPS["text_tokens"]

# The masked autoencoder of §1.6. V are the visible patches (1024 of 4096), A the width of its own decoder (512), which
# is not SAM's mask decoder. Steps inside a block have no letters: blocks of both widths take them.
MAE_STEPS = {
    "patches": Step("1.6.2", "B, L, 3*P*P", "each patch as one vector of its raw values"),
    "visible_patches": Step("1.6.2", "B, V, 3*P*P", "the patches that are left when the others are taken away"),
    "visible_embedding": Step("1.6.2", "B, V, D", "each visible patch, projected linearly"),
    "positioned_visible": Step("1.6.2", "B, V, D", "the position that each one has in the whole picture added"),
    "self_attention": Step("1.6.3", "", "what each token gathered from all tokens in one block"),
    "feed_forward": Step("1.6.3", "", "what the block's MLP adds to each token by itself"),
    "visible_block": Step("1.6.3", "B, V, D", "the visible patches after one whole block of the encoder"),
    "encoded_visible": Step("1.6.3", "B, V, D", "the visible patches after the last block and the last norm"),
    "narrowed_visible": Step("1.6.4", "B, V, A", "the encoded patches in the decoder's width"),
    "filled_up": Step("1.6.4", "B, L, A", "all places in order; the mask token stands at every hidden one"),
    "positioned_places": Step("1.6.4", "B, L, A", "the decoder's own position of each place added"),
    "rebuilding_block": Step("1.6.4", "B, L, A", "all places after one block of the decoder"),
    "rebuilt_patches": Step("1.6.4", "B, L, 3*P*P", "the values of all patches, as the decoder thinks they are"),
    "hidden_error": Step("1.6.4", "B, L - V", "mean squared error of each hidden patch; its mean is the loss"),
}
