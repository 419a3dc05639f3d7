"""A small page of its own: the house's look around what another package has to say."""

from typing import Any

from catchup_eval.report.page import environment, part


def render(package: str, template: str, title: str, page: Any) -> str:
    """A page as HTML; every name and text is escaped.

    Args:
        package: that has the template, which extends `leaf.html`.
        page: with `finding`, a sentence, and `facts`, pairs of a name and a text.
    """
    found = environment(package).get_template(template)
    return found.render(page=page, title=title, css=part("page.css"))
