"""The use cases of notify. One method is one transaction."""

from __future__ import annotations

from services.notify.service.manual import MANUAL_DUE
from services.notify.service.notify import LOOK, UNREAD_MOST, Notify
from services.notify.service.recipients import PartyAddress, Recipient
from services.notify.service.reminders import BUNDLE, UNREAD
from services.notify.service.sms import LOST, Report, SmsProvider

__all__ = [
    "BUNDLE",
    "LOOK",
    "LOST",
    "MANUAL_DUE",
    "UNREAD",
    "UNREAD_MOST",
    "Notify",
    "PartyAddress",
    "Recipient",
    "Report",
    "SmsProvider",
]
