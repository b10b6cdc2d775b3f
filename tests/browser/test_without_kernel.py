"""What the browser's side does without a kernel: it is sharp in a zoomed page, and tells of a picture that is none."""

import base64

import numpy as np
import pytest

from samlite.notebook.canvas import PromptCanvas
from samlite.notebook.explorer import browser_side, png_of

RENDER = """async ([code, state, names, file]) => { // names: of the traits that hold the bytes of a picture
  const { default: widget } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const bytes = new DataView(Uint8Array.from(atob(file), (each) => each.charCodeAt(0)).buffer);
  for (const [name, key] of names) state[name] = key ? { [key]: bytes } : bytes;
  const model = { get: (name) => state[name], set() {}, save_changes() {}, send() {}, on() {}, off() {} };
  widget.render({ model, el: document.body });
}"""
NO_PROMPT = {
    "to": None, "points": [], "box": None, "painted": None, "masks": None, "iou_predictions": [], "chosen": None,
    "code": "", "said": "", "error": None, "encode_milliseconds": 1, "decode_milliseconds": None, "can_undo": False,
    "can_redo": False,
}  # fmt: skip


def test_the_canvas_is_as_fine_as_the_screen_at_every_zoom(window):
    file = png_of(np.full((300, 400, 3), 128, dtype=np.uint8))
    frame = {"width": 400, "height": 300, "shown_width": 400, "shown_height": 300}
    state = {"frame": frame, "colours": {}, "reply": NO_PROMPT}
    page = window.new_page()
    page.evaluate(RENDER, [str(PromptCanvas._esm), state, [["picture_file", ""]], _text(file)])
    settings = window.new_page()
    settings.goto("chrome://settings", wait_until="commit")
    settings.wait_for_function("typeof chrome.settingsPrivate === 'object'", timeout=60_000)
    page.bring_to_front()
    before = page.evaluate("devicePixelRatio")
    for zoom in (1.25, 1.1, 1):
        settings.evaluate("(zoom) => new Promise((done) => chrome.settingsPrivate.setDefaultZoom(zoom, done))", zoom)
        page.wait_for_function("(ratio) => Math.abs(devicePixelRatio - ratio) < 1e-3", arg=zoom * before)
        page.wait_for_function(
            """() => { const canvas = document.querySelector(".samlite-photo canvas");
                 return canvas.width === Math.round(canvas.clientWidth * devicePixelRatio); }"""
        )


@pytest.mark.parametrize("name", ["frames", "patch"])
def test_a_picture_that_is_none_is_reported(browser, name):
    names = ("original", "input", "grid", "low_res")
    each = {"places": [1, 1], "lines": [], "cells": [[1, 1]]}
    reply = {key: dict.fromkeys(names, value) for key, value in each.items()}
    states = {
        "frames": {"sizes": dict.fromkeys(names, {"size": [60, 90], "photo": [60, 90]})},
        "patch": {"sizes": {"grid": 12, "blocks": 3, "heads": 2, "steps": ["patches"]}},
    }
    state = states[name] | {"reply": reply | {"words": "", "code": "", "error": ""}}
    file = ["picture_files", "original"] if name == "frames" else ["picture_file", ""]
    page = browser.new_page()
    problems = []
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.evaluate(RENDER, [browser_side(f"{name}_explorer.js"), state, [file], _text(b"no picture")])
    page.wait_for_selector(".error:has-text('The picture could not be shown')")
    assert problems == []
    page.close()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
