"""Numbers of telephones in texts, by the shapes that numbering plans have."""

import re

# Numbers that are longer, decimals and words are no telephones; what stands around a number says so.
_BEFORE, _AFTER = r"(?<![\w.+-])", r"(?!(?!x\d)\w|\.\d|-\w)"
_AREA, _CODE = r"[2-9]\d\d", r"\d{3}"
_INTERNATIONAL = r"(?:\+[2-9]\d{0,2}[ .-]?|00[2-9]\d{0,2}[ .-])(?:\(\d{1,4}\)[ .-]?)?\d(?:[ ./-]?\d){5,13}"
_AMERICAN = (
  rf"(?:\+?1[ .-]?)?\({_AREA}\)[ .-]?{_CODE}[ .-]?\d{{4}}",
  rf"\+1[ .-]?{_AREA}[ .-]?{_CODE}[ .-]?\d{{4}}",
  rf"(?:1[.-])?{_AREA}(?P<mark>[.-]){_CODE}(?P=mark)\d{{4}}",
  rf"(?:1[ -])?{_AREA} [2-9]\d\d[ -]\d{{4}}",
)
_NATIONAL = (
  r"\(0\d{1,4}\)[ .-]?\d(?:[ .-]?\d){4,8}",
  r"(?<!\d/)0[1-9](?:[ .-]\d\d){4}",  # in pairs, as in France
  r"(?<!\d/)0[1-9]\d{0,3}[ ./-]\d(?:[ .-]?\d){4,9}",
  r"1[3-9]\d[ -]\d{4}[ -]\d{4}",  # mobile telephones of China
  rf"{_AREA}-{_CODE}-{_CODE}",  # nine digits, as in Spain
)
PATTERN = re.compile(rf"{_BEFORE}(?:{'|'.join((_INTERNATIONAL, *_AMERICAN, *_NATIONAL))}){_AFTER}")
# What a book, an article or another thing is numbered by, before its number; and an identifier of documents around it.
_LABELS = re.compile(
  r"(?i)(?:\bisbn(?:[- ]?1[03])?\b[\s:#№.]*[\d -]{0,13}|\b(?:issn|ean|pmid|doi|arxiv)\b[\s:#№.]*|10\.\d{4,9}/\S*)\Z"
)
_DATE = re.compile(r"(?:0?[1-9]|[12]\d|3[01])([./ -])(?:0?[1-9]|1[0-2])\1(?:(?:19|20)\d\d|(?<! )\d\d)(?![./-]?\d)")
_BEGINS, _ENDS = re.compile(r"(?:\d+ ){1,6}\Z"), re.compile(r"(?: \d+){1,6}")
_DECIMAL = re.compile(r"\+\d{1,3}\.\d+")


def end(found: re.Match[str]) -> int:
  """Where the number that a find of `PATTERN` is ends in its text, 0 if it is none."""
  before = found.string[max(found.start() - 64, 0) : found.start()]
  groups = re.findall(r"\d+", found[0])
  fine = 9 <= sum(map(len, groups)) <= 15 and not _DATE.match(found[0]) and not _DECIMAL.fullmatch(found[0])
  return found.end() if fine and not _is_list(found, groups) and not _LABELS.search(before) else 0


def _is_list(found: re.Match[str], groups: list[str]) -> bool:
  """Whether it is a piece of a row of numbers: one that counts up by one step, or, of numbers between spaces, one that
  goes on in groups of the same size, unless it goes on with other telephones of the same shape."""
  sizes, steps = list(map(len, groups)), {int(b) - int(a) for a, b in zip(groups, groups[1:], strict=False)}
  if len(groups) > 2 and len(steps) == 1 and len(set(sizes)) == 1:
    return True
  if not re.fullmatch(r"[\d ]+", found[0]):
    return False
  before = _BEGINS.search(found.string[max(found.start() - 64, 0) : found.start()])
  after = _ENDS.match(found.string, found.end())
  left = [len(one) for one in before[0].split()[-len(sizes) :]] if before else sizes
  right = [len(one) for one in after[0].split()[: len(sizes)]] if after else sizes
  return any(one != sizes and near in (sizes[0], sizes[-1]) for one, near in ((left, left[-1]), (right, right[0])))
