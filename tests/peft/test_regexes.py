"""A pattern that is no regular expression is refused where it is set, not where it is used."""

import pytest

from itune_jax.core import errors
from itune_jax.nn import quant
from itune_jax.peft.methods import full
from itune_jax.peft.methods import ia3
from itune_jax.peft.methods import lora


@pytest.mark.parametrize(
  "make,words",
  [
    (lambda: full.Full(params="("), r"Full.params = '\(' is no regular expression"),
    (lambda: lora.Lora(sites="*"), r"Lora.sites = '\*' is no regular expression"),
    (lambda: lora.Lora(rank_pattern={"[": 2}), r"Lora.rank_pattern = '\[' is no regular expression"),
    (lambda: lora.Lora(alpha_pattern={"[": 2.0}), r"Lora.alpha_pattern = '\['"),
    (lambda: ia3.Ia3(inputs="("), r"Ia3.inputs = '\('"),
    (lambda: quant.Quant(sites="("), r"Quant.sites = '\('"),
  ],
)
def test_patterns(make, words):
  with pytest.raises(errors.InputError, match=words):
    make()
