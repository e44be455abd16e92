"""The DEALER socket, as libzmq has to be told; see SPEC, "Advice about libzmq"."""

from __future__ import annotations

import zmq


def connect(
    context: zmq.Context[zmq.Socket[bytes]], url: str
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A socket that connects to `url` by itself, again and again, and its monitor."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.LINGER, 1000)
    socket.setsockopt(zmq.SNDHWM, 0)  # what is unacknowledged is bounded in bytes instead
    socket.setsockopt(zmq.RCVHWM, 0)  # it is always read
    socket.setsockopt(zmq.RECONNECT_IVL, 10)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    try:
        socket.connect(url)
    except zmq.ZMQError:
        socket.disable_monitor()
        monitor.close(0)
        socket.close(0)
        raise
    return socket, monitor


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether something can be received; also makes libzmq look at what it was told."""
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)
