# SPDX-License-Identifier: AGPL-3.0-or-later
"""A double of deployed brokers, for the client: what they answer, leave out and get wrong.

A FakeBroker lives in a thread of its own and serves any number of clients from one socket. It has
no interface: data packets are noted, and send_frame() sends one. Its habits (docs/PROTOCOL.md
section 5) can be changed at any time.
"""

import select
import socket
import struct
import sys
import threading
import time

import wire

KEEPALIVE_EVERY_S = 5


class Peer:
    """A client with a tunnel."""

    def __init__(self, address, uuid, tunnel, features, ours):
        self.address = address
        self.uuid = uuid
        self.tunnel = tunnel  # the client's id
        self.features = features
        self.ours = ours
        self.heard = self.keepalive_at = time.monotonic()
        self.counter = 0

    @property
    def session_ids(self):
        """(ours, the client's)"""
        return (self.ours, self.tunnel) if self.features & wire.UNIQUE_SESSION_ID else (1, 1)


class FakeBroker:
    """ns: the host, None for this one. features: those that it shares."""

    def __init__(self, ns=None, address="192.0.2.1", port=8942, load=0, features=1):
        if ns:
            self.sock = ns.udp(local=(address, port))
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                                      socket.SOCK_DGRAM)
            self.sock.bind((address, port))
        self.load = load
        self.features = features
        # Habits.
        self.silent = False  # answers nothing at all
        self.answers_usage = True  # brokers before 0.3 do not
        self.refuses = None  # b"" or b"\x04": the payload of the ERROR that answers PREPARE
        self.loses_tunnel = 0  # so many TUNNELs are not sent, though the tunnel is made
        self.forgets_features = False  # in the TUNNEL that answers a repeated PREPARE
        self.acknowledges_limit = True
        self.acknowledges_probes = True
        self.largest_probe = 65535  # UDP payload; larger ones get lost on the way
        self.notifies_mtu = None  # PMTU_NTFY with this MTU after TUNNEL
        # What happened.
        self.received = []  # (time, address, type, payload)
        self.frames = []  # (address, session id, frame)
        self.peers = {}  # by address
        self.limits = []  # kbit/s asked for
        self.next_id = 100
        self.stopping = False
        self.thread = threading.Thread(target=self.life, daemon=True)
        self.thread.start()

    def close(self):
        self.stopping = True
        self.thread.join()
        self.sock.close()

    # Datagrams.

    def send(self, address, kind, payload=b"", size=12):
        self.send_bytes(address, wire.message(kind, payload, size))

    def send_bytes(self, address, datagram):
        try:
            self.sock.sendto(datagram, address)
        except OSError:  # what ICMP left on the socket, or no route: lost
            pass

    def send_frame(self, peer, frame):
        self.send_bytes(peer.address, wire.data(peer.session_ids[1], frame))

    def life(self):
        while not self.stopping:
            if select.select([self.sock], [], [], 0.02)[0]:
                try:
                    self.handle(*self.sock.recvfrom(65536))
                except ConnectionRefusedError:
                    pass
            for peer in list(self.peers.values()):
                self.keep(peer)

    def keep(self, peer):
        now = time.monotonic()
        if not self.silent and now >= peer.keepalive_at:
            peer.counter = (peer.counter + 1) & 0xFFFF
            peer.keepalive_at = now + KEEPALIVE_EVERY_S
            self.send(peer.address, wire.KEEPALIVE, struct.pack("!H", peer.counter))

    def handle(self, datagram, address):
        message = wire.parse(datagram)
        if message is None:
            packet = wire.parse_data(datagram)
            if packet:
                self.frames.append((address, *packet))
            return
        kind, payload = message
        self.received.append((time.monotonic(), address, kind, payload))
        if self.silent:
            return
        peer = self.peers.get(address)
        if peer:
            peer.heard = time.monotonic()
        if kind == wire.USAGE and self.answers_usage:
            self.send(address, wire.USAGE, struct.pack("!H", self.load))
        elif kind == wire.COOKIE:
            self.send(address, wire.COOKIE, self.cookie(address))
        elif kind == wire.PREPARE:
            self.prepare(address, payload)
        elif peer and kind == wire.ERROR:
            self.peers.pop(address)
            self.send(address, wire.ERROR, b"\x01")
        elif peer and kind == wire.PMTUD and self.acknowledges_probes:
            if len(datagram) <= self.largest_probe:
                self.send(address, wire.PMTUD_ACK, struct.pack("!H", len(datagram)))
        elif peer and kind == wire.LIMIT and self.acknowledges_limit:
            self.send(address, wire.REL_ACK, payload[:2])
            self.limits += struct.unpack("!I", payload[4:8])

    # The handshake.

    @staticmethod
    def cookie(address):
        return struct.pack("!Q", hash(address) & (2**64 - 1))

    def prepare(self, address, payload):
        if payload[:8] != self.cookie(address):
            return
        uuid, rest = payload[9 : 9 + payload[8]], payload[9 + payload[8] :]
        tunnel, features = struct.unpack("!II", rest[:8].ljust(8, b"\0"))
        repeated = address in self.peers
        if self.refuses is not None:
            self.send(address, wire.ERROR, self.refuses)
            return
        if not repeated:
            shared = features & self.features
            self.peers[address] = Peer(address, uuid, tunnel, shared, self.next_id)
            self.next_id += 1
        if self.loses_tunnel > 0:
            self.loses_tunnel -= 1
            return
        peer = self.peers[address]
        answer = struct.pack("!I", peer.ours)
        if peer.features and not (repeated and self.forgets_features):
            answer += struct.pack("!I", peer.features)
        self.send(address, wire.TUNNEL, answer)
        if self.notifies_mtu is not None:
            self.send(address, wire.PMTU_NTFY, struct.pack("!H", self.notifies_mtu))

    # For the test.

    def messages(self, kind):
        """(time, address, payload) of all messages of that type that came."""
        return [(at, address, body) for at, address, got, body in self.received if got == kind]

    def kick(self, reason=b"\x02"):
        """Ends all tunnels: ERROR with that reason, b"" for none."""
        for address in list(self.peers):
            self.peers.pop(address)
            self.send(address, wire.ERROR, reason)

    def forget(self):
        """As after a restart without farewell: all state is gone."""
        self.peers.clear()


def main():
    """For trying out by hand: fake_broker.py ADDRESS PORT."""
    broker = FakeBroker(None, sys.argv[1], int(sys.argv[2]))
    shown = 0
    try:
        while True:
            time.sleep(0.2)
            for at, address, kind, payload in broker.received[shown:]:
                print(f"{at:.3f} {address[0]}:{address[1]} {kind:#04x} {payload.hex()}", flush=True)
                shown += 1
    except KeyboardInterrupt:
        broker.close()


if __name__ == "__main__":
    main()
