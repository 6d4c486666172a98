"""Token lists and tokenization against ESPnet's own tokenizers and id converter."""

import pytest

from espnet_vivit.data.token_list import read_labels, tokenizer, write_token_list
from espnet_vivit.data.transcripts import read_spoken_transcripts
from espnet_vivit.errors import ConfigError, DataError

SENTENCES = [
    "bin blue at f two now",
    "set red by é seven again",
    "lay blue in a nine soon",
    "place white with b one now",
]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "a folder" / "text"
    path.parent.mkdir()
    path.write_text("".join(f"u{n} {sentence}\n" for n, sentence in enumerate(SENTENCES)), encoding="utf-8")
    return path


@pytest.mark.parametrize("token_type", ["char", "word", "bpe"])
def test_espnet_maps_every_transcript_to_known_tokens_and_back(text, tmp_path, token_type):
    from espnet_vivit.espnet_compat import TokenIDConverter, build_tokenizer

    out = tmp_path / "tokens"
    tokens = write_token_list(text, out, token_type=token_type, nbpe=32)
    assert tokens[:2] == ["<blank>", "<unk>"] and tokens[-1] == "<sos/eos>" and len(set(tokens)) == len(tokens)
    assert (out / "tokens.txt").read_text(encoding="utf-8").splitlines() == tokens
    bpemodel = out / "bpe.model" if token_type == "bpe" else None
    espnet_tokenizer = build_tokenizer(token_type, bpemodel)
    converter = TokenIDConverter(token_list=str(out / "tokens.txt"), unk_symbol="<unk>")
    split = tokenizer(token_type, bpemodel)
    for sentence in SENTENCES:
        pieces = espnet_tokenizer.text2tokens(sentence)
        assert split(sentence) == pieces
        ids = converter.tokens2ids(pieces)
        assert 1 not in ids and 0 not in ids
        assert espnet_tokenizer.tokens2text(converter.ids2tokens(ids)) == sentence


def test_the_most_frequent_word_comes_first_and_ties_are_alphabetical(text, tmp_path):
    tokens = write_token_list(text, tmp_path / "tokens", token_type="word")
    assert tokens[2:4] == ["blue", "now"]
    assert tokens[4:-1] == sorted(tokens[4:-1])


def test_the_same_transcripts_give_the_same_sentencepiece_model(text, tmp_path):
    for name in ("first", "second"):
        write_token_list(text, tmp_path / name, token_type="bpe", nbpe=32)
    assert (tmp_path / "first/bpe.model").read_bytes() == (tmp_path / "second/bpe.model").read_bytes()


def test_more_pieces_than_the_text_has_is_an_error_that_leaves_nothing_behind(text, tmp_path):
    with pytest.raises(ConfigError, match="--nbpe"):
        write_token_list(text, tmp_path / "tokens", token_type="bpe", nbpe=5000)
    assert [path.name for path in tmp_path.iterdir()] == ["a folder"]


def test_a_misspelt_token_type_is_told_the_nearest(text, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'word'"):
        write_token_list(text, tmp_path / "tokens", token_type="words")


@pytest.mark.parametrize(("content", "named"), [("", "empty"), ("u1 a\nu2\n", "u2"), ("u1 a\nu1 b\n", "occurs twice")])
def test_bad_transcripts_are_named(tmp_path, content, named):
    path = tmp_path / "text"
    path.write_text(content)
    with pytest.raises(DataError, match=named):
        read_spoken_transcripts(path)


def test_labels_are_those_of_espnets_tokenizer_and_unknown_ones_are_equal(tmp_path):
    from espnet_vivit.espnet_compat import TokenIDConverter, build_tokenizer

    tokens = ["<blank>", "<unk>", "a", "b", "<space>", "<sos/eos>"]
    (tmp_path / "tokens.txt").write_text("\n".join(tokens) + "\n")
    (tmp_path / "text").write_text("u1 ab ba\nu3 xy a\n")
    labels = read_labels(tmp_path / "text", token_type="char", token_list=tmp_path / "tokens.txt", bpemodel=None)
    ids = TokenIDConverter(tokens)
    for utt, text in (("u1", "ab ba"), ("u3", "xy a")):
        assert ids.tokens2ids(labels[utt]) == ids.tokens2ids(build_tokenizer("char").text2tokens(text))
    assert labels["u3"][:2] == ["<unk>", "<unk>"]
