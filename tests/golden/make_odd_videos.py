# SPDX-License-Identifier: Apache-2.0
"""Writes odd_videos/: small files of the kinds that a folder of videos holds beside the usual ones, and expected.json: the pixels
that decord 0.6.0 and OpenCV 4.11.0.86 give for those that they read. Versions: requirements-vbench.txt."""
import json
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from make_vbench import clip_frames, pixel_summary

HERE = Path(__file__).parent / "odd_videos"


def encode(name, frames, codec="libx264", pix_fmt="yuv420p", source="rgb24", times=None, options=None):
    path = HERE / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8, options=options if options is not None else {"crf": "30"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        stream.thread_count = 1
        if times:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format=source)
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rotate(path, degrees):
    """Writes a rotation into the track header of an MP4: its matrix begins 40 bytes behind the version byte."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    matrix = (cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    data[at:at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


def sound(name):
    with av.open(str(HERE / name), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 16000, 1024):
            tone = (0.2 * np.sin(np.arange(start, start + 1024) / 10)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def without_frames(name):
    """A video track that has a header and no picture."""
    with av.open(str(HERE / name), "w", options={"movflags": "empty_moov+frag_custom"}) as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()


def read_by_both(path):
    """What each decoder gives; decord cannot copy frames of two pixels."""
    import cv2
    import decord
    found, frames, video = {}, [], cv2.VideoCapture(str(path))
    while True:
        ok, frame = video.read()
        if not ok:
            break
        frames.append(frame[:, :, ::-1])
    found["opencv"] = pixel_summary(frames)
    try:
        found["decord"] = pixel_summary(decord.VideoReader(str(path), num_threads=1)[:].asnumpy())
    except decord.DECORDError:
        pass
    return found


def main():
    HERE.mkdir(exist_ok=True)
    frames = clip_frames(5, 96, 128, 4)
    readable = [encode("grey.mp4", [f[:, :, 1].copy() for f in frames], pix_fmt="gray", source="gray"),
                encode("ten_bit.mp4", frames, pix_fmt="yuv420p10le"),
                encode("ten_bit_cropped.mp4", clip_frames(3, 72, 100, 3), pix_fmt="yuv422p10le"),
                encode("full_chroma_odd.mp4", clip_frames(5, 75, 101, 5), pix_fmt="yuv444p"),
                encode("half_chroma_odd.mp4", clip_frames(5, 75, 101, 5), codec="mpeg4", options={"b": "60000"}),
                encode("half_chroma_odd_width.mp4", clip_frames(4, 64, 97, 6), codec="mpeg4", options={"b": "60000"}),
                encode("variable_rate.mp4", frames, times=[0, 40, 400, 450, 2000]),
                encode("tiny.mp4", clip_frames(3, 2, 2, 6)),
                encode("one_frame.mp4", frames[:1]),
                encode("huge.mp4", [np.full((2304, 4096, 3), 40 * i, np.uint8) for i in (1, 2)], options={"crf": "51"})]
    for degrees in (90, 180, 270):
        readable.append(encode(f"rotated_{degrees}.mp4", clip_frames(3, 64, 96, 7)))
        rotate(readable[-1], degrees)
    alpha = [np.dstack([f, np.full(f.shape[:2], 255 - 50 * i, np.uint8)]) for i, f in enumerate(clip_frames(3, 48, 64, 8))]
    encode("alpha.mov", alpha, codec="png", pix_fmt="rgba", source="rgba", options={})
    sound("sound_alone.mp4")
    without_frames("no_frames.mp4")
    whole = encode("cut_off.mp4", clip_frames(5, 96, 128, 9), options={"crf": "20"})
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 2 // 3])  # the index is at the end and is gone
    (HERE / "no_video.mp4").write_text("a text that is called a video\n")
    (HERE / "empty.mp4").write_bytes(b"")
    expected = {p.name: read_by_both(p) for p in readable}
    expected["versions"] = {"av": av.__version__, "python": sys.version.split()[0]}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
