# SPDX-License-Identifier: AGPL-3.0-or-later
"""A NAT in miniature: what clients send to it goes on to the broker from one fixed port, and
answers go to whichever client was heard last. It can also hold back, or look at, what passes."""

import select
import threading


class Relay:
    """listen: (address, port) towards clients; broker: where to; port: the fixed source port.

    drop(datagram, to_broker) -> bool may be set: what it says yes to does not pass."""

    def __init__(self, ns, listen, broker, port):
        self.inner = ns.udp(local=listen)
        wildcard = "::" if ":" in broker[0] else "0.0.0.0"
        self.outer = ns.udp(peer=broker, local=(wildcard, port))
        self.client = None
        self.drop = lambda datagram, to_broker: False
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            for sock in select.select([self.inner, self.outer], [], [], 0.1)[0]:
                try:
                    self.forward(sock)
                except OSError:
                    pass  # the other side is not there just now

    def forward(self, sock):
        if sock is self.inner:
            datagram, self.client = self.inner.recvfrom(65536)
            if not self.drop(datagram, True):
                self.outer.send(datagram)
        else:
            datagram = self.outer.recv(65536)
            if self.client and not self.drop(datagram, False):
                self.inner.sendto(datagram, self.client)

    def close(self):
        self.stopping = True
        self.thread.join()
        self.inner.close()
        self.outer.close()
