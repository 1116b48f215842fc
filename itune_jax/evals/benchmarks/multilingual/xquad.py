"""XQuAD: questions whose answer stands in a paragraph, in twelve languages (Artetxe et al. 2020), as lm-eval asks them.

Exact match and F1 are SQuAD's, with its English articles in every language, as published; of languages without spaces
F1 of words is close to exact match. `wrong_language` is the share of answers in another language, where it can be told.
"""

from collections.abc import Iterator
import functools
import re

from itune_jax.core import check
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import languages
from itune_jax.grading import squad
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

# Context, question, answer: of lm_eval/tasks/xquad/xquad_*.yaml.
WORDS = {
  "ar": ("سيا", "سؤال", "إجابة"),
  "de": ("Kontext", "Frage", "Antwort"),
  "el": ("Συμφραζόμενα", "Ερώτηση", "Απάντηση"),
  "en": ("Context", "Question", "Answer"),
  "es": ("Contexto", "Pregunta", "Respuesta"),
  "hi": ("प्रसंग", "सवाल", "उत्तर"),
  "ro": ("Context", "Întrebare", "Răspuns"),
  "ru": ("Контекст", "Вопрос", "Ответ"),
  "th": ("บริบท", "คำถาม", "คำตอบ"),
  "tr": ("Bağlam", "Soru", "Cevap"),
  "vi": ("Bối cảnh", "Câu hỏi", "Trả lời"),
  "zh": ("语境", "问题", "回答"),
}
FILES = "xquad.*.json"
_FILE = re.compile(r"xquad\.(\w+)\.json(?:\.gz)?$")


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The questions of each language that has a file; a question is one cluster in all languages."""
  for path in folder.files(FILES):
    found = _FILE.search(path)
    code = found[1] if found else ""
    check.require(code in WORDS, f"{path}: {code!r} is no language of XQuAD; they are {', '.join(WORDS)}")
    context, question, answer = WORDS[code]
    value = folders.Folder(folder.path).value(path[len(folder.path) + 1 :].removesuffix(".gz"))
    for article in folders.field(value, "data", list, path):
      for paragraph in folders.field(article, "paragraphs", list, path):
        text = folders.field(paragraph, "context", str, path)
        for row in folders.field(paragraph, "qas", list, path):
          where = f"{path}: {row.get('id')}"
          golds = [folders.field(one, "text", str, where) for one in folders.field(row, "answers", list, where)]
          check.require(golds, f"{where}: has no answer")
          asked = folders.field(row, "question", str, where)
          yield protocol.Item(
            id=f"{code}/{row['id']}",
            question=f"{context}: {text}\n\n{question}: {asked}\n\n{answer}:",
            answer=golds,
            cluster=str(row["id"]),
            tags={"language": code},
            shown={"language": code},
            where=where,
          )


def grade(item: protocol.Item, answer: requests_lib.Response) -> protocol.Graded:
  """SQuAD's scores of the first sample, and its language."""
  code = item.shown["language"]
  wrong = languages.is_wrong(answer.text, code, languages.judged("xquad", tuple(WORDS)))
  scores = {"exact_match": squad.exact(answer.text, item.answer), "f1": squad.f1(answer.text, item.answer)}
  return protocol.Graded(scores | {"wrong_language": wrong})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with xquad.*.json."""
  return protocol.Benchmark(
    name="xquad",
    items=functools.partial(items, folder),
    ask=official.generate(settings, limit=64, stop=("\n",), form="plain", temperature=0.0),
    grade=protocol.each(grade),
    metrics={"exact_match": metrics_lib.Mean(), "f1": metrics_lib.Mean(), "wrong_language": metrics_lib.Mean("lower")},
    tags=("language",),
    against=("language", "en"),
  )


BENCHMARK = official.Published(
  name="xquad",
  axis="multilingual",
  title="XQuAD",
  files=(FILES,),
  source="https://github.com/google-deepmind/xquad",
  licence="CC BY-SA 4.0",
  size="10 MB",
  metric="f1",
  make=make,
  subtask="language",
  format_only=True,
  parity="lm-eval's prompts; SQuAD's official metrics on 3,000 perturbed answers",
)
