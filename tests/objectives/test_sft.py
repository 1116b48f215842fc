"""Normalisation and NEFTune are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.objectives import sft
from tests import tiny


def test_example_normalisation_weighs_every_example_alike():
  batch = tiny.packed(tiny.examples(9), 40)
  weights = np.asarray(sft.Sft(normalise="example").weights(jax.tree.map(jnp.asarray, batch)))
  for b in range(len(weights)):
    for s in range(1, batch.segments_BT[b].max() + 1):
      np.testing.assert_allclose(weights[b, batch.segments_BT[b] == s].sum(), 1, rtol=1e-5)


def test_neftune_scales_with_the_segment_and_not_the_row():
  segments = jnp.asarray([[1] * 4 + [2] * 16 + [0] * 4])
  scale = np.asarray(sft._neftune(segments, None, 5.0))[0]
  np.testing.assert_allclose(scale[[0, 4, 23]], [5 / 2, 5 / 4, 0], rtol=1e-5)


def test_unknown_normalisation_is_refused_in_words():
  with pytest.raises(ValueError, match="Sft.normalise = 'tokens'.*one of 'token', 'example'"):
    sft.Sft(normalise="tokens")
