"""lm-evaluation-harness on a model here, beside its own Hugging Face backend. Figures are printed (run with -s)."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

import lm_eval  # noqa: E402
from lm_eval.api import instance  # noqa: E402
from lm_eval import utils as lm_eval_utils  # noqa: E402
from lm_eval.models import huggingface  # noqa: E402
from lm_eval.models import utils as models_utils  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from itune_jax import api  # noqa: E402
from itune_jax.core import errors  # noqa: E402
from itune_jax.core import files  # noqa: E402
from itune_jax.evals import lm_eval_answers  # noqa: E402
from itune_jax.evals import lm_eval_bridge  # noqa: E402
from itune_jax.evals import lm_eval_tokens  # noqa: E402
from itune_jax.run import lm_eval_model  # noqa: E402
from itune_jax.run import session as session_lib  # noqa: E402
from itune_jax.run import specs  # noqa: E402
from itune_jax.sampling.decode import call  # noqa: E402
from itune_jax.sampling.score import rolling  # noqa: E402
from tests import tiny  # noqa: E402
from tests.parts import lm_eval_tasks  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
LENGTH = 128  # positions, so that texts of the tasks are longer, and prompts are cut
CONTEXTS = [
  "",
  "a",
  "a ",
  "a \n",
  "  ",
  "\n",
  "hello wor",
  "x\u00a0",
  "Über",
  "<|im_end|>",
  "<|im_end|> a",
  "tab\t\t",
  "日本 ",
]
ENDS = ["b", " b", "ld", "\n", " ", "  two", "\u3000wide", "🦊", "<|im_end|>", "é", "語", ".", "\t"]


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
  folder = lm_eval_tasks.write(tmp_path_factory.mktemp("tasks"))
  return TaskManager(include_path=folder, include_defaults=False)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
  """A model of two layers with random weights that differ widely, and the tokenizer and template of SmolLM2."""
  shape = dataclasses.replace(tiny.CONFIG, vocab=49152, width=64, head_dim=16, mlp=128, max_length=512)
  session = session_lib.open_session(specs.Model(config=shape, seed=1))
  folder = str(tmp_path_factory.mktemp("tiny") / "model")
  api.export_hf(api.Model(session), folder)
  return folder


@pytest.fixture(
  scope="module",
  params=[pytest.param("tiny_folder", marks=pytest.mark.full), "base_folder"],
  ids=["tiny", "SmolLM2-135M"],
)
def both(request):
  """The same folder here and in lm-eval's own backend."""
  folder = request.getfixturevalue(request.param)
  # In float32 torch's log-softmax over 49,152 words is off by 2e-5 nats a token, always to one side: 1e-2 over a text
  # of 500 tokens. Both are held to the sum in float64.
  how = dict(dtype="float32", softmax_dtype="float64", batch_size=8, max_length=LENGTH)
  hf = huggingface.HFLM(pretrained=folder, device="cpu", **how)
  asked = lm_eval_model.asked_of(api.load(folder).session)
  return lm_eval_bridge.BridgeLM(asked, lm_eval_bridge.Settings(max_length=LENGTH)), hf


@pytest.fixture(scope="module")
def here(tiny_folder):
  asked = lm_eval_model.asked_of(api.load(tiny_folder).session)
  return lm_eval_bridge.BridgeLM(asked, lm_eval_bridge.Settings(max_length=LENGTH))


def evaluated(lm, tasks, manager, **how):
  return lm_eval.simple_evaluate(model=lm, tasks=list(tasks), task_manager=manager, bootstrap_iters=0, **how)


@pytest.mark.parametrize(
  "tasks, how",
  [
    (lm_eval_tasks.PLAIN, {}),
    (lm_eval_tasks.CHAT, {"apply_chat_template": True, "fewshot_as_multiturn": True, "limit": 8}),
    (
      lm_eval_tasks.CHAT,
      {"apply_chat_template": True, "fewshot_as_multiturn": False, "system_instruction": "Be brief.", "limit": 6},
    ),
  ],
  ids=["plain", "multiturn", "one turn"],
)
def test_all_figures_of_its_tasks_are_equal(both, manager, tasks, how):
  ours, theirs = (evaluated(lm, tasks, manager, **how) for lm in both)
  largest = 0.0
  for task in tasks:
    apart = [0.0]
    for a, b in zip(ours["samples"][task], theirs["samples"][task], strict=True):
      assert a["arguments"] == b["arguments"] and a["prompt_hash"] == b["prompt_hash"]
      for x, y in zip(a["resps"], b["resps"], strict=True):
        if isinstance(x[0], str):
          assert x == y, a["arguments"]
        else:
          (p, *greedy), (q, *is_greedy) = (np.atleast_1d(one[0]).tolist() for one in (x, y))
          apart.append(abs(p - q))
          assert greedy == is_greedy
    figures = {
      k: (v, theirs["results"][task][k]) for k, v in ours["results"][task].items() if "," in k and "stderr" not in k
    }
    print(f"\n{task:14} nats apart at most {max(apart):.1e}", json.dumps(figures, default=float), end="")
    for name, (a, b) in figures.items():
      assert a == b or ("perplexity" in name or "bits" in name) and abs(a - b) < 1e-3 * abs(b), (task, name)
    largest = max(largest, *apart)
  print(f"\nlargest difference {largest:.1e} nats (limit 1e-3) over {len(tasks)} tasks")
  assert largest < 1e-3


@pytest.mark.parametrize("add_bos_token", [None, True, False])
def test_texts_are_cut_as_its_own_backend_cuts_them(here, tiny_folder, add_bos_token, monkeypatch):
  """All pairs of adversarial contexts and continuations; where that backend ends with an error, ours has tokens."""
  theirs = object.__new__(huggingface.HFLM)
  theirs.add_bos_token, theirs.custom_prefix_token_id, theirs.enable_thinking, theirs.backend = (
    add_bos_token,
    None,
    None,
    "causal",
  )
  theirs._create_tokenizer(tiny_folder, None, add_bos_token=add_bos_token)
  settings = lm_eval_bridge.Settings(add_bos_token=add_bos_token)
  ours, found = lm_eval_bridge.BridgeLM(here._asked, settings), {}
  for name, lm in (("ours", ours), ("theirs", theirs)):
    monkeypatch.setattr(lm, "_loglikelihood_tokens", lambda asked, name=name, **how: found.update({name: asked}) or [])
    lm.loglikelihood(
      [instance.Instance("loglikelihood", {}, (a, b), 0) for a in CONTEXTS for b in ENDS if a or b != "<|im_end|>"],
      disable_tqdm=True,
    )
  equal = 0
  for a, b in zip(found["ours"], found["theirs"], strict=True):
    assert a[0] == b[0] and a[1] and a[2]
    if b[1] and b[2]:
      assert tuple(map(list, a[1:])) == tuple(map(list, b[1:])), a[0]
      equal += 1
  print(f"\nadd_bos_token={add_bos_token}: {equal} of {len(found['ours'])} pairs cut alike; there the rest is refused")
  assert equal > 120


def test_whole_texts_are_cut_into_its_windows():
  for length in (2, 3, 7, 10):
    for n in range(31):
      theirs = map(
        lm_eval_utils.make_disjoint_window, lm_eval_utils.get_rolling_token_windows(list(range(n)), 99, length, 1)
      )
      assert rolling.windows(list(range(n)), 99, length + 1) == list(theirs)


@pytest.mark.parametrize("think_end", [None, "</think>", 2, "2", "<|im_start|>"])
def test_answers_are_cut_as_its_own_backend_cuts_them(smollm2_tokenizer, think_end):
  """The end token is 2, <|im_start|> is 1; that backend decodes without special tokens, so text that names one is an
  id here."""
  texts = [
    "Hm.\n\nSo 4.</think> The answer\n\nis 4.<|im_end|>Bye",
    "Plain.\n\nMore</think>",
    "</think>",
    "",
    "a<|im_end|>b<|im_start|> c\n\nd",
  ]
  wanted = lm_eval_answers.plan({"until": ["\n\n", "Bye"]})
  end = lm_eval_tokens.think_end(smollm2_tokenizer, think_end)
  reader = lm_eval_answers.Texts(smollm2_tokenizer, wanted.stops, end)
  eos = smollm2_tokenizer.decode([smollm2_tokenizer.eos_token_id])
  for text in texts:
    ids = smollm2_tokenizer(text)["input_ids"]
    tail = ids[len(ids) - ids[::-1].index(end) :] if isinstance(end, int) and end in ids else ids
    said = smollm2_tokenizer.decode(tail, skip_special_tokens=True)
    said = said.lstrip() if isinstance(end, int) else said
    theirs = models_utils.postprocess_generated_text(said, [*wanted.stops, eos], end if isinstance(end, str) else None)
    assert reader.answer(call.Generation(ids, [0.0] * len(ids), "length"), wanted) == theirs
  assert reader.stops(wanted) == (() if think_end else wanted.stops)


def test_a_stop_string_that_is_a_special_token_is_seen_and_not_shown(smollm2_tokenizer):
  reader = lm_eval_answers.Texts(smollm2_tokenizer, ["<|im_start|>", "x"])
  ids = smollm2_tokenizer("a<|endoftext|>b<|im_start|>c")["input_ids"]
  assert reader(ids) == "ab<|im_start|>c"
  other = lm_eval_answers.plan({"until": ["x"]})
  assert reader.answer(call.Generation(ids, [0.0] * len(ids), "length", text=reader(ids)), other) == "abc"


def test_equal_draws_are_as_many_as_are_asked(here):
  kwargs = {"until": [], "do_sample": True, "temperature": 1.0, "max_gen_toks": 8}
  asked = instance.Instance("generate_until", {}, ("Once upon a time", kwargs), 0)
  greedy = instance.Instance("generate_until", {}, ("Once upon a time", {"max_gen_toks": 8}), 0)
  first = here.generate_until([asked, asked, greedy, asked, greedy], disable_tqdm=True)
  assert len({first[i] for i in (0, 1, 3)}) == 3 and first[2] == first[4]
  assert here.generate_until([greedy, asked, asked, asked], disable_tqdm=True) == [
    first[2],
    first[0],
    first[1],
    first[3],
  ]


# A process without torch and without a network.
PROGRAM = """
import importlib.machinery, socket, sys

def refused(self, address):
  raise SystemExit(f"connects to {address}")

found = importlib.machinery.PathFinder.find_spec
without = lambda cls, name, *how: None if name.partition(".")[0] == "torch" else found(name, *how)
importlib.machinery.PathFinder.find_spec = classmethod(without)
socket.socket.connect = refused
from itune_jax.run import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_its_own_command_line_runs_without_torch_and_network(tiny_folder, tmp_path):
  folder = lm_eval_tasks.write(tmp_path, limit=2)
  flags = ["--tasks", "it_last_word,it_letters,it_generate", "--include_path", folder, "--num_fewshot", "1"]
  model = ["--model_args", f"base={tiny_folder},dtype=float32,max_length=512", "--apply_chat_template"]
  out = ["--output_path", str(tmp_path / "out"), "--log_samples", "--use_cache", str(tmp_path / "kept")]
  # `datasets` goes by what is installed, and torch is: it is told not to use it.
  env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"USE_TORCH": "0"}
  command = [sys.executable, "-c", PROGRAM, "lm_eval", *model, *flags, *out]
  for turn in range(2):  # the second time from the cache of answers
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "itune_jax ({'pretrained'" in done.stdout and "|it_letters" in done.stdout
    assert ("Requests remaining: 0" in done.stderr) == bool(turn)
  name = lm_eval_utils.sanitize_model_name(tiny_folder)
  found = sorted(os.listdir(tmp_path / "out" / name))
  assert len(found) == 8 and found[0].startswith("results_") and found[2].startswith("samples_it_generate_")
  results = files.read_json(str(tmp_path / "out" / name / found[0]))
  assert results["config"]["model_dtype"] == "float32" and "im_start" in results["chat_template"]
  done = subprocess.run(
    [*command, "--gen_kwargs", "num_beams=3"], capture_output=True, text=True, cwd=tmp_path, env=env
  )
  assert done.returncode == 2 and done.stderr.splitlines()[-1] == (
    "itune: generation_kwargs: num_beams other than 1 is not known"
  )


@pytest.mark.parametrize(
  "kwargs, said",
  [
    ({"num_beams": 4}, "num_beams other than 1"),
    ({"max_length": 9, "penalty_alpha": 1}, "max_length, penalty_alpha: not known"),
    ({"do_sample": True}, "needs a temperature above 0"),
    ({"max_gen_toks": 0}, "max_gen_toks = 0"),
    ({"until": [3]}, "texts are wanted"),
    ({"do_sample": True, "temperature": 1.0, "top_p": 2.0}, "top_p"),
  ],
)
def test_arguments_that_are_not_known_are_refused_by_name(kwargs, said):
  with pytest.raises(errors.InputError, match=said):
    lm_eval_answers.plan(kwargs)


def test_aliases_and_neutral_values_are_taken():
  plan = lm_eval_answers.plan({"until": "\n", "max_new_tokens": 7, "temperature": 0.5, "top_k": 3, "num_beams": 1})
  assert (plan.stops, plan.limit, plan.draws, plan.sampling.top_k) == (("\n",), 7, True, 3)
  assert lm_eval_answers.plan({"do_sample": False, "temperature": 0.7}).sampling.temperature == 0
  assert lm_eval_answers.plan({}).limit == huggingface.HFLM.max_gen_toks.fget(None) == 256


@pytest.mark.parametrize(
  "given, said",
  [
    ({"bas": "x"}, "bas: not known"),
    ({"base": "x", "pretrained": "y"}, "base and pretrained are one thing"),
    ({"dtype": "float16"}, "float32 or bfloat16"),
    ({"batch_size": "many"}, "or auto"),
    ({"enable_thinking": True}, "think_end_token"),
    ({"max_length": "9"}, "max_length"),
  ],
)
def test_model_arguments_that_cannot_be_are_refused(given, said):
  with pytest.raises(errors.InputError, match=said):
    lm_eval.api.registry.get_model("itune_jax").create_from_arg_obj(given, {"device": "cuda:0"})


def test_a_pair_without_tokens_and_a_thinking_score_are_refused(here, monkeypatch):
  with pytest.raises(errors.InputError, match="no token"):
    here.loglikelihood([instance.Instance("loglikelihood", {}, ("a", ""), 0)], disable_tqdm=True)
  with pytest.raises(errors.InputError, match="more than the 128"):
    here.loglikelihood([instance.Instance("loglikelihood", {}, ("a", " b" * 129), 0)], disable_tqdm=True)
  thinks = lm_eval_bridge.BridgeLM(here._asked, lm_eval_bridge.Settings(enable_thinking=True, think_end_token="x"))
  with pytest.raises(errors.InputError, match="cannot think"):
    thinks.loglikelihood([], disable_tqdm=True)


def test_names_of_prompts_differ_with_template_and_model(here, tiny_folder, monkeypatch):
  session = api.load(tiny_folder).session
  assert lm_eval_model.asked_of(session).name == here.tokenizer_name
  monkeypatch.setattr(session.tokenizer, "chat_template", session.tokenizer.chat_template + " ")
  assert lm_eval_model.asked_of(session).name != here.tokenizer_name
