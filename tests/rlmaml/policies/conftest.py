import pytest

pytest.register_assert_rewrite("tests.rlmaml.policies.contract")
