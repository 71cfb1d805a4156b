import torch
from torch.nn import functional

from metaflow_hpo.learners.text.networks import Attention, Bag, Shorten, drop_tokens, pool


def test_a_bag_weighs_embeddings_by_rarity_and_words_as_much_as_characters() -> None:
    bag = Bag(torch.tensor([3.0, 4.0, 7.0]), torch.tensor([0, 0, 1]), 5, 0.0, 2)
    tokens = torch.tensor([[2, 4, 3], [3, 0, 0], [0, 0, 0]], dtype=torch.int32)
    mixed = torch.stack([0.6 * bag.table[2] + 0.8 * bag.table[3] + bag.table[4], bag.table[3], torch.zeros(5)])
    torch.testing.assert_close(bag(tokens), bag.out(mixed))


def test_pooling_looks_at_what_is_there_only() -> None:
    states = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert pool(states, torch.tensor([[True, True, False]])).tolist() == [[2.0, 3.0]]


def test_attention_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    own, theirs = Attention(8, 2, 0.0), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    x, present = torch.randn(3, 5, 8), torch.tensor([[True] * 3 + [False] * 2] * 3)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(own.asked.weight)
        theirs.in_proj_bias.copy_(own.asked.bias)
        theirs.out_proj.weight.copy_(own.answer.weight)
        theirs.out_proj.bias.copy_(own.answer.bias)
    y = own.before(x)
    seen = x + theirs(y, y, y, key_padding_mask=~present, need_weights=False)[0]
    expected = seen + own.network(own.between(seen))
    torch.testing.assert_close(own(x, present), expected, atol=1e-5, rtol=1e-5)


def test_attention_does_not_see_padding() -> None:
    torch.manual_seed(0)
    layer = Attention(8, 2, 0.0)
    x, present = torch.randn(1, 4, 8), torch.tensor([[True, True, False, False]])
    changed = x.clone()
    changed[:, 2:] = 7.0
    torch.testing.assert_close(layer(x, present)[:, :2], layer(changed, present)[:, :2])


def test_four_characters_become_one_step() -> None:
    x, present = torch.randn(2, 10, 6), torch.ones(2, 10, dtype=torch.bool)
    shorter, there = Shorten(6, of_characters=True)(x, present)
    assert shorter.shape == (2, 3, 6)
    assert there.shape == (2, 3)
    same, _ = Shorten(6, of_characters=False)(x, present)
    assert same is x


def test_a_share_of_the_tokens_is_dropped_and_padding_stays() -> None:
    tokens = torch.full((200, 100), 5, dtype=torch.int32)
    tokens[:, 50:] = 0
    dropped = drop_tokens(tokens.clone(), 0.25, 1, torch.Generator().manual_seed(0))
    assert abs(float((dropped[:, :50] == 1).double().mean()) - 0.25) < 0.02
    assert not dropped[:, 50:].any()
    assert functional.one_hot(dropped.long(), 6).sum().item() == dropped.numel()
