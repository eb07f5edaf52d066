import numpy as np
import pytest
from scipy import stats

from graphrec.config import ConfigError
from graphrec.evaluation.corrections import CORRECTION_NAMES, CORRECTIONS, benjamini_hochberg, corrected, holm


def test_holm_equals_its_step_down_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(rng.integers(1, 8)).round(2)
        level = rng.choice([0.05, 0.2, 0.5])
        rejected = np.zeros(len(p), dtype=bool)
        for step, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - step) > level:
                break
            rejected[index] = True
        np.testing.assert_array_equal(holm(p) <= level, rejected)


def test_benjamini_hochberg_equals_scipy():
    rng = np.random.default_rng(1)
    for size in (1, 2, 9):
        p = rng.random(size) ** 2
        np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12)


@pytest.mark.parametrize("correction", list(CORRECTIONS))
def test_corrected_values_are_capped_ordered_and_never_smaller(correction):
    p = np.random.default_rng(2).random(20)
    found = corrected(p, correction)
    assert (found >= p).all()
    assert found.max() <= 1
    assert (np.diff(found[np.argsort(p)]) >= 0).all()
    assert corrected([], correction).tolist() == []
    assert corrected([0.3], correction).tolist() == [0.3]
    assert correction in CORRECTION_NAMES


def test_holm_is_never_below_benjamini_hochberg():
    p = np.random.default_rng(3).random(30) ** 3
    assert (holm(p) >= benjamini_hochberg(p) - 1e-15).all()
    assert holm([0.6, 0.5]).tolist() == [1.0, 1.0]


def test_unknown_corrections_and_impossible_values_are_refused():
    with pytest.raises(ConfigError, match="unknown correction 'hollm': did you mean 'holm'"):
        corrected([0.1], "hollm")
    for wrong in ([0.1, 1.2], [-0.1], [np.nan], [[0.1]]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            corrected(wrong)
