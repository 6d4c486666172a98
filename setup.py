"""For tools that still look for this file; what the package is and needs stands in pyproject.toml."""

from setuptools import setup

setup()
