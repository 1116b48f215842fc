"""What a model that is in use is asked and answers, against what it was at first."""
