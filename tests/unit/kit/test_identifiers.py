import pytest

from kit.identifiers import is_credit_code, is_mobile, is_phone, is_resident_id
from kit.masking import mask_id_number, mask_name, mask_phone


def resident(first17: str) -> str:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return first17 + "10X98765432"[sum(w * int(d) for w, d in zip(weights, first17, strict=True)) % 11]


@pytest.mark.parametrize(
    "first17", ["15080219490314001", "15280119490314001", "15270119800229001", "11010519491231002"]
)
def test_resident_numbers_of_every_age_of_the_region_codes_pass(first17):
    assert is_resident_id(resident(first17))


def test_the_example_of_the_standard_is_a_resident_number():
    assert is_resident_id("11010519491231002X")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "110105194912310021",
        "11010519491231002x",
        resident("15080219490230001"),
        resident("15080219491301001"),
        "１１０１０５19491231002X",
        "11010519491231002X\n",
    ],
)
def test_malformed_resident_numbers_are_refused(text):
    assert not is_resident_id(text)


def test_the_example_of_the_standard_is_a_credit_code():
    assert is_credit_code("91350100M000100Y43")


@pytest.mark.parametrize(
    "text", ["", "91350100M000100Y44", "91350100I000100Y43", "91350100m000100y43", "91350100M000100Y4"]
)
def test_malformed_credit_codes_are_refused(text):
    assert not is_credit_code(text)


def test_phones():
    assert is_mobile("13812345678")
    assert not is_mobile("12812345678")
    assert is_phone("0478-8212345")
    assert is_phone("04788212345")
    assert is_phone("010-12345678")
    for text in ("110", "12345", "8212345", "1381234567", "138123456789", "0478-821234"):
        assert not is_phone(text)


@pytest.mark.parametrize(
    ("shown", "masked"),
    [
        (mask_name("张三"), "张*"),
        (mask_name("阿拉腾巴根"), "阿*"),
        (mask_name(""), ""),
        (mask_id_number("150802194903140019"), "150802********0019"),
        (mask_id_number("E12345678"), "****78"),
        (mask_phone("13812345678"), "138****5678"),
        (mask_phone("0478-8212345"), "0478****345"),
        (mask_phone("110"), "****"),
        (mask_phone(""), ""),
    ],
)
def test_masking(shown, masked):
    assert shown == masked
