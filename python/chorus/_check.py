"""Arguments, looked at before the extension is given them: what is wrong with one is said by its name, in one line."""

from __future__ import annotations

import numbers
import operator
import os
from typing import Any, Iterable

from chorus._errors import UserError

StrPath = str | os.PathLike[str]


def text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{what} is {type(value).__name__}, not str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair, as errors="surrogateescape" leaves it
            raise UserError(f"{what} is no Unicode text: {error}") from error
    return value


def texts(values: Iterable[Any], first: int = 0) -> list[str]:
    """A list of them, which `first` others were before."""
    no_letters(values)
    return [text(value, f"text {number}") for number, value in enumerate(values, first + 1)]


def no_letters(values: Iterable[Any], what: str = "texts") -> None:
    if isinstance(values, (str, bytes)):
        raise UserError(f"give a list of {what}; a string is a list of letters")


def whole(value: Any, what: str, least: int = -(2**31), most: int = 2**31 - 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise UserError(f"{what} is a whole number, not {value!r}") from None
    if not least <= number <= most:
        raise UserError(f"{what}={number} is outside {least} to {most}")
    return number


def real(value: Any, what: str) -> float:
    if not isinstance(value, numbers.Real):
        raise UserError(f"{what} is a number, not {value!r}")
    return float(value)


def path(value: Any, what: str) -> str:
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise UserError(f"{what} is a path, not {value!r}")
    try:
        name = os.fsdecode(value)
        os.fsencode(name)
    except UnicodeError as error:
        raise UserError(f"{what} is no path: {error}") from error
    if "\0" in name:
        raise UserError(f"{what} is no path: {name!r} has a character 0")
    return name


def names(value: str | Iterable[str]) -> list[str]:
    """A single one is a list of one, and not of its letters."""
    return [value] if isinstance(value, str) else list(value)
