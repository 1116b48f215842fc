"""Made-up files of domains and languages in their official forms, with the rows as lm-eval's tasks take them."""

import json

from itune_jax.evals.benchmarks.multilingual import xquad as xquad_lib


def _lines(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def medqa(folder, path="medqa/medqa.yaml"):
  """Three questions of four options."""
  options = [dict(zip("ABCD", (f"drug {k}", "rest ", "an x-ray", "none"), strict=True)) for k in range(3)]
  rows = [
    {"question": f"A man of {k} coughs. What now?", "options": one, "answer_idx": "BAD"[k], "meta_info": f"step{k % 2}"}
    for k, one in enumerate(options)
  ]
  _lines(folder / "medqa" / "phrases_no_exclude_test.jsonl", rows)
  hub = [
    {"sent1": row["question"], "label": "ABCD".index(row["answer_idx"])}
    | {f"ending{i}": row["options"][letter] for i, letter in enumerate("ABCD")}
    for row in rows
  ]
  return folder, hub, path


def medmcqa(folder, path="medmcqa/medmcqa.yaml"):
  """Three questions as the official JSON lines have them, answers counted from 1."""
  texts = {"opa": "heart", "opb": "lung ", "opc": "liver", "opd": "skin"}
  rows = [
    {"id": f"q{k}", "question": f"Which is number {k}?", "cop": k + 1, "subject_name": "Anatomy", **texts}
    for k in range(3)
  ]
  _lines(folder / "medmcqa" / "dev.json", rows)
  return folder, [row | {"cop": row["cop"] - 1} for row in rows], path


def belebele(folder, path="belebele/belebele_deu_Latn.yaml", codes=("deu_Latn",)):
  """Two questions on a passage in each language."""
  rows = [
    {
      "link": "https://x.org/a",
      "question_number": k,
      "flores_passage": "Der Fuchs schläft. Es regnet.",
      "question": f" Was tut der Fuchs {k}? ",
      **{f"mc_answer{i}": f"Antwort {i}" for i in range(1, 5)},
      "correct_answer_num": str(k + 1),
    }
    for k in range(2)
  ]
  for code in codes:
    _lines(folder / "belebele" / f"{code}.jsonl", rows)
  return folder, rows, path


def global_mmlu(folder, path="global_mmlu/full/de/_de_template_yaml", codes=("de",)):
  """Three questions of a language."""
  rows = [
    {
      "sample_id": f"anatomy/test/{k}",
      "subject": "anatomy",
      "subject_category": "Medical",
      "question": f" Wo liegt Knochen {k}? ",
      "option_a": "hier",
      "option_b": "dort",
      "option_c": "oben",
      "option_d": "unten",
      "answer": "ABC"[k],
      "cultural_sensitivity_label": ("CS", "CA", "-")[k],
    }
    for k in range(3)
  ]
  for code in codes:
    _lines(folder / "global_mmlu" / code / "test.jsonl", rows)
  return folder, rows, path


def pubmedqa(folder, path="pubmedqa/pubmedqa.yaml"):
  """Three abstracts, two of which are of the test split."""
  rows = {
    str(k): {
      "QUESTION": f"Does drug {k} help?",
      "CONTEXTS": ["It was given.", f"{k} of ten recovered."],
      "LONG_ANSWER": "It may help.",
      "final_decision": ("yes", "no", "maybe")[k],
    }
    for k in range(3)
  }
  home = folder / "pubmedqa"
  home.mkdir(parents=True)
  (home / "ori_pqal.json").write_text(json.dumps(rows))
  (home / "test_ground_truth.json").write_text(json.dumps({k: rows[k]["final_decision"] for k in ("2", "0")}))
  return folder, [rows[k] for k in ("2", "0")], path


def xquad(folder):
  """A question in each language."""
  rows = {}
  for code in xquad_lib.WORDS:
    rows[code] = {"context": f"The fox of {code} sleeps.", "question": f"Who sleeps in {code}?"}
    asked = [{"id": "q1", "question": rows[code]["question"], "answers": [{"text": "The fox", "answer_start": 0}]}]
    value = {"data": [{"paragraphs": [{"context": rows[code]["context"], "qas": asked}]}]}
    path = folder / "xquad" / f"xquad.{code}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
  return folder, rows


MAKERS = {"medqa": medqa, "medmcqa": medmcqa, "belebele": belebele, "global_mmlu": global_mmlu, "pubmedqa": pubmedqa}
