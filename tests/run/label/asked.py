"""Rows, pages and annotators made up for tests of labelling."""

import json
import pathlib

from itune_jax.run import cli
from itune_jax.run.label import sheets

EVIL = "</script><script>document.title = 'owned'</script><img src=x onerror=alert(2)><!-- <b>bold</b>"


def write(path, rows):
  """Writes JSON lines; a row that is text stands there as it is."""
  text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
  pathlib.Path(path).write_text(text)
  return str(path)


def read(path):
  return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


def rows(count):
  """Rows with a score; the third holds markup and may be harmful."""
  words = ("red", "green", "blue", "north", "south")
  found = []
  for i in range(count):
    row = {"id": f"r{i}", "instruction": f"Say {words[i % 5]} {i}.", "output": f"{words[i % 5]} {i}"}
    found.append({**row, "scores": {"judge": i / count}})
  found[2] |= {"output": EVIL, "harmful": True}
  return found


def make(folder, given, *flags):
  """(page, sheet) of `itune label` over rows."""
  file = write(pathlib.Path(folder) / "rows.jsonl", given)
  out = pathlib.Path(folder) / "page"
  assert cli.main(["label", file, f"--out={out}", *flags]) == 0
  return (out / "label.html").read_text(), sheets.read(str(out / "key.json"))


def said(sheet, annotator, values):
  """Lines of answers, by item."""
  own = {"sheet": sheet.digest, "annotator": annotator}
  return [{**own, "id": id, "value": value, "seconds": 1.5} for id, value in values.items()]


def read_back(folder, *lines, flags=(), key="page/key.json"):
  """(rows, report) of answers: each argument is a file of lines."""
  folder = pathlib.Path(folder)
  files = [write(folder / f"said{n}.jsonl", one) for n, one in enumerate(lines)]
  out = folder / "back.jsonl"
  code = cli.main(
    ["label", "--answers", *files, "--key", str(folder / key), f"--out={out}", "--overwrite", *map(str, flags)]
  )
  assert code == 0
  return read(out), json.loads((folder / "back.report.json").read_text())
