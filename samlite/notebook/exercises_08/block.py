"""The exercise on a whole two-way block (document §1.8.2)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from samlite.mask_decoder import TwoWayBlock
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_08.material import decoder, random, views, with_large_weights
from samlite.notebook.ledger import shape_ledger

STEPS = ("token_self_attention", "token_to_image_attention", "token_mlp", "image_to_token_attention")
Arguments = tuple[Tensor, Tensor, Tensor, Tensor, TwoWayBlock]


def _in_samlite(
    tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, block: TwoWayBlock
) -> dict[str, Tensor]:
    with shape_ledger(block, keep=STEPS) as ledger:
        block(tokens, image, token_positions, image_positions)
    return {step: ledger[step].tensor for step in STEPS}


def _block(
    tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, block: TwoWayBlock, *,
    residual: bool = True, norm: bool = True, before: bool = False, values_with_positions: bool = False,
    positions_once: bool = False, positions_for_image: bool = True, image_asks: str = "mlp", image_first: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """The block from its parts, with switches for what easily goes wrong."""

    def put_together(came_in: Tensor, result: Tensor, layer_norm) -> Tensor:
        total = came_in + result if residual else result
        if before:
            return came_in + layer_norm(result)
        return layer_norm(total) if norm else total

    def located(current: Tensor, first: bool = False) -> Tensor:
        return current if positions_once and not first else current + token_positions

    located_image = image + image_positions if positions_for_image else image

    def ask_the_tokens(of: Tensor) -> Tensor:
        values = located(of) if values_with_positions else of
        answer = block.image_to_token(located_image, located(of), values)
        return put_together(image, answer, block.image_to_token_norm)

    asked = located(tokens, first=True)
    came_in = tokens
    answer = block.self_attention(asked, asked, asked if values_with_positions else tokens)
    attended = put_together(tokens, answer, block.self_attention_norm)
    new_image = ask_the_tokens(attended) if image_first else None
    values = image if new_image is None else new_image
    keys = located_image if new_image is None else new_image + image_positions
    answer = block.token_to_image(located(attended), keys, keys if values_with_positions else values)
    seen = put_together(attended, answer, block.token_to_image_norm)
    worked = put_together(seen, block.mlp(seen), block.mlp_norm)
    of = {"mlp": worked, "before the mlp": seen, "before the block": came_in}[image_asks]
    return {
        "token_self_attention": attended,
        "token_to_image_attention": seen,
        "token_mlp": worked,
        "image_to_token_attention": ask_the_tokens(of) if new_image is None else new_image,
    }


def _no_image(*arguments) -> dict[str, Tensor]:
    return _block(*arguments) | {"image_to_token_attention": arguments[1]}


def _mlp_early(tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, block: TwoWayBlock):
    """The MLP straight after self-attention, as in an ordinary transformer."""
    right = _block(tokens, image, token_positions, image_positions, block)
    attended = right["token_self_attention"]
    worked = block.mlp_norm(attended + block.mlp(attended))
    answer = block.token_to_image(worked + token_positions, image + image_positions, image)
    seen = block.token_to_image_norm(worked + answer)
    return right | {"token_to_image_attention": seen, "token_mlp": worked}


def _small() -> Arguments:
    block = with_large_weights(lambda: TwoWayBlock(12, heads=3, mlp_width=20))
    return random(2, 5, 12), random(2, 9, 12, seed=2), random(2, 5, 12, seed=3), random(9, 12, seed=4), block


def _of_tiny(block: int) -> Arguments:
    seen = views()
    tokens, image = seen.before(block)
    return tokens[None], image[None], seen.token_positions[None], seen.image_positions, decoder().blocks[block]


write_two_way_block = Exercise(
    name="write_two_way_block",
    title="One two-way block",
    difficulty=4,
    minutes=25,
    question="""
Put one block together from its trained parts. You get `tokens` `(B, T, C)`, `image` `(B, L, C)`, `token_positions`,
`image_positions` and a `block` with `self_attention`, `token_to_image`, `mlp`, `image_to_token`, each with its norm:
`self_attention_norm` and so on. An attention is called as `attention(queries, keys, values)`. Every stage is added to
what came in, then normalised. Positions go into queries and keys only. Return a dict with the four results,
`"token_self_attention"`, `"token_to_image_attention"`, `"token_mlp"` (all `(B, T, C)`) and `"image_to_token_attention"`
`(B, L, C)`. Do not call `block(…)`.
""",
    code="""
def my_block(tokens, image, token_positions, image_positions, block):
    # <answer: attended = seen = worked = new_image = ...>
    located = tokens + token_positions
    attended = block.self_attention_norm(tokens + block.self_attention(located, located, tokens))

    located, located_image = attended + token_positions, image + image_positions
    seen = block.token_to_image_norm(attended + block.token_to_image(located, located_image, image))

    worked = block.mlp_norm(seen + block.mlp(seen))

    located = worked + token_positions
    new_image = block.image_to_token_norm(image + block.image_to_token(located_image, located, worked))
    # </answer>
    return {
        "token_self_attention": attended,
        "token_to_image_attention": seen,
        "token_mlp": worked,
        "image_to_token_attention": new_image,
    }


write_two_way_block.check(my_block)
""",
    expected=_in_samlite,
    stages=[
        Stage("a small block, two prompts", _small),
        Stage("the first block of tiny, a real photo", lambda: _of_tiny(0)),
        Stage("the last block of tiny", lambda: _of_tiny(views().blocks - 1)),
    ],
    mistakes=[
        Mistake("nothing added", "What came into a stage is added to its result, before the norm.",
                partial(_block, residual=False)),
        Mistake("norms forgotten", "Every stage ends with its norm.", partial(_block, norm=False)),
        Mistake("norm before the sum", "First add what came in, then normalise: the norm stands after the sum.",
                partial(_block, before=True)),
        Mistake("positions in the values", "Values are made without positions.",
                partial(_block, values_with_positions=True)),
        Mistake("token positions added once", "Token positions are added anew for every attention, not only for the "
                "first.", partial(_block, positions_once=True)),
        Mistake("image positions forgotten", "The image needs its positions too, as keys and as queries.",
                partial(_block, positions_for_image=False)),
        Mistake("MLP too early", "The tokens look at the image first; then comes the MLP.", _mlp_early),
        Mistake("image asks before the tokens have looked", "Image-to-token attention is the last stage; the tokens "
                "look at the image as it came in.", partial(_block, image_first=True)),
        Mistake("image asks the tokens before the MLP", "The image asks the tokens as they are after the MLP.",
                partial(_block, image_asks="before the mlp")),
        Mistake("image asks the tokens that came in", "The image asks the tokens as they are after the MLP, not as "
                "they came in.", partial(_block, image_asks="before the block")),
        Mistake("image unchanged", "In the fourth stage the image asks, and what it hears is added to it.", _no_image),
    ],
    hints=[
        "One line for each stage, in the document's order: tokens among themselves, tokens to image, MLP, image to "
        "tokens.",
        "Each stage has the form norm(x + stage(…)), where x is what came in.",
        "In the last stage the image is the query, keys are the tokens with positions, values the tokens alone.",
    ],
    explanation="""
Four lines for four stages. The image is changed in the last of them only, so the first block's tokens see the image as
the encoder left it, and the second block's see an image that has heard the prompt.
""",
)  # fmt: skip
