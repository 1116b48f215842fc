"""Sampling controls against transformers' own processors, in its order, on random logits."""

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from itune_jax.sampling.decode import choose  # noqa: E402
from itune_jax.sampling.decode import controls  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
V, PROMPT, STOPS = 211, 12, [3, 150]


def settings(rs) -> controls.Sampling:
  """Random ones, each off in half of the cases."""
  some = lambda value, none: value if rs.rand() < 0.5 else none
  return controls.Sampling(
    temperature=float(rs.uniform(0.2, 2)),
    top_p=some(float(rs.uniform(0.05, 1)), 1.0),
    top_k=some(int(rs.randint(1, 300)), 0),
    min_p=some(float(rs.uniform(0, 0.5)), 0.0),
    repetition_penalty=some(float(rs.uniform(0.5, 2)), 1.0),
    banned=some(tuple(rs.randint(0, V, rs.randint(1, 30)).tolist()), ()),
    min_new_tokens=int(rs.randint(0, 9)),
  )


def theirs(how: controls.Sampling, ids, logits):
  """`GenerationMixin._get_logits_processor`, for one row."""
  generation = transformers.GenerationConfig(
    do_sample=True,
    temperature=how.temperature,
    top_p=how.top_p,
    top_k=how.top_k or None,
    min_p=how.min_p or None,
    repetition_penalty=how.repetition_penalty,
    suppress_tokens=list(how.banned) or None,
    min_new_tokens=how.min_new_tokens,
    eos_token_id=STOPS,
  )
  generation._eos_token_tensor = torch.tensor(STOPS)
  model = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(vocab_size=V, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
  )
  processors = model._get_logits_processor(generation, PROMPT, torch.tensor(ids)[None, :PROMPT], device="cpu")
  return processors(torch.tensor(ids)[None], torch.tensor(logits)[None])[0].softmax(-1).numpy()


def test_what_is_drawn_from_is_what_transformers_draws_from():
  rs, worst = np.random.RandomState(0), 0.0
  given = [settings(rs) for _ in range(60)]
  said = [rs.randint(0, V, rs.randint(0, 12)).tolist() for _ in given]
  prompts = [rs.randint(0, V, PROMPT).tolist() for _ in given]
  logits = (rs.randn(len(given), V) * 4).astype(np.float32)
  made, seen = controls.of_rows(given, controls.kind_of(given)), np.zeros((len(given), V), bool)
  counts = np.zeros((len(given), V), np.int32)
  for row in range(len(given)):
    seen[row, prompts[row]] = True
    np.add.at(counts[row], said[row], 1)
  made = made._replace(penalties=made.penalties._replace(seen_BV=seen, counts_BV=counts))
  edited = choose.edited(jnp.asarray(logits), made, jnp.asarray(list(map(len, said))), jnp.asarray(STOPS))
  scores = np.asarray(choose.warped(edited, *map(jnp.asarray, made[:4]), jnp.ones(len(given), bool)))
  ours = np.exp(scores - scores.max(-1, keepdims=True))
  ours /= ours.sum(-1, keepdims=True)
  for row, how in enumerate(given):
    expected = theirs(how, prompts[row] + said[row], logits[row])
    assert ((ours[row] > 0) == (expected > 0)).all(), how
    worst = max(worst, float(np.abs(ours[row] - expected).max()))
  print(f"sampling controls: 60 random settings, largest difference of a probability {worst:.1e} (limit 1e-5)")
  assert worst <= 1e-5
