"""What mkdocs calls while it builds: the reference is made here, and is no file of the repository."""

import pathlib
import re
import sys

from mkdocs.structure.files import File

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from scripts import docs_reference  # noqa: E402


def on_files(files, config):
  """Adds the pages of the reference."""
  for path, content in docs_reference.pages().items():
    files.append(File.generated(config, path, content=content))
  return files


def on_page_content(html, page, config, files):
  """A flag in the text does not part behind its dashes at the end of a line."""
  return re.sub(r"<code>([^<]*)</code>", lambda found: f"<code>{_whole(found[1])}</code>", html)


def _whole(text):
  return re.sub(r"--\w", lambda flag: f'<span class="whole">{flag[0]}</span>', text)
