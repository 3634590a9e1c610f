"""MIBench: which membership inference attack really is stronger, and why papers disagree."""

__version__ = "0.1.0"
