"""HTML from the template folder, espnet_vivit/templates: `render("clips.html", title="…", …)`.

Every value is escaped, in text and in quoted attributes: names of files, words and reasons are data. A value that a
template names and nobody gave is an error. The filter `base64` is for pictures inside a page.
"""

import base64
from functools import cache
from pathlib import Path

import jinja2

FOLDER = Path(__file__).parent.parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment


def render(name: str, **values: object) -> str:
    """The HTML of template `name` with these values, by the names that the template uses.

    Raises jinja2.UndefinedError for a value that is missing.
    """
    return _environment().get_template(name).render(values)
