"""A picture in a widget: the page gets its words."""

import base64
import re

from matplotlib.figure import Figure

from samlite.notebook.live_picture import LivePicture


def test_the_page_gets_the_pixels_and_the_words():
    picture = LivePicture("20em")
    figure = Figure(figsize=(1, 1))
    picture.show(figure, 'a < b, "so" it is')
    assert 'alt="a &lt; b, &quot;so&quot; it is"' in picture.value and "max-width:20em" in picture.value
    (pixels,) = re.findall(r"base64,([^\"]+)\"", picture.value)
    assert base64.b64decode(pixels) == picture.png and picture.png.startswith(b"\x89PNG")
    before = picture.value
    picture.show(Figure(figsize=(2, 1)), "another")
    assert picture.value != before and picture.alt == "another"
