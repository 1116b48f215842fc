"""What happens to answers on their way: added and lost lines, marks, case, bullets, fences, odd characters."""

from collections.abc import Callable
import random

from tests.grading import ifeval_answers

_MARKS = (
  *("*", "**", "***", "******", "\n* x", "\n- x", "\n• x", "*bold*", "** **", "[x]", "[", "<<t>>", "<< >>", "{", "}"),
  *(
    ",",
    ".",
    "!",
    "?",
    '"',
    "'",
    "P.S. x",
    "p. s. x",
    "P.P.S x",
    "PS: x",
    "Section 2",
    "Day 3",
    "```",
    "\n\n",
    "\n***\n",
  ),
  *(
    "THE END",
    "My answer is no.",
    "My answer is yes",
    "river",
    "Rivers",
    "the",
    "no",
    "12",
    "it",
    "Any other questions?",
  ),
)
_ODD = (
  *("\u00a0", "\u200b", "\u2028", "\u0085", "\r", "\r\n", "\t", "\x0b", "\x1c", "é", "e\u0301", "ß", "İ", "ΟΔΟΣ", "ﬁ"),
  *("“", "”", "’", "。", "、", "，", "🙂", "中文", "٣", "²", "Ⅷ", "ǅ", "\ufeff", "\x00", "—", "…"),
)


def _insert(rng: random.Random, text: str, what: str) -> str:
  at = rng.randint(0, len(text))
  return text[:at] + what + text[at:]


def _cut(rng, text):
  at = rng.randint(0, len(text))
  return text[:at] + text[at + rng.randint(1, 20) :]


def _lines(rng, text):
  lines = text.split("\n")
  if rng.random() < 0.5:
    rng.shuffle(lines)
  else:
    lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
  return "\n".join(lines)


def _word(rng, text):
  words = text.split(" ")
  at = rng.randrange(len(words))
  words[at : at + 1] = rng.choice(([], [words[at]] * 2, [words[at].upper()], [f"*{words[at]}*"], [f"{words[at]}."]))
  return " ".join(words)


def _sign(rng, text):
  """Without one of its signs, or with another in its place."""
  signs = sorted({character for character in text if not character.isalnum() and not character.isspace()})
  return text.replace(rng.choice(signs), rng.choice(("", "", "_", ";", " "))) if signs else text


def _other(rng, text):
  """Something else altogether, sometimes in front of the answer's end."""
  return (
    rng.choice((ifeval_answers.prose(rng, 1), *ifeval_answers.LANGUAGES.values())) + text[rng.randint(0, len(text)) :]
  )


CHANGES: dict[str, Callable[[random.Random, str], str]] = {
  "lead": lambda rng, text: rng.choice(("Sure, here it is:\n", "Sure!\n\n", "\n", "**Answer**\n", "* ")) + text,
  "trail": lambda rng, text: text + rng.choice(("\nHope this helps!", "\n\nP.S. Bye.", "\n", "\n******", " *", ".")),
  "upper": lambda rng, text: text.upper(),
  "lower": lambda rng, text: text.lower(),
  "swap": lambda rng, text: text.swapcase(),
  "stars": lambda rng, text: rng.choice((f"*{text}*", f"**{text}**", f"***{text}***", text.replace(" ", " *", 1))),
  "bare": lambda rng, text: text.replace("*", ""),
  "bullets": lambda rng, text: text.replace("* ", rng.choice(("- ", "• ", "+ ", "** ", "*\n", "\n * "))),
  "quotes": lambda rng, text: rng.choice((f'"{text}"', f'""{text}"', f'"{text}', f"“{text}”", f"'{text}'")),
  "fence": lambda rng, text: rng.choice(("```\n{}\n```", "```json\n{}\n```", "```Json{}```", "```JSON\n```{}")).replace(
    "{}", text
  ),
  "mark": lambda rng, text: _insert(rng, text, rng.choice(_MARKS)),
  "odd": lambda rng, text: _insert(rng, text, rng.choice(_ODD)),
  "cut": _cut,
  "lines": _lines,
  "word": _word,
  "breaks": lambda rng, text: text.replace(*rng.choice((("\n\n", "\n"), ("\n", "\n\n"), ("\n", "\r\n"), (" ", "\n")))),
  "sentence": lambda rng, text: text + " " + rng.choice(ifeval_answers.SENTENCES),
  "foreign": lambda rng, text: text + " " + rng.choice(list(ifeval_answers.LANGUAGES.values())),
  "twice": lambda rng, text: text + rng.choice(("", " ", "\n\n", "\n***\n", "\n******\n")) + text,
  "sign": _sign,
  "other": _other,
  "end": lambda rng, text: text[: rng.randint(0, len(text))],
  "nothing": lambda rng, text: rng.choice(("", " ", "\n\n", "\u00a0", "***", "******", '"', '""', "123 456")),
}


def changed(text: str, rng: random.Random) -> str:
  """A text after none to six changes."""
  for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 4, 6))):
    name = rng.choice(list(CHANGES))
    if name != "nothing" or rng.random() < 0.3:
      text = CHANGES[name](rng, text)
  return text
