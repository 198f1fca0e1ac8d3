"""Apprise: one address each for mail, chat, pagers and about a hundred services. The only importer of it."""

from __future__ import annotations

import importlib.util
import logging
import re

from engine.model.notice import Notice, NoticeKind

TYPES = {
    NoticeKind.ESCALATED: "failure",
    NoticeKind.APPROVAL: "warning",
    NoticeKind.REMINDER: "warning",
    NoticeKind.RESOLVED: "success",
    NoticeKind.PAUSED: "info",
}
HINT = "pip install 'mendbook[notify]'"
LONGEST = 60.0
"""Seconds that one notice may take: a server that drips its answer is given up."""
TELLING = 4
"""Characters from which on a part of an address may be a secret."""


def installed() -> bool:
    """Return whether Apprise is there."""
    return importlib.util.find_spec("apprise") is not None


def scheme(url: str) -> str:
    """Return what may be said of an address: its scheme, since all else can be a secret."""
    name, mark, _ = url.partition("://")
    return name if mark and re.fullmatch(r"[a-z0-9+.-]{1,20}", name, re.IGNORECASE) else "an address"


class AppriseNotifier:
    """Tells people at one address. Raises ValueError for an address that Apprise does not know."""

    def __init__(self, url: str) -> None:
        import apprise  # noqa: PLC0415  an extra: wanted only where somebody is to be told

        self._url = url
        self._apprise = apprise.Apprise()
        if not self._apprise.add(url):
            raise ValueError(f"Apprise does not know an address of the kind {scheme(url)}://, or it is incomplete")

    def tell(self, notice: Notice) -> str | None:
        """Tell people; return None when it was delivered, else why not, without a word of the address."""
        complaints: list[str] = []
        try:
            told = self._apprise.notify(
                body=notice.body,
                title=notice.title,
                notify_type=TYPES[notice.kind],
                body_format="text",
                timeout=LONGEST,
                log_callback=lambda entry, _: complaints.append(entry.message),
                log_level=logging.WARNING,
            )
        except Exception as error:  # noqa: BLE001  whatever one of a hundred plugins meets, the next notice is told
            return f"{type(error).__name__} in Apprise"
        return None if told else self.without_secrets(complaints[-1] if complaints else "it was not delivered")

    def without_secrets(self, text: str) -> str:
        """Return a text without any part of the address but its scheme."""
        _, _, rest = self._url.partition("://")
        for part in sorted(set(re.split(r"[/:@?&=,]+", rest)), key=len, reverse=True):
            if len(part) >= TELLING:
                text = text.replace(part, "…")
        return text[:200]
