"""One form for what is written in several, schemas, labels, missing fields, joins and tags."""
