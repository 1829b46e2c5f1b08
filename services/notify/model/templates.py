"""Texts with variables, in Chinese and English. No name can travel in one by mistake."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kit.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Text:
    zh: str
    en: str


#: Codes, dates, numbers. No Chinese, so no name can travel in a message by mistake.
_VALUE = re.compile(r"[0-9A-Za-z .:/_+-]{1,64}", re.ASCII)

#: Every template may use it: made from the notice's subject.
LINK = "link"


def as_it_is(name: str, value: str) -> tuple[str, str]:
    return value, value


@dataclass(frozen=True, slots=True)
class Template:
    """A text with its variables. Which ones it has is declared, and checked against its texts and against each notice."""

    name: str
    variables: frozenset[str]
    title: Text
    text: Text

    @classmethod
    def parsed(cls, name: str, entry: Mapping[str, Any]) -> Template:
        """From its entry in data/templates. Raises ValueError where texts and variables do not agree."""
        template = cls(name, frozenset(entry["variables"]), Text(**entry["title"]), Text(**entry["text"]))
        titles = _placeholders(template.title.zh), _placeholders(template.title.en)
        texts = _placeholders(template.text.zh), _placeholders(template.text.en)
        for zh, en in (titles, texts):
            if zh != en:
                raise ValueError(f"template {name}: the Chinese and the English text do not have the same variables")
        if titles[0] | texts[0] | {LINK} != template.variables | {LINK}:
            raise ValueError(f"template {name}: its texts do not have the variables that it declares")
        return template

    def filled(
        self, values: Mapping[str, str], link: str, words: Callable[[str, str], tuple[str, str]] = as_it_is
    ) -> tuple[Text, Text]:
        """Title and text. `words`: what a code becomes in Chinese and in English, by its variable, where it is one that people do not read.

        InvalidArgument(TEMPLATE_VARIABLES_WRONG | VARIABLE_NOT_PLAIN).
        """
        if values.keys() != self.variables - {LINK}:
            raise InvalidArgument("TEMPLATE_VARIABLES_WRONG", field="variables", template=self.name)
        for name, value in values.items():
            if not _VALUE.fullmatch(value):
                raise InvalidArgument("VARIABLE_NOT_PLAIN", field="variables", template=self.name, variable=name)
        said = {name: words(name, value) for name, value in values.items()} | {LINK: (link, link)}
        zh, en = ({name: word[language] for name, word in said.items()} for language in (0, 1))
        title, text = self.title, self.text
        return (
            Text(title.zh.format_map(zh), title.en.format_map(en)),
            Text(text.zh.format_map(zh), text.en.format_map(en)),
        )


def _placeholders(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)
