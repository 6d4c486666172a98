"""`vivit_encoder` as the frontend of a model that is ESPnet's own: its Conformer, its decoder, its loss.

    python examples/vivit_in_your_espnet_model.py

trains two steps on noise and prints the losses. ESPnet calls a frontend with (input, lengths) and hands its output to
the encoder, so a class of ten lines is all there is between the two.
"""

import espnet_vivit

espnet_vivit.register()  # lets ESPnet be imported under the names that existing scripts use

import torch  # noqa: E402
from espnet2.asr.ctc import CTC  # noqa: E402
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder  # noqa: E402
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder  # noqa: E402
from espnet2.asr.espnet_model import ESPnetASRModel  # noqa: E402
from espnet2.asr.frontend.abs_frontend import AbsFrontend  # noqa: E402

TOKENS = ["<blank>", "<unk>", "bin", "blue", "at", "f", "two", "now", "<sos/eos>"]


class VivitFrontend(AbsFrontend):
    """Gray video (B, T, H, W), uint8 or normalised float, in; (B, T', D) and the valid steps (B,) out."""

    def __init__(self, **options):
        super().__init__()
        self.encoder = espnet_vivit.vivit_encoder(**options)

    def output_size(self) -> int:
        return self.encoder.output_size()

    def forward(self, input, input_lengths):
        return self.encoder(input, input_lengths)


def build_model() -> ESPnetASRModel:
    frontend = VivitFrontend(
        model_name="vivit-ti-16x2",  # with pretrained=False: its sizes, random weights, no download
        pretrained=False,
        image_size=48,
        config={"num_hidden_layers": 2},
        output_dim=32,
        frame_adjust="window",
        feature_rate="frame",  # 25 steps per second: CTC needs them
    )
    encoder = ConformerEncoder(
        frontend.output_size(),
        output_size=32,
        attention_heads=2,
        linear_units=64,
        num_blocks=1,
        input_layer="linear",  # conv2d would keep a quarter of the steps
        rel_pos_type="latest",
        pos_enc_layer_type="rel_pos",
        selfattention_layer_type="rel_selfattn",
        cnn_module_kernel=7,
    )
    size = {"vocab_size": len(TOKENS), "encoder_output_size": 32}
    return ESPnetASRModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        frontend=frontend,
        specaug=None,
        normalize=None,
        preencoder=None,
        encoder=encoder,
        postencoder=None,
        decoder=TransformerDecoder(**size, attention_heads=2, linear_units=64, num_blocks=1),
        ctc=CTC(odim=len(TOKENS), encoder_output_size=32),
        joint_network=None,
        ctc_weight=0.3,
        extract_feats_in_collect_stats=False,
    )


def main(argv=None):
    torch.manual_seed(0)
    model = build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    video = torch.randint(0, 256, (2, 50, 48, 48), dtype=torch.uint8)
    lengths = torch.tensor([50, 38])
    text, text_lengths = torch.tensor([[2, 3, 4, 5, 6, 7], [3, 6, 7, -1, -1, -1]]), torch.tensor([6, 3])
    for _ in range(2):
        loss, _, _ = model(speech=video, speech_lengths=lengths, text=text, text_lengths=text_lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"loss {loss.item():.2f}")


if __name__ == "__main__":
    main()
