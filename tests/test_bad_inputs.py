"""Bad input never passes in silence: each row is either accepted by a documented rule or an error that helps.

An error names the argument, says what was given and what to do. The released package takes most of these without a
word and answers with a mask of the wrong thing.

==============================================  ==========================================
row                                             test
==============================================  ==========================================
float RGB in 0..255                             test_image_is_refused
NaN / inf pixels                                test_image_is_refused
grey H×W, H×W×1                                 test_image_is_accepted
RGBA, LA, palette                               test_image_is_accepted
uint16 / bool / int64                           test_image_is_accepted, test_image_is_refused
channels first                                  test_image_is_refused
PIL image, path, None                           test_image_is_accepted, test_image_is_refused
EXIF orientation                                test_image_is_accepted
1×2000, 0×0                                     test_image_is_refused
decompression bomb, truncated, non-image file   test_image_is_refused
point outside the photo, or negative            test_prompt_is_refused
NaN / inf point                                 test_prompt_is_refused
label not in {0, 1}                             test_prompt_is_refused
labels without points, points without labels    test_prompt_is_refused
lengths differ, 1-D point, 3 columns, lists     test_prompt_is_refused, test_prompt_is_accepted
no prompt at all, (0, 2) points                 test_prompt_is_refused
inverted, zero-area, XYWH-looking box           test_prompt_is_refused
two boxes to predict                            test_prompt_is_refused
full-resolution binary mask as mask_input       test_prompt_is_refused
predict before set_image                        test_prompt_is_refused
==============================================  ==========================================

The photo of the tests is 140 wide and 97 high, the low-res frame of the model 64×64.
"""

import re

from bad_inputs import LENGTHS
from test_bad_images import ACCEPTED_IMAGES, REFUSED_IMAGES
from test_bad_prompts import REFUSED_PROMPTS


def test_every_row_of_the_table_has_its_cases_and_every_case_its_row():
    rows = re.findall(r"^(\S.*?)  +(test_.*)$", __doc__, flags=re.MULTILINE)
    promised = {(row, test) for row, tests in rows for test in tests.split(", ")}
    tables = [
        ("test_image_is_refused", REFUSED_IMAGES),
        ("test_image_is_accepted", ACCEPTED_IMAGES),
        ("test_prompt_is_refused", REFUSED_PROMPTS),
    ]
    kept = {(case[0], test) for test, table in tables for case in table}
    assert len(rows) == 20
    assert promised - kept == {(LENGTHS, "test_prompt_is_accepted")}
    assert kept <= promised
