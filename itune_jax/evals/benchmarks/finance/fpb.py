"""Financial PhraseBank (Malo et al. 2014): the sentiment of sentences from financial news, in PIXIU's form."""

from itune_jax.evals.benchmarks.finance import sentiment

SET = sentiment.Set("fpb", "fpb_*.jsonl|test*.parquet", ("positive", "neutral", "negative"))
BENCHMARK = sentiment.published(SET, "Financial PhraseBank", "CC BY-SA 3.0", 0)
