"""Fixtures of the tests that break things; the programs are those of tests/conformance."""

from conformance.fixtures import built, programs

__all__ = ["built", "programs"]
