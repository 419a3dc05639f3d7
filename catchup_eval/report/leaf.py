"""A small page of its own: the house's look around what another package has to say."""

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from catchup_eval.report.page import unbroken


def render(package: str, template: str, title: str, page: Any) -> str:
    """A page as HTML; every name and text is escaped.

    Args:
        package: that has the template, which extends `leaf.html`.
        page: with `finding`, a sentence, and `facts`, pairs of a name and a text.
    """
    own, house = PackageLoader(package), PackageLoader("catchup_eval.report")
    environment = Environment(
        loader=ChoiceLoader([own, house]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["unbroken"] = unbroken
    style = Path(__file__).parent / "templates" / "page.css"
    css = Markup(style.read_text(encoding="utf-8"))
    return environment.get_template(template).render(page=page, title=title, css=css)
