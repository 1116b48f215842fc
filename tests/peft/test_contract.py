"""One contract for every method: a row here is what adding a method takes."""

import dataclasses

import jax
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.core import errors
from itune_jax.models import hf
from itune_jax.models import load
from itune_jax.objectives import sft
from itune_jax.peft import base as peft_base
from itune_jax.peft import exchange
from itune_jax.peft import full
from itune_jax.peft import lora
from itune_jax.peft import methods as methods_lib
from itune_jax.peft import tokens
from itune_jax.train import step as step_lib
from tests import tiny

Q, R = 16 * 16, 4  # one attention matrix; the rank
# name: (method, trainable parameters)
TABLE = {
  "full": (full.Full(), 64 * 16 + 16 + 2 * (2 * 16 + 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32)),
  "partial": (full.Full(params=r"blocks/.*_norm/scale"), 2 * 2 * 16),
  "lora": (lora.Lora(rank=R), 2 * R * (2 * 32 + 2 * 24 + 3 * 48)),
  "rslora": (lora.Lora(rank=R, alpha=3.0, rslora=True, sites=r"blocks/\d+/attn/q"), 2 * R * 32),
  "dora": (lora.Lora(rank=R, dora=True), 2 * (R * (2 * 32 + 2 * 24 + 3 * 48) + 16 + 2 * 8 + 16 + 2 * 32 + 16)),
  "some dora": (
    lora.Lora(rank=R, dora=True, rank_pattern={r".*/q": 2}, sites=r"blocks/(1/attn/o|./attn/q)"),
    2 * (2 * 32 + R * 32 // 2 * 2 + 2 * 16),
  ),
  "patterns": (
    lora.Lora(rank=R, rank_pattern={r"blocks/1/.*": 2}, alpha_pattern={r".*/q": 1.0}, sites=r"blocks/\d+/attn/(q|o)"),
    2 * 2 * R * 32,
  ),
  "tokens": (tokens.Tokens(ids=(3, 60)), 2 * 16),
  "one layer": (lora.Lora(rank=R, sites=r"blocks/1/mlp/down"), 2 * R * 48),
}
LAYOUT = hf.Layout("llama")
BATCH = tiny.packed(tiny.examples(12), 32)


def rows():
  return pytest.mark.parametrize("method,count", TABLE.values(), ids=TABLE)


@rows()
def test_contract(method, count, mesh1):
  base = tiny.base(mesh1)
  attached = tiny.attach(base, method)
  # Identity at initialisation: bit for bit, but for rows of a table, which are another (equal) dot product, and for
  # lengths, whose root is taken in another program.
  same = np.asarray(tiny.logits(attached, BATCH)), np.asarray(tiny.logits(base, BATCH))
  rounds = method.name == "tokens" or getattr(method, "dora", False)
  np.testing.assert_allclose(*same, atol=2e-6 if rounds else 0, rtol=0)
  # As many trainable parameters as the formula says (stacked arrays are padded to the largest rank).
  assert sum(int(np.prod(attached.params[n].shape)) for n in attached.trainable) == count
  # Base paths do not change, and base arrays are the same objects.
  assert all(attached.params[n] is v for n, v in base.params.items())
  # Frozen weights have no gradient and no optimizer state: they are no argument of the gradient.
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  bind = tiny.binder(attached.module)
  _, grads = jax.jit(lambda t, f, b: step_lib.gradients(bind, sft.Sft(chunk=16), t, f, b, jax.random.key(0)))(
    trainable, frozen, jax.tree.map(lambda x: x[None], BATCH)
  )
  assert grads.keys() == trainable.keys() and any(np.abs(np.asarray(g)).max() > 0 for g in grads.values())
  # It is data: a checkpoint names it.
  assert methods_lib.from_json(methods_lib.to_json(method)) == method


@rows()
def test_merge_equals_forward(method, count, mesh1):
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), method))
  merged = dataclasses.replace(tiny.base(mesh1), params=peft_base.merge(attached))
  np.testing.assert_allclose(tiny.logits(attached, BATCH), tiny.logits(merged, BATCH), atol=1e-5)


@pytest.mark.parametrize("names", ["lora", "rslora", "dora", "some dora", "patterns", "one layer", "lora+tokens"])
def test_peft_folder_round_trip(names, tmp_path, mesh1):
  given = [TABLE[name][0] for name in names.split("+")]
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), *given))
  exchange.save(str(tmp_path / "a"), attached, LAYOUT, base="somewhere")
  methods, values = exchange.load(str(tmp_path / "a"), attached.module, LAYOUT)
  again = tiny.attach(tiny.base(mesh1), *methods)
  params = {**again.params, **exchange.fill(again, values)}
  np.testing.assert_allclose(tiny.logits(again, BATCH, params=params), tiny.logits(attached, BATCH), atol=1e-6)
  exchange.save(
    str(tmp_path / "b"),
    peft_base.Attached(again.module, params, again.trainable, again.methods),
    LAYOUT,
    base="somewhere",
  )
  assert (tmp_path / "a" / "adapter_model.safetensors").read_bytes() == (
    tmp_path / "b" / "adapter_model.safetensors"
  ).read_bytes()


def test_a_pattern_that_matches_nothing_lists_the_sites():
  with pytest.raises(errors.InputError, match=r"Lora\(sites='.*wq'\) matches no site; sites are .*blocks/attn/q"):
    tiny.attach(tiny.base(), lora.Lora(sites=r".*/wq"))
  with pytest.raises(errors.InputError, match="matches no parameter; parameters are: blocks/"):
    tiny.attach(tiny.base(), full.Full(params="wq"))


@pytest.mark.parametrize(
  "make,words",
  [
    (lambda: lora.Lora(rank="8"), "Lora.rank = '8' .str.; it takes int"),
    (lambda: lora.Lora(rank=0), "must be positive"),
    (lambda: lora.Lora(dropout=1.0), "share in"),
    (lambda: tiny.attach(tiny.base(), lora.Lora(rank=17)), "larger than the matrix"),
    (lambda: tiny.attach(tiny.base(), lora.Lora(sites="(")), "no regular expression"),
    (lambda: tiny.attach(tiny.base(), lora.Lora(), lora.Lora()), "two methods are called the same"),
  ],
)
def test_bad_values_are_refused_in_words(make, words):
  with pytest.raises(errors.InputError, match=words):
    make()


def test_foreign_folders_are_refused_by_name(tmp_path, mesh1):
  attached = tiny.attach(tiny.base(mesh1), lora.Lora(rank=R))
  exchange.save(str(tmp_path / "a"), attached, LAYOUT, base="x")
  config = (tmp_path / "a" / "adapter_config.json").read_text()
  load = lambda: exchange.load(str(tmp_path / "a"), attached.module, LAYOUT)
  (tmp_path / "a" / "adapter_config.json").write_text(config.replace('"LORA"', '"VERA"'))
  with pytest.raises(errors.InputError, match="peft_type is 'VERA'; supported is 'LORA'"):
    load()
  (tmp_path / "a" / "adapter_config.json").write_text(config.replace('"use_dora": false', '"use_dora": true'))
  with pytest.raises(errors.InputError, match="use_dora is set, but blocks/./.* has no lora_magnitude_vector"):
    load()
  (tmp_path / "a" / "adapter_config.json").write_text(config.replace('"bias": "none"', '"bias": "all"'))
  with pytest.raises(errors.InputError, match="bias = 'all' is not supported"):
    load()
  (tmp_path / "a" / "adapter_config.json").write_text(config)
  (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"\0" * 20)
  with pytest.raises(errors.InputError, match="truncated or corrupt"):
    load()


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_leave_the_base_as_it_is(tied, tmp_path, mesh1):
  """Ids behind the vocabulary: the old logits stay, the new ones stand behind; merged, the table is longer."""
  base = tiny.base(mesh1, dataclasses.replace(tiny.CONFIG, tied=tied))
  attached = tiny.randomise(tiny.attach(base, tokens.Tokens(ids=(60, 64, 65)), lora.Lora(rank=R)))
  plain = tiny.attach(base, lora.Lora(rank=R))
  plain = dataclasses.replace(plain, params={n: attached.params[n] for n in plain.params})
  found = np.asarray(tiny.logits(attached, BATCH))
  assert found.shape[-1] == 66
  if 60 not in np.asarray(BATCH.tokens_BT):
    keep = [i for i in range(64) if i != 60]
    np.testing.assert_allclose(found[..., keep], np.asarray(tiny.logits(plain, BATCH))[..., keep], atol=1e-5)
  used = dataclasses.replace(BATCH, tokens_BT=np.where(np.asarray(BATCH.tokens_BT) == 5, 65, BATCH.tokens_BT))
  merged = peft_base.merge(attached)
  grown = load.skeleton(dataclasses.replace(base.cfg, vocab=66))
  load.save_hf(str(tmp_path / "m"), grown, merged)
  again = load.load(str(tmp_path / "m"), mesh=mesh1, rules=axes.DEFAULT_RULES)
  np.testing.assert_allclose(tiny.logits(again, used), tiny.logits(attached, used), atol=1e-5)
  with pytest.raises(errors.InputError, match="must follow it one by one"):
    tiny.attach(base, tokens.Tokens(ids=(64, 66)))
