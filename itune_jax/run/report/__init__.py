"""Pages for a person: the report of a run, and tokens coloured by loss weight."""
