"""Personal data as it is shown by default: enough to recognise what one knows already, not enough to learn it."""

from __future__ import annotations


def mask_name(name: str) -> str:
    """张三丰 → 张*: the first character; the length is not shown."""
    return f"{name[0]}*" if name else ""


def mask_id_number(number: str) -> str:
    """150802194903140019 → 150802********0019. A shorter number (a passport) shows its last two characters."""
    if len(number) == 18:
        return f"{number[:6]}********{number[14:]}"
    return _end(number, 2)


def mask_phone(phone: str) -> str:
    """13812345678 → 138****5678, 0478-8212345 → 0478****345."""
    if len(phone) == 11 and phone[0] == "1":
        return f"{phone[:3]}****{phone[7:]}"
    return f"{phone[:4]}****{phone[-3:]}" if len(phone) >= 11 and phone[0] == "0" else _end(phone, 2)


def _end(text: str, shown: int) -> str:
    return "****" + text[-shown:] if len(text) > 2 * shown else "****" if text else ""
