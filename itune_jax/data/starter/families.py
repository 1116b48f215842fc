"""Families of verifiable instructions: each draws values, words them, and knows the answer and its check.

A family has wordings for training and others, never seen in training, for the held-out part: what is tested is
following an instruction put differently, not recalling a phrase.
"""

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

from itune_jax.data.starter import words

Rng = random.Random


@dataclasses.dataclass(frozen=True)
class Family:
  """`draw` returns the values for the wordings, with `answer`, and optionally `check` and `turns`."""

  draw: Callable[[Rng], dict[str, Any]]
  train: tuple[str, ...]
  heldout: tuple[str, ...]


def _sort(rng: Rng):
  items = rng.sample(words.FRUITS + words.ANIMALS + words.THINGS, 3)
  return {"items": ", ".join(items), "answer": ", ".join(sorted(items))}


def _extract(rng: Rng):
  name, age, city = rng.choice(words.NAMES), rng.randint(18, 80), rng.choice(words.CITIES)
  text = rng.choice(
    (
      "{n} is {a} years old and lives in {c}.",
      "Living in {c}, {n} turned {a} this year.",
      "My neighbour {n}, aged {a}, moved here from {c}.",
      "{n} ({a}) works in {c}.",
    )
  ).format(n=name, a=age, c=city)
  return {"text": text, "answer": json.dumps({"name": name, "age": age, "city": city}), "check": "json"}


def _date(rng: Rng):
  year, month, day = rng.randint(1950, 2029), rng.randint(1, 12), rng.randint(1, 28)
  name = words.MONTHS[month - 1]
  shown = rng.choice((f"{name} {day}, {year}", f"{day} {name} {year}"))
  return {"date": shown, "answer": f"{year:04d}-{month:02d}-{day:02d}"}


def _count(rng: Rng):
  kind = rng.choice((words.FRUITS, words.ANIMALS, words.THINGS))
  items = rng.sample(kind, rng.randint(2, 7))
  return {"items": ", ".join(items), "answer": str(len(items))}


def _arithmetic(rng: Rng):
  a, b = rng.randint(1, 10), rng.randint(1, 10)
  if rng.random() < 0.5:
    return {"sum": f"{words.NUMBERS[a]} plus {words.NUMBERS[b]}", "answer": words.NUMBERS[a + b]}
  a, b = max(a, b), min(a, b)
  return {"sum": f"{words.NUMBERS[a]} minus {words.NUMBERS[b]}", "answer": words.NUMBERS[a - b]}


def _sentiment(rng: Rng):
  good = rng.random() < 0.5
  word, thing = rng.choice(words.GOOD if good else words.BAD), rng.choice(words.REVIEWED)
  text = rng.choice(
    ("The {t} was {w}.", "What a {w} {t}!", "I found the {t} rather {w}.", "A {w} {t} from start to end.")
  ).format(t=thing, w=word)
  return {"text": text, "answer": "positive" if good else "negative", "choices": ("positive", "negative")}


def _sentence(rng: Rng) -> str:
  name, verb, colour = rng.choice(words.NAMES), rng.choice(words.VERBS), rng.choice(words.COLOURS)
  return f"{name} {verb} the {colour} {rng.choice(words.THINGS)} in the {rng.choice(words.PLACES)}."


def _upper(rng: Rng):
  text = _sentence(rng)
  return {"text": text, "answer": text.upper()}


def _last_word(rng: Rng):
  text = _sentence(rng)
  return {"text": text, "answer": text.rstrip(".").split()[-1]}


def _two_constraints(rng: Rng):
  thing, colour = rng.choice(words.THINGS), rng.choice(words.COLOURS)
  return {"text": f"The {thing} on the shelf is {colour}.", "thing": thing, "answer": f"{colour.upper()}!"}


def _follow_up(rng: Rng):
  items = rng.sample(words.FRUITS + words.ANIMALS, 4)
  place = rng.randrange(4)
  return {
    "items": ", ".join(items),
    "place": ("first", "second", "third", "fourth")[place],
    "answer": items[place],
    "turns": (("user", "Remember this list: " + ", ".join(items) + "."), ("assistant", "I will remember it.")),
  }


def _member(rng: Rng):
  items = rng.sample(words.FRUITS + words.ANIMALS + words.THINGS, 5)
  inside = rng.random() < 0.5
  return {
    "items": ", ".join(items[:4]),
    "word": rng.choice(items[:4]) if inside else items[4],
    "answer": "yes" if inside else "no",
    "choices": ("yes", "no"),
  }


def _largest(rng: Rng):
  numbers = rng.sample(range(10, 99), 3)
  return {"items": ", ".join(map(str, numbers)), "answer": str(max(numbers))}


def _topic(rng: Rng):
  topic = rng.choice(sorted(words.TOPICS))
  return {
    "text": rng.choice(words.TOPICS[topic]) + rng.choice((".", " today.", ", they said.")),
    "answer": topic,
    "choices": tuple(sorted(words.TOPICS)),
  }


def _replace(rng: Rng):
  old, new = rng.sample(words.THINGS, 2)
  text = f"{rng.choice(words.NAMES)} {rng.choice(words.VERBS)} the {{}} in the {rng.choice(words.PLACES)}."
  return {"text": text.format(old), "old": old, "new": new, "answer": text.format(new)}


def _email(rng: Rng):
  name, host = rng.choice(words.NAMES).lower(), rng.choice(words.CITIES).lower()
  address = f"{name}{rng.randint(1, 99)}@{host}.org"
  text = rng.choice(
    (
      "Please write to {} before Friday.",
      "You can reach our office at {} or by phone.",
      "Send the form to {}, thank you.",
    )
  )
  return {"text": text.format(address), "answer": address}


def _bullets(rng: Rng):
  items = rng.sample(words.FRUITS + words.THINGS, 3)
  return {"items": ", ".join(items), "answer": "\n".join(f"- {item}" for item in items)}


FAMILIES = {
  "sort_words": Family(
    _sort,
    (
      "Sort these words alphabetically: {items}",
      "Put the following words in alphabetical order, separated by commas: {items}",
      "Arrange {items} from A to Z.",
      "Order the words by the alphabet: {items}",
    ),
    ("Here are some words: {items}. List them again in alphabetical order.", "Alphabetise this list: {items}"),
  ),
  "extract_json": Family(
    _extract,
    (
      "Extract name, age and city as JSON: {text}",
      "{text}\nGive the name, the age and the city as a JSON object.",
      "Read the sentence and answer in JSON with the keys name, age, city. {text}",
      "Turn this into JSON (name, age, city): {text}",
    ),
    (
      "Which person is described here? Reply with a JSON object holding name, age and city: {text}",
      "{text} Write these facts as JSON with keys name, age and city.",
    ),
  ),
  "iso_date": Family(
    _date,
    (
      "Write the date {date} as YYYY-MM-DD.",
      "Convert {date} to the ISO format.",
      "Reformat this date as year-month-day: {date}",
      "What is {date} in ISO 8601?",
    ),
    ("Give me {date} in the form YYYY-MM-DD.", "The letter is dated {date}. Note the date in ISO format."),
  ),
  "count_items": Family(
    _count,
    (
      "How many items are in this list? {items}",
      "Count the words: {items}",
      "Give the number of things listed: {items}",
      "{items}\nHow many are there? Answer with a number.",
    ),
    (
      "Tell me how many entries this list has: {items}",
      "I packed {items}. How many things is that? Reply with a digit.",
    ),
  ),
  "word_arithmetic": Family(
    _arithmetic,
    (
      "What is {sum}? Answer in words.",
      "Compute {sum} and write the result as a word.",
      "{sum} equals? Reply with a number word.",
      "Solve in words: {sum}",
    ),
    ("Please work out {sum}, spelling the answer.", "How much is {sum}? Use a word, not digits."),
  ),
  "sentiment": Family(
    _sentiment,
    (
      "Is this review positive or negative? {text}",
      "Classify the sentiment as positive or negative: {text}",
      "{text}\nSentiment (positive/negative):",
      "Label this sentence positive or negative: {text}",
    ),
    (
      "Does the writer sound positive or negative? {text}",
      "Decide whether this opinion is positive or negative. {text}",
    ),
  ),
  "upper_case": Family(
    _upper,
    (
      "Write this sentence in capital letters: {text}",
      "Convert to upper case: {text}",
      "Rewrite in all caps: {text}",
      "{text}\nRepeat the sentence using only capital letters.",
    ),
    ("Change every letter to a capital: {text}", "Shout this sentence by writing it in upper case: {text}"),
  ),
  "last_word": Family(
    _last_word,
    (
      "What is the last word of this sentence? {text}",
      "Give only the final word: {text}",
      "{text}\nLast word:",
      "Reply with the last word of: {text}",
    ),
    ("Which word ends this sentence? {text}", "Find the word just before the full stop: {text}"),
  ),
  "two_constraints": Family(
    _two_constraints,
    (
      "{text} What colour is the {thing}? Answer in capital letters and end with an exclamation mark.",
      "Name the colour of the {thing} in upper case, followed by an exclamation mark. {text}",
      '{text} Reply with the colour only, in capitals, ending in "!".',
      "In all caps and with a final exclamation mark: which colour has the {thing}? {text}",
    ),
    (
      "{text} Tell me the {thing}'s colour; use capitals and finish with an exclamation mark.",
      "Read: {text} State the colour in upper case and put an exclamation mark behind it.",
    ),
  ),
  "follow_up": Family(
    _follow_up,
    (
      "What was the {place} item?",
      "Which word came {place} in the list?",
      "Give me the {place} word.",
      "Name the {place} entry.",
    ),
    ("Now repeat the {place} thing I named.", "And the {place} one was?"),
  ),
  "membership": Family(
    _member,
    (
      'Is "{word}" in this list? {items}. Answer yes or no.',
      "Does the list {items} contain {word}? Reply yes or no.",
      "List: {items}\nIs {word} in it? yes or no:",
      "Answer yes or no: {word} appears in {items}.",
    ),
    (
      "Look at {items}. Can you find {word} there? Say yes or no.",
      "Check whether {word} is among {items}; answer yes or no.",
    ),
  ),
  "largest": Family(
    _largest,
    (
      "Which number is the largest? {items}",
      "Give the maximum of {items}.",
      "Find the biggest number: {items}",
      "{items}\nLargest:",
    ),
    ("Out of {items}, which is greatest?", "Pick the highest of these numbers: {items}"),
  ),
  "topic": Family(
    _topic,
    (
      "Is this about sports, food, weather or travel? {text}",
      "Classify the topic (sports, food, weather, travel): {text}",
      "{text}\nTopic (sports, food, weather or travel):",
      "Choose one label of sports, food, weather, travel for: {text}",
    ),
    (
      "Which subject fits best: sports, food, weather or travel? {text}",
      "Sort this sentence under sports, food, weather or travel: {text}",
    ),
  ),
  "replace_word": Family(
    _replace,
    (
      'Replace "{old}" with "{new}": {text}',
      "Rewrite the sentence with {new} instead of {old}: {text}",
      "Change {old} to {new} in this sentence: {text}",
      "{text}\nSwap the word {old} for {new}.",
    ),
    ("Write this again, but say {new} where it says {old}: {text}", "Substitute {new} for {old}. {text}"),
  ),
  "email": Family(
    _email,
    (
      "Extract the email address: {text}",
      "{text}\nWhich email address is given?",
      "Find the email in this text: {text}",
      "Reply with only the email address. {text}",
    ),
    ("What address should I write my email to? {text}", "Copy the email address from this note: {text}"),
  ),
  "bullets": Family(
    _bullets,
    (
      "Write as a bulleted list with dashes: {items}",
      'Turn this into bullet points, one a line, each starting with "- ": {items}',
      "Make a list with dashes from: {items}",
      "Bullet points (use -): {items}",
    ),
    (
      "Show {items} as dashed bullets, one per line.",
      "Reformat as a list where every line begins with a dash: {items}",
    ),
  ),
}
