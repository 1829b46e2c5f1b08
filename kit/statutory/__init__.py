"""Statutory time: calendar days, working days and hours, and why something is due when it is due.

`Deadlines.load(data_dir)` reads calendars and rules; `.rule(name, on)` picks the version in force; `.due(rule, start, pauses, extensions)`
gives a `Deadline` that can explain itself. Pure apart from loading.
"""

from kit.statutory.calendar import Calendar, Day
from kit.statutory.deadline import Deadline, Deadlines, Explanation, Extension, Pause
from kit.statutory.rules import Bands, Rule, Rules

__all__ = ["Bands", "Calendar", "Day", "Deadline", "Deadlines", "Explanation", "Extension", "Pause", "Rule", "Rules"]
