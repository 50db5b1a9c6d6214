"""Kept tasks are the family's own, bit for bit, and each is made once; what does not fit is not kept."""

import pytest
import torch

from msr.episodes import Episodes
from msr.errors import ConfigError
from msr.tasks import KeptTasks, TaskFamily
from tasks import TranslationTasks


class Counting(TaskFamily):
    """Translation tasks, in dictionaries if asked, which note what they were asked for."""

    def __init__(self, n_train=50, nested=False):
        self.family = TranslationTasks(rank=2, length=12, n_train=n_train)
        self.seed = 0
        self.nested = nested
        self.asked = []

    def n_tasks(self, split):
        return self.family.n_tasks(split)

    def episodes(self, split, tasks):
        self.asked += tasks.tolist()
        e = self.family.episodes(split, tasks)
        return Episodes(*({"part": (part,)} for part in e)) if self.nested else e


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_they_are_the_family_s_own_to_the_bit(rank):
    family = TranslationTasks(rank=rank, n_train=200, noise=0.1, seed=3)
    kept = KeptTasks(family)
    for step in range(12):
        tasks = kept.draw("train", step, 32)
        assert torch.equal(tasks, family.draw("train", step, 32))
        assert same(kept.episodes("train", tasks), family.episodes("train", tasks))
    assert same(kept.episodes("test", torch.arange(3)), family.episodes("test", torch.arange(3)))
    torch.testing.assert_close(kept.true_span(), family.true_span(), rtol=0, atol=0)


def test_each_is_made_once(monkeypatch):
    monkeypatch.setattr("msr.tasks.kept._AHEAD", 4)
    counting = Counting()
    kept = KeptTasks(counting)
    for tasks in ([3, 3, 7], [7, 8, 3], [49, 0]):
        kept.episodes("train", torch.tensor(tasks))
    # The first alone, for its size; then those that were not there, and four more each time.
    assert counting.asked == [3, 3, 7, 0, 1, 2, 4, 8, 5, 6, 9, 10, 49, 11, 12, 13, 14]
    kept.episodes("train", torch.arange(15))
    assert len(counting.asked) == 17


def test_a_caller_who_writes_into_them_changes_none_that_are_kept():
    kept = KeptTasks(TranslationTasks(n_train=5))
    before = kept.episodes("train", torch.arange(5)).query_y.clone()
    kept.episodes("train", torch.arange(5)).query_y.zero_()
    assert torch.equal(kept.episodes("train", torch.arange(5)).query_y, before)


def test_trees_of_tensors():
    kept = KeptTasks(Counting(nested=True))
    for _ in range(2):
        e = kept.episodes("train", torch.tensor([4, 2]))
        plain = Counting().episodes("train", torch.tensor([4, 2]))
        assert same([part["part"][0] for part in e], plain)


def test_what_is_too_large_or_has_no_end_is_made_each_time():
    size = sum(part.numel() * 4 for part in Counting().episodes("train", torch.arange(50)))
    # The first task is asked for once more, for its size, where there is an end.
    for n_train, most, calls in ((50, size, 51), (50, size - 1, 5), (None, 2**40, 4)):
        counting = Counting(n_train)
        kept = KeptTasks(counting, most)
        for _ in range(2):
            kept.episodes("train", torch.tensor([1, 2]))
        assert len(counting.asked) == calls


def test_an_index_that_is_not_there_is_refused():
    kept = KeptTasks(TranslationTasks(n_train=5))
    for _ in range(2):
        for index in (5, -1):
            with pytest.raises(ConfigError, match=f"holds 5 tasks; index {index} "):
                kept.episodes("train", torch.tensor([1, index]))
        kept.episodes("train", torch.arange(5))
