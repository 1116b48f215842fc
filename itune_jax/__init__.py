"""itune_jax: instruction tuning of language models in JAX, one loop on one mesh.

Floors, imported strictly downward: core; nn, parallel; models, peft, data, objectives, optim, grading; sampling;
train, evals, synth, select; run; api. `docs/architecture.md` tells what lives where and why.
"""

__version__ = "0.1.0"
