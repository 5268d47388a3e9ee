# SPDX-License-Identifier: Apache-2.0
"""Any sequence of commands, edits, kills and damage leaves what a plain model says."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.hostile.model.machine import Diverging


def test_host_and_model_never_diverge() -> None:
    run_state_machine_as_test(
        Diverging,
        settings=settings(
            max_examples=30,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
