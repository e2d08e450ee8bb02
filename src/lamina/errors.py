"""Every error a user can meet says what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LaminaError(Exception):
    """A fault of ours (exit code 1). `InputError` is the user's (exit code 2).

    Args:
        what: what is wrong, one sentence, with the offending value in it.
        where: the file, row, column or option where it is wrong.
        fix: what the user can do now.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        place = f"\n  where: {self.where}" if self.where else ""
        return f"{self.what}{place}\n  fix:   {self.fix}"


class InputError(LaminaError):
    """The request or the data is wrong; nothing has been lost (exit code 2)."""

    exit_code = 2


class MissingDependencyError(InputError):
    """An optional library is needed for what was asked; `extra` brings it, if one does."""

    def __init__(self, library: str, purpose: str, extra: str = "") -> None:
        super().__init__(
            f"{purpose} needs the library {library!r}, which is not installed.",
            fix=f"pip install 'lamina[{extra}]'" if extra else f"pip install {library}",
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that lists the known names, the nearest match first.

    >>> nearest("prize", ["price", "cut"])
    "did you mean 'price'? Known: price, cut"
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"Known: {shown or 'none'}"
