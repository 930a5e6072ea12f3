"""Copies a checkpoint folder and changes one affine matrix in the copy.

usage: alter_matrix.py FROM TO MODULE CHANGE

last-bias    flips the lowest bit of the last bias, the smallest change there is
zero-biases  makes every bias 0
first-code   makes the first 2-bit code 3
"""
import json
import os
import shutil
import struct
import sys

source, target, module, change = sys.argv[1:]
os.makedirs(target, exist_ok=True)
shutil.copyfile(os.path.join(source, "config.json"), os.path.join(target, "config.json"))
with open(os.path.join(source, "model.safetensors"), "rb") as file:
    data = bytearray(file.read())

# A safetensors file: the header's length (64 bits, little endian), the header (JSON), the bytes that it points into.
header_length = struct.unpack_from("<Q", data)[0]
header = json.loads(data[8 : 8 + header_length])


def extent(tensor):
    return [8 + header_length + offset for offset in header[f"{module}.{tensor}"]["data_offsets"]]


if change == "last-bias":
    data[extent("biases")[1] - 2] ^= 1  # low byte of the last number: biases are 16 bits wide
elif change == "zero-biases":
    begin, end = extent("biases")
    data[begin:end] = bytes(end - begin)
elif change == "first-code":
    data[extent("weight")[0]] |= 3  # codes start at the lowest bits
else:
    sys.exit(f"alter_matrix.py: {change} is not a change; see the top of the file")

with open(os.path.join(target, "model.safetensors"), "wb") as file:
    file.write(data)
