"""The rates that everything is counted in, each derived once and with its unit; modalities, and a mouth's size."""

VIDEO_RATE_HZ = 25  # frames per second: the rate of every lip-reading corpus and of all our models
AUDIO_RATE_HZ = 16_000  # samples per second
SAMPLES_PER_FRAME = AUDIO_RATE_HZ // VIDEO_RATE_HZ  # 640 audio samples last as long as one video frame
TUBELET_FRAMES = 2  # video frames per ViViT tubelet ("16x2": 16 pixels by 2 frames)

STREAMS_OF = {"video": ("video",), "audio": ("speech",), "multimodal": ("speech", "video")}  # modality -> data names
MODALITIES = tuple(STREAMS_OF)
MOUTH_SIZE = 96  # pixels of a mouth crop's side, before its middle is cut out or it is shrunk

FEATURE_RATES = {"tubelet": TUBELET_FRAMES, "frame": 1}  # name -> video frames per feature step


def tubelet_steps(frames: int) -> int:
    """Feature steps at 12.5 Hz for `frames` video frames: an odd last frame is dropped, a single frame is repeated."""
    return max(1, frames // TUBELET_FRAMES)


def seconds_of_frames(frames: int) -> float:
    return frames / VIDEO_RATE_HZ


def seconds_of_samples(samples: int) -> float:
    return samples / AUDIO_RATE_HZ


def duration(seconds: float) -> str:
    """As a person says it: `47 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
