"""Papers to print: the same bytes for the same text, whatever characters a name has."""

from __future__ import annotations

import pytest

from kit import pdf
from kit.pdf import Sheet


def test_the_same_sheets_give_the_same_bytes_and_a_page_each() -> None:
    sheets = [Sheet("告知书", body=["一"], foot=["中心"]), Sheet("告知书", body=["二"])]
    made = pdf.printed(sheets)
    assert made == pdf.printed(sheets)
    assert made.startswith(b"%PDF-")
    assert made.count(b"/Type /Page\n") == 2
    assert b"STSong-Light" in made


@pytest.mark.parametrize("text", ["<b>&amp;</para>", "第一行\n第二行", "长" * 5000, ""])
def test_whatever_people_wrote_is_printed_and_nothing_of_it_is_markup(text: str) -> None:
    assert pdf.printed(
        [Sheet("回执", rows=[("说明", text[:600])], body=[text], qr="https://example.cn/p?code=1")], half=True
    )


def test_a_rare_character_is_a_box_to_be_written_by_hand() -> None:
    assert pdf.rare("𬭎某")
    assert not pdf.rare("赵秀英")
    assert pdf.printed([Sheet("回执", body=["𬭎"])]) == pdf.printed([Sheet("回执", body=[pdf.BOX])])
