"""Data that is no file of rows: tasks of SeqIO, TFDS, datasets of Grain, collections. Read once, then kept as rows."""
