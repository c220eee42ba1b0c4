# SPDX-License-Identifier: AGPL-3.0-or-later
"""Doubles of deployed clients, for the broker: what they send, what they accept, how they wait.

Models: "2021" and "2017" send the feature word and use session ids of their own; "0.3.0" sends the
tunnel id only; "0.2" sends neither; all three of the latter kind use session id 1 on both ends and
take a TUNNEL of exactly 4 bytes. All count whole seconds, so "every n s" is every n+1 s.
"""

import select
import struct
import threading
import time

import wire
from netlab import SLOW

MODELS = ("2021", "2017", "0.3.0", "0.2")
PREPARE_EVERY_S = 3
KEEPALIVE_EVERY_S = 6
GIVE_UP_S = 15
# Deployed clients pad with what their stack holds.
STRAY = bytes.fromhex("a81c0eb20000")


def in_vain(seconds):
    """A limit of time for what must not come: a slow machine needs no more patience for that."""
    return seconds / SLOW


class Refused(Exception):
    """The broker answered PREPARE with ERROR."""


class FakeClient:
    """One client: open a socket, take the steps of the handshake, then live() in the background.

    ns is the host, broker the (address, port) to talk to, port the source port (0: any)."""

    def __init__(self, ns, broker=("192.0.2.1", 8942), uuid="old", model="2021", port=0, tunnel=1):
        self.uuid = uuid.encode() if isinstance(uuid, str) else uuid
        self.model = model
        self.tunnel = tunnel
        self.features = 1 if model in ("2021", "2017") else 0
        local = ("::" if ":" in broker[0] else "0.0.0.0", port)
        self.sock = ns.udp(peer=broker, local=local)
        self.port = self.sock.getsockname()[1]
        self.received = []  # (time, type, payload) of every control message
        self.frames = []  # (session id, frame) of every data packet
        self.cookie = None
        self.peer_tunnel = None
        self.shared = None
        self.ended_by = None  # payload of the ERROR that ended the tunnel
        self.thread = None
        self.stopping = False

    # Datagrams.

    def send(self, kind, payload=b""):
        datagram = wire.message(kind, payload, 0)
        if len(datagram) < 12:
            datagram += STRAY[: 12 - len(datagram)]
        self.send_bytes(datagram)

    def send_bytes(self, datagram):
        try:
            self.sock.send(datagram)
        except ConnectionRefusedError:  # what ICMP left on the socket; it was not sent
            self.sock.send(datagram)

    def receive(self, timeout):
        """Handles one datagram as a client does; returns (type, payload), None: nothing came."""
        if not select.select([self.sock], [], [], max(timeout, 0))[0]:
            return None
        try:
            datagram = self.sock.recv(65536)
        except ConnectionRefusedError:
            return None
        message = wire.parse(datagram)
        if message is None:
            packet = wire.parse_data(datagram)
            if packet:
                self.frames.append(packet)
            return None
        self.received.append((time.monotonic(), *message))
        kind, payload = message
        if kind == wire.PMTUD:
            self.send(wire.PMTUD_ACK, struct.pack("!H", len(datagram)))
        return message

    def ask(self, kind, payload, answers, timeout, every=PREPARE_EVERY_S):
        """Sends until one of the answers comes; that (type, payload), or None."""
        end = time.monotonic() + timeout * SLOW
        again = 0
        while time.monotonic() < end:
            if time.monotonic() >= again:
                self.send(kind, payload)
                again = time.monotonic() + every
            message = self.receive(min(again, end) - time.monotonic())
            if message and message[0] in answers:
                return message
        return None

    # Steps of the handshake.

    def ask_usage(self, timeout=3):
        """The broker's load; None: silence."""
        payload = b"U" * 8 + (struct.pack("!I", self.features) if self.features else b"")
        answer = self.ask(wire.USAGE, payload, [wire.USAGE], timeout)
        return struct.unpack("!H", answer[1][:2])[0] if answer else None

    def ask_cookie(self, timeout=5):
        """Asks for a cookie; is there one?"""
        answer = self.ask(wire.COOKIE, b"X" * 8, [wire.COOKIE], timeout)
        if answer:
            assert len(answer[1]) == 8, "deployed clients take cookies of 8 bytes only"
            self.cookie = answer[1]
        return answer is not None

    def prepare_payload(self):
        payload = self.cookie + bytes((len(self.uuid),)) + self.uuid
        if self.model != "0.2":
            payload += struct.pack("!I", self.tunnel)
        if self.features:
            payload += struct.pack("!I", self.features)
        return payload

    def prepare(self, timeout=GIVE_UP_S):
        """Asks for the tunnel, as long as a deployed client does; is there one?"""
        answer = self.ask(
            wire.PREPARE, self.prepare_payload(), [wire.TUNNEL, wire.ERROR], timeout
        )
        if answer is None:
            return False
        if answer[0] == wire.ERROR:
            raise Refused(answer[1])
        self.accept(answer[1])
        return True

    def accept(self, payload):
        if self.features:
            assert len(payload) in (4, 8)
        else:
            assert len(payload) == 4, "0.3.0 takes a TUNNEL of 4 bytes only"
        self.peer_tunnel = struct.unpack("!I", payload[:4])[0]
        self.shared = struct.unpack("!I", payload[4:])[0] if len(payload) == 8 else 0

    def connect(self, timeout=GIVE_UP_S):
        """The whole handshake; then lives in the background until stop() or close()."""
        assert self.ask_cookie(), "no cookie"
        assert self.prepare(timeout), "no tunnel"
        return self.live()

    # The tunnel.

    @property
    def session_ids(self):
        """(ours, the broker's): what data packets to us, and from us, carry."""
        return (self.tunnel, self.peer_tunnel) if self.shared & wire.UNIQUE_SESSION_ID else (1, 1)

    def send_frame(self, frame):
        self.send_bytes(wire.data(self.session_ids[1], frame))

    def live(self):
        """Keepalives, acknowledgements: a client whose tunnel is up, in a thread."""
        self.thread = threading.Thread(target=self.life, daemon=True)
        self.thread.start()
        return self

    def life(self):
        counter, next_keepalive = 0, time.monotonic() + KEEPALIVE_EVERY_S
        while not self.stopping:
            if time.monotonic() >= next_keepalive:
                self.send(wire.KEEPALIVE, struct.pack("!I", counter))
                counter, next_keepalive = counter + 1, next_keepalive + KEEPALIVE_EVERY_S
            message = self.receive(0.1)
            if message and message[0] == wire.ERROR:
                self.ended_by = message[1]
                self.send(wire.ERROR, bytes((wire.CLIENT_ASKED,)))
                return

    def messages(self, kind):
        """The payloads of all messages of that type that came."""
        return [payload for _, got, payload in self.received if got == kind]

    def freeze(self):
        """Stops answering, as a client that was killed; the socket stays open, so that no ICMP
        tells the broker."""
        self.stopping = True
        if self.thread:
            self.thread.join()
            self.thread = None

    def stop(self):
        """Ends the tunnel in order."""
        self.freeze()
        self.send(wire.ERROR, bytes((wire.CLIENT_SHUTDOWN,)))
        self.close()

    def close(self):
        self.freeze()
        self.sock.close()
