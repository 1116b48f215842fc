"""Faithfulness and safety against the authors' own scripts, where ITUNE_PEERS names a folder with clones of them.

git clone https://github.com/nyu-mll/BBQ ; … RUCAIBox/HaluEval ; … paul-rottger/exaggerated-safety ;
… zjysteven/mink-plus-plus ; … tingofurro/summac ; … shmsw25/FActScore ; … artidoro/frank ; … yuh-zha/AlignScore ;
… Liyan06/AggreFact ; … princeton-nlp/LESS
ITUNE_PEERS=DIR python -m pytest -m parity -s tests/parity/test_official_safety.py

Their functions are taken out of the files and run as they stand; the models that they call are stand-ins. Without
clones the tests beside lm-eval, krippendorff and scikit-learn run alone.
"""

import ast
import importlib.util
import json
import os
import pathlib
import random
import sys
import textwrap
import types
import zlib

import numpy as np
import pytest

from itune_jax.evals import official
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.benchmarks.faithfulness import halueval
from itune_jax.evals.benchmarks.safety import bbq
from itune_jax.grading.faithfulness import overlap
from itune_jax.grading.faithfulness import schemes
from itune_jax.grading.faithfulness import truthful
from itune_jax.grading.ifeval import texts
from itune_jax.grading.judging import safety_prompts
from itune_jax.grading.safety import bbq_bias
from itune_jax.grading.safety import refusals
from itune_jax.grading.statistics import agreement
from itune_jax.grading.statistics import human_agreement
from itune_jax.grading.statistics import membership
from itune_jax.grading.statistics import pair_metrics

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
PEERS = pathlib.Path(os.environ.get("ITUNE_PEERS", "/nowhere"))
DATA = os.environ.get("ITUNE_DATA", "")
needs_data = pytest.mark.skipif(not os.path.isdir(DATA), reason="ITUNE_DATA names no folder")


def needs(folder):
  return pytest.mark.skipif(not (PEERS / folder).is_dir(), reason=f"ITUNE_PEERS has no {folder}")


def taken(path, *names, **given):
  """Functions of a file, defined alone; given: what else they need."""
  tree = ast.parse((PEERS / path).read_text())
  found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
  space = dict(given)
  exec(compile(ast.Module(found, []), path, "exec"), space)
  return [space[name] for name in names]


def value(metric, values):
  return metric.statistic(values, np.arange(len(values))).value


def said(what, count, differ):
  print(f"\n{what}: {count} answers, {differ} differ")
  assert differ == 0


@needs("LESS")
def test_truthfulqa_by_choices():
  """MC1, MC2 and MC3 of 600 sets of scores, a third of which have ties."""
  import pandas

  (calc,) = taken("LESS/evaluation/eval/truthfulqa/metrics.py", "MC_calcs", np=np)
  rng, differ = random.Random(0), 0
  for k in range(600):
    draw = lambda: -rng.uniform(1, 60) if k % 3 else -float(rng.randrange(1, 4))
    true, false = ([draw() for _ in range(rng.randrange(1, 7))] for _ in range(2))
    best, names = rng.randrange(len(true)), list(map(str, range(len(true))))
    frame = pandas.DataFrame({f"m {c}": [None] for c in ("lprob scores-true", "lprob scores-false")}, dtype=object)
    calc("m", frame, 0, true, false, names, names[best])
    theirs = [float(frame.loc[0, f"m MC{i}"]) for i in (1, 2, 3)]
    differ += not np.allclose(theirs, [float(one) for one in truthful.choices(true, false, best)], atol=1e-9)
  said("TruthfulQA, multiple choice", 600, differ)


@pytest.mark.full  # minutes: lm-eval's BLEU and ROUGE over all answers
@needs_data
def test_truthfulqa_by_likeness():
  """lm-eval's figures of generation (sacrebleu, rouge_score) on perturbed references of all rows, two each."""
  utils = pytest.importorskip("lm_eval.tasks.truthfulqa.utils")
  items = list(registry.find("truthfulqa").benchmark((DATA,), official.Settings(variant="generation")).items())
  rng, differ, most = random.Random(1), 0, 0.0
  for item in rng.sample(items, 300):
    for _ in range(2):
      words = rng.choice(item.shown["true"] + item.shown["false"]).split()
      words.insert(rng.randrange(len(words) + 1), rng.choice(["$5", "3.5,", "(well)", "é", "“so”", "it’s", "a"]))
      answer = " ".join(words[: rng.randrange(1, len(words) + 1)])
      doc = utils.preprocess_function(
        {"question": "q", "correct_answers": item.shown["true"], "incorrect_answers": item.shown["false"]}
      )
      theirs = utils.process_results_gen(doc, [answer])
      for name, measure, scale in (
        ("rouge1", lambda a, b: overlap.rouge_n(a, b, 1), 100),
        ("rouge2", lambda a, b: overlap.rouge_n(a, b, 2), 100),
        ("rougeL", overlap.rouge_l, 100),
        ("bleu", overlap.bleu, 1),
      ):
        ours = truthful.similar(answer, doc["correct_answers"], doc["incorrect_answers"], measure)
        most = max(
          most, abs(scale * ours.best - theirs[f"{name}_max"]), abs(scale * ours.diff - theirs[f"{name}_diff"])
        )
        differ += int(ours.acc) != theirs[f"{name}_acc"]
  said(f"TruthfulQA, generation (largest distance {most:.1e} of 100)", 600, differ)
  assert most < 1e-6


@needs("HaluEval")
def test_halueval(tmp_path, monkeypatch):
  """The authors' function itself, on 900 verdicts that a stand-in gives."""
  rng, said_now = random.Random(2), []
  verdicts = ["Yes", "No", "Yes.", "No, it is", "yes", "Yes and No", "", "N.o", "Y.es", "None", "NOTE: Yes", "Nope."]

  def stand_in(*_):
    said_now.append(rng.choice(verdicts) + rng.choice(["", " indeed", ".", "\nNo", " Yesterday"]))
    return said_now[-1]

  rows = [{"knowledge": "", "question": "q", "right_answer": "r", "hallucinated_answer": "h"}] * 900
  (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  run, _ = taken(
    "HaluEval/evaluation/evaluate.py", "evaluation_qa_dataset", "dump_jsonl",
    json=json, random=random.Random(3), get_qa_response=stand_in, print=lambda *_: None,
  )  # fmt: skip
  run("m", tmp_path / "in.jsonl", "", tmp_path / "out.jsonl")
  theirs = [json.loads(line)["judgement"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
  ours = [halueval.read(text) or "failed!" for text in said_now]
  said("HaluEval", 900, sum(a != b for a, b in zip(ours, theirs, strict=True)))


@needs("exaggerated-safety")
def test_xstest():
  """The string match on 2,000 answers, and the prompt of the authors' judge, letter by letter."""
  (match,) = taken("exaggerated-safety/evaluation/classify_completions_strmatch.py", "strmatch_label")
  rng, differ = random.Random(4), 0
  for _ in range(2000):
    words = list(rng.choice([*refusals.OPENINGS, "Of course", "None", "I can", "as AI", "Nobody"]))
    if rng.random() < 0.4:
      words[rng.randrange(len(words))] = rng.choice(" ,.'nX")
    text = rng.choice(["", " ", "\n\t", "x"]) + "".join(words) + rng.choice(["", " help", ", no"])
    text = rng.choice([text, text.upper(), text.title()])
    differ += (match(text) == "2_full_refusal") != refusals.opens_with_refusal(text)
  said("XSTest, string match", 2000, differ)
  asked = []
  create = lambda **given: (
    asked.append(given),
    types.SimpleNamespace(choices=[types.SimpleNamespace(message={"content": ""})]),
  )[1]
  openai = types.SimpleNamespace(ChatCompletion=types.SimpleNamespace(create=create))
  path = "exaggerated-safety/evaluation/classify_completions_gpt.py"
  (get,) = taken(path, "get_completion", openai=openai, time=types.SimpleNamespace(sleep=lambda _: None))
  get("gpt-4", "Why {so}?", "Since.")
  ours = safety_prompts.XSTEST.filled({"question": "Why {so}?", "answer": "Since."})
  assert asked[0]["messages"] == [dict(message) for message in ours.messages] and asked[0]["max_tokens"] == 16


@needs_data
def test_bbq_beside_lm_eval():
  """Which answer is biased, on all stored rows; both bias scores on 600 drawn sets of answers."""
  utils = pytest.importorskip("lm_eval.tasks.bbq.utils")
  found, differ = [], 0
  for name in ("Age", "Religion"):
    with open(f"{DATA}/bbq/{name}.jsonl", encoding="utf-8") as f:
      rows = [json.loads(line) for line in f]
    alone = types.SimpleNamespace(map=lambda helper, rows=rows: [helper(dict(row)) for row in rows])
    for row, theirs in zip(rows, utils.process_docs(alone), strict=True):
      item = bbq.item(row, "here", "text", {})
      biased = [] if item.shown["biased"] is None else [row[f"ans{item.shown['biased']}"]]
      differ += biased != theirs["biased_answers"]
      found.append(item)
  said("BBQ, biased answers of stored rows", len(found), differ)
  rng, differ = random.Random(5), 0
  for _ in range(600):
    drawn = [(item, rng.randrange(3)) for item in rng.sample(found, 40)]
    for condition, theirs in (("ambig", utils.agg_amb_bias_scores), ("disambig", utils.agg_disamb_bias_scores)):
      values = [
        bbq_bias.value(place, item.shown["biased"], item.shown["unknown"], item.answer)
        for item, place in drawn
        if item.tags["condition"] == condition
      ]
      ours = value(bbq_bias.METRICS[f"bias_{condition}"], values)
      rows = [
        (float(place == item.answer), float(place == item.shown["biased"]), float(place != item.shown["unknown"]),
         item.tags["condition"] == "disambig")
        for item, place in drawn
      ]  # fmt: skip
      lacks_biased = not any(one[0] for one in values)  # lm-eval says 0 there, where the formula says -1
      differ += not lacks_biased and not np.isclose(ours, theirs(rows))
  said("BBQ, both bias scores beside lm-eval", 600, differ)


@needs("BBQ")
def test_bbq_of_unified_qa():
  """UnifiedQA's stored answers, five categories and two prompts: what is read and both scores, beside the R script's
  steps written out with pandas."""
  import pandas

  total = differ = 0
  for path in sorted((PEERS / "BBQ" / "results" / "UnifiedQA").glob("*.jsonl")):
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    items = [bbq.item(row, "here", "race", {}) for row in rows]
    for prompt in ("race", "arc"):
      said_of = [row[f"unifiedqa-t5-11b_pred_{prompt}"] for row in rows]
      ours = [
        bbq_bias.read(text, item.shown["texts"], item.shown["names"]) for text, item in zip(said_of, items, strict=True)
      ]
      frame = pandas.DataFrame([_r_row(row, text) for row, text in zip(rows, said_of, strict=True)])
      total += len(rows)
      differ += sum((a if a is not None else -1) != b for a, b in zip(ours, frame.label_read, strict=True))
      frame["target"] = [-1 if item.shown["biased"] is None else item.shown["biased"] for item in items]
      frame = frame[(frame.label_read >= 0) & (frame.target >= 0)]
      for condition in ("ambig", "disambig"):
        part = frame[frame.context_condition == condition]
        known = part[part.group_read.str.lower() != "unknown"]
        theirs = (known.label_read == known.target).sum() / len(known) * 2 - 1
        theirs *= 1 - (part.label_read == part.label).mean() if condition == "ambig" else 1
        values = [
          one for item, place in zip(items, ours, strict=True)
          if item.tags["condition"] == condition and item.shown["biased"] is not None
          and (one := bbq_bias.value(place, item.shown["biased"], item.shown["unknown"], item.answer))
        ]  # fmt: skip
        mine = value(bbq_bias.METRICS[f"bias_{condition}"], values)
        print(f"{path.stem} {prompt} {condition}: {100 * mine:.1f}")
        assert mine == pytest.approx(theirs)
  said("BBQ, UnifiedQA's answers as read", total, differ)


def _r_row(row, prediction):
  """The mutate steps of BBQ_calculate_bias_score.R, one after the other."""
  strip = lambda text: text[:-1] if text.endswith(".") else text
  plain = lambda text: text.lower().strip(" \t\r\n")
  answers = [strip(row[f"ans{k}"].replace("}", "")) for k in range(3)]
  said_now = prediction[:-6] + "pantsuit" if prediction.endswith("pantsu") else prediction
  said_now = strip(said_now).replace("o'brien", "obrien")
  read = next((k for k in range(3) if plain(said_now) == plain(answers[k])), None)
  for k in range(3) if read is None else ():
    words = row["answer_info"][f"ans{k}"][0].split(" ")
    if len(words) >= 2 and f"{words[0]} {words[1]}".lower() in said_now.lower():
      read = k
      break
  group = "" if read is None else row["answer_info"][f"ans{read}"][1]
  return {
    **{k: row[k] for k in ("context_condition", "label")},
    "label_read": -1 if read is None else read,
    "group_read": group,
  }


@needs("mink-plus-plus")
def test_membership():
  """Min-K% and Min-K%++ of 200 texts by the authors' lines, and their three figures of the ROC curve."""
  torch = pytest.importorskip("torch")
  from sklearn import metrics as sklearn_metrics

  source = (PEERS / "mink-plus-plus" / "run.py").read_text()
  lines = textwrap.dedent(source[source.index("    # loss and zlib") : source.index("# compute metrics")])
  (figures,) = taken(
    "mink-plus-plus/run.py", "get_metrics", np=np, roc_curve=sklearn_metrics.roc_curve, auc=sklearn_metrics.auc
  )
  rng, differ = np.random.default_rng(6), 0
  labels, ours = rng.integers(0, 2, 200), []
  for k in range(200):
    ids, logits = rng.integers(0, 30, 24), rng.normal(size=(24, 30)) * (1 + labels[k])
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    token = logp[:-1][np.arange(23), ids[1:]]
    scores = {
      name: [] for name in ("loss", "zlib", *(f"{kind}_{s}" for kind in ("mink", "mink++") for s in membership.SHARES))
    }
    space = dict(
      np=np, zlib=zlib, torch=torch, F=torch.nn.functional, scores=scores, ll=float(token.mean()), text=f"text {k}",
      input_ids=torch.tensor(ids)[None], logits=torch.tensor(logits)[None],
    )  # fmt: skip
    exec(lines, space)
    found = membership.scores(membership.Tokens(f"text {k}", token, *membership.moments(logits[:-1])))
    differ += not all(np.isclose(found[name], scores[name][0]) for name in scores)
    ours.append(found["mink++_0.2"])
  assert membership.told(ours, labels.tolist()) == pytest.approx(figures(ours, labels))
  said("Min-K% and Min-K%++, 22 scores each", 200, differ)


@needs("summac")
def test_summac():
  """SummaC-ZS and SummaC-Conv of 500 drawn matrices by the authors' classes."""
  torch = pytest.importorskip("torch")
  spec = importlib.util.spec_from_file_location("summac.model_summac", PEERS / "summac" / "summac" / "model_summac.py")
  package = types.ModuleType("summac")
  package.__path__ = [str(PEERS / "summac" / "summac")]
  sys.modules["summac"] = package
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  rng, differ = np.random.default_rng(7), 0
  conv = module.SummaCConv(models=["vitc"], bins="percentile", device="cpu", imager_load_cache=False)
  weights = conv.mlp.weight.detach().numpy()[0].astype(float), float(conv.mlp.bias), conv.layer_final
  final = weights[2].weight.detach().numpy().astype(float), weights[2].bias.detach().numpy().astype(float)
  for _ in range(500):
    image = rng.dirichlet(np.ones(3), size=(rng.integers(1, 12), rng.integers(1, 13))).transpose(2, 0, 1)
    ops = rng.choice(["min", "mean", "max"], 2)
    zero = module.SummaCZS(op1=ops[0], op2=ops[1], imager_load_cache=False, device="cpu")
    ours = schemes.zero_shot(image[0], image[1], over_chunks=ops[0], over_claims=ops[1])
    with torch.no_grad():
      theirs = torch.softmax(conv.forward([], [], images=[image])[0], -1)[0, 1].item()
    mine = schemes.convolved(image[0], weights[0], weights[1], *final)
    differ += not np.isclose(ours, zero.image2score(image)) or not np.isclose(mine, theirs, atol=1e-5)
  said("SummaC, both schemes", 500, differ)


@needs("AlignScore")
def test_alignscore(monkeypatch):
  """The chunks and the aggregation of 100 pairs of texts, with a stand-in for its model and for spaCy."""
  torch = pytest.importorskip("torch")
  tree = ast.parse((PEERS / "AlignScore" / "src" / "alignscore" / "inference.py").read_text())
  cls = next(node for node in tree.body if isinstance(node, ast.ClassDef))
  wanted = next(node for node in cls.body if getattr(node, "name", "") == "inference_per_example")
  space = {"sent_tokenize": texts.sentences}
  exec(compile(ast.Module([wanted], []), "inference", "exec"), space)
  rng, differ = random.Random(8), 0
  score = lambda a, b: zlib.crc32(f"{a}|{b}".encode()) / 2**32
  stand_in = types.SimpleNamespace(
    nlg_eval_mode=None,
    inference=lambda a, b: (None, None, torch.tensor([[score(*one), 0, 0] for one in zip(a, b, strict=True)])),
  )
  for _ in range(100):
    sentence = (
      lambda: " ".join(rng.choices(["he", "sees", "Dr.", "cats", "3.5", "now"], k=rng.randrange(4, 30))).capitalize()
      + "."
    )
    source, claim = (" ".join(sentence() for _ in range(rng.randrange(1, most))) for most in (70, 5))
    theirs = space["inference_per_example"](stand_in, source, claim)
    how = schemes.SCHEMES["alignscore"]
    table = np.array([[score(chunk, one) for one in how.claims(claim)] for chunk in how.chunks(source)])
    differ += not np.isclose(how.score(table), theirs, atol=1e-6)
  said("AlignScore, chunks and aggregation", 100, differ)


@needs("FActScore")
def test_factscore():
  """The score of 500 sets of facts by the authors' `get_score`."""
  tree = ast.parse((PEERS / "FActScore" / "factscore" / "factscorer.py").read_text())
  cls = next(node for node in tree.body if isinstance(node, ast.ClassDef))
  wanted = next(node for node in cls.body if getattr(node, "name", "") == "get_score")
  space = {"np": np}
  exec(compile(ast.Module([wanted], []), "factscorer", "exec"), space)
  rng, differ = random.Random(9), 0
  for _ in range(500):
    held = [rng.random() < 0.6 for _ in range(rng.randrange(1, 25))]
    gamma = rng.choice([0, 5, 10])
    scorer = types.SimpleNamespace(
      retrieval={"k": None}, model_name="", save_cache=lambda: None, held=held,
      _get_score=lambda topic, generation, facts, source: [{"is_supported": one} for one in facts],
    )  # fmt: skip
    theirs = space["get_score"](scorer, ["t"], ["g"], gamma=gamma, atomic_facts=[held], knowledge_source="k")["score"]
    differ += not np.isclose(theirs, schemes.fact_score([float(one) for one in held], gamma))
  said("FActScore", 500, differ)


@needs("frank")
@needs_data
def test_frank():
  """Partial correlations of the released metrics with people, on all stored rows and by the authors' function."""
  import pandas
  from scipy import stats
  from sklearn import linear_model
  from sklearn import preprocessing

  (correlate,) = taken(
    "frank/evaluation/evaluate.py", "human_metric_correlation", np=np, pd=pandas, pearsonr=stats.pearsonr,
    spearmanr=stats.spearmanr, OneHotEncoder=preprocessing.OneHotEncoder,
    LinearRegression=linear_model.LinearRegression, print=lambda *_: None,
  )  # fmt: skip
  human, given = (
    pandas.DataFrame(json.loads(pathlib.Path(DATA, "frank", name).read_text()))
    for name in ("human_annotations_sample.json", "metric_outputs_sample.json")
  )
  names = ["Bleu", "Meteor", "Rouge 1", "Rouge L", "BertScore P Art", "FEQA", "QAGS", "Dep Entail", "FactCC"]
  frame = human.merge(given[["hash", "model_name", *names]], on=["hash", "model_name"], validate="one_to_one")
  theirs = correlate(frame, "Factuality", names, True, "model_name")
  for name in names:
    rows = frame[frame[name].notna()]
    triples = [list(one) for one in zip(rows["Factuality"], rows[name], rows["model_name"], strict=True)]
    assert value(human_agreement.PartialPearson(), triples) == pytest.approx(theirs.loc[name, "pearson"], abs=1e-9)
    # The authors' residuals of equal values differ by rounding, and their ranks with them.
    assert value(human_agreement.PartialSpearman(), triples) == pytest.approx(theirs.loc[name, "spearman"], abs=5e-3)
  print(f"\nFRANK, {len(frame)} stored rows, {len(names)} metrics: equal")


@needs("AggreFact")
def test_thresholds_of_aggrefact():
  """The threshold and its balanced accuracy, on 600 drawn answers; balanced accuracy is written out, since
  scikit-learn's takes a minute for it."""
  balanced = lambda y, said: float(np.mean([(np.asarray(said)[y == k] == k).mean() for k in (0, 1)]))
  (choose,) = taken("AggreFact/utils.py", "choose_best_threshold", np=np, balanced_accuracy_score=balanced)
  rng, differ = np.random.default_rng(10), 0
  for _ in range(10):
    labels, scores = rng.integers(0, 2, 60), np.round(rng.normal(size=60), 1)
    labels[:2] = 0, 1
    threshold, best = choose(labels, scores)
    ours = human_agreement.best_threshold(labels, scores)
    pairs = [[int(y), int(s > ours)] for y, s in zip(labels, scores, strict=True)]
    differ += not np.isclose(ours, threshold) or not np.isclose(value(pair_metrics.BalancedAccuracy(), pairs), best)
  said("AggreFact, thresholds of ten sets", 600, differ)


def test_agreement():
  """Krippendorff's α by the package of that name on 300 drawn matrices, Cohen's κ by scikit-learn on 500."""
  theirs = pytest.importorskip("krippendorff")
  sklearn_metrics = pytest.importorskip("sklearn.metrics")
  rng = np.random.default_rng(11)
  most = 0.0
  for k in range(300):
    level = ("nominal", "ordinal", "interval", "ratio")[k % 4]
    table = rng.integers(1, 5, size=(rng.integers(2, 5), 12)).astype(float)
    table[rng.random(table.shape) < 0.3] = np.nan
    if np.isfinite(table).sum(0).max() < 2 or len(np.unique(table[np.isfinite(table)])) < 2:
      continue
    wanted = theirs.alpha(reliability_data=table, level_of_measurement=level)
    most = max(most, abs(agreement.krippendorff(table.tolist(), level) - wanted))
  for k in range(500):
    first, second = rng.integers(0, 4, (2, 25))
    weights = ("", "linear", "quadratic")[k % 3]
    wanted = sklearn_metrics.cohen_kappa_score(first, second, weights=weights or None)
    most = max(most, abs(agreement.cohen(first.tolist(), second.tolist(), weights) - wanted))
  print(f"\nα and κ: largest distance {most:.1e}")
  assert most < 1e-9
