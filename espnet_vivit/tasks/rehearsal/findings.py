"""What `espnet-vivit check` says of the data: the directory, the clips themselves, the tokens, and CTC.

In: a data directory and what the configuration says of it. Out: `Finding`s; nothing is written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_vivit.base.finding import FAIL, OK, WARN, Finding
from espnet_vivit.data.data_dir import Utterance, validate_data_dir
from espnet_vivit.data.feasibility import MAX_EXCLUDED, check_feasibility
from espnet_vivit.data.token_list import MAX_UNKNOWN, UNKNOWN
from espnet_vivit.errors import DataError, EspnetVivitError
from espnet_vivit.units import SAMPLES_PER_FRAME

CLIPS_READ = 20


def check_directory(data: Path, *, streams: Sequence[str], word_times: bool) -> tuple[Finding, list[Utterance]]:
    """The whole directory, and whether it has the streams that the model takes; raises DataError otherwise."""
    utterances = validate_data_dir(data)
    lacking = [
        name
        for name, there in (("video", utterances[0].video), ("speech", utterances[0].wav))
        if name in streams and there is None
    ]
    if lacking:
        what = f"the model takes {' and '.join(streams)}, and {data} has no {' and no '.join(lacking)}"
        raise DataError(what, fix="Set another modality in the configuration, or prepare those streams.")
    hours = sum(utterance.duration_s for utterance in utterances) / 3600
    longest = max(utterance.duration_s for utterance in utterances)
    speakers = len({utterance.speaker for utterance in utterances})
    found = f"{len(utterances)} utterances of {speakers} speakers, {hours:.2f} h, the longest {longest:.1f} s"
    if word_times and utterances[0].word_times is None:
        fix = (
            f"frame_loss_weight learns from word times: align some (avsr_align --out {data}/word_times), or set it to 0"
        )
        return Finding(FAIL, "data directory", f"{found}, without word_times", fix), utterances
    return Finding(OK, "data directory", found), utterances


def frames_of(utterance: Utterance) -> int:
    """Video frames; of sound alone, those that it lasts."""
    return utterance.num_frames or utterance.num_samples // SAMPLES_PER_FRAME


def check_clips(utterances: Sequence[Utterance], *, streams: Sequence[str], count: int = CLIPS_READ) -> Finding:
    """Decode some clips, spread over the set, and compare their lengths with what the directory says."""
    from espnet_vivit.media.files.audio_file import read_wav
    from espnet_vivit.media.files.video_file import read_video

    chosen = [
        utterances[i * len(utterances) // min(count, len(utterances))] for i in range(min(count, len(utterances)))
    ]
    faults, pictures = [], set()
    for utterance in chosen:
        try:
            if "video" in streams:
                assert utterance.video is not None  # check_directory; so below
                video = read_video(utterance.video)
                pictures.add("x".join(map(str, video.shape[:0:-1])))
                _compare(faults, utterance.utt_id, "frames", len(video), utterance.num_frames)
                if video.min() == video.max():
                    faults.append(f"{utterance.utt_id}: every pixel is {video.min()}")
            if "speech" in streams:
                assert utterance.wav is not None
                speech = read_wav(utterance.wav)
                _compare(faults, utterance.utt_id, "samples", len(speech), utterance.num_samples)
                if not speech.any():
                    faults.append(f"{utterance.utt_id}: the sound is silent")
        except EspnetVivitError as error:
            faults.append(f"{utterance.utt_id}: {error}")
    found = f"{len(chosen)} read" + (f", pictures of {' and '.join(sorted(pictures))} pixels" if pictures else "")
    if faults:
        return Finding(FAIL, "clips", f"{found}; {len(faults)} faults, as {faults[0]}", "prepare those clips again")
    if len(pictures) > 1:
        return Finding(WARN, "clips", found, "clips of one size were cut out alike; are some of these no mouths?")
    return Finding(OK, "clips", found)


def _compare(faults: list[str], utt_id: str, what: str, found: int, stated: int) -> None:
    if found != stated:
        faults.append(f"{utt_id}: {found} {what}, and its list says {stated}")


def check_tokens(
    labels: Mapping[str, Sequence[str]], token_list: Sequence[str], token_type: str, *, made_here: bool
) -> Finding:
    """Whether the list knows what the transcripts say. labels: utterance -> tokens, `<unk>` for what it lacks."""
    tokens = [token for label in labels.values() for token in label]
    unknown = tokens.count(UNKNOWN)
    found = f"{len(tokens)} {token_type} tokens of {len(set(tokens))} kinds; the list has {len(token_list)}"
    if made_here:
        return Finding(OK, "tokens", f"{found}, made from these transcripts for this check")
    found += f", {unknown} are not in it"
    if unknown > MAX_UNKNOWN * len(tokens):
        fix = f"{unknown / len(tokens):.0%} would be learnt as <unk>: give the token list and token_type of this corpus"
        return Finding(FAIL, "tokens", found, fix)
    return Finding(WARN if unknown else OK, "tokens", found, "these are learnt as <unk>" if unknown else "")


def check_ctc(
    labels: Mapping[str, Sequence[str]], utterances: Sequence[Utterance], *, feature_rate: str, ctc_weight: float
) -> Finding:
    """Whether CTC can align every utterance; see espnet_vivit.data.feasibility."""
    if ctc_weight == 0:
        return Finding(OK, "CTC", "none in this model")
    spans = {
        utterance.utt_id: (utterance.word_times[0].start_s, utterance.word_times[-1].end_s)
        for utterance in utterances
        if utterance.word_times
    }
    frames = {utterance.utt_id: frames_of(utterance) for utterance in utterances}
    report = check_feasibility(labels, frames, feature_rate=feature_rate, spans=spans)
    tightest = max(report.utterances, key=lambda utt: utt.needed / max(utt.steps, 1))
    found = (
        f"{len(report.kept_ids)} of {len(report.utterances)} utterances can be aligned at {feature_rate} rate; "
        f"the tightest needs {tightest.needed} of {tightest.steps} steps"
    )
    if report.excluded_share > MAX_EXCLUDED or not report.kept_ids:
        return Finding(FAIL, "CTC", found, report.way_out())
    if report.excluded:
        return Finding(WARN, "CTC", found, f"stage 10 leaves the others out, as {report.excluded[0].utt_id}")
    if 2 * len(report.crowded) > len(report.timed):
        return Finding(WARN, "CTC", f"{found}; most only with steps borrowed from silence", report.way_out())
    return Finding(OK, "CTC", found)
