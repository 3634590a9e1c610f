"""Batches: parameter files run as papermill notebooks, and what they need trained first."""

import sys

# jsonschema does without it. It builds grammars for two seconds as nbformat is imported, to check
# addresses, of which a notebook's schema has none.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
