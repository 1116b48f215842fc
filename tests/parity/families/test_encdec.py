"""Encoder-decoders against transformers: packed rows of source and target against its two inputs."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.core import batch as batch_lib  # noqa: E402
from itune_jax.core import pack  # noqa: E402
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
AUTO = transformers.AutoModelForSeq2SeqLM
LENGTHS = ((14, 10), (9, 17))  # of source and target


def examples():
  rs = np.random.RandomState(0)
  return [(rs.randint(2, 96, n).astype(np.int32), rs.randint(2, 96, m).astype(np.int32)) for n, m in LENGTHS]


def packed():
  """Both examples in one row."""
  items = [
    (np.r_[x, y].astype(np.int32), np.r_[np.zeros(len(x)), np.ones(len(y))].astype(np.float32)) for x, y in examples()
  ]
  return pack.fill([items], 64)


def theirs_logits(model):
  """Their logits at the positions of every target, one behind the other."""
  found = []
  for x, y in examples():
    start = np.r_[0, y[:-1]]
    found.append(model(torch.tensor(x[None]).long(), decoder_input_ids=torch.tensor(start[None]).long()).logits[0])
  return torch.cat(found)


def ours_logits(model, params=None):
  batch = packed()
  return np.asarray(tiny.logits(model, batch, params=params))[0][np.asarray(batch.weights_BT)[0] > 0]


@pytest.fixture(scope="module", params=[*families.ENCDEC, "t5-untied"])
def pair(request, tmp_path_factory):
  name = request.param.replace("untied", "v1.1")
  theirs = common.make_theirs(families.ENCDEC[name], AUTO)
  if request.param == "t5-untied":
    theirs.config.tie_word_embeddings = False
    theirs.lm_head.weight = torch.nn.Parameter(torch.randn(96, 32) * 0.3)
  folder = tmp_path_factory.mktemp(request.param) / "hf"
  theirs.save_pretrained(folder)
  ours = common.open_ours(folder)
  assert ours.cfg.tied == (request.param != "t5-untied")
  yield request.param, theirs, ours, folder
  print(common.line(request.param))


def test_forward(pair):
  case, theirs, ours, _ = pair
  with torch.no_grad():
    expected = theirs_logits(theirs).numpy()
  record(case, "forward", relative(ours_logits(ours), expected), FORWARD)


def test_cached_decoding(pair):
  """Both sources are prefilled from one packed row; then every target goes on alone, token by token."""
  case, theirs, ours, _ = pair
  bind, cache = tiny.binder(ours.module), ours.module.empty_cache(2, 32)
  sources = pack.fill([[(np.r_[x, 0].astype(np.int32), np.zeros(len(x) + 1, np.float32)) for x, _ in examples()]], 64)
  rows_BT = np.where(np.asarray(sources.segments_BT) == 2, 1, 0)

  @jax.jit
  def step(params, batch, cache, rows_BT=None):
    model = bind(params)
    ctx = model.context(batch, cache_rows_BT=rows_BT)
    hidden, cache = model.decode(batch.tokens_BT, ctx, cache)
    return model.project(hidden, ctx), cache

  logits, cache = step(ours.params, sources, cache, rows_BT)
  (n0, m0), (n1, m1) = LENGTHS
  found = [[logits[0, n0 - 1]], [logits[0, n0 + n1 - 1]]]
  for t in range(max(m0, m1) - 1):
    tokens = np.array([[y[min(t, len(y) - 1)]] for _, y in examples()], np.int32)
    batch = batch_lib.Batch(
      jnp.asarray(tokens), None, None, jnp.ones((2, 1), jnp.int32), jnp.asarray([[n0 + t], [n1 + t]])
    )
    logits, cache = step(ours.params, batch, cache)
    for row, m in enumerate((m0, m1)):
      if t < m - 1:
        found[row].append(logits[row, 0])
  with torch.no_grad():
    expected = theirs_logits(theirs).numpy()
  record(case, "cached", relative(np.stack(found[0] + found[1]), expected), FORWARD)


def test_export(pair, tmp_path):
  case, theirs, ours, _ = pair
  worst = 0.0
  for config_json in (ours.config_json, None):
    folder = tmp_path / f"out{config_json is None}"
    load.save_hf(str(folder), ours.module, ours.params, config_json=config_json)
    again = common.reload(AUTO, folder)
    with torch.no_grad():
      worst = max(worst, relative(theirs_logits(again).numpy(), theirs_logits(theirs).numpy()))
  record(case, "export", worst, FORWARD)


def test_gradients(pair):
  """Of the mean loss, with respect to the table, a matrix of each stack, and the relative bias."""
  case, theirs, ours, _ = pair
  rows = {row.ours: row for row in layout_lib.parameters(ours.params, ours.cfg, skeleton.sites(ours.module))}
  chosen = ["embed/table", "encoder/mlp/down/kernel", "decoder/cross/q/kernel", "decoder_bias/table/table"]
  bind, batch = tiny.binder(ours.module), packed()

  def loss(some):
    model = bind({**ours.params, **some})
    ctx = model.context(batch)
    nll = -jax.nn.log_softmax(model.project(model.hidden(batch.tokens_BT, ctx)[0], ctx))
    return jnp.sum(jnp.take_along_axis(nll, batch.targets_BT[..., None], -1)[..., 0] * batch.weights_BT)

  grads = jax.jit(jax.grad(loss))({n: ours.params[n] for n in chosen})
  theirs.zero_grad()
  targets = torch.tensor(np.concatenate([y for _, y in examples()])).long()
  torch.nn.functional.cross_entropy(theirs_logits(theirs), targets, reduction="sum").backward()
  expected = {name: p.grad.numpy() for name, p in theirs.named_parameters() if p.grad is not None}
  worst = 0.0
  for name in chosen:
    row = rows[name]
    for at, their_name in zip(np.ndindex(*row.lead), row.theirs, strict=True):
      ours_g, theirs_g = row.to_hf(np.asarray(grads[name])[at]), expected[their_name]
      worst = max(worst, float(np.linalg.norm(ours_g - theirs_g) / np.linalg.norm(theirs_g)))
  record(case, "gradient", worst, GRADIENT)


def test_lora_through_peft(pair, tmp_path):
  case, theirs, ours, folder = pair
  layout = layout_lib.Layout(ours.cfg.family)
  method = lora.Lora(rank=3, alpha=12.0, sites=r"(encoder|decoder)/\d+/(attn|cross|mlp)/\w+")
  attached = tiny.randomise(
    attach.attach(ours.module, ours.params, (method,), rng.root(0), mesh=tiny.mesh(1)), scale=0.2
  )
  exchange.save(str(tmp_path / "a"), attached, layout, base=str(folder))
  base = AUTO.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
  model = peft.PeftModel.from_pretrained(base, str(tmp_path / "a")).eval()
  with torch.no_grad():
    expected = theirs_logits(model).numpy()
  plain, found = ours_logits(ours), ours_logits(attached)
  assert np.abs(found - plain).max() > 0.01 * (plain.max() - plain.min())
  worst = relative(found, expected)
  methods, values = exchange.load(str(tmp_path / "a"), ours.module, layout)
  again = attach.attach(ours.module, ours.params, methods, rng.root(1), mesh=tiny.mesh(1))
  worst = max(worst, relative(ours_logits(again, {**again.params, **exchange.fill(again, values)}), found))
  record(case, "lora", worst, FORWARD)
