"""The page on which people label: one file without network, whose only script is its own."""

import os

import jinja2
import markupsafe

from itune_jax.run.label import sheets
from itune_jax.run.report import page_data


def page(sheet: sheets.Sheet) -> str:
  """The page of a sheet. It holds what people may see of it (`Sheet.shown`), and nothing of its key."""
  loader = jinja2.FileSystemLoader(os.path.dirname(__file__))
  environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
  script = environment.get_template("label.js.j2").render()
  text = environment.get_template("label.html.j2").render(
    sheet=sheet, data=page_data.embedded(sheet.shown), script=markupsafe.Markup(script), digest=page_data.digest(script)
  )
  return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair, which JSON may hold, is no UTF-8
