#!/usr/bin/env python3
"""A link between two interfaces that delays and loses frames, as tc's netem does, which not every kernel has. For rehearse_hosts.sh.

    bad_link.py INTERFACE INTERFACE DELAY_MS LOSS_PERCENT     until it is killed
    bad_link.py --plain INTERFACE                             no work is left to hardware that is not there: whole checksums, no giant frames
"""
import ctypes
import fcntl
import heapq
import random
import select
import socket
import struct
import sys
import time

ALL_PROTOCOLS = 0x0003
OUTGOING = 4                 # PACKET_OUTGOING: what this host sends, which comes back to whoever listens
SIOCETHTOOL = 0x8946
OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # ETHTOOL_STXCSUM, STSO, SGSO, SGRO


def plain(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for offload in OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", offload, 0), 8)
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", name.encode(), ctypes.addressof(value)))


def relay(names, delay, loss):
    ends = []
    for name in names:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        end.bind((name, 0))
        end.setblocking(False)
        ends.append(end)
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    chooser = random.Random(1)
    waiting, number = [], 0  # (when it arrives, its number, where to, the frame)
    while True:
        ready, _, _ = select.select(ends, [], [], max(0, waiting[0][0] - time.monotonic()) if waiting else None)
        for end in ready:
            frame, address = end.recvfrom(1 << 16)
            if address[2] != OUTGOING and chooser.random() >= loss:
                number += 1
                heapq.heappush(waiting, (time.monotonic() + delay, number, other[end], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(waiting)
            try:
                end.send(frame)
            except OSError:  # a full queue loses it, as networks do
                pass


if sys.argv[1] == "--plain":
    plain(sys.argv[2])
else:
    relay(sys.argv[1:3], float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100)
