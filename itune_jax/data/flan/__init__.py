"""The FLAN 2022 collection over local data: templates, sub-mixtures, rates."""
