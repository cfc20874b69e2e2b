"""Text that others wrote: data, never control characters, never without bound."""

import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

LONGEST: Final = 300
"""Characters kept of a message, where the reader does not say otherwise."""


MOST_SAID: Final = 8_000
"""Characters of a message that travels through Temporal; a CR's condition may have 32,768 (Kubernetes' Condition)."""
Said = Annotated[
    str, AfterValidator(lambda text: text[:MOST_SAID]), WithJsonSchema({"type": "string", "maxLength": MOST_SAID})
]
"""A message in an input: what is longer is cut, for a long message must not stop what it reports."""


def plain(text: object, longest: int = LONGEST) -> str:
    """One line without control or formatting characters, shortened to `longest` characters.

    Terminals, logs and web pages give such characters a meaning (colors, clipboard, direction of writing).
    """
    kept = (" " if each.isspace() else each for each in str(text)[: longest * 4] if _is_harmless(each))
    line = " ".join("".join(kept).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def code(text: object, longest: int = 4_000) -> str:
    """The same as a code span of Markdown, in which nothing is a link, an image or a heading.

    A span ends at a backtick, and a backslash does not help there (CommonMark 6.1), so there is none left inside.
    """
    inside = plain(text, longest).replace("`", "'")
    return f"`{inside}`" if inside else ""


def some(names: list[str], most: int = 3, longest: int = 100) -> list[str]:
    """The first of many names, each shortened, and how many more there are."""
    shown = [plain(name, longest) for name in names[:most]]
    return [*shown, f"and {len(names) - most} more"] if len(names) > most else shown


def _is_harmless(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
