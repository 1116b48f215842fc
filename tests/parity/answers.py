"""Texts such as models write, around right and wrong answers: what extraction is compared on."""

import random

_NUMBERS = (
  *(
    "72",
    "-3",
    "\u22123",
    "1,234",
    "1,234,567",
    "12,34",
    "$5",
    "$1,000.50",
    "5$",
    "0.5",
    ".5",
    "5.",
    "3.0",
    "007",
    ",",
  ),
  *(
    "1/2",
    "10%",
    "1e3",
    "٣",
    "５",
    "12.34.56",
    "$",
    "--4",
    "- 4",
    "(8)",
    "#### 9",
    "seven",
    "twenty-one",
    "½",
    "$.",
    ".,",
  ),
)
_OPENINGS = (
  *("The answer is {}", "the answer is {}", "The answer is {}.", "So the answer is {}. ", "The answer: {}", "#### {}"),
  *("####{}", "####  {}", "The final answer: {}.", "The final answer is {}", "answer is {}!", "Answer: {}", "**{}**"),
  *(
    "A: {}",
    "${}$",
    "\\boxed{{{}}}",
    "\\(\\boxed{{{}}}\\)",
    "({})",
    "It's {}",
    "{}",
    "{}\n",
    "\n{}",
    "`{}`",
    "<b>{}</b>",
  ),
  *("Final Answer: The final answer is ${}$. I hope it is correct.", "the answer is \n{}", "THE ANSWER IS {}.", "{}?"),
)
_ENDINGS = (
  "",
  "",
  ".",
  " dollars",
  "\n\nQ: Next?",
  " because 3 + 4 = 7.",
  "\nQuestion: x",
  " </s>",
  "\0",
  "\t",
  " (cut",
  "…",
)
_FRONTS = (
  "",
  "",
  "We have 3 + 4 = 7. ",
  "<<3+4=7>>7 so ",
  "Let's think.\n",
  "Not (B), not 12. ",
  "no: ",
  "\ufeff",
  "İ ",
)


def around(answer: str, rng: random.Random) -> str:
  """A response that gives an answer somehow: in sentences, twice, cut off, or not at all."""
  text = rng.choice(_FRONTS) + rng.choice(_OPENINGS).format(answer) + rng.choice(_ENDINGS)
  if rng.random() < 0.3:
    text += rng.choice((" ", "\n", "\n\n")) + rng.choice(_OPENINGS).format(rng.choice(_NUMBERS))
  if rng.random() < 0.15:
    text = text[: rng.randrange(len(text) + 1)]
  return rng.choice((text, text, text, text.upper(), text.lower(), ""))


def number(rng: random.Random) -> str:
  """A number as models write them."""
  return rng.choice((*_NUMBERS, str(rng.randrange(-99, 9999)), f"{rng.randrange(9999):,}"))


def one_of(choices, rng: random.Random) -> str:
  """A choice as models name it: its letter in many forms, its text, both, or another."""
  at = rng.randrange(len(choices))
  letter, text = chr(ord("A") + at), choices[at]
  forms = (
    "{l}",
    "({l})",
    "{l}.",
    "{l})",
    "**{l}**",
    ": {l}",
    ":{l}",
    "({m})",
    "({l}) {t}",
    "{t}",
    "{T}",
    "{l}. {t}",
    "[{l}]",
  )
  return rng.choice(forms).format(l=letter, m=letter.lower(), t=text, T=text.upper())
