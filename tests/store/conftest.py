"""Lets the shipped contract show the values that differ."""

import pytest

pytest.register_assert_rewrite("evolvent.testing.store_contract")
