"""Files and images of the end-to-end tests: made, measured, compared."""

import hashlib


def size_of(text):
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    return int(text[:-3]) * units[text[-3:]] if isinstance(text, str) else text


def same_content(left, right):
    """The first offset at which two files differ, or None."""
    with open(left, "rb") as a, open(right, "rb") as b:
        offset = 0
        while True:
            x, y = a.read(1 << 20), b.read(1 << 20)
            if x != y:
                short = min(len(x), len(y))
                return offset + next((i for i in range(short) if x[i] != y[i]), short)
            if not x:
                return None
            offset += len(x)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_image(path, size, random_megabytes=0, seed=1):
    """A sparse file; its first megabytes are filled, every second one compressible."""
    with open(path, "wb") as file:
        file.truncate(size)
        for index in range(random_megabytes):
            block = hashlib.shake_128(f"{seed}/{index}".encode())
            file.write(block.digest(1 << 20) if index % 2 else block.digest(64) * (1 << 14))


def write_text(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def write_bytes(path, content):
    with open(path, "wb") as file:
        file.write(content)
