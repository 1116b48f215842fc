"""Logits, greedy text, exports and tokens against transformers, live. Figures are printed (run with -s)."""

import glob
import json
import os
import re

import numpy as np
import pytest
import tokenizers
import tokenizers.pre_tokenizers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from itune_jax import api  # noqa: E402
from itune_jax.data.render import chat  # noqa: E402
from itune_jax.data import example as example_lib  # noqa: E402
from itune_jax.data.starter import build  # noqa: E402
from itune_jax.peft.methods import lora  # noqa: E402
from tests import tiny  # noqa: E402

# What the peers warn of is theirs.
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TEXT = "The quick brown fox jumps over the lazy dog. Über 1,234 Füchse – 漢字!\n\n\tdef f(x):\n  return x ** 2  # done"


def relative(a, b):
  return float(np.abs(a - b).max() / (b.max() - b.min()))


def torch_logits(model, tokens):
  with torch.no_grad():
    return model(torch.tensor(tokens)).logits.float().numpy()


def torch_greedy(model, ids, count):
  """(tokens, logits) of greedy decoding by hand: `generate` would stop at, or suppress, the end token."""
  tokens, logits, cache, step = [], [], None, torch.tensor([ids])
  with torch.no_grad():
    for _ in range(count):
      out = model(step, past_key_values=cache, use_cache=True)
      cache = out.past_key_values
      logits.append(out.logits[0, -1])
      tokens.append(int(logits[-1].argmax()))
      step = torch.tensor([[tokens[-1]]])
  return tokens, logits


def prompts(count):
  return [row["messages"][-2]["content"] for row in build.split("heldout")][:: 288 // count][:count]


def test_logits_of_the_default_base(ours, theirs):
  tokens = [ours.session.tokenizer(TEXT * 4)["input_ids"]]
  distance = relative(ours.logits(tokens), torch_logits(theirs, tokens))
  print(f"\nlogits against transformers, share of the logit range: {distance:.1e} (limit 1e-3)")
  assert distance <= 1e-3


def test_greedy_continuations(ours, theirs):
  """Equal for 64 tokens, up to the first position whose best two logits are closer than 1e-3."""
  renderer = chat.Renderer(ours.session.tokenizer)
  questions = ["What is the capital of France? Answer in one sentence.", *prompts(19)]
  all_ids = [renderer.prompt_ids([{"role": "user", "content": question}]) for question in questions]
  decode = api.decode_lib.Decode(max_new_tokens=64, batch=10)
  params = ours.session.attached.params
  outputs = api.decode_lib.generate(ours.session.binder, params, all_ids, decode, (), 8192)
  close = equal = 0
  for prompt, ids, out in zip(questions, all_ids, outputs, strict=True):
    wanted, logits = torch_greedy(theirs, ids, 64)
    for i, (a, b) in enumerate(zip(out.tokens, wanted, strict=True)):
      top = torch.topk(logits[i], 2).values
      if float(top[0] - top[1]) < 1e-3:
        close += 1
        break
      assert a == b, f"{prompt!r} differs at token {i}, where the margin is {float(top[0] - top[1]):.2e}"
    else:
      equal += 1
  print(f"\ngreedy: {equal} of 20 prompts identical for 64 tokens, {close} ended at a margin below 1e-3")
  assert equal + close == 20


def test_the_capital_of_france(ours):
  (answer,) = ours.generate(["What is the capital of France? Answer in one sentence."])
  assert answer == "The capital of France is Paris."


def test_exported_base_loads_in_transformers(ours, base_folder):
  model = transformers.AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
  tokens = [ours.session.tokenizer(TEXT)["input_ids"]]
  assert relative(torch_logits(model, tokens), ours.logits(tokens)) <= 1e-4
  tokenizer = transformers.AutoTokenizer.from_pretrained(base_folder)
  assert tokenizer.chat_template == ours.session.tokenizer.chat_template and tokenizer(TEXT)["input_ids"] == tokens[0]


def trained(ours, method):
  attached = tiny.randomise(ours.attach(method).session.attached, scale=0.02)
  return api.Model(ours.attach(method).session.with_arrays({n: attached.params[n] for n in attached.trainable}))


@pytest.mark.parametrize(
  "method",
  [
    lora.Lora(rank=8),
    lora.Lora(rank=8, rslora=True, alpha=4.0),
    lora.Lora(
      rank=8,
      rank_pattern={r"blocks/[0-9]/.*": 3},
      alpha_pattern={r".*/q": 5.0},
      sites=r"blocks/\d+/(attn/[qo]|mlp/down)",
    ),
    lora.Lora(rank=4, sites=r"blocks/2\d/mlp/up"),
    lora.Lora(rank=8, dora=True),
  ],
  ids=["plain", "rslora", "patterns", "some layers", "dora"],
)
def test_adapter_in_peft(ours_hf, base_folder, tmp_path, method):
  peft = pytest.importorskip("peft")
  model = trained(ours_hf, method)
  api.export_peft(model, str(tmp_path / "a"))
  base = transformers.AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
  loaded = peft.PeftModel.from_pretrained(base, str(tmp_path / "a")).eval()
  tokens = [ours_hf.session.tokenizer(TEXT)["input_ids"]]
  expected = model.logits(tokens)
  distance = relative(torch_logits(loaded, tokens), expected)
  moved = relative(ours_hf.logits(tokens), expected)
  loaded.save_pretrained(str(tmp_path / "b"))
  back = api.load(base_folder, adapter=str(tmp_path / "b"))
  again = relative(back.logits(tokens), expected)
  print(f"\nadapter in peft: {distance:.1e}; back from peft: {again:.1e} (limit 1e-4; it moves logits by {moved:.2f})")
  assert distance <= 1e-4 and again <= 1e-4 and moved > 0.01


def test_merged_export_in_transformers(ours, tmp_path):
  model = trained(ours, lora.Lora(rank=8))
  manifest = api.export_hf(model, str(tmp_path / "m"), merge=True)
  loaded = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "m"), dtype=torch.float32).eval()
  tokens = [ours.session.tokenizer(TEXT)["input_ids"]]
  distance = relative(torch_logits(loaded, tokens), model.logits(tokens))
  print(
    f"\nmerged export in transformers: {distance:.1e} (limit 1e-4); its own check said {manifest['logit_parity']:.1e}"
  )
  assert distance <= 1e-4


def strings(itune_data):
  """5,000 real strings of several languages and kinds, and awkward ones."""
  found = [
    "",
    " ",
    "\n",
    "a  b",
    "1234567",
    "\u00a0x",
    "don't I'LL",
    "<|im_end|> <|im_start|>x",
    "\r\n\t",
    "🙂👩‍👩‍👧",
    "ﬁ İ ß",
  ]
  for name in (
    "gsm8k/train_first1500.jsonl",
    "mgsm/*.tsv",
    "mbpp/*.jsonl",
    "xcopa/*.jsonl",
    "alpaca_eval/*.json",
    "self_instruct/*.jsonl",
  ):
    for file in sorted(glob.glob(f"{itune_data}/{name}")):
      with open(file, encoding="utf-8") as f:
        found += [line[:600] for line in f.read().splitlines() if line.strip()]
  assert len(found) >= 5000
  return found[:11] + found[11 :: max(1, (len(found) - 11) // 4989)][: 4989 + 200]


def test_tokenizer_equals_transformers_own_reading_of_the_file(ours, smollm2_path, itune_data):
  """transformers reads vocabulary and merges alike, but drops the rule of the file's kind `smollm` that digits stand
  alone: its ids differ where several spaces precede a digit. With that rule put back they are equal everywhere."""
  folder, name = os.path.split(smollm2_path)
  reference = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
  texts = strings(itune_data)
  mine = ours.session.tokenizer(texts, add_special_tokens=False)["input_ids"]
  as_is = reference(texts, add_special_tokens=False)["input_ids"]
  differ = [t for t, a, b in zip(texts, mine, as_is, strict=True) if a != b]
  assert all(re.search(r"\s\s\d", t) for t in differ), differ[:3]
  digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
  byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  reference.backend_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([digits, byte_level])
  theirs = reference(texts, add_special_tokens=False)["input_ids"]
  print(
    f"\ntokenizer: {len(texts)} strings, 0 differ with the digits rule; {len(differ)} as transformers reads the file"
  )
  assert len(texts) >= 5000 and mine == theirs


# Ends its turns with nothing: the model would have to be stopped by the next role's token. Refused by design.
NO_TERMINATOR = {"glm4moe"}
# Have answers generated behind an open <think>, and strip the thinking of every answer that they are given: what they
# would generate cannot be trained. Refused by design.
STRIPS_THINKING = {"deepseek_r1_distill", "deepseekv3"}
# The same prompt, but thinking that is given is shown: answers without any are refused one by one.
THINKS = "nemotron"


def test_every_template_of_trl(ours):
  trl = pytest.importorskip("trl")
  files = sorted(glob.glob(os.path.join(os.path.dirname(trl.__file__), "chat_templates", "*.jinja")))
  files = [f for f in files if not f.endswith("_training.jinja")]
  tokenizer, original = ours.session.tokenizer, ours.session.tokenizer.chat_template
  turns = (("user", "Hi there"), ("assistant", "Hello, friend."), ("user", "Bye"), ("assistant", "See you\nsoon"))
  made = lambda think: example_lib.Example(
    messages=tuple({"role": r, "content": c} | (think if r == "assistant" else {}) for r, c in turns)
  )
  exact, refused = 0, []
  try:
    for file in files:
      with open(file, encoding="utf-8") as f:
        tokenizer.chat_template = f.read()
      name = os.path.basename(file).removesuffix(".jinja")
      try:
        renderer = chat.Renderer(tokenizer)
      except ValueError as e:
        refused.append((name, str(e)))
        continue
      plain = made({})
      text, spans, _ = renderer.spans(plain, plain.messages)
      assert text == renderer.text(plain.messages), name
      for (start, end, _), answer in zip(spans, ("Hello, friend.", "See you\nsoon"), strict=True):
        behind = text[start:end].split(answer)
        assert len(behind) == 2 and behind[1].strip() and "user" not in behind[1], (name, text[start:end])
      begun = [*plain.messages[:3], {"role": "assistant", "content": "See you\nso"}]
      ours_is = renderer.template()
      how = dict(chat_template=ours_is.source, continue_final_message=True, tokenize=True, return_dict=False)
      theirs = tokenizer.apply_chat_template(ours_is._plain(begun), **how)
      assert renderer.prompt_ids(begun) == theirs, name
      trained, plain = set(), made({"reasoning_content": "So."} if name.startswith(THINKS) else {})
      for row in renderer.render(plain):  # each answer behind the ids of its prompt, as it would be generated
        edges = np.flatnonzero(np.diff(np.r_[0, row.weights != 0, 0])).reshape(-1, 2)
        for first, last in edges:
          before = next(t for t in (1, 3) if renderer.prompt_ids(plain.messages[:t]) == row.ids[:first].tolist())
          said = tokenizer.decode(row.ids[first:last])
          assert plain.messages[before]["content"] in said and said.rstrip().endswith(renderer.terminator), name
          trained.add(before)
      assert trained == {1, 3}, name
      exact += 1
  finally:
    tokenizer.chat_template = original
  print(f"\ntrl's templates: {exact} of {len(files)} rendered and masked, refused: {[n for n, _ in refused]}")
  assert {n for n, _ in refused} == NO_TERMINATOR | STRIPS_THINKING, refused
  assert exact + len(refused) == len(files) >= 41


def test_loglikelihood_equals_lm_eval(ours, base_folder):
  models = pytest.importorskip("lm_eval.models.huggingface")
  instance = pytest.importorskip("lm_eval.api.instance")
  pairs = [
    ("The capital of France is", " Paris"),
    ("Two plus two is ", "four"),
    ("", "Hello there"),
    ("Water is\n", " wet and  cold"),
    ("a", "b c"),
  ]
  lm = models.HFLM(pretrained=base_folder, device="cpu", dtype="float32", batch_size=1)
  requests = [instance.Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
  found = lm.loglikelihood(requests)
  for pair, (a, greedy), (b, is_greedy) in zip(pairs, ours.loglikelihood(pairs), found, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-3, err_msg=str(pair))
    assert greedy == is_greedy
  print(
    "\nlog-likelihoods against lm-eval:",
    json.dumps([round(abs(a[0] - b[0]), 6) for a, b in zip(ours.loglikelihood(pairs), found, strict=True)]),
  )


@pytest.mark.parametrize("kind,limit", [("int8", 0.02), ("nf4", 0.25)])
def test_a_quantised_base_stays_close(ours, kind, limit):
  """How far the logits of the real model move, and how many bytes its kernels take."""
  packed = api.load("smollm2-135m-instruct", quant=api.quant_lib.Quant(kind=kind))
  tokens = [ours.session.tokenizer(TEXT * 2)["input_ids"]]
  expected, found = ours.logits(tokens), packed.logits(tokens)
  moved = relative(found, expected)
  shift = float(np.abs(found - expected).mean() / (expected.max() - expected.min()))
  agree = float((found.argmax(-1) == expected.argmax(-1)).mean())
  size = lambda m: sum(v.nbytes for n, v in m.session.base.params.items() if "/kernel" in n)
  figures = {"largest": round(moved, 4), "mean": round(shift, 4), "same_next_token": round(agree, 3)}
  print("\n" + json.dumps({"kind": kind, "bytes_of_float32": round(size(packed) / size(ours), 3), **figures}))
  assert shift < limit / 5 and moved < limit * 2
