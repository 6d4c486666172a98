"""Which nodes a hypothesis consists of, and what is stored for them, while the search reorders and drops."""

import pytest
import torch

from espnet_vivit.decode import prefix_tree
from espnet_vivit.decode.prefix_tree import NodeMemory, PrefixTree

CLIPS, HEADS, SIZE = 2, 3, 4


@pytest.mark.parametrize("limit", [5, 12, 1000])
@pytest.mark.parametrize("leave", [None, 7])
def test_each_hypothesis_sees_exactly_what_was_stored_for_its_own_tokens(monkeypatch, limit, leave):
    """Random trees of hypotheses; each node stores its name, so that a wrong one is seen. A clip may leave."""
    monkeypatch.setattr(prefix_tree, "FIRST_LIMIT", limit)
    rng = torch.Generator().manual_seed(0)
    tree, memory = PrefixTree(CLIPS, torch.device("cpu")), NodeMemory()
    paths = [[[]] for _ in range(CLIPS)]  # of each clip, for each hypothesis, the names of its nodes
    largest = 0
    for step in range(20):
        count = 1 if step == 0 else int(torch.randint(1, 5, (1,), generator=rng))
        parents = torch.randint(len(paths[0]), (len(paths), count), generator=rng)
        kept = tree.grow(parents)
        if kept is not None:
            memory.keep_nodes(kept)
        names = torch.arange(len(paths) * count).view(len(paths), count) + 100.0 * step
        paths = [
            [[*paths[row][parent], float(name)] for parent, name in zip(parents[row].tolist(), names[row], strict=True)]
            for row in range(len(paths))
        ]
        stored = names[:, None, :, None].expand(-1, HEADS, -1, SIZE)
        keys, values = memory.add(stored, -stored)
        assert torch.equal(keys, -values) and tree.visible.shape == (len(paths), count, keys.size(2))
        largest = max(largest, keys.size(2))
        for row, clip in enumerate(paths):
            for seen, path in zip(tree.visible[row], clip, strict=True):
                for head in range(HEADS):
                    assert sorted(keys[row, head, seen, SIZE - 1].tolist()) == path
        if step == leave:
            tree.keep_clips(torch.tensor([1]))
            memory.keep_clips(torch.tensor([1]))
            paths = paths[1:]
    assert (largest < 40) == (limit < 1000), "nodes of no hypothesis are dropped, and only beyond the limit"
