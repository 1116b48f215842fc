"""Losses of models that judge text: a head that scores sits on a decoder (`Model.scores`)."""
