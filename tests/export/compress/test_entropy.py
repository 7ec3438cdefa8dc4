"""Code lengths against worked examples and against the bound."""

import numpy as np
import pytest

from edgeseg.export.compress.entropy import counts_of, huffman_bits, shannon_bits


def test_powers_of_two_meet_the_bound():
    assert huffman_bits([8, 4, 2, 1, 1]) == shannon_bits([8, 4, 2, 1, 1]) == 8 + 2 * 4 + 3 * 2 + 4 + 4


def test_an_example_worked_by_hand():
    """a 45, b 13, c 12, d 16, e 9, f 5: 224 bits (Cormen et al., Introduction to Algorithms, on Huffman codes)."""
    assert huffman_bits([45, 13, 12, 16, 9, 5, 0]) == 224


@pytest.mark.parametrize("k", [2, 16, 250])
def test_between_the_bound_and_a_bit_more(k):
    counts = np.random.default_rng(k).integers(1, 1000, k)
    assert shannon_bits(counts) <= huffman_bits(counts) < shannon_bits(counts) + counts.sum()


def test_one_symbol_and_none():
    assert (huffman_bits([7]), shannon_bits([7]), huffman_bits([]), shannon_bits([])) == (7, 0, 0, 0)


def test_floats_differ_by_their_bits():
    assert sorted(counts_of(np.array([0.0, -0.0, 1.5, 1.5], np.float32)).tolist()) == [1, 1, 2]
    assert sorted(counts_of(np.array([[3, 3], [1, 3]], np.int8)).tolist()) == [1, 3]
