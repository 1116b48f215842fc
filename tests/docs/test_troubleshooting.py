"""What the page of troubleshooting quotes is what the code says; its figures are those of the page on planning."""

import re

import pytest

from scripts import docs_errors
from tests.docs import blocks

PAGE = blocks.ROOT / "docs" / "troubleshooting.md"
MESSAGES = docs_errors.messages()


def rows(head):
  """The rows of the tables whose first column is called so, cell by cell."""
  found, inside = [], False
  for line in PAGE.read_text(encoding="utf-8").splitlines():
    cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
    inside = bool(cells) and (inside or cells[0] == head)
    if inside and cells[0] != head and not line.startswith("|-"):
      found.append(cells)
  return found


QUOTED = [row[0] for row in rows("message")]


def fixed(text):
  return [part for part in re.split(r"\s*…[\s:;,]*", " ".join(text.split())) if part]


def says(message, parts):
  """Whether all parts stand in a message, one behind the other."""
  at = 0
  for part in parts:
    if (found := message.find(part, at)) < 0:
      return False
    at = found + len(part)
  return True


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_message_that_is_quoted_is_one_of_the_code(quoted):
  parts = fixed(quoted)
  assert sum(map(len, parts)) >= 6, "nothing of it is fixed"
  known = [" ".join(one.text.split()) for one in MESSAGES]
  assert any(says(one, parts) for one in known), parts


def test_the_page_has_the_rows_that_it_is_about():
  assert len(QUOTED) >= 50 and all(all(row) and len(row) == 3 for row in rows("message"))
  assert len(MESSAGES) > 1000 and {one.ends for one in MESSAGES} == {"1", "2", "row"}


@pytest.mark.parametrize("row", rows("recipe"), ids=lambda row: row[0])
def test_a_figure_of_memory_is_that_of_the_page_on_planning(row):
  pods = (blocks.ROOT / "docs" / "pods.md").read_text(encoding="utf-8")
  line = next(line for line in pods.splitlines() if line.startswith(f"| {row[0]} | {row[1]} |"))
  assert all(f"| {cell} |" in line for cell in row)


def test_every_message_stands_on_its_page():
  page = docs_errors.page()
  assert page.count("\n| ") - page.count("| message |") == len(MESSAGES)
