"""What pages that bear data and one script of their own have in common: data that is no markup, a script by digest."""

import base64
import hashlib
import json
from typing import Any

import markupsafe

# What could end the element that JSON stands in, or the line that a script is on, in escapes that JSON has for it.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def embedded(value: Any) -> markupsafe.Markup:
  """A value as JSON that may stand inside of an element `script`. Raises ValueError for a number that is not finite."""
  return markupsafe.Markup(json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_ESCAPES))


def digest(script: str) -> str:
  """The SHA-256 by which a content security policy allows a script."""
  return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
