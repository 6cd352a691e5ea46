"""One audio track of an open container: which one, whether it may be decoded, and its frames. Engine side only.

What is damaged is left out and told, never raised; nothing here converts sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream as CodedStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition

from cesar_watch.speech.channels import MOST_MIXED
from cesar_watch.speech.declared import declared_duration, expected_duration
from cesar_watch.speech.source import SourceFile

FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,m4a,matroska,mj2,mov,mp2,mp3,"
    "mp4,mpc,mpc8,mpeg,mpegts,ogg,spx,tta,w64,wav,webm,wv"
)
"""The demuxers that FFmpeg may use. Playlists (concat, hls, dash, sdp) would read other files and hosts."""

FAULTS = (av.error.FFmpegError, OSError, ValueError, IndexError)
"""What PyAV raises for damaged content; IndexError when a broadcast gains a stream midway."""

_LOWEST_RATE, _HIGHEST_RATE = 2_000, 768_000
"""Hz. Nobody records speech beyond them; a 10 KB file that claims 1 Hz swells to hours, and the filter that 1 GHz
needs to gigabytes."""

_LARGEST_FRAME = 1 << 21
"""Values, of all channels, that one frame may hold: ten times as many as any encoder writes."""

_LARGEST_PICTURE = 1 << 25
"""Pixels, those of an 8K video. FFmpeg looks at pictures, too, and a cover of 1 MB can unfold to one of 1 GB."""

_MAX_ERRORS_IN_A_ROW = 1_000
"""A demuxer that fails this often without a packet in between will never find another one."""


class Track:
    """The track of a recording that is to be heard; whoever makes it closes it.

    Args:
        number: Counted from 1; 0: the default one.
        most_channels: It may have so many.
        skip: Called for each damaged packet that is left out.

    Attributes:
        channels: How many its decoder is going to give, as its header or its first packets tell; at least 1.
        declared_s: The length that the header promises, or None where headers of this kind only guess.
        expected_s: The same, or else a guess; None where there is none.

    Raises:
        RecordingError: As `open_audio` tells. Nothing but the file stays open.
        AttemptError: `source_unreadable`.
    """

    def __init__(self, file: SourceFile, number: int, *, most_channels: int, skip: Callable[[], None]) -> None:
        self._file = file
        self._skip = skip
        self._container = _open(file)
        try:
            self._stream = self._chosen(number)
            self.channels = max(1, self._refuse_format(most_channels))
            self._prepare_decoder()
            self.declared_s = declared_duration(file, self._container, self._stream)
            self.expected_s = self.declared_s or expected_duration(self._container)
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        """Let go of FFmpeg's buffers; the file stays open."""
        self._container.close()

    def frames(self) -> Iterator[AudioFrame]:
        """Yield the track's frames, none of them empty or at a rate that nothing is recorded at; call it once.

        Raises:
            AttemptError: `source_unreadable`, the file can't be read on.
        """
        for packet in self._packets():
            try:
                decoded = packet.decode()
            except FAULTS:
                self._skip()
                continue
            for frame in decoded:
                if isinstance(frame, AudioFrame) and frame.samples:
                    if _is_usual(frame.sample_rate):
                        yield frame
                    else:
                        self._skip()

    def _packets(self) -> Iterator[Packet[CodedStream]]:
        errors = 0
        while errors < _MAX_ERRORS_IN_A_ROW:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    yield packet
                return
            except FAULTS:
                self._file.check()
                self._skip()
                errors += 1

    def _chosen(self, number: int) -> CodedStream:
        tracks = self._container.streams.audio
        if not tracks:
            raise self._file.refusal("no_audio", "has no sound track. Drop the recording that has the sound.")
        if number > len(tracks):
            raise self._file.refusal(
                "no_such_track",
                f"has no audio track {number}, only {len(tracks)}. Set engine.audio_track to one of them, or to 0 for "
                "the default one.",
            )
        # A track that can't be decoded is passed over, unless it was asked for.
        wanted = tracks[number - 1 : number] if number else tracks
        decodable = [track for track in wanted if track.codec_context is not None]
        if not decodable:
            raise self._file.refusal(
                "unsupported_codec",
                "has sound of a kind that can't be decoded here, or is damaged. Convert it, and drop it again.",
            )
        return next((track for track in decodable if track.disposition & Disposition.default), decodable[0])

    def _refuse_format(self, most_channels: int) -> int:
        """Refuse what is too much to decode; return the number of channels, 0 where it is not known yet."""
        channels, rate = self._stream.codec_context.channels, self._stream.codec_context.sample_rate
        if channels > most_channels:
            remedy = 'Set engine.channels = "mix" for it' if channels <= MOST_MIXED else "Drop it with fewer channels"
            raise self._file.refusal(
                "too_many_channels", f"has {channels} channels, more than the {most_channels} that are read. {remedy}."
            )
        if rate and not _is_usual(rate):
            raise self._file.refusal(
                "unsupported_rate",
                f"says that it has {rate} samples a second, at which no speech is recorded: it may be damaged. From "
                f"{_LOWEST_RATE} to {_HIGHEST_RATE} are read.",
            )
        return channels

    def _prepare_decoder(self) -> None:
        context = self._stream.codec_context
        # PyAV frees the names of channels in an unusual order twice, which ends the process (seen with 18.1).
        context.layout = f"{self.channels} channels"
        context.options = {"max_samples": str(_LARGEST_FRAME // self.channels)}


def _open(file: SourceFile) -> InputContainer:
    try:
        return av.open(
            file,
            mode="r",
            metadata_errors="ignore",
            options={"max_pixels": str(_LARGEST_PICTURE)},
            container_options={"format_whitelist": FORMATS},
        )
    except FAULTS as fault:
        file.check()
        raise file.refusal(
            "not_media",
            "is not a recording that can be read: it may be damaged or something else under that name. "
            "Check it by playing it, and drop it again.",
        ) from fault


def _is_usual(rate: int) -> bool:
    return _LOWEST_RATE <= rate <= _HIGHEST_RATE
