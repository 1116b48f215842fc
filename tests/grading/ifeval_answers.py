"""Right answers for every kind of instruction, and what makes them wrong or odd: material for comparisons."""

from collections.abc import Callable
import json
import random
from typing import Any, NamedTuple

SENTENCES = (
  "The garden behind the old house was quiet in the morning.",
  "Mr. Harris of the U.S. Postal Service had walked there since 9.30 a.m. that day.",
  "He asked whether anyone had seen the letter, but nobody answered.",
  'A neighbour said: "It was here yesterday!"',
  "Was it lost? Nobody could tell.",
  "Prices rose by 3.5 percent, i.e. a little more than Dr. Jones of Acme Inc. expected.",
  "NASA and the EU agreed on a plan for the next ten years.",
  "We followed the river north, crossed two bridges, and rested near the mill.",
  "Some of the children laughed... then they ran away.",
  "This is why good tools matter: they save time and money.",
)
LANGUAGES = {
  "en": "The children are playing in the garden because the weather is beautiful today.",
  "de": "Die Kinder spielen im Garten, weil das Wetter heute besonders schön ist.",
  "fr": "Les enfants jouent dans le jardin parce que le temps est très beau aujourd'hui.",
  "es": "Los niños juegan en el jardín porque hoy hace muy buen tiempo.",
  "it": "I bambini giocano nel giardino perché oggi il tempo è molto bello.",
  "pt": "As crianças estão brincando no jardim porque hoje o tempo está muito bonito.",
  "fi": "Lapset leikkivät puutarhassa, koska sää on tänään todella kaunis.",
  "vi": "Bọn trẻ đang chơi trong vườn vì hôm nay thời tiết rất đẹp.",
  "sw": "Watoto wanacheza bustanini kwa sababu leo hali ya hewa ni nzuri sana.",
  "ru": "Дети играют в саду, потому что сегодня очень хорошая погода.",
  "bg": "Децата играят в градината, защото днес времето е много хубаво.",
  "ar": "يلعب الأطفال في الحديقة لأن الطقس جميل جدا اليوم.",
  "fa": "بچه‌ها در باغ بازی می‌کنند چون امروز هوا خیلی خوب است.",
  "hi": "बच्चे बगीचे में खेल रहे हैं क्योंकि आज मौसम बहुत अच्छा है।",
  "mr": "मुले बागेत खेळत आहेत कारण आज हवामान खूप छान आहे.",
  "ko": "오늘은 날씨가 아주 좋아서 아이들이 정원에서 놀고 있습니다.",
  "th": "เด็กๆ กำลังเล่นอยู่ในสวนเพราะวันนี้อากาศดีมาก",
  "ta": "இன்று வானிலை மிகவும் அழகாக இருப்பதால் குழந்தைகள் தோட்டத்தில் விளையாடுகிறார்கள்.",
}
WORDS = ("river", "letter", "plan", "tools", "money", "garden", "bridge", "tim", "a.m", "ea+", "no|yes", "the")
_FIRST = ("it", "Garden", "river", "élan", "WE")


class Case(NamedTuple):
  """An instruction and a text that mostly follows it."""

  kind: str
  kwargs: dict[str, Any]
  answer: str


def prose(rng: random.Random, sentences: int) -> str:
  """So many sentences."""
  return " ".join(rng.choice(SENTENCES) for _ in range(sentences))


def case(kind: str, rng: random.Random) -> Case:
  """An instruction of a kind and its answer; in a third of cases one more or fewer is asked for than the answer has."""
  kwargs, answer = _MAKERS[kind](rng)
  if rng.random() < 1 / 3 and kind != "length_constraints:nth_paragraph_first_word":
    kwargs = {k: max(1, v + rng.choice((-1, 1))) if isinstance(v, int) else v for k, v in kwargs.items()}
  return Case(kind, kwargs, answer)


def _relation(rng: random.Random) -> str:
  return rng.choice(("less than", "at least"))


def _bound(relation: str, count: int) -> int:
  """The tightest bound that a count keeps."""
  return max(1, count + 1 if relation == "less than" else count)


def _existence(rng):
  chosen = rng.sample(WORDS, rng.randint(1, 3))
  return {"keywords": chosen}, prose(rng, 2) + " " + " ".join(word.rstrip("+").split("|")[0] for word in chosen)


def _frequency(rng):
  relation, word, times = _relation(rng), rng.choice(WORDS), rng.randint(0, 4)
  text = "We met there." + f" So much for the {word.rstrip('+').split('|')[0]}." * times
  return {"relation": relation, "keyword": word, "frequency": _bound(relation, times)}, text


def _forbidden(rng):
  return {"forbidden_words": rng.sample(WORDS, rng.randint(1, 2))}, prose(rng, 2)


def _letters(rng):
  text, letter, relation = prose(rng, 2), rng.choice("aeqtTxzI"), _relation(rng)
  count = text.lower().count(letter.lower())
  return {"let_relation": relation, "letter": letter, "let_frequency": _bound(relation, count)}, text


def _language(rng):
  code = rng.choice(list(LANGUAGES))
  return {"language": code}, LANGUAGES[code]


def _sentences(rng):
  count, relation = rng.randint(1, 5), _relation(rng)
  text = " ".join(f"{rng.choice(('We', 'They'))} walked {n} miles." for n in range(count))
  return {"relation": relation, "num_sentences": _bound(relation, count)}, text


def _paragraphs(rng):
  count = rng.randint(1, 4)
  return {"num_paragraphs": count}, rng.choice(("\n***\n", " *** ", "\n\n***\n\n")).join(
    prose(rng, 1) for _ in range(count)
  )


def _words(rng):
  text, relation = prose(rng, rng.randint(1, 3)), _relation(rng)
  count = sum(1 for word in text.replace(".", " ").replace("!", " ").split())
  return {"relation": relation, "num_words": _bound(relation, count)}, text


def _first_word(rng):
  count = rng.randint(1, 4)
  nth, word = rng.randint(1, count), rng.choice(_FIRST)
  parts = [prose(rng, 1) for _ in range(count)]
  parts[nth - 1] = f"{rng.choice(('', chr(34), chr(39)))}{word}{rng.choice(('', ',', '.', chr(34)))} was there."
  return {"num_paragraphs": count, "nth_paragraph": nth, "first_word": word}, "\n\n".join(parts)


def _placeholders(rng):
  count = rng.randint(1, 5)
  return {"num_placeholders": count}, "Dear friend " + " and ".join(f"[name {n}]" for n in range(count))


def _postscript(rng):
  marker = rng.choice(("P.S.", "P.P.S", "PS:", "N.B."))
  return {"postscript_marker": marker}, prose(rng, 1) + f"\n\n{marker} Write soon."


def _bullets(rng):
  count = rng.randint(1, 5)
  return {"num_bullets": count}, "\n".join(f"{rng.choice(('* ', '- ', '  * '))}point {n}" for n in range(count))


def _constrained(rng):
  return {}, rng.choice(("My answer is yes.", "I see. My answer is no.", "My answer is maybe."))


def _highlights(rng):
  count = rng.randint(1, 4)
  return {"num_highlights": count}, " ".join(rng.choice(("*part {}*", "**part {}**")).format(n) for n in range(count))


def _sections(rng):
  count, splitter = rng.randint(1, 4), rng.choice(("Section", "SECTION", "Day", "PARAGRAPH", "(Part|Day)"))
  head = "Day" if splitter.startswith("(") else splitter
  return {"section_spliter": splitter, "num_sections": count}, "\n".join(
    f"{head} {n + 1}\n{prose(rng, 1)}" for n in range(count)
  )


def _json(rng):
  text = json.dumps({"a": [1, 2.5, None, float("inf")], "text": prose(rng, 1)})
  return {}, rng.choice(("{}", "```json\n{}\n```", "```\n{}\n```", "```JSON\n{}```")).format(text)


def _two(rng):
  return {}, f"{rng.choice(('', '******'))}{SENTENCES[0]}\n******\n{rng.choice(SENTENCES[1:])}"


def _repeat(rng):
  prompt = rng.choice(("Write a poem about the sea.", "  Tell me, in short, who you are! "))
  return {"prompt_to_repeat": prompt}, f"{prompt}\n\n{prose(rng, 1)}"


def _end(rng):
  phrase = rng.choice(("Any other questions?", "That is all you need!", '"quoted end"'))
  return {"end_phrase": phrase}, f"{prose(rng, 1)} {phrase}"


def _capital_words(rng):
  count, relation = rng.randint(0, 4), _relation(rng)
  text = "We met there " + " and ".join(["WELL-KNOWN", "NASA", "A", "U.S.", "OK!"][:count]) + " at noon."
  return {"capital_relation": relation, "capital_frequency": _bound(relation, count)}, text


_MAKERS: dict[str, Callable[[random.Random], tuple[dict[str, Any], str]]] = {
  "keywords:existence": _existence,
  "keywords:frequency": _frequency,
  "keywords:forbidden_words": _forbidden,
  "keywords:letter_frequency": _letters,
  "language:response_language": _language,
  "length_constraints:number_sentences": _sentences,
  "length_constraints:number_paragraphs": _paragraphs,
  "length_constraints:number_words": _words,
  "length_constraints:nth_paragraph_first_word": _first_word,
  "detectable_content:number_placeholders": _placeholders,
  "detectable_content:postscript": _postscript,
  "detectable_format:number_bullet_lists": _bullets,
  "detectable_format:constrained_response": _constrained,
  "detectable_format:number_highlighted_sections": _highlights,
  "detectable_format:multiple_sections": _sections,
  "detectable_format:json_format": _json,
  "detectable_format:title": lambda rng: ({}, f"<<{rng.choice(SENTENCES)}>>\n\n{prose(rng, 1)}"),
  "combination:two_responses": _two,
  "combination:repeat_prompt": _repeat,
  "startend:end_checker": _end,
  "startend:quotation": lambda rng: ({}, f'"{prose(rng, 2)}"'),
  "change_case:capital_word_frequency": _capital_words,
  "change_case:english_capital": lambda rng: ({}, prose(rng, 2).upper()),
  "change_case:english_lowercase": lambda rng: ({}, prose(rng, 2).lower()),
  "punctuation:no_comma": lambda rng: ({}, prose(rng, 2).replace(",", rng.choice(("", "", ",", ";")))),
}
KINDS = tuple(_MAKERS)
