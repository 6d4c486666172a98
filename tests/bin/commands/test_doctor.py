"""What `espnet-vivit doctor` finds: judged against faked surroundings, and once against this machine."""

import sys

import pytest
import torch

from espnet_vivit.base.finding import OK, Finding
from espnet_vivit.bin.commands import doctor, doctor_trials
from espnet_vivit.bin.commands.doctor_trials import ABSENT, BROKEN
from espnet_vivit.errors import MediaError
from espnet_vivit.media.faces.detectors import haar, mediapipe

REQUIREMENTS = [
    "torch==2.11.0",
    "transformers<6,>=5.10",
    'tomli; python_version < "3.0"',
    'av>=14; extra == "media"',
    'espnet-vivit[media]; extra == "page"',
    'peft>=0.17; extra == "qlora"',
    'espeakng-loader>=0.2.4; extra == "mini-av"',
    'pytest>=8; extra == "dev"',
]


def states(versions: dict[str, str]) -> dict[str, str]:
    findings = doctor.check_requirements(REQUIREMENTS, versions.get)
    return {finding.name.split(" ")[0]: finding.state for finding in findings}


def test_needed_parts_are_broken_when_absent_and_extras_merely_absent():
    expected = {"torch": BROKEN, "transformers": BROKEN, "av": BROKEN, "peft": ABSENT, "espeakng-loader": ABSENT}
    assert states({}) == expected


def test_a_local_build_of_the_right_version_is_the_right_version():
    found = states({"torch": "2.11.0+cu130", "transformers": "5.23.0", "av": "18.1.0", "peft": "0.21.2"})
    assert found == {"torch": OK, "transformers": OK, "av": OK, "peft": OK, "espeakng-loader": ABSENT}


@pytest.mark.parametrize("version", ["5.9.1", "6.0.0"])
def test_a_version_out_of_bounds_is_broken_and_the_fix_names_the_bounds(version):
    (finding,) = doctor.check_requirements(["transformers<6,>=5.10"], lambda name: version)
    assert (finding.state, finding.found) == (BROKEN, version)
    assert finding.fix == "pip install 'transformers<6,>=5.10'"


@pytest.mark.parametrize(("version", "state"), [((3, 9), BROKEN), ((3, 10), OK), ((3, 13), OK), ((3, 14), BROKEN)])
def test_supported_pythons(version, state):
    assert doctor.check_python(version).state == state


def test_a_torch_that_does_not_load_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = doctor_trials.try_devices()
    assert finding.state == BROKEN and "pip install" in finding.fix


def test_devices_are_what_torch_sees():
    finding = doctor_trials.try_devices()
    assert finding.state == OK
    assert finding.found.startswith("CPU") != torch.cuda.is_available()


def test_video_codecs_work_here_and_their_absence_is_seen(monkeypatch):
    assert doctor_trials.try_video().state == OK
    monkeypatch.setitem(sys.modules, "av.codec", None)
    assert doctor_trials.try_video().state == BROKEN


@pytest.mark.parametrize(
    ("codec", "state"), [("h264", BROKEN), ("ffv1", BROKEN), ("hevc", ABSENT), ("libx264", ABSENT)]
)
def test_a_missing_codec_is_named_and_only_some_are_needed(monkeypatch, codec, state):
    import av.codec

    def made_without(name, mode, *, codec_class=av.codec.Codec):
        if name == codec:
            raise ValueError(f"no codec {name}")
        return codec_class(name, mode)

    monkeypatch.setattr(av.codec, "Codec", made_without)
    finding = doctor_trials.try_video()
    assert (finding.state, finding.found) == (state, f"no {codec}")


def test_the_cpu_has_bfloat16_and_no_float16():
    finding = doctor_trials.try_precision()
    assert finding.state == OK and finding.found.split("; ")[0] == "cpu: bfloat16"


def test_a_dtype_that_a_device_computes_wrongly_is_not_listed(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda one, other: torch.zeros(8, 8, dtype=torch.bfloat16))
    assert doctor_trials.try_precision().found.startswith("cpu: none")


def test_four_bits_work_here():
    pytest.importorskip("bitsandbytes")
    finding = doctor_trials.try_four_bits()
    assert finding.state == OK and "bitsandbytes" in finding.found


def test_four_bits_that_compute_nonsense_are_not_ok(monkeypatch):
    def spoil(name, layers, config, dtype):
        layers[0].weight.zero_()

    monkeypatch.setattr("espnet_vivit.model.adapters.quantize.quantize_linears", spoil)
    finding = doctor_trials.try_four_bits()
    assert finding.state == ABSENT and finding.found.startswith("wrong by ")


def test_without_bitsandbytes_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    finding = doctor_trials.try_four_bits()
    assert finding.state == ABSENT and "espnet-vivit[qlora]" in finding.fix


def test_haar_is_found_where_opencv_has_its_cascades(monkeypatch):
    pytest.importorskip("cv2")
    if haar.missing():
        pytest.skip(haar.missing())
    assert doctor_trials.try_haar().state == OK
    monkeypatch.setitem(sys.modules, "cv2", None)
    for other, state in ((None, ABSENT), ("not installed", BROKEN)):  # transcribing needs one of the two detectors
        monkeypatch.setattr(mediapipe, "missing", lambda other=other: other)
        finding = doctor_trials.try_haar()
        assert finding.state == state and "espnet-vivit[media]" in finding.fix


def test_mediapipe_is_what_its_detector_says(monkeypatch):
    monkeypatch.setattr(mediapipe, "missing", lambda: None)
    monkeypatch.setattr(mediapipe.MediapipeDetector, "detect", lambda self, picture: [])
    assert doctor_trials.try_mediapipe().state == OK
    monkeypatch.setattr(mediapipe, "missing", lambda: "there is no model file")
    finding = doctor_trials.try_mediapipe()
    assert (finding.state, finding.found) == (ABSENT, "there is no model file") and "make faces" in finding.fix


def test_a_mediapipe_that_is_there_but_fails_is_absent_with_its_reason(monkeypatch):
    def fail(self, picture):
        raise MediaError("libEGL.so.1 is not here")

    monkeypatch.setattr(mediapipe, "missing", lambda: None)
    monkeypatch.setattr(mediapipe.MediapipeDetector, "detect", fail)
    finding = doctor_trials.try_mediapipe()
    assert (finding.state, finding.found) == (ABSENT, "libEGL.so.1 is not here") and "make faces" in finding.fix


def test_a_missing_espeak_is_absent_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    finding = doctor_trials.try_espeak()
    assert finding.state == ABSENT and "pip install espeakng-loader" in finding.fix


@pytest.mark.parametrize("cached", [False, True])
def test_weights_count_only_when_cached(monkeypatch, cached):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/cache/file" if cached else None)
    assert doctor_trials.try_weights().state == (OK if cached else ABSENT)


def test_a_package_that_is_not_installed_says_how_to_install_it(monkeypatch):
    def absent(name):
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", absent)
    monkeypatch.setattr(doctor, "TRIALS", ())
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["espnet-vivit"].state == BROKEN and "make install" in findings["espnet-vivit"].fix
    monkeypatch.setattr(doctor, "clone", lambda: None)
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["espnet-vivit"].fix == "pip install espnet-vivit"


@pytest.mark.parametrize(("state", "status"), [(OK, 0), (ABSENT, 0), (BROKEN, 1)])
def test_only_what_is_needed_decides_the_exit_code(monkeypatch, capsys, state, status):
    monkeypatch.setattr(doctor, "diagnose", lambda: [Finding(state, "thing", "found", "type this")])
    assert doctor.main([]) == status
    printed = capsys.readouterr().out
    assert "-> type this" in printed
    assert ("1 needed and not working: thing" in printed) == (status == 1)
