"""Every family against transformers, live, on tiny random models: the figures of docs/models.md."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.core import rng  # noqa: E402
from itune_jax.models.hf import layout as layout_lib  # noqa: E402
from itune_jax.models import load  # noqa: E402
from itune_jax.peft import attach  # noqa: E402
from itune_jax.peft.folders import exchange  # noqa: E402
from itune_jax.peft.methods import lora  # noqa: E402
from itune_jax.nn import skeleton  # noqa: E402
from tests import tiny  # noqa: E402
from tests.models import families  # noqa: E402
from tests.parity.families import common  # noqa: E402
from tests.parity.families.common import FORWARD, GRADIENT, record, relative  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
T = 40
AUTO = transformers.AutoModelForCausalLM


def tokens_of(vocab):
  return np.random.RandomState(0).randint(3, vocab, (2, T)).astype(np.int32)


@pytest.fixture(scope="module", params=list(families.CASES))
def pair(request, tmp_path_factory):
  theirs = common.make_theirs(families.CASES[request.param], AUTO)
  folder = tmp_path_factory.mktemp(request.param) / "hf"
  theirs.save_pretrained(folder)
  ours = common.open_ours(folder)
  yield request.param, theirs, ours, folder
  print(common.line(request.param))


def test_forward(pair):
  case, theirs, ours, _ = pair
  tokens = tokens_of(theirs.config.vocab_size)
  with torch.no_grad():
    expected = theirs(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
  record(case, "forward", relative(tiny.logits(ours, common.rows_of(tokens)), expected), FORWARD)


def test_cached_decoding(pair):
  """Prefill of a third, then token by token, against transformers doing the same."""
  case, theirs, ours, _ = pair
  tokens = tokens_of(theirs.config.vocab_size)
  start = T // 3
  bind = tiny.binder(ours.module)
  cache = ours.module.empty_cache(2, 64)
  run = jax.jit(lambda params, batch, cache: _decode(bind(params), batch, cache))
  found, expected, past = [], [], None
  for at in [slice(0, start), *(slice(t, t + 1) for t in range(start, T))]:
    batch = jax.tree.map(lambda x, at=at: jnp.asarray(x[:, at]), common.rows_of(tokens))
    logits, cache = run(ours.params, batch, cache)
    found.append(logits)
    with torch.no_grad():
      out = theirs(torch.tensor(tokens[:, at], dtype=torch.long), past_key_values=past, use_cache=True)
    past = out.past_key_values
    expected.append(out.logits.numpy())
  record(case, "cached", relative(np.concatenate(found, 1), np.concatenate(expected, 1)), FORWARD)


def _decode(model, batch, cache):
  ctx = model.context(batch)
  hidden, cache = model.decode(batch.tokens_BT, ctx, cache)
  return model.project(hidden, ctx), cache


def test_export(pair, tmp_path):
  case, theirs, ours, _ = pair
  tokens = tokens_of(theirs.config.vocab_size)
  worst = 0.0
  for config_json in (ours.config_json, None):  # the config it came with, and one written from ours
    folder = tmp_path / f"out{config_json is None}"
    load.save_hf(str(folder), ours.module, ours.params, config_json=config_json)
    again = common.reload(AUTO, folder)
    with torch.no_grad():
      moved = again(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
      expected = theirs(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
    worst = max(worst, relative(moved, expected))
  record(case, "export", worst, FORWARD)


def test_gradients(pair):
  """Of the mean next-token loss with respect to an embedding, a matrix inside the stack, and the last norm."""
  case, theirs, ours, _ = pair
  tokens = tokens_of(theirs.config.vocab_size)
  rows = {row.ours: row for row in layout_lib.parameters(ours.params, ours.cfg, skeleton.sites(ours.module))}
  down = next(n for n in rows if "/mlp/" in n and n.endswith("down/kernel"))
  chosen = ["embed/table", down, "norm/scale"]
  bind, batch = tiny.binder(ours.module), common.rows_of(tokens)

  def loss(some):
    model = bind({**ours.params, **some})
    ctx = model.context(batch)
    logits = model.project(model.hidden(batch.tokens_BT, ctx)[0], ctx)[:, :-1]
    target = jax.nn.one_hot(tokens[:, 1:], logits.shape[-1])
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), -1))

  grads = jax.jit(jax.grad(loss))({n: ours.params[n] for n in chosen})
  theirs.zero_grad()
  long = torch.tensor(tokens, dtype=torch.long)
  logits = theirs(long).logits[:, :-1]
  torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), long[:, 1:].reshape(-1)).backward()
  expected = their_gradients(theirs)
  worst = 0.0
  for name in chosen:
    row = rows[name]
    for at, their_name in zip(np.ndindex(*row.lead), row.theirs, strict=True):
      ours_g, theirs_g = row.to_hf(np.asarray(grads[name])[at]), expected[their_name]
      if np.abs(theirs_g).max() > 0:
        worst = max(worst, float(np.linalg.norm(ours_g - theirs_g) / np.linalg.norm(theirs_g)))
  record(case, "gradient", worst, GRADIENT)


def their_gradients(model):
  """By the names on disk: transformers fuses experts in memory."""
  found = {}
  for name, p in model.named_parameters():
    grad = np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy()
    if name.endswith("experts.down_proj"):
      layer = name.removesuffix(".experts.down_proj")
      mixtral = model.config.model_type == "mixtral"
      stem = layer.replace(".mlp", ".block_sparse_moe") if mixtral else layer
      found |= {f"{stem}.experts.{e}.{'w2' if mixtral else 'down_proj'}.weight": g for e, g in enumerate(grad)}
    found[name] = grad
  return found


def test_lora_through_peft(pair, tmp_path):
  """Our adapter in peft, and peft's file back here."""
  case, theirs, ours, folder = pair
  tokens = tokens_of(theirs.config.vocab_size)
  layout = layout_lib.Layout(ours.cfg.family)
  method = lora.Lora(rank=3, alpha=12.0, sites=r"blocks/.*(attn|mlp)/.*(?<!router)")
  attached = tiny.randomise(
    attach.attach(ours.module, ours.params, (method,), rng.root(0), mesh=tiny.mesh(1)), scale=0.2
  )
  exchange.save(str(tmp_path / "a"), attached, layout, base=str(folder))
  base = AUTO.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
  model = peft.PeftModel.from_pretrained(base, str(tmp_path / "a")).eval()
  with torch.no_grad():
    expected = model(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
  batch = common.rows_of(tokens)
  plain, found = np.asarray(tiny.logits(ours, batch)), np.asarray(tiny.logits(attached, batch))
  assert np.abs(found - plain).max() > 0.01 * (plain.max() - plain.min())
  worst = relative(found, expected)
  methods, values = exchange.load(str(tmp_path / "a"), ours.module, layout)
  again = attach.attach(ours.module, ours.params, methods, rng.root(1), mesh=tiny.mesh(1))
  params = {**again.params, **exchange.fill(again, values)}
  worst = max(worst, relative(tiny.logits(again, batch, params=params), found))
  record(case, "lora", worst, FORWARD)
