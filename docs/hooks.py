"""For MkDocs: docstrings refer to names as Sphinx does; here these are shown as code."""

import re
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>~?([^<]*)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Take the roles off."""
    return _ROLE.sub(lambda found: f"<code>{_last(found[0], found[1])}</code>", html)


def _last(whole: str, name: str) -> str:
    return name.rpartition(".")[2] if "~" in whole else name
