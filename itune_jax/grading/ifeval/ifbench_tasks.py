"""Constraints of IFBench that are a task each: what is asked for is in the verdict (Pyatkin et al. 2025)."""

import csv
import dataclasses
import io
import itertools
import re
import unicodedata

from itune_jax.grading.ifeval import ifbench_words
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts

# European capitals north of 45°, by latitude.
CAPITALS = (
  *("Reykjavik", "Helsinki", "Oslo", "Tallinn", "Stockholm", "Riga", "Moscow", "Copenhagen", "Vilnius", "Minsk"),
  *("Dublin", "Berlin", "Amsterdam", "Warsaw", "London", "Brussels", "Prague", "Luxembourg", "Paris", "Vienna"),
  *("Bratislava", "Budapest", "Vaduz", "Chisinau", "Bern", "Ljubljana", "Zagreb"),
)
_AFRICAN = 52  # countries, of which the last by name is looked for
_DAYS = {month: 30 if month in (4, 6, 9, 11) else 29 if month == 2 else 31 for month in range(1, 13)}


def _ascii(text: str) -> str:
  return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multiples(instruction.Instruction):
  """The multiples of 7 from 14 to 49, and no other number."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return re.findall(r"\d+", response) == ["14", "21", "28", "35", "42", "49"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Questions(instruction.Instruction):
  """Four questions with five options each, each longer than the one before, from the first word on."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    if not response.startswith("Question") and "Question" in response:
      return False
    if "Question" not in response and len(response) > 1:  # as there: all but the last character is cut off then
      return False
    parts = [part.strip() for part in re.split(r"\n*(?:Question \d+[\.|\):;]?\s*)", response)]
    parts = [part for part in parts if part]
    lengths = [_question(part.split("\n")) for part in parts]
    known = [length for length in lengths if length is not None]
    return len(known) == len(lengths) == 4 and all(a < b for a, b in itertools.pairwise(known))


def _question(lines: list[str]) -> int | None:
  """The length of a question in front of its options; None unless these are five."""
  is_option = [re.match(r"^[A-Ea-e][\.|\)]\s*\w+", line.strip()) is not None for line in lines]
  first = is_option.index(True) if True in is_option else len(lines)
  text = " ".join(line.strip() for line in lines[:first]).strip()
  return len(text) if sum(is_option) == 5 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Countries(instruction.Instruction):
  """From Zimbabwe on at least 52 lines, in reverse order of the alphabet."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    lines = [line for one in response.split("\n") if (line := one.strip(ifbench_words.EDGES))]
    start = next((k for k, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    names = list(map(_ascii, lines[start:]))
    return len(names) >= _AFRICAN and names == sorted(names, reverse=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordsBackwards(instruction.Instruction):
  """Read backwards, word by word, the bald eagle is in one sentence."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = " ".join(ifbench_words.bare(response.lower().strip()).split()[::-1])
    return "bald eagle" in text and text in texts.sentences(text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LettersBackwards(instruction.Instruction):
  """The bald eagle, letter by letter from behind."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return "elgae dlab" in response.lower()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alphabet(instruction.Instruction):
  """26 sentences that begin with the letters of the alphabet."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    firsts = [sentence.split()[:1] for sentence in texts.sentences(response)]
    return [word[0].lower()[0] if word else "" for word in firsts] == [chr(97 + k) for k in range(26)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capitals(instruction.Instruction):
  """The capitals, with commas between them."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return tuple(name for part in _ascii(response).split(",") if (name := part.strip())) == CAPITALS


@dataclasses.dataclass(frozen=True, kw_only=True)
class CityTable(instruction.Instruction):
  """A header and seven rows of five columns, with commas."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    rows = _rows(response)
    header = ["ID", "Country", "City", "Year", "Count"]
    return rows is not None and len(rows) == 8 and rows[0] == header and all(len(row) == 5 for row in rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignTable(instruction.Instruction):
  """A header and fourteen rows, one of which, the first rows whole up to it, has a sign in quotation marks."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    names = ("ProductID", "Category", "Brand", "Price", "Stock")
    rows = _rows(response.replace('"', '"""')) if _has_header(response, names, r",[ \t]*") else None
    if rows is None or len(rows) != 15:
      return False
    for row in rows[1:]:
      if len(row) != 5:
        return False
      if any(re.match(r'".*[^\d\w\s].*"', field) for field in row):
        return True
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuotedTable(instruction.Instruction):
  """A header and three rows of five columns with tabs, each field in quotation marks."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    names = ("StudentID", "Subject", "Grade", "Semester", "Score")
    rows = _rows(response.replace('"', '"""'), "\t") if _has_header(response, names, r"\t *") else None
    if rows is None or len(rows) != 4 or any(len(row) != 5 for row in rows):
      return False
    fields = [field.strip() for row in rows for field in row]
    return all(field.startswith('"') and field.endswith('"') for field in fields)


def _has_header(response: str, names: tuple[str, ...], between: str) -> bool:
  """Whether the first line has these names, in quotation marks or without."""
  pattern = between.join(f'({name}|"{name}")' for name in names)
  return re.match(f"^{pattern}$", response.split("\n")[0].strip()) is not None


def _rows(text: str, delimiter: str = ",") -> list[list[str]] | None:
  """The rows of a table; None where it cannot be read."""
  try:
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))
  except csv.Error:
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dates(instruction.Instruction):
  """Dates of 1769 to 1821 as YYYY-MM-DD, with commas between them; months and days are not looked at from below."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    for date in map(str.strip, response.strip().split(",")):
      if not re.match(r"^\d{4}-\d{2}-\d{2}$", date):
        return False
      year, month, day = map(int, date.split("-"))
      if not 1769 <= year <= 1821 or month > 12 or day > _DAYS.get(month, 99):
        return False
    return True
