"""FiQA-SA (Maia et al. 2018): the sentiment of financial posts and headlines, in PIXIU's form."""

from itune_jax.evals.benchmarks.finance import sentiment

SET = sentiment.Set("fiqa_sa", "fiqasa_*.jsonl|test*.parquet", ("negative", "positive", "neutral"))
BENCHMARK = sentiment.published(SET, "FiQA-SA", "public, as PIXIU states", 0)
