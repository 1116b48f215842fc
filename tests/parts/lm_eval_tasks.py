"""Ten tasks of lm-evaluation-harness over rows of our own, written into a folder: what `--include_path` takes."""

import json
import os

CAPITALS = [
  ("France", "Paris"),
  ("Italy", "Rome"),
  ("Spain", "Madrid"),
  ("Germany", "Berlin"),
  ("Japan", "Tokyo"),
  ("Russia", "Moscow"),
  ("Egypt", "Cairo"),
  ("Austria", "Vienna"),
  ("Greece", "Athens"),
  ("Portugal", "Lisbon"),
  ("Norway", "Oslo"),
  ("Kenya", "Nairobi"),
  ("Peru", "Lima"),
  ("Cuba", "Havana"),
  ("Iraq", "Baghdad"),
  ("Poland", "Warsaw"),
  ("Sweden", "Stockholm"),
  ("Ireland", "Dublin"),
  ("China", "Beijing"),
  ("Hungary", "Budapest"),
]
USES = [
  ("To keep soup warm for hours", "pour it into a vacuum flask", "pour it onto a flat plate"),
  ("To find north without a map", "look at the needle of a compass", "look at the hands of a broken watch"),
  ("To dry a wet shirt", "hang it on a line in the sun", "hang it under the running shower"),
  ("To cut a loaf of bread", "take the knife with the teeth", "take the spoon with the hole"),
  ("To see a distant bird", "hold binoculars to your eyes", "hold a pillow to your eyes"),
  ("To stop a bicycle", "squeeze both of the brakes", "squeeze both of the tyres"),
  ("To water the tomatoes", "fill a can at the tap", "fill a sock with sand"),
  ("To write a letter", "take paper and a pen", "take butter and a fork"),
  ("To light a dark cellar", "switch on the torch", "switch off the lamp"),
  ("To keep milk fresh", "put it into the fridge", "put it onto the stove"),
  ("To open a locked door", "turn the key in the lock", "turn the page of the book"),
  ("To mend torn trousers", "use a needle and thread", "use a hammer and nails"),
  ("To weigh some flour", "put it on the scales", "put it on the radio"),
  ("To cross a deep river", "walk over the bridge", "walk over the cloud"),
  ("To wake up at six", "set the alarm clock", "eat the alarm clock"),
  ("To clean muddy boots", "brush them under water", "paint them with honey"),
]
WORDS = [
  ("The opposite of hot is", "cold"),
  ("The sun rises in the", "east"),
  ("A week has seven", "days"),
  ("Bees make", "honey"),
  ("The colour of grass is", "green"),
  ("Fish live in", "water"),
  ("One, two, three,", "four"),
  ("Monday, Tuesday,", "Wednesday"),
  ("A triangle has three", "sides"),
  ("Snow is", "white"),
  ("At night we see the moon and the", "stars"),
  ("Ice melts and becomes", "water"),
]
SPACES = [
  ("Water is\n", ("wet", " dry")),
  ("def f(x):\n  ", ("return x", "\n\n")),
  ("Two  ", ("spaces", "\tand a tab")),
  ("Tab\t", ("\tstop", "s")),
  ("No-break\u00a0", ("space", "\u2003em")),
  ("Über 1,234 Füchse – ", ("漢字!", "🦊")),
  ("a", ("b c", " ")),
  ("The end.  \n \n", ("  The", "beginning")),
]
TEXTS = [
  "The river was low that summer. Boys walked across it with their shoes in their hands, and nobody drowned.",
  "def add(a, b):\n  return a + b\n\n\nprint(add(1, 2))\n",
  "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 3,
  "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144. " * 12,
  "It was late. The train had gone, the station was empty, and the clock above the door had stopped at nine. " * 8,
  "x",
]


def _rows():
  """The rows of each task, by the name of its file."""
  names = [capital for _, capital in CAPITALS]
  letters = []
  for i, (country, capital) in enumerate(CAPITALS):
    options = sorted([capital, *(names[(i + k) % len(names)] for k in (3, 7, 11))])
    letters.append({"country": country, "options": options, "label": options.index(capital), "capital": capital})
  return {
    "capitals": letters,
    "uses": [{"goal": g, "sol": [a, b] if i % 2 else [b, a], "label": 1 - i % 2} for i, (g, a, b) in enumerate(USES)],
    "words": [{"text": text, "last": last} for text, last in WORDS],
    "spaces": [{"text": text, "options": options, "label": i % 2} for i, (text, options) in enumerate(SPACES)],
    "texts": [{"text": text} for text in TEXTS],
    "shots": [
      {"country": c, "capital": k} for c, k in (("Chile", "Santiago"), ("India", "New Delhi"), ("Ghana", "Accra"))
    ],
  }


_MEANS = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")]
_EXACT = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}
_FIRST_WORD = {
  "name": "first_word",
  "filter": [{"function": "regex", "regex_pattern": "([A-Za-z]+)"}, {"function": "take_first"}],
}


def _tasks():
  """What lm-eval's YAML says of each task, and the file of its rows."""
  lettered = "Capital of {{country}}?\n{% for o in options %}{{'ABCD'[loop.index0]}}. {{o}}\n{% endfor %}Answer:"
  asked = "Question: What is the capital of {{country}}?\nAnswer:"
  generated = {"output_type": "generate_until", "doc_to_text": asked, "doc_to_target": "{{capital}}"}
  return {
    "it_uses": ("uses", {
      "output_type": "multiple_choice", "doc_to_text": "{{goal}},", "doc_to_choice": "{{sol}}",
      "doc_to_target": "label", "metric_list": _MEANS,
    }),
    "it_uses_5shot": ("uses", {
      "output_type": "multiple_choice", "doc_to_text": "Goal: {{goal}}\nAnswer:", "doc_to_choice": "{{sol}}",
      "doc_to_target": "label", "num_fewshot": 5, "metric_list": _MEANS,
    }),
    "it_letters": ("capitals", {
      "output_type": "multiple_choice", "doc_to_text": lettered, "doc_to_choice": ["A", "B", "C", "D"],
      "doc_to_target": "label", "metric_list": _MEANS[:1],
    }),
    "it_generate": ("capitals", {
      **generated, "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 24, "do_sample": False},
      "metric_list": [_EXACT], "filter_list": [_FIRST_WORD], "num_fewshot": 2, "fewshot_split": "train",
    }),
    "it_continue": ("texts", {
      "output_type": "generate_until", "doc_to_text": "{{text}}", "doc_to_target": "",
      "generation_kwargs": {"until": ["\n\n\n"], "max_gen_toks": 32, "temperature": 0.0}, "metric_list": [_EXACT],
    }),
    "it_rolling": ("texts", {
      "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
      "metric_list": [{"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")],
    }),
    "it_last_word": ("words", {
      "output_type": "loglikelihood", "doc_to_text": "{{text}}", "doc_to_target": "{{last}}",
      "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}, _MEANS[0],
      ],
    }),
    "it_spaces": ("spaces", {
      "output_type": "multiple_choice", "doc_to_text": "{{text}}", "doc_to_choice": "{{options}}",
      "doc_to_target": "label", "target_delimiter": "", "metric_list": _MEANS,
    }),
    "it_empty": ("words", {
      "output_type": "loglikelihood", "doc_to_text": "", "doc_to_target": "{{text}}", "target_delimiter": "",
      "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
    }),
    "it_chat": ("capitals", {
      **generated, "doc_to_text": "What is the capital of {{country}}? Answer with one word.",
      "doc_to_target": "{{capital}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16},
      "metric_list": [_EXACT], "filter_list": [_FIRST_WORD], "num_fewshot": 2, "fewshot_split": "train",
    }),
  }  # fmt: skip


PLAIN = tuple(name for name in _tasks() if name != "it_chat")
CHAT = ("it_chat", "it_letters", "it_uses_5shot")  # those that are asked as conversations too


def write(folder, limit: int = 0) -> str:
  """Writes tasks and rows; returns the folder. limit: rows of each file, 0 for all."""
  for name, rows in _rows().items():
    with open(os.path.join(folder, f"{name}.jsonl"), "w", encoding="utf-8") as f:
      f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in (rows[:limit] if limit else rows))
  for name, (rows, task) in _tasks().items():
    files = {"test": os.path.join(folder, f"{rows}.jsonl")}
    if "fewshot_split" in task:
      files["train"] = os.path.join(folder, "shots.jsonl")
    where = {
      "dataset_path": "json",
      "dataset_kwargs": {"data_files": files, "cache_dir": os.path.join(folder, "cache")},
    }
    splits = {"test_split": "test"} | ({"training_split": "train"} if "train" in files else {})
    with open(os.path.join(folder, f"{name}.yaml"), "w", encoding="utf-8") as f:  # JSON is YAML
      json.dump({"task": name, **where, **splits, "metadata": {"version": 1.0}, **task}, f, ensure_ascii=False)
  return str(folder)
