"""What mkdocs calls while it builds: the reference is made here, and is no file of the repository."""

import pathlib
import sys

from mkdocs.structure.files import File

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from scripts import docs_reference  # noqa: E402


def on_files(files, config):
  """Adds the pages of the reference."""
  for path, content in docs_reference.pages().items():
    files.append(File.generated(config, path, content=content))
  return files
