"""Metadata is in setup.cfg; this file lets older tools install in place."""
import setuptools

setuptools.setup()
