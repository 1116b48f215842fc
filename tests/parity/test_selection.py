"""Scores against the published formulas, written with torch, on the same logits. Figures are printed (run with -s).

Where the published program is right, the values are equal. Where it is wrong, the test says by how much and why.
"""

import math

import jax
import numpy as np
import pytest
import scipy.special

torch = pytest.importorskip("torch")

from itune_jax.core import pack  # noqa: E402
from itune_jax.data.render import chat  # noqa: E402
from itune_jax.sampling import engine as engine_lib  # noqa: E402
from itune_jax.select.scores import answers  # noqa: E402
from itune_jax.select.scores import gradients  # noqa: E402
from itune_jax.select.scores import ifd  # noqa: E402
from itune_jax.select.scores import nats as nats_lib  # noqa: E402
from itune_jax.select.scores import ratings  # noqa: E402
from tests import tiny  # noqa: E402

pytestmark = pytest.mark.parity


def row(seed):
  """A prompt and an answer of random ids, and the same answer behind another, shorter beginning."""
  rs = np.random.RandomState(seed)
  prompt, header, answer = (rs.randint(0, 64, n).astype(np.int32) for n in (rs.randint(3, 20), 2, rs.randint(2, 15)))
  made = lambda start: pack.Item(
    np.r_[start, answer], (np.arange(len(start) + len(answer)) >= len(start)).astype(np.float32)
  )
  return made(prompt), made(header)


def cherry(logits, item):
  """Cherry_LLM's `get_perplexity_and_embedding_part_text`, then `data_by_IFD.get_loss_part_text`, of given spans."""
  log_softmax, nll_loss = torch.nn.LogSoftmax(dim=-1), torch.nn.NLLLoss(reduction="none")
  ids, losses = torch.tensor(item.ids, dtype=torch.long), []
  for i in range(1, len(ids)):
    losses.append(nll_loss(log_softmax(logits[i - 1]).unsqueeze(0), ids[i].unsqueeze(0)).item())
  start = int(np.flatnonzero(item.weights)[0])
  return np.array(losses[start - 1 :])


def superfiltering(logits, item):
  """`outputs.loss` with the labels in front of the answer at -100, and its exp."""
  labels = torch.tensor(np.where(item.weights != 0, item.ids, -100), dtype=torch.long)
  return math.exp(torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100).item())


def test_ifd_and_superfiltering_on_the_same_logits():
  base = tiny.base()
  engine = engine_lib.Engine(tiny.binder(base.module), base.params, 128, (0,))
  rows = [row(seed) for seed in range(12)]
  flat = [item for pair in rows for item in pair]
  # One row of ids more, so that the last id is read as well and each place has its logits.
  texts = [pack.Item(np.r_[item.ids, 0], np.ones(len(item.ids) + 1, np.float32)) for item in flat]
  logits = tiny.logits(base, tiny.unpacked(texts, 64))
  told = [torch.tensor(np.asarray(logits[i][: len(item.ids)])) for i, item in enumerate(flat)]
  means = np.array([cherry(*one).mean() for one in zip(told, flat, strict=True)]).reshape(-1, 2)
  small = np.array([superfiltering(*one) for one in zip(told, flat, strict=True)]).reshape(-1, 2)
  sums = np.array([one.nats.sum(dtype=np.float64) for one in engine.losses(flat)]).reshape(-1, 2)
  found = nats_lib.Nats(sums[:, 0], sums[:, 1], np.array([float(item.weights.sum()) for item, _ in rows]))
  apart = np.abs(ifd.ratio(found) - means[:, 0] / means[:, 1]).max()
  apart_small = np.abs(ifd.perplexity_ratio(found) - small[:, 0] / small[:, 1]).max()
  print(f"\nIFD {apart:.1e}, Superfiltering {apart_small:.1e} from the published formulas (limit 1e-4)")
  assert max(apart, apart_small) <= 1e-4


def test_where_rfind_and_a_second_tokenisation_are_wrong(smollm2_tokenizer):
  """The published span begins at `len(encode(text[: text.rfind(output)]))`. Where a token joins what stands on both
  sides of that place, it is not the answer's; ours always is."""
  encode = lambda text: smollm2_tokenizer(text, add_special_tokens=False)["input_ids"]

  def published(text, output):
    return smollm2_tokenizer.decode(encode(text)[len(encode(text[: text.rfind(output)])) :])

  assert published("### Response:Red.", "Red.") == "Red."
  joined = published("### Response: \n\nYes, so.", "\n\nYes, so.")
  assert joined != "\n\nYes, so.", "a token straddles the border, and is lost"
  renderer = chat.Renderer(smollm2_tokenizer, chat.Rendering())
  for said in ("\n\nYes, so.", "no means no", " x", "user"):
    asked = [{"role": "user", "content": "Say user."}, {"role": "assistant", "content": said}]
    found = answers.of(renderer, {"messages": asked})
    assert found is not None
    for item in (*found.given, *found.alone):
      assert smollm2_tokenizer.decode(item.ids[item.weights != 0]) == f"{said}<|im_end|>"


def test_deitas_rating_on_the_same_logits():
  """`Scorer.infer_score`: softmax over the logits of the six ratings, times 1 to 6."""
  base = tiny.base()
  engine = engine_lib.Engine(tiny.binder(base.module), base.params, 128, (0,))
  tokens, rs = [5, 9, 13, 17, 21, 25], np.random.RandomState(0)
  prompts = [rs.randint(0, 64, n).tolist() for n in (3, 9, 20, 31)]
  texts = [pack.Item(np.asarray([*ids, 0], np.int32), np.ones(len(ids) + 1, np.float32)) for ids in prompts]
  logits = np.asarray(tiny.logits(base, tiny.unpacked(texts, 64)))
  theirs = [
    float(np.sum(scipy.special.softmax(logits[i, len(ids) - 1, tokens], axis=0) * np.arange(1, 7)))
    for i, ids in enumerate(prompts)
  ]
  scores = engine.score([(ids, [token]) for ids in prompts for token in tokens])
  logp = np.array([one.logprob for one in scores]).reshape(4, 6)
  apart = np.abs(ratings.expectation(logp, np.arange(1.0, 7.0)) - theirs).max()
  print(f"\nDEITA {apart:.1e} from the published formula (limit 1e-4)")
  assert apart <= 1e-4


def test_adams_direction_is_lesss():
  """`obtain_gradients_with_adam`. torch's own AdamW has ε outside of the root and corrects the bias: on cosines the
  first matters where moments are as small as ε, the second not at all."""
  rs = np.random.RandomState(0)
  g, m, v = (torch.tensor(rs.randn(4, 500)), torch.tensor(rs.randn(500)), torch.tensor(rs.rand(500)))
  avg, avg_sq = 0.9 * m + (1 - 0.9) * g, 0.999 * v + (1 - 0.999) * g**2
  theirs = (avg / torch.sqrt(avg_sq + 1e-08)).numpy()
  with jax.enable_x64(True):
    ours = np.asarray(gradients.adam(g.numpy(), m.numpy()[None], v.numpy()[None]))
  assert np.abs(ours - theirs).max() <= 1e-9
  corrected = ((avg / (1 - 0.9**7)) / (torch.sqrt(avg_sq / (1 - 0.999**7)) + 1e-8)).numpy()
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  assert np.abs(unit(theirs) @ unit(theirs).T - unit(corrected) @ unit(corrected).T).max() < 1e-6
