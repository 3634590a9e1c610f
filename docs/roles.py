"""For the site: the docstrings' roles, such as :class:`Setting`, are shown as code."""

import re
from typing import Any

from griffe import Extension, Object


class Roles(Extension):
    """Take the role off a name; what is left is Markdown."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change one object's docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", obj.docstring.value)
