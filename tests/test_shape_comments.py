"""The shapes written in the model's sources are true: the full-size model runs on meta, and every one is compared.

Two kinds are read. A comment at the end of a line, ``x = record("name", …)  # (B, 4096, 1280)``, is compared with the
tensor that this very line recorded, assigned or returned. A shape inside a docstring must occur among the tensors that
pass through what it documents: the function, or, for a class or a module, anything inside it.
"""

import ast
import re
import sys
import tokenize
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
import torch

import samlite
from samlite import layers
from samlite.image_encoder import ImageEncoder, unpatchify
from samlite.masked_autoencoder import MaskedAutoencoder, random_masking, take
from samlite.released.sam import released_sam
from samlite.sam import document_sam

FOLDER = Path(samlite.__file__).parent
MODULES = (
    "image_encoder", "layers", "mask_decoder", "masked_autoencoder", "prompt_encoder", "sam",
    "released/image_encoder", "released/mask_decoder", "released/prompt_encoder",
)  # fmt: skip
SOURCES = {f"{module}.py": (FOLDER / f"{module}.py").read_text("utf-8") for module in MODULES}

TERM = r"(?:\d*[A-Z]|\d+)(?:[ +/]+(?:\d*[A-Z]|\d+))*"
SHAPE = re.compile(rf"\({TERM}(?:, {TERM})+\)")
PHOTO, ORIGINAL = (768, 1024), (600, 800)


def shapes_in(text):
    """The shapes written in a text, each as a list of terms: "(B, N + 2M, 256)" → ["B", "N + 2M", "256"]."""
    return [found[1:-1].split(", ") for found in SHAPE.findall(text)]


def letters_of(name, b, n, m, texts):
    """What the letters of a source stand for in a run; a letter that is not here stands for any number."""
    if name == "layers.py":
        return {"B": b}  # its D and H are those of whoever uses it
    if name == "masked_autoencoder.py":
        return {"B": b, "L": 4096, "V": 1024, "A": 512}  # what is taken has the width of patches or of tokens
    letters = {"B": b, "N": n, "M": m, "K": 3, "C": 256, "G": 64, "P": 16, "L": 4096, "S": 1024, "E": 512, "D": 1280}
    if name.startswith("released"):  # vit_b; a box leaves no room for the padding point
        return letters | {"K": 4, "D": 768, "T": 5 + n + 2 * m}
    if name == "sam.py":
        letters |= {"H": ORIGINAL[0], "W": ORIGINAL[1]}
    return letters | {"T": n + 2 * m + texts + 4, "X": texts}


def fits(written, shape, letters, texts):
    """Is this what is written? The document counts no text: a plain N + 2M leaves the text tokens of a run out."""
    if len(written) != len(shape):
        return False
    for term, number in zip(written, shape, strict=True):
        expression = re.sub(r"(\d)([A-Z])", r"\1*\2", term)
        try:
            value = eval(expression, {}, dict(letters))
        except NameError:
            continue
        if "N" in term and "M" in term and "X" not in term:
            value += texts
        if value != number:
            return False
    return True


def comments_in(source):
    """(line, text) of every comment that begins with a shape and shares its line with code."""
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.strip() != token.string and SHAPE.match(token.string[2:]):
            yield token.start[0], token.string


def docstrings_in(source):
    """(first line, last line, docstring) of every module, class and function that has a shape in its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            last = node.end_lineno if not isinstance(node, ast.Module) else len(source.splitlines())
            if shapes_in(text):
                yield getattr(node, "lineno", 1), last, text


class Observations:
    """Shapes by file and line: what a line recorded (best), assigned or returned; and all that passed by."""

    def __init__(self, **numbers):
        self.numbers = numbers
        self.recorded, self.made, self.passed = defaultdict(set), defaultdict(set), defaultdict(set)
        self.files = {str(FOLDER / name): name for name in SOURCES}
        self.targets = {name: dict(self._targets(source)) for name, source in SOURCES.items()}

    @staticmethod
    def _targets(source):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign) and isinstance(node.targets[-1], ast.Name):
                yield node.end_lineno, (node.lineno, node.targets[-1].id)

    def listen(self, name, tensor):
        frame = sys._getframe(1)
        while frame.f_code.co_filename not in self.files or frame.f_code.co_name == "record":
            frame = frame.f_back
        self.recorded[self.files[frame.f_code.co_filename], frame.f_lineno].add(tuple(tensor.shape))

    def trace(self, frame, event, argument):
        """A trace function (sys.settrace): look at the local that the line before has assigned."""
        name = self.files.get(frame.f_code.co_filename)
        if name is None:
            return None
        line_before = [frame.f_lineno]

        def inside(frame, event, argument):
            at = (name, line_before[0])
            values = list(frame.f_locals.values()) + ([*argument] if isinstance(argument, tuple) else [argument])
            for value in values:
                if isinstance(value, torch.Tensor):
                    self.passed[at].add(tuple(value.shape))
            for end, (start, variable) in self.targets[name].items():
                value = frame.f_locals.get(variable)
                if start <= line_before[0] <= end and isinstance(value, torch.Tensor):
                    self.made[name, end].add(tuple(value.shape))
            if event == "return" and isinstance(argument, torch.Tensor):
                self.made[name, frame.f_lineno].add(tuple(argument.shape))
            line_before[0] = frame.f_lineno
            return inside

        return inside


def empty(*shape, dtype=None):
    return torch.empty(*shape, dtype=dtype, device="meta")


def run_released(b, n, m):
    sam = released_sam(device="meta").eval()
    with torch.no_grad():
        embedding = sam.encode_image(empty(b, 3, 1024, 1024))
        for mask in (None, empty(b, 1, 256, 256)):
            sam.decode_masks(
                embedding,
                points=empty(b, n, 2) if n else None,
                labels=empty(b, n, dtype=torch.long) if n else None,
                boxes=empty(b, m, 4) if m else None,
                mask=mask,
            )


def run_pretraining(b, n, m, texts):
    with torch.device("meta"), torch.no_grad():
        autoencoder = MaskedAutoencoder(ImageEncoder()).eval()
        visible, hidden = random_masking(b, 4096, device="meta")
        images = empty(b, 3, 1024, 1024)
        rebuilt = autoencoder(images, visible)
        for normalised in (False, True):
            autoencoder.hidden_error(rebuilt, images, hidden, normalised)
        take(empty(b, 4096, 1280), visible)


def run_everything(b, n, m, texts):
    sam = document_sam(text_width=512, device="meta").eval()
    with torch.no_grad():
        embedding = sam.encode_image(sam.normalise(empty(b, 3, *PHOTO)))
        low_res_logits, _ = sam.decode_masks(
            embedding,
            points=empty(b, n, 2) if n else None,
            labels=empty(b, n, dtype=torch.long) if n else None,
            boxes=empty(b, m, 4) if m else None,
            mask=empty(b, 1, 256, 256),
            text=empty(b, texts, 512) if texts else None,
        )
        sam.resize_masks(low_res_logits, PHOTO, ORIGINAL)
        unpatchify(empty(b, 4096, 768), 16, 64)
        sam.image_encoder.blocks[0].attention.weights(empty(b, 4096, 1280), empty(b, 4096, 1280))


def observe(run_model=run_everything, **numbers):
    """One run under a listener of record and a trace function."""
    seen = Observations(**numbers)

    def run():
        sys.settrace(seen.trace)
        try:
            run_model(**numbers)
        finally:
            sys.settrace(None)

    layers._listeners.append(seen.listen)
    try:  # in a thread of its own, so that a debugger or a coverage tool in this one keeps its trace function
        with ThreadPoolExecutor(1) as thread:
            thread.submit(run).result()
    finally:
        layers._listeners.remove(seen.listen)
    return seen


@pytest.fixture(scope="module")
def runs():
    """Every kind of prompt at once, in numbers that are all different; and a mask prompt alone."""
    document = [observe(b=2, n=3, m=5, texts=7), observe(b=2, n=0, m=0, texts=0)]
    released = [observe(run_released, b=2, n=3, m=5), observe(run_released, b=2, n=0, m=1)]
    for seen in released:
        seen.numbers["texts"] = 0
    pretraining = [observe(run_pretraining, b=2, n=0, m=0, texts=0)]
    return {"document": document, "released": released, "masked_autoencoder": pretraining}


def problems(name, source, runs):
    """What is wrong with the shapes written in this source text: (line, what)."""
    found = []
    kind = name.removesuffix(".py").split("/")[0]
    runs = runs.get(kind, runs["document"])
    for line, comment in comments_in(source):
        shapes_by_run = [(seen, seen.recorded.get((name, line)) or seen.made.get((name, line), ())) for seen in runs]
        if not any(shapes for _, shapes in shapes_by_run):
            found.append((line, f"{comment} stands beside a line that made no tensor"))
        for seen, shapes in shapes_by_run:
            letters, texts = letters_of(name, **seen.numbers), seen.numbers["texts"]
            if not all(fits(shapes_in(comment)[0], shape, letters, texts) for shape in shapes):
                found.append((line, f"{comment} but the tensor there is {sorted(shapes)}"))
    for first, last, text in docstrings_in(source):
        for written in shapes_in(text):
            passed = (
                fits(written, shape, letters_of(name, **seen.numbers), seen.numbers["texts"])
                for seen in runs
                for by_line in (seen.passed, seen.recorded)
                for (file, line), shapes in by_line.items()
                if file == name and first <= line <= last
                for shape in shapes
            )
            if not any(passed):
                found.append((first, f"the docstring says ({', '.join(written)}); no such tensor passes here"))
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_every_shape_in_the_source_is_true(name, runs):
    assert problems(name, SOURCES[name], runs) == []


def test_the_shapes_are_found():
    """Against a pattern that would quietly find nothing."""
    comments = {name: len(list(comments_in(source))) for name, source in SOURCES.items()}
    assert comments["image_encoder.py"] >= 8 and comments["prompt_encoder.py"] >= 9
    assert comments["mask_decoder.py"] >= 14 and comments["sam.py"] >= 1
    for name, source in SOURCES.items():
        beside_record = [line for line in source.splitlines() if "record(" in line and "# (" in line]
        assert len(beside_record) <= comments[name]
        assert all(SHAPE.search(line.partition("#")[2]) for line in beside_record)
    assert comments["released/image_encoder.py"] >= 14 and comments["released/mask_decoder.py"] >= 10
    assert sum(len(list(docstrings_in(source))) for source in SOURCES.values()) >= 12


def spoiled(shape):
    """The same shape with one number made larger; one more term where there is no number."""
    changed = re.sub(r"(?<![A-Z])(\d+)(?![A-Z])", lambda number: str(int(number[1]) + 1), shape, count=1)
    return changed if changed != shape else f"{shape[:-1]}, 3)"


@pytest.mark.parametrize("name", SOURCES)
def test_a_wrong_comment_is_noticed(name, runs):
    """Every single comment, spoiled one at a time in a copy of the text."""
    lines = SOURCES[name].splitlines(keepends=True)
    for line, comment in comments_in(SOURCES[name]):
        copy = list(lines)
        shape = SHAPE.search(comment)[0]
        copy[line - 1] = copy[line - 1].replace(comment, comment.replace(shape, spoiled(shape), 1))
        assert copy != lines
        assert [where for where, _ in problems(name, "".join(copy), runs)][:1] == [line], copy[line - 1]


@pytest.mark.parametrize("name", SOURCES)
def test_a_wrong_docstring_is_noticed(name, runs):
    for _, _, text in docstrings_in(SOURCES[name]):
        for shape in set(SHAPE.findall(text)):
            copy = SOURCES[name].replace(shape, f"{shape[:-1]}, 3)")
            assert problems(name, copy, runs), f"{shape} in {name}"


def test_a_line_that_makes_no_tensor_cannot_carry_a_shape(runs):
    line = "self.image_encoder = image_encoder"
    source = SOURCES["sam.py"].replace(line, f"{line}  # (B, 3)")
    assert "made no tensor" in problems("sam.py", source, runs)[0][1]
