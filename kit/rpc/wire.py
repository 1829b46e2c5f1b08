"""What both ends of a gRPC connection between processes agree on: sizes, probes, ages, pauses between attempts to connect."""

from __future__ import annotations

from typing import Any, Final

from kit.rpc.pipeline import LARGEST_REQUEST
from kit.sections import Grpc

Options = list[tuple[str, Any]]

#: Bytes that the transport reads at all. The pipeline refuses less than that, and says why.
LARGEST_MESSAGE: Final = 4 * LARGEST_REQUEST

#: Bytes of the headers, which hold a token of up to 8 KiB.
LARGEST_METADATA: Final = 16 * 1024

#: Seconds in which a probe must be answered; gRPC's own threads answer, however busy the process is.
PROBE_TIMEOUT: Final = 5.0

#: Seconds that calls have to end when their connection has reached its age.
AGE_GRACE: Final = 60.0

#: Seconds until a lost connection is tried again, the first time and at most: the other end is near, and soon back.
RECONNECT: Final = (0.1, 1.0)

#: Seconds until one attempt to connect has failed.
CONNECT_TIMEOUT: Final = 5.0

#: Seconds between two look-ups of a name.
LOOK_UP_EVERY: Final = 1.0


def client_options(settings: Grpc) -> Options:
    return [
        *_both(settings),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", _ms(RECONNECT[0])),
        ("grpc.max_reconnect_backoff_ms", _ms(RECONNECT[1])),
        ("grpc.min_reconnect_backoff_ms", _ms(CONNECT_TIMEOUT)),
        ("grpc.dns_min_time_between_resolutions_ms", _ms(LOOK_UP_EVERY)),
        ("grpc.service_config_disable_resolution", 1),  # ours alone, no name server's
    ]


def server_options(settings: Grpc) -> Options:
    return [
        *_both(settings),
        ("grpc.so_reuseport", 0),  # a second process on the port must fail, not share it
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients of the same settings probe half as often; somebody who probes without end is cut off.
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(settings.keepalive_seconds / 2)),
        ("grpc.max_connection_age_ms", _ms(settings.connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", _ms(AGE_GRACE)),
    ]


def _both(settings: Grpc) -> Options:
    return [
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.max_metadata_size", LARGEST_METADATA),
        ("grpc.absolute_max_metadata_size", 2 * LARGEST_METADATA),
        ("grpc.keepalive_time_ms", _ms(settings.keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _ms(PROBE_TIMEOUT)),
        # gRPC also measures the line by pings, and while one of those is unanswered (a minute) it sends no probe.
        ("grpc.http2.ping_timeout_ms", _ms(PROBE_TIMEOUT)),
    ]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
